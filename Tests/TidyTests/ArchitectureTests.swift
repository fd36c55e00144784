import Testing

/// What ARCHITECTURE.md says of the modules.
private struct Architecture {
    /// A line of the table of modules.
    struct Row {
        /// The modules of this package that it uses, and what it imports from elsewhere.
        var uses: Set<String>
        var outside: Set<String>
    }

    /// The rows of the table, by module.
    let rows: [String: Row]
    /// The line of the picture that each folder of Sources is in, and how often it is there.
    let lines: [String: Int]
    let twice: [String]

    init() throws {
        let text = try Sources.lines(of: "ARCHITECTURE.md")
        let folders = Set(try Sources.folders(in: "Sources"))
        let picture = text.drop { $0 != "```text" }.dropFirst().prefix { $0 != "```" }
        var lines: [String: Int] = [:]
        var twice: [String] = []
        for (number, line) in picture.enumerated() {
            for name in line.split(separator: " ").map(String.init) where folders.contains(name) {
                if lines.updateValue(number, forKey: name) != nil { twice.append(name) }
            }
        }
        self.lines = lines
        self.twice = twice
        var rows: [String: Row] = [:]
        for line in text where line.hasPrefix("| `") {
            let cells = line.split(separator: "|").map(Self.names)
            guard cells.count == 4, let module = cells[0].first else { continue }
            rows[module] = Row(uses: Set(cells[2]), outside: Set(cells[3]))
        }
        self.rows = rows
    }

    /// What stands between backquotes.
    private static func names(in cell: Substring) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter {
            !$0.offset.isMultiple(of: 2)
        }
        .map { String($0.element) }
    }
}

struct `The picture of the architecture` {
    @Test func `has each folder of Sources once`() throws {
        let architecture = try Architecture()
        #expect(architecture.twice.isEmpty)
        #expect(Set(architecture.lines.keys) == Set(try Sources.folders(in: "Sources")))
    }

    @Test func `has the modules that the sources import, and each uses modules of lower lines only`() throws {
        let architecture = try Architecture()
        let imports = try imports()
        #expect(imports.count > 15 && Set(architecture.rows.keys) == Set(imports.keys))
        for (module, imported) in imports {
            let uses = imported.filter { architecture.lines[$0] != nil }
            let outside = imported.subtracting(uses)
            let row = architecture.rows[module]
            #expect(row?.uses == uses, "ARCHITECTURE.md: \(module) uses \(list(uses))")
            #expect(row?.outside == outside, "ARCHITECTURE.md: \(module) has from outside \(list(outside))")
            for used in uses {
                let isLower = (architecture.lines[used] ?? 0) > (architecture.lines[module] ?? .max)
                #expect(isLower, "\(module) uses \(used), which is not lower in the picture")
            }
        }
    }

    @Test func `has a word about each folder of Tests`() throws {
        let text = try Sources.lines(of: "ARCHITECTURE.md").joined(separator: "\n")
        let modules = Set(try Sources.folders(in: "Sources"))
        for folder in try Sources.folders(in: "Tests") where !modules.contains(folder.replacing("Tests", with: "")) {
            #expect(text.contains("`\(folder)`"), "Tests/\(folder)")
        }
    }

    /// What the Swift files of each module import.
    private func imports() throws -> [String: Set<String>] {
        var found: [String: Set<String>] = [:]
        for file in try Sources.files(in: "Sources") {
            found[file.module, default: []].formUnion(file.imports)
        }
        return found
    }

    private func list(_ names: Set<String>) -> String {
        names.isEmpty ? "–" : names.sorted().map { "`\($0)`" }.joined(separator: ", ")
    }
}
