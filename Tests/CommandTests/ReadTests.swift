import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "hexdump", "python3", "bash")))
struct `rblock read` {
    private func read(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["read"] + arguments)
    }

    @Test func `writes the bytes of the disk, from where and how many one says`() throws {
        let gallery = try Gallery(seed: 1)
        let disk = try Data(contentsOf: URL(fileURLWithPath: gallery.disk))
        for (name, _) in Gallery.kinds {
            #expect(areSame(try read(gallery.file(name)).output, disk), "\(name)")
            for (options, range) in [
                (["--offset", "1M"], 1 << 20..<disk.count), (["--length", "3K"], 0..<3 << 10),
                (["--offset", "0x1ff", "--length", "0x100001"], 511..<511 + 1 << 20 + 1),
                (["--offset", "700001", "--length", "2m"], 700_001..<700_001 + 2 << 20),
                (["--offset", "\(disk.count - 1)"], disk.count - 1..<disk.count),
                (["--offset", "\(disk.count)"], disk.count..<disk.count), (["--length", "0"], 0..<0),
            ] as [([String], Range<Int>)] {
                let result = try RBlock.run(["read"] + options + [gallery.file(name)])
                #expect(result.status == 0 && result.errors == "" && result.output == disk[range], "\(name) \(options)")
            }
        }
        let error = try read("--offset", "6M", gallery.file("zlib.qcow2"))
        #expect(error.status == 1 && error.output.isEmpty && error.errors.contains("\(disk.count) bytes"))
        let long = try read("--offset", "5M", "--length", "1M", gallery.file("zlib.qcow2"))
        #expect(long.status == 1 && long.output.isEmpty && long.errors.contains("\(disk.count) bytes"))
        #expect(long.errors.hasPrefix("rblock: \(gallery.file("zlib.qcow2")): "))
    }

    @Test(arguments: [0, 16, 700_003])
    func `writes with --hex what hexdump writes of the flat disk`(offset: Int) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 2)
        let expected = try Tool.check("hexdump", "-C", "-s", "\(offset)", "-n", "1234567", gallery.disk)
        let ours = try read("--hex", "--offset", "\(offset)", "--length", "1234567", gallery.file("plain.qcow2"))
        #expect(ours.status == 0 && areSame(ours.output, expected))
    }

    @Test func `reads a snapshot, and prints JSON`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("s.qcow2")
        try QemuImg.create(image, size: 8 << 20)
        try QemuImg.io(image, ["write -P 1 0 64k"])
        try QemuImg.run("snapshot", "-c", "one", image)
        try QemuImg.io(image, ["write -P 2 0 64k"])
        for (options, byte) in [([], 2), (["--snapshot", "one"], 1)] as [([String], UInt8)] {
            let arguments = ["read", "--offset", "65530", "--length", "10"] + options
            let expected = Data(Array(repeating: byte, count: 6) + [0, 0, 0, 0])
            #expect(try RBlock.run(arguments + [image]).output == expected)
            let document = try JSONValue(
                parsing: try RBlock.run(arguments + ["--output", "json", image]).output)
            #expect(document["data"]?.text.flatMap { Data(base64Encoded: $0) } == expected)
            #expect(document["path"]?.text == image && document["size"]?.number == 8 << 20)
            #expect(document["offset"]?.number == 65530 && document["length"]?.number == 10)
        }
        let most = try read("--output", "json", "--length", "4M", image)
        #expect(try JSONValue(parsing: most.output)["length"]?.number == 4 << 20)
        let tooMuch = try read("--output", "json", image)
        #expect(tooMuch.status == 1 && tooMuch.errors.contains("--length"), "\(tooMuch.errors)")
        #expect(try JSONValue(parsing: tooMuch.output)["error", "message"]?.text?.contains("--length") == true)
    }

    @Test func `ends quietly when the reader goes away, and not when the device is full`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("big.qcow2")
        try QemuImg.create(image, size: 1 << 40)
        try QemuImg.io(image, ["write -P 1 0 64k"])
        for trap in ["", "trap '' PIPE; "] {
            for options in ["", "--hex", "--hex --offset 3"] {
                // Writes go on for as long as there is a reader: the end of the disk is a TiB away, also that of --hex.
                let script = "\(trap)\"$1\" read \(options) \"$2\" | head -c 40; echo \" ${PIPESTATUS[0]}\""
                let result = try Shell.run(script, Tool.rblock, image)
                if options.isEmpty { #expect(result.text.hasSuffix(" 141\n"), "\(trap) \(result.text)") }
                #expect(result.errors == "", "\(trap) \(options) \(result.errors)")
            }
        }
        let full = try Shell.run("\"$1\" read --length 1M \"$2\" >/dev/full", Tool.rblock, image)
        #expect(
            full.status == 1 && full.errors == "rblock: standard output: No space left on device\n", "\(full.errors)")
    }

    @Test func `writes what lies before damage, and then says where that is`() throws {
        let folder = try TemporaryFolder()
        var built = QCOW2Builder(size: 1 << 20, clusters: Array(repeating: .data, count: 16)).build()
        built.poke((1 << 63 | 1 << 40) as UInt64, at: built.entryOffset(of: 9))
        let image = try folder.write(built.bytes, to: "bad.qcow2")
        let result = try read(image)
        #expect(result.status == 1 && result.errors.hasPrefix("rblock: \(image): at 0x10000000000: "))
        #expect(areSame(result.output, built.disk[..<(9 << 16)]))
        #expect(try read("--offset", "640K", image).status == 0)
        let hex = try read("--hex", "--offset", "576K", "--length", "64K", image)
        #expect(hex.status == 1 && hex.text == "" && hex.errors == result.errors)
    }

    @Test func `refuses wrong usage with 64, and shows its statuses with --help`() throws {
        for (arguments, word) in [
            ([], "IMAGE"), (["--offset", "-1", "a"], "offset"), (["--offset", "0xg", "a"], "0xg"),
            (["--length", "1X", "a"], "1X"), (["--hex", "--output", "json", "a"], "--hex"), (["a", "b"], "b"),
        ] as [([String], String)] {
            let result = try RBlock.run(["read"] + arguments)
            #expect(result.status == 64 && result.errors.contains(word), "\(arguments): \(result.errors)")
        }
        let help = try read("--help")
        for word in ["EXAMPLES", "EXIT STATUS", "--snapshot", "--hex", "0x100000", "4M"] {
            #expect(help.status == 0 && help.text.contains(word), "\(word)")
        }
    }

    /// Runs a command with its standard error on a terminal; prints how it ended, and what came to the terminal.
    private static let onTerminal = """
        import os, pty, select, subprocess, sys, time
        how, command = sys.argv[1], sys.argv[2:]
        master, slave = os.openpty()
        process = subprocess.Popen(command, stdin=slave, stderr=slave, stdout=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(2, __import__("termios").TIOCSCTTY, 0))
        os.close(slave)
        seen, asked = b"", False
        # It begins to write, and its output is not taken for longer than a second.
        if how == "slow":
            select.select([process.stdout], [], [])
            time.sleep(1.5)
        if how != "interrupt": process.stdout.read()
        while True:
            if select.select([master], [], [], 60)[0] == []: sys.exit("nothing came")
            try: data = os.read(master, 4096)
            except OSError: break
            if not data: break
            seen += data
            if how == "interrupt" and b"%" in seen and not asked:
                os.write(master, b"\\x03")
                asked = True
        print(process.wait(), repr(seen))
        """

    /// Runs a command with its standard output on a terminal; prints its status, what came to the terminal, and its errors.
    private static let toTerminal = """
        import os, pty, subprocess, sys
        master, slave = os.openpty()
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE)
        os.close(slave)
        seen = b""
        while True:
            try: data = os.read(master, 4096)
            except OSError: break
            if not data: break
            seen += data
        errors = process.stderr.read()
        print(process.wait(), seen, errors.decode())
        """

    @Test func `writes bytes to a terminal only by force`() throws {
        let folder = try TemporaryFolder()
        let image = try folder.write([7, 65, 66, 67], to: "a.raw")
        func run(_ arguments: String...) throws -> String {
            let command = ["-c", Self.toTerminal, Tool.rblock, "read", image] + arguments
            let result = try Tool.run("python3", command)
            #expect(result.status == 0, "\(result.errors)")
            return result.text
        }
        let refused = try run()
        #expect(refused.hasPrefix("64 b'' rblock: standard output is a terminal: --hex shows bytes"), "\(refused)")
        #expect(try run("--force").hasPrefix("0 b'\\x07ABC'"))
        #expect(try run("--hex").contains("07 41 42 43"))
        #expect(try run("--output", "json").contains("B0FCQw=="))
    }

    @Test func `shows how far it is on a terminal, when it takes long, and leaves nothing of that`() throws {
        let folder = try TemporaryFolder()
        try Shell.check("truncate -s 64G \"$1\"", folder.file("big.raw"))
        func run(_ how: String, _ arguments: String...) throws -> String {
            let result = try Tool.run("python3", ["-c", Self.onTerminal, how, Tool.rblock] + arguments)
            #expect(result.status == 0, "\(result.errors)")
            return result.text
        }
        let image = folder.file("big.raw")
        // On a busy machine even that may take longer than the second after which it is shown.
        #expect(try (0..<10).contains { _ in try run("fast", "read", "--length", "1M", image) == "0 b''\n" })
        let slow = try run("slow", "read", "--length", "2M", image)
        #expect(slow.hasPrefix("0 b'\\r\(image)  ") && slow.hasSuffix("left\\x1b[K\\r\\x1b[K'\n"), "\(slow)")
        #expect(slow.contains("%  ") && slow.contains("iB/s  0:0"), "\(slow)")
        let interrupted = try run("interrupt", "hash", image)
        #expect(interrupted.hasPrefix("-2 b'") && interrupted.hasSuffix("\\r\\x1b[K'\n"), "\(interrupted)")
        // Elsewhere, nothing is shown.
        let piped = try Shell.run(
            "\"$1\" read --length 2M \"$2\" 2>\"$3\" | (sleep 1.2; wc -c); cat \"$3\"", Tool.rblock, image,
            folder.file("err"))
        #expect(piped.text == "2097152\n")
    }
}
