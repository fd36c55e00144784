import Foundation
import HostTools
import TestImages
import Testing

/// The pages of the manual: those that `make install` makes of what the programs say of themselves, and those in Documents.
@Suite(.enabled(if: Tool.areThere("python3", "mandoc", "man", "col")))
struct `The manual` {
    private static let documents = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Documents").path

    private let folder: TemporaryFolder
    /// The pages that are made, by their names, and all pages with those of Documents.
    private let made: [String: String]
    private let all: [String: String]

    init() throws {
        folder = try TemporaryFolder()
        try Tool.check("\(Self.documents)/make-pages", Tool.rblock, Tool.rblockfs, folder.path)
        func pages(of folder: String) throws -> [String: String] {
            let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { name in
                ["1", "5", "7"].contains { name.hasSuffix(".\($0)") }
            }
            return Dictionary(uniqueKeysWithValues: names.map { ($0, "\(folder)/\($0)") })
        }
        made = try pages(of: folder.path)
        all = made.merging(try pages(of: Self.documents)) { first, _ in first }
    }

    /// A page as people read it, in lines that are long enough for every paragraph.
    private func text(of page: String) throws -> String {
        try Shell.check("MANWIDTH=1000 man -l \"$1\" | col -bx", page)
    }

    @Test func `has no warning of mandoc or groff`() throws {
        #expect(all.count >= 18)
        for (name, path) in all {
            let lint = try Tool.run("mandoc", ["-T", "lint", "-W", "warning", path])
            #expect(lint.status == 0 && lint.text == "" && lint.errors == "", "\(name): \(lint.text)")
            let shown = try Shell.run("MANWIDTH=80 man --warnings -l \"$1\" | col -bx | tr -d '\\n'", path)
            #expect(shown.errors == "", "\(name): \(shown.errors)")
            // Lines of what is typed into a file may be long: those of fstab.
            let lines = try Shell.check("MANWIDTH=80 man -l \"$1\" | col -bx", path).split(separator: "\n")
            let long = lines.filter { $0.count > 80 && !$0.contains("fuse.rblockfs") }
            #expect(long == [], "\(name)")
            let title = name.replacingOccurrences(of: ".", with: "(").uppercased() + ")"
            #expect(shown.text.hasPrefix(title), "\(name): \(shown.text.prefix(100))")
        }
        let faulty = try folder.write(Array(".Dd today\n.Dt A 1\n.Sh NAME\n.Bogus\n".utf8), to: "faulty.1")
        #expect(try Tool.run("mandoc", ["-T", "lint", "-W", "warning", faulty]).status != 0)
    }

    @Test func `has a page for each program and verb, with all that the help has`() throws {
        let root = try #require(JSONValue(parsing: try Tool.check(Tool.rblock, "--experimental-dump-help"))["command"])
        let mount = try #require(
            JSONValue(parsing: try Tool.check(Tool.rblockfs, "--experimental-dump-help"))["command"])
        let verbs = (root["subcommands"]?.array ?? []).filter { $0["commandName"]?.text != "help" }
        #expect(made.count == verbs.count + 2)
        for command in verbs + [root, mount] {
            let verb = try #require(command["commandName"]?.text)
            let name = verb.hasPrefix("rblock") ? verb : "rblock-\(verb)"
            let text = try text(of: try #require(made["\(name).1"], "\(name)"))
            let abstract = try #require(command["abstract"]?.text).dropFirst().dropLast()
            #expect(text.contains(abstract), "\(name): NAME")
            let lines = text.components(separatedBy: "\n")
            var sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]
            if name == "rblockfs" { sections += ["MOUNT OPTIONS", "FILES", "SIGNALS", "ENVIRONMENT"] }
            for section in sections { #expect(lines.count { $0 == section } == 1, "\(name): \(section)") }
            for argument in command["arguments"]?.array ?? [] where argument["shouldDisplay"] == .bool(true) {
                for option in argument["names"]?.array ?? [] {
                    let word = (option["kind"]?.text == "short" ? "-" : "--") + (option["name"]?.text ?? "?")
                    let isThere = lines.contains { $0.hasPrefix("     -") && words(of: $0).contains(word) }
                    #expect(isThere, "\(name): \(word)")
                }
            }
            let examples = try #require(text.components(separatedBy: "\nEXAMPLES\n").last)
            #expect(examples.contains("     \(name == "rblockfs" ? name : "rblock ")"), "\(name)")
        }
    }

    private func words(of line: String) -> [String] {
        line.components(separatedBy: " ").map { $0.trimmingCharacters(in: CharacterSet(charactersIn: ",")) }
    }

    @Test func `has the version of the programs at the foot of every page`() throws {
        let version = try Shell.check("\"$1\" --version | head -1", Tool.rblock)
        for (name, path) in all {
            let last = try Shell.check("MANWIDTH=80 man -l \"$1\" | col -bx | tail -1", path)
            #expect(last.hasPrefix("\(version) "), "\(name): \(last)")
        }
    }

    @Test func `is made into a folder that is missing, and says in a line what is wrong`() throws {
        let tool = "\(Self.documents)/make-pages"
        let new = folder.file("a/new/folder")
        try Tool.check(tool, Tool.rblock, Tool.rblockfs, new)
        #expect(try FileManager.default.contentsOfDirectory(atPath: new).sorted() == made.keys.sorted())
        let file = try folder.write([], to: "file")
        for arguments in [
            [Tool.rblock, Tool.rblockfs, file], [Tool.rblock, Tool.rblockfs, "\(file)/new"],
            [folder.file("gone"), Tool.rblockfs, new], ["/bin/false", Tool.rblockfs, new],
            ["/bin/true", Tool.rblockfs, new], ["/bin/echo", Tool.rblockfs, new], [Tool.rblock, new], [],
        ] {
            let result = try Tool.run(tool, arguments)
            #expect(result.status == 1 && result.output.isEmpty, "\(arguments): \(result)")
            #expect(
                result.errors.split(separator: "\n").count == 1 && result.errors.contains("make-pages"), "\(result)")
        }
    }

    @Test func `refers only to pages that there are, and has them in their order`() throws {
        for (name, path) in all {
            let lines = try String(contentsOfFile: path, encoding: .utf8).components(separatedBy: "\n")
            let referred = lines.filter { $0.contains("Xr ") }.map { line in
                let words = line.components(separatedBy: "Xr ")[1].components(separatedBy: " ")
                return (name: words[0], section: words.count > 1 ? words[1] : "")
            }
            for page in referred where page.name.hasPrefix("rblock") {
                #expect(all["\(page.name).\(page.section)"] != nil, "\(name): \(page)")
            }
            let start = try #require(lines.firstIndex(of: ".Sh SEE ALSO"), "\(name)")
            let pages = lines[(start + 1)...].filter { $0.hasPrefix(".Xr") }.map { $0.components(separatedBy: " ") }
            let keys = pages.map { "\($0[2]) \($0[1])" }
            #expect(keys == keys.sorted() && !keys.isEmpty, "\(name): \(keys)")
        }
    }
}
