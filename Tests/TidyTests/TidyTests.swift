import Foundation
import Testing

/// The sources of the package, as text.
struct Sources {
    struct File: Sendable {
        var module: String
        var name: String
        var lines: [Substring]

        /// The modules that the file imports.
        var imports: Set<String> {
            let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
            let names = lines.compactMap { line -> Substring? in
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"), words.prefix(index).allSatisfy(Self.isModifier)
                else { return nil }
                return words.dropFirst(index + 1).first { !kinds.contains($0) }
            }
            return Set(names.map { name in String(name.prefix { $0 != "." }) })
        }

        private static func isModifier(_ word: Substring) -> Bool {
            word.hasPrefix("@") || ["public", "package", "internal", "private", "fileprivate"].contains(word)
        }
    }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Every file below `folder` of the package that ends with one of `kinds`; its module is the folder that it lies in
    /// there.
    static func files(in folder: String, kinds: Set<String> = ["swift"]) throws -> [File] {
        let base = root.appendingPathComponent(folder).path
        let paths = try FileManager.default.subpathsOfDirectory(atPath: base).filter { path in
            path.split(separator: ".").last.map { kinds.contains(String($0)) } == true
        }
        return try paths.sorted().map { path in
            let module = path.split(separator: "/").first.map { String($0) } ?? ""
            return File(module: module, name: "\(folder)/\(path)", lines: try lines(of: "\(folder)/\(path)"))
        }
    }

    /// The lines of the file `name` of the package.
    static func lines(of name: String) throws -> [Substring] {
        let text = try String(contentsOfFile: root.appendingPathComponent(name).path, encoding: .utf8)
        return text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    /// The folders in `folder` of the package.
    static func folders(in folder: String) throws -> [String] {
        let base = root.appendingPathComponent(folder)
        return try FileManager.default.contentsOfDirectory(atPath: base.path).sorted().filter { name in
            var isFolder: ObjCBool = false
            return FileManager.default.fileExists(
                atPath: base.appendingPathComponent(name).path, isDirectory: &isFolder)
                && isFolder.boolValue
        }
    }
}

struct `The tree` {
    /// Modules that are programs: they may print.
    static let executables: Set<String> = ["RBlockCommand", "RBlockFSCommand", "rblock-bench"]

    @Test func `has no file of more than 400 lines`() throws {
        var count = 0
        for folder in ["Sources", "Tests"] {
            for file in try Sources.files(in: folder, kinds: ["swift", "c", "h"]) {
                // The text ends with a line end, after which is one more, empty, piece.
                #expect(file.lines.count <= 401, "\(file.name)")
                count += 1
            }
        }
        #expect(count > 600)
    }

    /// Methods that are compiled into the library are hidden from the thread sanitizer, which then reports races.
    @Test func `stores references in what the thread sanitizer sees`() throws {
        for file in try Sources.files(in: "Sources") {
            for (index, line) in file.lines.enumerated() where line.contains("AtomicLazyReference<") {
                Issue.record("\(file.name):\(index + 1): OnceReference is the same and is seen")
            }
        }
    }

    @Test(arguments: [
        "fatalError(", "try!", "as! ", ".unsafelyUnwrapped", "unowned(unsafe)", "@preconcurrency", "print(", "FIXME",
        "TODO",
    ])
    func `has no call that could end a mount, and prints in programs only`(banned: String) throws {
        for file in try Sources.files(in: "Sources") where file.module != "HostTools" {
            if banned == "print(" && Self.executables.contains(file.module) { continue }
            for (index, line) in file.lines.enumerated() where line.contains(banned) {
                let before = line[..<(line.range(of: banned)?.lowerBound ?? line.startIndex)]
                // A longer name that ends so is another name.
                if before.last?.isLetter == true || before.contains("//") { continue }
                Issue.record("\(file.name):\(index + 1): \(line)")
            }
        }
    }
}
