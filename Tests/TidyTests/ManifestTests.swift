import Foundation
import Testing

/// What Package.swift declares, as `swift package dump-package` prints it.
private struct Manifest: Decodable {
    struct Target: Decodable {
        var name: String
        var type: String
        var path: String?
        var exclude: [String]
        /// Its files, where not all are.
        var sources: [String]?
        var dependencies: [[String: Dependency]]

        /// The folder of its sources, from that of the package.
        var folder: String { path ?? (type == "test" ? "Tests/" : "Sources/") + name }
        /// The modules that it may import: those it is declared to depend on.
        var declared: Set<String> { Set(dependencies.flatMap { $0.values.map(\.name) }) }
    }

    /// The first value of a list such as `["QCOW2", null]`; the others may be of any type.
    struct Dependency: Decodable {
        var name: String

        init(from decoder: any Decoder) throws {
            var values = try decoder.unkeyedContainer()
            name = try values.decode(String.self)
        }
    }

    var targets: [Target]

    /// What is declared with `environment` added to that of this process.
    init(environment: [String: String]) throws {
        let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("manifest-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: scratch) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "swift", "package", "--package-path", Sources.root.path, "--scratch-path", scratch.path, "dump-package",
        ]
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let printed = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        self = try JSONDecoder().decode(Self.self, from: printed)
    }
}

struct `The manifest` {
    /// An import of what is not declared builds where the module happens to be compiled first, and fails elsewhere. `make fuzz`
    /// builds servers in part, with other dependencies.
    @Test(arguments: [[:], ["RBLOCK_FUZZ": "NBDServer ControlRPC"]])
    func `declares each module that a target imports`(environment: [String: String]) throws {
        let targets = try Manifest(environment: environment).targets
        #expect(targets.count > 60)
        // What comes from other packages is a product, named as its module is.
        let known = Set(targets.map(\.name)).union(targets.flatMap(\.declared))
        for target in targets where target.type != "system" {
            let files = try Sources.files(in: target.folder).filter { file in
                let name = file.name.dropFirst(target.folder.count + 1)
                return !target.exclude.contains { name.hasPrefix($0) }
                    && target.sources?.contains(String(name)) != false
            }
            for file in files {
                let undeclared = file.imports.intersection(known).subtracting(target.declared)
                #expect(undeclared.isEmpty, "Package.swift: \(target.name) depends on \(undeclared), for \(file.name)")
            }
        }
    }
}
