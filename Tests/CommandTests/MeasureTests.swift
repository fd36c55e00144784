import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock measure` {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 disk.qcow2 40000000
            qemu-io -c 'write -P 1 128k 1M' -c 'write -P 2 7M 64k' -c 'write -P 3 30M 3M' -c 'write -z 20M 1M' disk.qcow2
            qemu-img snapshot -c old disk.qcow2; qemu-io -c 'write -P 4 12M 2M' disk.qcow2
            """, folder.path)
    }

    @Test(
        arguments: [
            ("raw", []), ("raw", ["preallocation=falloc"]), ("qcow2", []), ("qcow2", ["cluster_size=512"]),
            ("qcow2", ["cluster_size=2M"]), ("qcow2", ["extended_l2=on,cluster_size=16k"]), ("qcow2", ["compat=0.10"]),
            ("qcow2", ["preallocation=metadata", "refcount_bits=1"]), ("vmdk", []),
            ("vmdk", ["subformat=monolithicFlat"]),
            ("vmdk", ["subformat=twoGbMaxExtentSparse"]), ("vmdk", ["subformat=twoGbMaxExtentFlat"]),
        ] as [(String, [String])])
    func `says the size of what rblock convert makes`(format: String, options: [String]) throws {
        let said = options.flatMap { ["-o", $0] }
        for name in ["disk.qcow2", "disk.qcow2@old"] {
            let measured = try json(["measure", "-O", format] + said + [name])
            let copies = try folder.makeFolder("\(name)-\(format)")
            let made = try json(["convert", "-O", format] + said + [name, "\(copies)/new.\(format)"])
            #expect(try measured["required"]?.number == sum("%s", in: copies), "\(name)")
            // File systems count blocks of their own, and headers are written twice.
            let (said, taken) = (
                try #require(measured["actual-size"]?.number), try #require(made["actual-size"]?.number)
            )
            #expect(abs(said - taken) <= 32 << 10, "\(name): \(said), \(taken)")
            #expect(measured["virtual-size"]?.number == made["virtual-size"]?.number, "\(name)")
            #expect(try made["actual-size"]?.number == sum("%b", in: copies).map { $0 * 512 }, "\(name)")
            try FileManager.default.removeItem(atPath: copies)
        }
        // QEMU says nothing of VMDK, and of preallocated files how much of them is stored.
        guard format != "vmdk", !said.contains(where: { $0.contains("preallocation") }) else { return }
        // QEMU's writer takes no less than it says.
        let theirs = try Tool.run(
            "qemu-img", ["measure", "--output", "json", "-O", format] + said + [folder.file("disk.qcow2")])
        let document = try JSONValue(parsing: theirs.output)
        let ours = try json(["measure", "-O", format] + said + ["disk.qcow2"])
        #expect(try #require(ours["required"]?.number) <= #require(document["required"]?.number))
        #expect(try #require(ours["fully-allocated"]?.number) <= #require(document["fully-allocated"]?.number))
    }

    @Test func `says the size of a new disk, and of a full one`() throws {
        let measured = try RBlock.json("measure", "-O", "qcow2", "--size", "10M")
        #expect(measured["filename"] == nil)
        let empty = try RBlock.json("create", folder.file("empty.qcow2"), "10M")
        #expect(measured["required"]?.number == size(of: "empty.qcow2"))
        #expect(measured["actual-size"]?.number == empty["actual-size"]?.number)
        try Shell.check(
            "cd \"$1\"; tr '\\0' x </dev/zero | head -c 10M >full.raw; \"$2\" convert -q full.raw full.qcow2",
            folder.path,
            Tool.rblock)
        #expect(measured["fully-allocated"]?.number == size(of: "full.qcow2"))
        let human = try RBlock.run(["measure", "--size", "1G"])
        #expect(
            human.text == """
                required size: 1073741824 (1 GiB)
                takes on the host: 0 (0 B)
                fully allocated size: 1073741824 (1 GiB)

                """)
    }

    @Test(arguments: [
        "cluster_size=512,refcount_bits=64", "cluster_size=512,refcount_bits=1", "cluster_size=4k,refcount_bits=64",
        "cluster_size=1k", "cluster_size=16k,extended_l2=on",
    ])
    func `says the size of a full disk, wherever its refcount blocks lie`(options: String) throws {
        try Shell.check("tr '\\0' x </dev/zero | head -c 3M >\"$1\"", folder.file("full"))
        for size in stride(from: 31 << 10, through: 3 << 20, by: 53 << 10) {
            try Shell.check("head -c $2 \"$1/full\" >\"$1/full.raw\"", folder.path, "\(size)")
            let measured = try json(["measure", "-O", "qcow2", "-o", options, "full.raw"])
            _ = try json(["convert", "--force", "-o", options, "full.raw", "full.qcow2"])
            #expect(measured["fully-allocated"]?.number == self.size(of: "full.qcow2"), "\(size)")
            #expect(measured["required"]?.number == self.size(of: "full.qcow2"), "\(size)")
        }
        // Arithmetic, and not a billion clusters.
        #expect(try json(["measure", "-O", "qcow2", "--size", "64T"])["fully-allocated"]?.number ?? 0 > 64 << 40)
    }

    @Test func `takes holes of files for what they are`() throws {
        try Shell.check(
            "cd \"$1\"; truncate -s 100M hole.raw; printf x | dd of=hole.raw bs=1 seek=5M conv=notrunc status=none",
            folder.path)
        for format in ["qcow2", "vmdk"] {
            let measured = try json(["measure", "-O", format, "hole.raw"])
            _ = try json(["convert", "-O", format, "hole.raw", "new.\(format)"])
            #expect(measured["required"]?.number == size(of: "new.\(format)"), "\(format)")
        }
        let large = try json(["measure", "-O", "vmdk", "--size", "1T"])
        #expect(large["fully-allocated"]?.number ?? 0 > 1 << 40)
    }

    @Test func `says what cannot be measured`() throws {
        let option = try RBlock.run([
            "measure", "-O", "qcow2", "-o", "cluster_size", "--size", "1G", "--output", "json",
        ])
        #expect(option.status == 64 && !option.errors.contains("Failure("), "\(option.errors)")
        #expect(try JSONValue(parsing: option.output)["error", "code"]?.text == "usage")
        let stream = try RBlock.run(["measure", "-O", "vmdk", "-o", "subformat=streamOptimized", "--size", "1G"])
        #expect(stream.status == 64 && stream.errors.contains("is known when rblock convert has made it"))
        for arguments in [["measure"], ["measure", "--size", "1G", folder.file("disk.qcow2")]] {
            let result = try RBlock.run(arguments)
            #expect(result.status == 64 && result.errors.contains("--size"), "\(result.errors)")
        }
        let help = try RBlock.run(["measure", "-O", "qcow2", "-o", "help"])
        #expect(help.status == 0 && help.text.contains("cluster_size"), "\(help.errors)")
    }

    private func json(_ arguments: [String]) throws -> JSONValue {
        try JSONValue(parsing: RBlock.run(arguments + ["--output", "json"], in: folder.path).output)
    }

    /// The sum of what stat(1) says of the files of `folder` by `format`.
    private func sum(_ format: String, in folder: String) throws -> Int? {
        let result = try Shell.run("cd \"$1\" && stat -c \"$2\" * | jq -s add", folder, format)
        return Int(result.text.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    private func size(of name: String) -> Int? {
        (try? FileManager.default.attributesOfItem(atPath: folder.file(name)))?[.size] as? Int
    }
}
