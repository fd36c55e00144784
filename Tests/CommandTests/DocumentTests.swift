import Foundation
import HostTools
import TestImages
import Testing

/// The JSON documents that all surfaces show, and their page of the manual, rblock-json(5).
@Suite(.enabled(if: Tool.canMount("qemu-img", "sfdisk")))
struct `The JSON documents` {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// The keys of objects in `document`, but of those whose keys are names of others.
    private func keys(of document: JSONValue, in parent: String = "") -> Set<String> {
        switch document {
        case .object(let members):
            let areNames = ["calls", "digest", "disk-database", "entries", "hashes"].contains(parent)
            return members.reduce(into: areNames ? [] : Set(members.keys)) {
                $0.formUnion(keys(of: $1.value, in: $1.key))
            }
        case .array(let elements): return elements.reduce(into: []) { $0.formUnion(keys(of: $1, in: parent)) }
        default: return []
        }
    }

    /// Copies a QCOW2 image whose first table lies past the end of the file then.
    private static let losing = """
        import sys
        image = bytearray(open(sys.argv[1], 'rb').read())
        table = int.from_bytes(image[40:48], 'big')
        image[table:table + 8] = (1 << 63 | 1 << 40).to_bytes(8, 'big')
        open(sys.argv[2], 'wb').write(image)
        """

    @Test func `have only members that the manual tells of`() throws {
        let page = try String(contentsOf: Self.root.appendingPathComponent("Documents/rblock-json.5"), encoding: .utf8)
        let words = Set(page.split { !($0.isLetter || $0.isNumber || $0 == "-") }.map { String($0) })
        let folder = try TemporaryFolder()
        let disks = try folder.makeFolder("disks")
        let fixtures = Self.root.appendingPathComponent("Fixtures").path
        try Shell.check(
            """
            cd "$2" && cp *.qcow2 *.vmdk *.ova *.raw *.img "$1" && cd "$1" &&
            qemu-img snapshot -c monday parted.qcow2 && qemu-img bitmap --add plain.qcow2 dirty && echo text >note &&
            python3 -c "$3" plain.qcow2 lost.qcow2
            """, disks, fixtures, Self.losing)
        let server = try ImageServer([disks])
        let mount = try Mount(disks)
        var documents: [(name: String, document: JSONValue)] = []
        for image in try FileManager.default.contentsOfDirectory(atPath: disks).sorted() {
            let path = "\(disks)/\(image)"
            // What the mount does not show has no document.
            guard FileManager.default.fileExists(atPath: mount.stats(image)) else { continue }
            documents.append((image, try RBlock.json("info", "--backing-chain", "--allocation", path)))
            documents.append((image, try mount.document(image)))
            guard image != "damaged.qcow2", image.hasSuffix(".qcow2") || image.hasSuffix(".vmdk") else { continue }
            documents.append((image, try RBlock.json("check", path)))
            documents.append((image, try RBlock.json("inspect", "--graph", path)))
        }
        documents.append(("snapshot", try mount.document("parted.qcow2/snapshots/monday")))
        documents.append(
            ("mount", try JSONValue(parsing: try Data(contentsOf: URL(fileURLWithPath: mount.file("stats.json"))))))
        let (plain, parted) = ("\(disks)/plain.qcow2", "\(disks)/parted.qcow2")
        documents.append(("map", try RBlock.json("map", plain)))
        documents.append(
            ("read", try RBlock.json("read", "--length", "512", "--ignore-read-errors", "\(disks)/lost.qcow2")))
        documents.append(("hash", try RBlock.json("hash", "--ignore-read-errors", "\(disks)/lost.qcow2")))
        documents.append(("diff", try RBlock.json("diff", plain, parted)))
        documents.append(("diff", try RBlock.json("diff", "--ignore-read-errors", "\(disks)/lost.qcow2", parted)))
        documents.append(
            ("create", try RBlock.json("create", "-b", "plain.qcow2", "-F", "qcow2", "\(disks)/new.qcow2")))
        documents.append(("convert", try RBlock.json("convert", plain, folder.file("new.vmdk"))))
        documents.append(("measure", try RBlock.json("measure", plain)))
        documents.append(("options", try RBlock.json("create", "-f", "qcow2", "-o", "help")))
        documents.append(("delta", try RBlock.json("delta", plain, parted, folder.file("delta.qcow2"))))
        for method in ["list", "stats", "get_version"] {
            documents.append(
                (method, try JSONValue(parsing: try RBlock.run(["rpc", server.rpcSocket, method]).output)))
        }
        for (method, argument) in [("open", "image=plain.qcow2"), ("info", "image=parted.qcow2@monday")] {
            let result = try RBlock.run(["rpc", server.rpcSocket, method, argument])
            documents.append((method, try JSONValue(parsing: result.output)))
        }
        let single = try ImageServer([plain], options: ["--access-log", folder.file("log")])
        documents.append(("serve", single.addresses))
        for image in ["none", ""] { _ = try RBlock.run(["rpc", single.rpcSocket, "info", "image=\(image)"]) }
        single.stop()
        #expect(single.endStatus() == 0)
        let log = try String(contentsOfFile: folder.file("log"), encoding: .utf8)
        for line in log.split(separator: "\n") { documents.append(("log", try JSONValue(parsing: Data(line.utf8)))) }
        var all: Set<String> = []
        for (name, document) in documents {
            let keys = keys(of: document)
            #expect(keys.subtracting(words).isEmpty, "\(name)")
            all.formUnion(keys)
        }
        #expect(all.count > 120)
    }

    @Test func `of a disk are the same for verbs, JSON-RPC and the mount`() throws {
        let folder = try TemporaryFolder()
        let disks = try folder.makeFolder("disks")
        try Shell.check(
            """
            cd "$1" && truncate -s 8M raw && printf '1M,2M\\n3M,1M\\n' | sfdisk -q raw &&
            qemu-img convert -O qcow2 raw a.qcow2 && qemu-img snapshot -c monday a.qcow2 && rm raw &&
            qemu-io -c 'write 4M 64k' a.qcow2 >/dev/null
            """, disks)
        let server = try ImageServer([disks])
        let mount = try Mount(disks)
        for (name, mounted) in [("a.qcow2", "a.qcow2"), ("a.qcow2@monday", "a.qcow2/snapshots/monday")] {
            let verb = try RBlock.json("info", "--allocation", "\(disks)/\(name)")
            let reply = try RBlock.run(["rpc", server.rpcSocket, "info", "image=\(name)", "allocation=true"])
            let rpc = try JSONValue(parsing: reply.output)
            let stats = try mount.document(mounted)
            #expect(verb["rblock", "partition-table", "partitions"]?.array?.count == 2)
            for (path, value) in verb.leaves where path != "filename" {
                #expect(rpc.leaves[path] == value, "\(name): \(path)")
                // A snapshot's own document does not list the others again.
                guard !path.hasPrefix("snapshots.") || name == mounted else { continue }
                let inMount = path.hasPrefix("rblock.") ? "rblockfs" + path.dropFirst("rblock".count) : path
                #expect(stats.leaves[inMount] == value, "\(name): \(inMount)")
            }
            #expect((verb["snapshot", "name"]?.text == "monday") == (name != mounted))
        }
    }
}
