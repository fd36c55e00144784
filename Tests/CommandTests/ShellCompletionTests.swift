import Foundation
import HostTools
import TestImages
import Testing

/// What shells complete, tried in interactive ones.
@Suite(.enabled(if: Tool.areThere("bash", "zsh", "fish", "python3", "qemu-img", "sfdisk")))
struct `Completions in shells` {
    private static let shells = ["bash", "zsh", "fish"]
    private static let driver = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
        "Scripts/complete-line.py"
    ).path
    /// Names that a shell could take for something else.
    private static let names = [
        "monday", "two words", "$(touch pwned)", "`touch pwned`", "it's", "a\"b", "a:b", "a=b", "*", "#x", "$HOME",
        "{a,b}", "a\\b", "a|b;c&d<e>f", "[x]", "é",
        "`\u{301}touch pwned`\u{301}", "x;\u{301}touch pwned",
    ]

    private let folder: TemporaryFolder
    private let images: String

    init() throws {
        folder = try TemporaryFolder()
        images = try folder.makeFolder("images")
        for shell in Self.shells {
            for command in [Tool.rblock, Tool.rblockfs] {
                let script = try Tool.check(command, "--generate-completion-script", shell)
                try folder.write(Array(script), to: "\((command as NSString).lastPathComponent).\(shell)")
            }
        }
        _ = try Shell.check(
            """
            cd "$1"; shift; mkdir sub; echo text >notes.txt
            qemu-img create -q -f qcow2 disk.qcow2 1M; qemu-img create -q -f qcow2 other.qcow2 1M
            qemu-img snapshot -c elsewhere other.qcow2
            python3 - <<'end'
            disk = bytearray(4 << 20)
            disk[450] = 0x83
            disk[454:462] = (2048).to_bytes(4, 'little') + (1024).to_bytes(4, 'little')
            disk[510:512] = bytes((0x55, 0xaa))
            open('parts.raw', 'wb').write(disk)
            end
            state='"image":"disk.qcow2","path":"/disk.qcow2","diskSize":512,"tag":"rblock:1","files":[],"isComplete":true,
              "source":"file","size":512,"isDirect":true,"partitions":[],"isDead":false,"device":"/dev/loop99999"'
            mkdir -p .run/work .run/guest; printf '{"name":"work",%s}' "$state" >.run/work/state.json
            mounted='"mounted":{"mountpoint":"/mnt/guest","device":"/dev/loop99999","type":"ext4","options":"ro"}'
            printf '{"name":"guest",%s,%s}' "$state" "$mounted" >.run/guest/state.json
            for name; do qemu-img snapshot -c "$name" disk.qcow2; done
            qemu-img snapshot -c $'two\\nlines' disk.qcow2
            qemu-img bitmap --add disk.qcow2 'changes $(touch pwned)'; qemu-img bitmap --add disk.qcow2 marks
            """, arguments: [images] + Self.names)
    }

    /// The words that `shell` offers at the end of `line`, which has `count` words before them.
    private func offers(_ shell: String, _ line: String, after count: Int) throws -> [String] {
        let scripts = ["rblock", "rblockfs"].map { folder.file("\($0).\(shell)") }.joined(separator: "\n")
        return try Shell.check(
            "PATH=${1%/*}:$PATH exec python3 \"${@:2}\"",
            arguments: [Tool.rblock, Self.driver, shell, images, scripts, line, "\(count)"]
        ).split(separator: "\n").map(String.init)
    }

    @Test(arguments: shells)
    func `are verbs, options, values and files`(shell: String) throws {
        for (line, count, expected) in [
            ("rblock inf", 1, ["info"]), ("rblock help m", 2, ["map", "measure", "mkdir", "mount"]),
            ("rblock map --out", 2, ["--output"]),
            ("rblock info --output ", 3, ["human", "json"]), ("rblock info --format ra", 3, ["raw"]),
            ("rblock info --format=ra", 2, ["--format=raw"]), ("rblock info -f vm", 3, ["vmdk"]),
            ("rblock info no", 2, ["notes.txt"]), ("rblock info --backing=no", 2, ["--backing=notes.txt"]),
            ("rblock disk.qcow2 --all", 2, ["--allow-path", "--allocation"]), ("rblock oth", 1, ["other.qcow2"]),
            ("rblock info --backing-chain --backing-ch", 3, []),
            ("rblock create new.vmdk -o compat", 4, ["compat6="]),
            ("rblock convert disk.qcow2 b.qcow2 -o compression_type=zs", 5, ["compression_type=zstd"]),
            ("rblock convert -O qcow2 -o cluster_size=2M,exten", 5, ["cluster_size=2M,extended_l2="]),
            ("rblock rpc socket get", 3, ["get_version"]), ("rblock rpc socket read off", 4, ["offset="]),
            ("rblock rpc socket read length=1 off", 5, ["offset="]),
            ("rblock measure -O qcow2 -o compression_type=zs", 5, ["compression_type=zstd"]),
            ("rblock att", 1, ["attach", "attached"]), ("rblock mount disk.qcow2 ./su", 3, ["./sub/"]),
            ("rblock mount parts.raw:", 2, ["parts.raw:1"]), ("rblock attach oth", 2, ["other.qcow2"]),
            ("rblock detach wo", 2, ["work"]), ("rblock detach /dev/loop9999", 2, ["/dev/loop99999"]),
            ("rblock unmount gu", 2, ["guest"]),
            ("rblock serve --nbd unix:./no", 3, ["unix:./notes.txt"]),
            ("rblockfs --log-level deb", 2, ["debug"]), ("rblockfs -o ro,allow_o", 2, ["ro,allow_other"]),
            ("rblockfs -o log_level=deb", 2, ["log_level=debug"]),
            ("rblockfs -o allow_path=./su", 2, ["allow_path=./sub/"]),
        ] as [(String, Int, [String])] {
            var offered = try offers(shell, line, after: count)
            // Only the others write the slash behind the name of a folder that is inserted among all names.
            if shell == "bash" { offered = offered.map { $0.hasSuffix("/sub") ? $0 + "/" : $0 } }
            // A line that nothing is offered for ends as it was typed.
            if offered.count == 1, line.hasSuffix(offered[0]) { offered = [] }
            #expect(Set(offered) == Set(expected) && offered.count == expected.count, "\(shell): \(line): \(offered)")
        }
    }

    @Test(arguments: shells)
    func `are snapshots and bitmaps of the image, whatever they are called`(shell: String) throws {
        #expect(Set(try offers(shell, "rblock map disk.qcow2 --snapshot ", after: 4)) == Set(Self.names))
        if shell == "bash" {
            // All words at once, which take the place of the open quote.
            for quote in ["'", "\""] {
                let offered = try offers(shell, "rblock map disk.qcow2 --snapshot \(quote)", after: 4)
                #expect(Set(offered) == Set(Self.names), "\(offered)")
            }
        }
        #expect(Set(try offers(shell, "rblock diff other.qcow2 disk.qcow2 --snapshot-a ", after: 5)) == ["elsewhere"])
        for (line, expected) in [
            ("--snapshot mon", "monday"), ("--snapshot two\\ w", "two words"), ("--snapshot \\$\\(", "$(touch pwned)"),
            ("--snapshot '$(t", "$(touch pwned)"), ("--snapshot \\`t", "`touch pwned`"),
            ("--snapshot '[", "[x]"),
        ] {
            let offered = try offers(shell, "rblock map disk.qcow2 \(line)", after: 4)
            #expect(offered == [expected], "\(shell): \(line): \(offered)")
        }
        #expect(try offers(shell, "rblock info disk.qcow2@mon", after: 2) == ["disk.qcow2@monday"])
        let marked = try offers(shell, "rblock delta disk.qcow2 disk.qcow2 out.qcow2 --from-bitmap ", after: 6)
        #expect(Set(marked) == ["changes $(touch pwned)", "marks"], "\(marked)")
        #expect(!FileManager.default.fileExists(atPath: "\(images)/pwned"))
    }

    @Test(arguments: shells)
    func `are the disks that an image or an appliance holds, where the verb takes them`(shell: String) throws {
        let appliances = try ApplianceImages()
        try Shell.check(
            """
            cd "$1"; cp "$2"/one.ova "$2"/two.ova .; truncate -s 8M raw; printf '1M,2M\\n3M,1M\\n' | sfdisk -q raw
            qemu-img convert -O qcow2 raw parted.qcow2; echo 1M,2M | sfdisk -q raw
            qemu-img convert -O qcow2 raw single.qcow2; qemu-img snapshot -c monday single.qcow2; rm raw
            qemu-img create -q -f qcow2 -b parted.qcow2 -F qcow2 over.qcow2; cp parted.qcow2 'sub/with blank.qcow2'
            """, images, appliances.path)
        for (line, count, expected) in [
            ("rblock parted.qcow2/", 1, ["parted.qcow2/p1", "parted.qcow2/p2"]),
            ("rblock map single.qcow2@monday/", 2, ["single.qcow2@monday/p1"]),
            ("rblock hash over.qcow2/l", 2, ["over.qcow2/layers/0", "over.qcow2/layers/1"]),
            ("rblock hash sub/with\\ blank.qcow2/p2", 2, ["sub/with blank.qcow2/p2"]),
            ("rblock info two.ova/", 2, ["two.ova/disk1.vmdk", "two.ova/disk2.qcow2"]),
            ("rblock convert two.ova/disk1", 2, ["two.ova/disk1.vmdk"]),
            ("rblock inspect one.ova/", 2, ["one.ova/disk1.vmdk"]), ("rblock info sub/w", 2, ["sub/with blank.qcow2"]),
        ] as [(String, Int, [String])] {
            let offered = try offers(shell, line, after: count)
            // A single word that is typed already is a line that stays as it is.
            let words =
                offered.isEmpty && expected.count == 1 && line.hasSuffix(expected[0].suffix(3)) ? expected : offered
            #expect(Set(words) == Set(expected), "\(shell): \(line): \(offered)")
        }
        withExtendedLifetime(appliances) {}
    }

    @Test func `are none of the disks in a file where the verb takes none`() throws {
        let appliances = try ApplianceImages()
        try Shell.check(
            """
            cd "$1"; cp "$2"/two.ova .; truncate -s 8M parted.raw; echo 1M,2M | sfdisk -q parted.raw; mkfifo fifo.qcow2
            head -c 700 two.ova >cut.ova; head -c 70000 /dev/urandom >noise.ova
            """, images, appliances.path)
        for line in [
            "check parted.raw/", "inspect parted.raw/", "create parted.raw/", "convert disk.qcow2 parted.raw/",
            "delta parted.raw/", "delta disk.qcow2 disk.qcow2 two.ova/", "inspect --html parted.raw/", "map gone.raw/",
            "diff --html two.ova/", "inspect --svg two.ova/", "info fifo.qcow2/", "info cut.ova/", "info noise.ova/",
            "info parted.raw/p1/", "info two.ova/gone/", "check two.ova/disk2.qcow2/", "info /dev/null/", "info sub/",
        ] {
            let result = try answer(line)
            #expect(result.status == 0 && result.errors == "", "\(line): \(result.errors)")
            #expect(result.text.split(separator: "\n").count == 1, "\(line): \(result.text)")
        }
        for (line, count) in [("info parted.raw/", 1), ("check two.ova/", 2), ("delta disk.qcow2 parted.raw/", 1)] {
            #expect(try answer(line).text.split(separator: "\n").count == 1 + count, "\(line)")
        }
        withExtendedLifetime(appliances) {}
    }

    /// What the program answers for the words after `rblock`.
    private func answer(_ line: String) throws -> ToolResult {
        try Tool.run(Tool.rblock, ["---complete", "zsh", "rblock \(line)", ""], in: images)
    }

    @Test func `are none where an image cannot be read, and nothing is said`() throws {
        try Shell.check(
            """
            cd "$1"; mkfifo fifo.qcow2; head -c 100 disk.qcow2 >cut.qcow2; head -c 64K /dev/urandom >noise.qcow2
            cp disk.qcow2 lost.qcow2; printf '\\377\\377\\377\\377\\377\\377' | dd of=lost.qcow2 bs=1 seek=64 conv=notrunc status=none
            """, images)
        for image in ["fifo.qcow2", "cut.qcow2", "noise.qcow2", "lost.qcow2", "gone.qcow2", "sub", "/dev/null", "''"] {
            for line in ["map \(image) --snapshot ", "delta a.raw \(image) b.qcow2 --from-bitmap ", "map \(image)@"] {
                let start = ContinuousClock.now
                let result = try answer(line)
                #expect(result.status == 0 && result.errors == "", "\(line): \(result.errors)")
                #expect(result.text.split(separator: "\n").count == 1, "\(line): \(result.text)")
                #expect(start.duration(to: .now) < .seconds(30), "\(line)")
            }
        }
        for line in ["map disk.qcow2 --no-such=", "map --snapshot ", "bogus x ", "help map ", "map a.raw b.raw "] {
            let result = try answer(line)
            #expect(
                result.status == 0 && result.errors == "" && result.text.split(separator: "\n").count == 1, "\(line)")
        }
    }

    @Test(.enabled(if: Tool.canFault()))
    func `are none soon where an image is on a disk that does not answer`() throws {
        let faults = try FaultFolder(images)
        try faults.hang(.read, of: "disk.qcow2")
        defer { try? faults.clear() }
        let result = try Tool.run(
            Tool.rblock, ["---complete", "bash", "rblock map --snapshot ", " \(faults.path)/disk.qcow2"], timeout: 30)
        #expect(result.status == 128 + SIGALRM && result.text == "" && result.errors == "")
    }
}
