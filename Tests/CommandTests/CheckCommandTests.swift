import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "python3")))
struct `rblock check` {
    private func check(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["check"] + arguments)
    }

    /// Runs `script` in Python, with the words struct, os and image, the open file at `path`.
    private func edit(_ path: String, _ script: String) throws {
        let prelude = """
            import struct, sys, os
            image = open(sys.argv[1], 'r+b')
            def get(at, n=8): image.seek(at); return int.from_bytes(image.read(n), 'big')
            def put(at, value, n=8): image.seek(at); image.write(value.to_bytes(n, 'big'))

            """
        try Tool.check("python3", "-c", prelude + script, path)
    }

    /// The most memory that a check of `path` takes, in KiB, and what it says.
    private func measure(_ path: String) throws -> (memory: Int, result: ToolResult) {
        let script = """
            import resource, subprocess, sys
            status = subprocess.run(sys.argv[1:]).returncode
            print('memory', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
            sys.exit(status)
            """
        let result = try Tool.run(
            "python3", ["-c", script, Tool.rblock, "check", "--output", "json", path], timeout: 300)
        let memory = result.errors.split(separator: "memory ").last?.split(separator: "\n").first
        return (try #require(memory.flatMap { Int($0) }), result)
    }

    @Test func `the exit statuses are those of qemu-img check, and the worst of several images counts`() throws {
        let folder = try TemporaryFolder()
        let sound = folder.file("sound.qcow2")
        try QemuImg.create(sound, size: 1 << 20)
        try QemuImg.io(sound, ["write -P 1 0 256k"])
        let leak = folder.file("leak.qcow2")
        let corrupt = folder.file("corrupt.qcow2")
        for copy in [leak, corrupt] { try FileManager.default.copyItem(atPath: sound, toPath: copy) }
        try edit(leak, "put((get(get(40)) & (1 << 56) - 1) + 8, 0)")
        try edit(corrupt, "put((get(get(40)) & (1 << 56) - 1) + 8, 1 << 63 | 1 << 40)")
        let raw = try folder.write(Array(repeating: 1, count: 4096), to: "disk.raw")
        let broken = try folder.write(Array("QFI".utf8), to: "broken.qcow2")
        for (path, status) in [(sound, 0), (leak, 3), (corrupt, 2), (raw, 63), (broken, 1)] as [(String, Int32)] {
            let result = try check(path)
            #expect(result.status == status, "\(path): \(result.text)\(result.errors)")
            #expect(try QemuImg.check(path, format: path.hasSuffix("raw") ? "raw" : "qcow2").status == status)
        }
        let text = try check(leak).text
        #expect(text.hasPrefix("leak: cluster at 0x") && text.contains(": refcount 1, but nothing uses it\n"))
        #expect(try check(sound, leak, raw).status == 3)
        #expect(try check(sound, raw).status == 63)
        let several = try check(sound, leak, corrupt)
        #expect(several.status == 2 && several.text.contains("\(leak):\n"))
        let documents = try #require(
            try JSONValue(parsing: try check("--output", "json", sound, broken, raw, leak).output).array)
        #expect(documents.map { $0["filename"]?.text } == [sound, broken, raw, leak])
        #expect(documents.map { $0["error"] != nil } == [false, true, true, false])
        #expect(documents[2]["error", "code"]?.text == "unsupported", "There is nothing to check in a raw disk")
        let full = try Shell.run("\"$1\" check \"$2\" >/dev/full", Tool.rblock, sound)
        #expect(full.status == 1 && full.errors == "rblock: standard output: No space left on device\n")
        #expect(try check(corrupt, broken).status == 1)
        #expect(try check(raw, "--data").status == 0)
        #expect(try check().status == 64)
        #expect(try check("--repair", sound).status == 64)
    }

    @Test func `that a parent of another format was changed is none of an image's own faults`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f vmdk base.vmdk 1M
            qemu-img create -q -f vmdk -b base.vmdk -F vmdk delta.vmdk; qemu-io -f vmdk -c 'write 0 64k' base.vmdk >/dev/null
            qemu-img create -q -u -f qcow2 -b delta.vmdk -F vmdk top.qcow2 1M
            qemu-img check -q top.qcow2
            """, folder.path)
        #expect(try RBlock.run(["check", "top.qcow2"], in: folder.path).status == 0)
        let delta = try RBlock.run(["check", "delta.vmdk"], in: folder.path)
        #expect(delta.status == 2 && delta.text.contains("parentCID: is"), "\(delta.text)")
    }

    @Test func `JSON has the keys of qemu-img check, and the findings`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("image.qcow2")
        try QemuImg.create(path, size: 1 << 20)
        try QemuImg.io(path, ["write -P 1 0 256k"])
        try edit(path, "l2 = get(get(40)) & (1 << 56) - 1; put(l2 + 8, get(l2))")
        let ours = try JSONValue(parsing: try check("--output", "json", path).output)
        let theirs = try JSONValue(
            parsing: try Tool.run("qemu-img", ["check", "--output=json", path]).output)
        for (key, value) in theirs.leaves { #expect(ours.leaves[key] == value, "\(key)") }
        let findings = try #require(ours["findings"]?.array)
        #expect(ours["findings-total"]?.number == findings.count)
        #expect(findings.map { $0["severity"]?.text } == ["corruption", "leak"])
        #expect(findings.map { $0["kind"]?.text } == ["refcount", "leak"])
        #expect(findings[0]["host-offset"]?.number == 0x50000)
        let message = try #require(findings[0]["message"]?.text)
        #expect(message.hasSuffix("the data of guest offset 0x0; the data of guest offset 0x10000"), "\(message)")
    }

    @Test func `an image that is written to is refused, unless it is checked all the same`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("image.qcow2")
        try QemuImg.create(path, size: 1 << 20)
        let script = """
            qemu-io -c 'write 0 1k' -c 'sleep 20000' "$1" > /dev/null & writer=$!
            for i in $(seq 100); do "$2" check "$1" > /dev/null 2> "$1.errors"; s=$?; [ $s = 1 ] && break; sleep 0.1; done
            "$2" check -U "$1" > /dev/null; echo $s $?
            kill $writer; wait $writer 2> /dev/null; cat "$1.errors"
            """
        let result = try Tool.run("bash", ["-c", script, "bash", path, Tool.rblock], timeout: 300)
        #expect(result.text.hasPrefix("1 ") && !result.text.hasPrefix("1 1"), "\(result.text)")
        #expect(result.text.contains("another program is writing to it"))
    }

    @Test func `a compressed cluster that cannot be inflated is found with --data only`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("image.qcow2")
        try QemuImg.create(path, size: 1 << 20)
        try QemuImg.io(path, ["write -c -P 7 64k 64k", "write -P 1 128k 64k"])
        try edit(path, "l2 = get(get(40)) & (1 << 56) - 1; put(get(l2 + 8) & (1 << 54) - 1, (1 << 64) - 1)")
        #expect(try check(path).status == 0)
        let result = try check("--data", "--output", "json", path)
        #expect(result.status == 2)
        let findings = try #require(try JSONValue(parsing: result.output)["findings"]?.array)
        #expect(findings.map { $0["kind"]?.text } == ["data"] && findings[0]["guest-offset"]?.number == 65536)
        let vmdk = folder.file("stream.vmdk")
        try Pattern.writeDisk(folder.file("disk"), size: 1 << 20, seed: 3)
        try QemuImg.convert(folder.file("disk"), to: vmdk, as: "vmdk", options: ["subformat=streamOptimized"])
        #expect(try check("--data", vmdk).status == 0)
        try edit(vmdk, "put(65536 + 20, (1 << 64) - 1)")
        #expect(try check(vmdk).status == 0)
        #expect(try check("--data", vmdk).status == 2)
    }

    @Test func `a 64 TiB image takes little memory, and so does one with a million host clusters`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("large.qcow2")
        try QemuImg.create(path, size: 64 << 40)
        try QemuImg.io(path, (0..<40).map { "write -P 1 \($0 * (64 << 40) / 41 / 65536 * 65536) 64k" })
        var (memory, result) = try measure(path)
        #expect(result.status == 0, "\(result.errors)")
        #expect(memory < 64 << 10, "\(memory) KiB")
        let report = try JSONValue(parsing: result.output)
        #expect(report["total-clusters"]?.number == 1 << 30 && report["allocated-clusters"]?.number == 40)
        let full = folder.file("full.qcow2")
        try QemuImg.create(full, size: 1 << 40, options: ["cluster_size=1M", "preallocation=metadata"])
        (memory, result) = try measure(full)
        #expect(result.status == 0 && memory < 64 << 10, "\(memory) KiB")
    }

    @Test
    func `an image whose L1 entries all name one L2 table, or whose snapshots all share one L1 table, is soon done`()
        throws
    {
        let folder = try TemporaryFolder()
        let path = folder.file("shared.qcow2")
        // 1,024 entries name one L2 table.
        try QemuImg.create(path, size: 512 << 30)
        try QemuImg.io(path, ["write -P 1 0 1M"])
        try edit(
            path,
            "l1 = get(40); all = struct.pack('>Q', get(l1)) * get(36, 4); image.seek(l1); image.write(all); image.flush()"
        )
        var (memory, result) = try measure(path)
        #expect(result.status == 2 && memory < 64 << 10, "\(result.status), \(memory) KiB")
        let corruptions = try JSONValue(parsing: result.output)["corruptions"]?.number
        let theirs = try JSONValue(
            parsing: try Tool.run("qemu-img", ["check", "--output=json", path], timeout: 300).output)
        #expect(corruptions == theirs["corruptions"]?.number)
        // 65,535 snapshots of one L1 table of 1,024 entries: they name an L2 table 67 million times.
        try edit(
            path,
            """
            image.seek(0, 2); end = (image.tell() + 65535) // 65536 * 65536
            entry = struct.pack('>QIHHIIQII', get(40), get(36, 4), 1, 0, 0, 0, 0, 0, 16) + bytes(16) + b'1' + bytes(7)
            image.seek(end); image.write(entry * 65535); put(60, 65535, 4); put(64, end); image.flush()
            """)
        (memory, result) = try measure(path)
        #expect(result.status == 2 && memory < 128 << 10, "\(result.status), \(memory) KiB: \(result.errors)")
    }
}
