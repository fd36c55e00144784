import Foundation
import Testing

/// The sources of the package, as text.
struct Sources {
    struct File: Sendable {
        var module: String
        var name: String
        var lines: [Substring]
    }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Every Swift file below `folder` of the package; its module is the folder that it lies in there.
    static func files(in folder: String) throws -> [File] {
        let base = root.appendingPathComponent(folder).path
        let paths = try FileManager.default.subpathsOfDirectory(atPath: base).filter { $0.hasSuffix(".swift") }
        return try paths.sorted().map { path in
            let text = try String(contentsOfFile: "\(base)/\(path)", encoding: .utf8)
            let module = path.split(separator: "/").first.map { String($0) } ?? ""
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            return File(module: module, name: "\(folder)/\(path)", lines: lines)
        }
    }
}

struct `The tree` {
    /// What each module may import of this package: the arrows of the design, which point down only.
    static let arrows: [String: Set<String>] = [
        "ByteFormat": [],
        "BlockImage": [],
        "HostStorage": ["BlockImage", "CLinux"],
        "Compression": ["BlockImage", "CDeflate", "CZlib", "CZstd"],
        "Encryption": ["BlockImage", "ByteFormat", "CCrypto"],
        "QCOW2": ["BlockImage", "ByteFormat", "Compression", "Encryption"],
        "VMDK": ["BlockImage", "ByteFormat", "Compression"],
        "OVA": ["BlockImage", "ByteFormat", "CXML2"],
        "ImageFormats": ["BlockImage", "ByteFormat", "Encryption", "HostStorage", "OVA", "QCOW2", "VMDK"],
        "PartitionTable": ["BlockImage", "ByteFormat", "Compression"],
        "Fuse": ["CFuse3", "CLinux"],
        "ImageFS": ["BlockImage", "Fuse", "HostStorage", "ImageFormats", "OVA", "PartitionTable"],
        "ImageTools": [
            "BlockImage", "ByteFormat", "Encryption", "HostStorage", "ImageFormats", "OVA", "PartitionTable", "QCOW2",
            "VMDK",
        ],
        "Sockets": ["BlockImage"],
        "NBDServer": ["BlockImage", "ImageFormats", "ImageTools", "QCOW2", "Sockets"],
        "ControlRPC": ["BlockImage", "ImageFormats", "ImageTools", "Sockets"],
        "Arguments": ["BlockImage", "CLinux", "Encryption", "HostStorage"],
        "TestImages": ["BlockImage", "CLinux", "CZlib", "CZstd"],
    ]

    /// What comes from elsewhere, and who may use it.
    static let foreign: [String: Set<String>] = [
        "Synchronization": [
            "BlockImage", "Compression", "Encryption", "Fuse", "HostStorage", "ImageFS", "ImageFormats", "ImageTools",
            "NBDServer",
            "QCOW2", "TestImages", "VMDK", "rblock", "rblockfs", "rblock-bench",
        ],
        "SystemPackage": [
            "Arguments", "ControlRPC", "Fuse", "HostStorage", "ImageFS", "ImageTools", "rblock", "rblockfs",
        ],
        "Logging": ["ControlRPC", "ImageFS", "NBDServer", "rblock", "rblockfs"],
        "NIOCore": ["ControlRPC", "NBDServer"],
        "NIOHTTP1": ["ControlRPC"],
        "NIOPosix": ["ControlRPC", "NBDServer"],
        "NIOSSL": ["NBDServer"],
        "ServiceLifecycle": ["ControlRPC", "NBDServer", "rblock"],
        "ArgumentParser": ["Arguments", "rblock", "rblockfs", "rblock-bench"],
        "Glibc": [
            "Arguments", "BlockImage", "ControlRPC", "HostStorage", "Fuse", "ImageFS", "ImageTools", "NBDServer",
            "Sockets",
            "VMDK", "rblock",
            "rblockfs",
        ],
        "Dispatch": ["ControlRPC", "HostStorage", "ImageFS", "ImageTools", "rblock", "rblock-bench"],
        "Foundation": ["ImageFS", "TestImages", "rblock", "rblockfs", "rblock-bench"],
        "FoundationEssentials": ["ControlRPC", "ImageFS", "ImageTools", "rblock", "rblockfs"],
    ]

    /// Modules that are programs: they may import all others, and print.
    static let executables: Set<String> = ["rblock", "rblockfs", "rblock-bench"]

    @Test func `has no arrow that the design does not have`() throws {
        let files = try Sources.files(in: "Sources")
        #expect(files.count > 40)
        for file in files {
            for line in file.lines {
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"), words.prefix(index).allSatisfy(isModifier),
                    index + 1 < words.count
                else { continue }
                let isPart = ["struct", "class", "enum", "protocol", "func", "var", "let"].contains(words[index + 1])
                let name = words.dropFirst(isPart ? index + 2 : index + 1).first ?? ""
                let imported = String(name.prefix { $0 != "." })
                if let users = Self.foreign[imported] {
                    #expect(users.contains(file.module), "\(file.name) imports \(imported)")
                } else if !Self.executables.contains(file.module) {
                    #expect(Self.arrows[file.module]?.contains(imported) == true, "\(file.name) imports \(imported)")
                }
            }
        }
    }

    private func isModifier(_ word: Substring) -> Bool {
        word.hasPrefix("@") || ["public", "package", "internal", "private", "fileprivate"].contains(word)
    }

    @Test func `has no file of more than 500 lines`() throws {
        for folder in ["Sources", "Tests"] {
            for file in try Sources.files(in: folder) {
                // The text ends with a line end, behind which is one more, empty, piece.
                #expect(file.lines.count <= 501, "\(file.name)")
            }
        }
    }

    @Test(arguments: [
        "fatalError(", "try!", "as! ", ".unsafelyUnwrapped", "unowned(unsafe)", "@preconcurrency", "print(", "FIXME",
        "TODO",
    ])
    func `has no call that could end a mount, or talk to nobody`(banned: String) throws {
        for file in try Sources.files(in: "Sources") where file.module != "TestImages" {
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
