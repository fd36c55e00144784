import Foundation
import HostTools
import TestImages
import Testing

/// The pages of `diff --html` in Chromium.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "chromium")))
struct `The page of two disks` {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func `tells what differs, what only one has, and what both share`() throws {
        let path = folder.file("a.qcow2")
        let page = folder.file("page.html")
        try QemuImg.create(path, size: 1 << 30)
        try QemuImg.io(path, ["write -P 1 0 4M", "write -P 2 512M 1M"])
        try QemuImg.run("snapshot", "-c", "daily", path)
        try QemuImg.io(
            path,
            [
                "write -P 3 1M 64k", "write -P 1 2M 64k", "write -z 3M 64k", "write -P 4 700M 128k",
                "write -P 1 704M 512",
            ])
        let result = try RBlock.run(["diff", "--html", page, "--snapshot-a", "daily", path, path])
        #expect(result.status == 1, "\(result.errors)")
        let lines = result.text.split(separator: "\n").dropLast()
        let document = try Browser.open(page, at: "sector=\((1 << 20) / 512)")
        #expect(document.attribute("data-ready") == "true" && document.attribute("data-error") == nil)
        #expect(document.text("facts")?.contains("a.qcow2@daily (1 GiB, 1073741824 bytes)") == true)
        // The clusters that were written anew with the bytes that they had are the same, and read for that.
        let megabyte = 1 << 20
        let cluster = 1 << 16
        let sums = document.totals
        #expect(sums["differs"] == cluster && sums["only A has data"] == cluster, "\(sums)")
        #expect(sums["only B has data"] == 2 * cluster + 512 && sums["the same"] == cluster, "\(sums)")
        #expect(sums["stored once for both"] == 5 * megabyte - 3 * cluster, "\(sums)")
        #expect(sums.values.reduce(0, +) == 1 << 30)
        let listed = document.texts("li", in: "findings")
        #expect(listed.count == lines.count && document.text("findings-count") == "\(lines.count) ranges")
        for (line, item) in zip(lines, listed) {
            let sectors = line.split { !$0.isNumber }.compactMap { Int($0) }
            let place = "0x\(String(sectors[0] * 512, radix: 16))–0x\(String(sectors[1] * 512 + 511, radix: 16))"
            #expect(item.hasPrefix(place), "\(line): \(item)")
        }
        #expect(document.text("here")?.contains("0x100000–0x1001ff") == true, "\(document.text("here") ?? "")")
        #expect(document.text("here")?.contains("differs sector 2048") == true, "\(document.text("here") ?? "")")
        let clicked = try Browser.open(page, running: "document.querySelectorAll('#findings button')[1].click()")
        #expect(clicked.text("here")?.contains("only A has data sectors 6144–6271") == true)
    }

    @Test func `tells what cannot be read, and what one disk has behind the end of the other`() throws {
        let whole = folder.file("whole.raw")
        let cut = folder.file("cut.qcow2")
        let page = folder.file("page.html")
        try Pattern.writeDisk(whole, size: 4 << 20, seed: 1)
        try QemuImg.convert(whole, to: cut)
        try Shell.check(
            "truncate -s -1M \"$1\"; truncate -s 6M \"$2\"; printf x | dd of=\"$2\" seek=5M bs=1 conv=notrunc status=none",
            cut, whole)
        let result = try RBlock.run(["diff", "--ignore-read-errors", "--html", page, whole, cut])
        #expect(result.status == 2)
        let document = try Browser.open(page)
        #expect(document.attribute("data-ready") == "true" && document.attribute("data-error") == nil)
        let sums = document.totals
        let json = try RBlock.json("diff", "--ignore-read-errors", whole, cut)
        let lost = (json["b", "lost"]?.array ?? json["lost"]?.array ?? []).compactMap { $0["length"]?.number }
        #expect((sums["unreadable"] ?? 0) > 0)
        if !lost.isEmpty { #expect(sums["unreadable"] == lost.reduce(0, +)) }
        #expect(sums["only A has data"] == 512 && sums.values.reduce(0, +) == 6 << 20, "\(sums)")
        // Without that, there is an error, and no page, which is said.
        let none = folder.file("none.html")
        let refused = try RBlock.run(["diff", "--html", none, whole, cut])
        #expect(refused.status == 2 && !FileManager.default.fileExists(atPath: none))
        #expect(
            refused.errors.contains("rblock: \(none): no page is written: the verb did not come to its end"),
            "\(refused.errors)")
        let old = try RBlock.run(["diff", "--force", "--html", page, whole, cut])
        #expect(
            old.errors.contains("\(page): no page is written") && old.errors.contains("the file there is as it was"))
        // The exit status of lost parts is no reason to say so: the page is there.
        #expect(!result.errors.contains("no page is written"), "\(result.errors)")
    }

    @Test func `counts ranges as the command does, also where a range is of several kinds`() throws {
        let (a, b, page) = (folder.file("a.raw"), folder.file("b.raw"), folder.file("page.html"))
        // Eight sectors that differ and, behind them, four that only A has; one more elsewhere.
        let script = """
            put() { head -c $3 /dev/zero | tr '\\0' $4 | dd of="$1" bs=512 seek=$2 conv=notrunc status=none; }
            truncate -s 1M "$1" "$2"; put "$1" 1000 6144 a; put "$2" 1000 4096 b; put "$1" 1200 1 a
            cp "$1" "$2.c"; put "$2.c" 8 1 c
            """
        try Shell.check(script, a, b)
        let result = try RBlock.run(["diff", "--html", page, a, b])
        #expect(result.text.hasSuffix("in 2 ranges\n"), "\(result.text)")
        let document = try Browser.open(page)
        #expect(document.text("facts")?.contains("in 2 ranges") == true)
        #expect(document.text("findings-count") == "2 ranges, in 3 parts", "\(document.text("findings-count") ?? "")")
        let one = try RBlock.run(["diff", "--force", "--html", page, a, "\(b).c"])
        #expect(one.text.hasSuffix("in 1 range\n"))
        #expect(try Browser.open(page).text("findings-count") == "1 range")
    }
}
