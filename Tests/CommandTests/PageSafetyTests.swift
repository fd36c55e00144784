import Foundation
import HostTools
import TestImages
import Testing

/// What no image may do to a page, however it is made.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "python3", "chromium")))
struct `Pages of hostile and huge images` {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private static let hostile = "</script><img src=x onerror=document.title='broken'>\"'&amp;<!--"

    @Test func `hold names as texts, and run nothing but their own program`() throws {
        let name = Self.hostile.replacingOccurrences(of: "/", with: "\u{2044}") + ".qcow2"
        let path = folder.file(name)
        let page = folder.file("page.html")
        try QemuImg.create(path, size: 1 << 20)
        try QemuImg.io(path, ["write 0 128k"])
        try QemuImg.run("snapshot", "-c", Self.hostile, path)
        try QemuImg.io(path, ["write 0 64k"])
        try QemuImg.run("rebase", "-u", "-F", "raw", "-b", Self.hostile, path)
        #expect(try RBlock.run(["inspect", "--html", page, path]).status == 0)
        let script = """
            document.querySelectorAll('#structures > details').forEach(part => { part.open = true; });
            setTimeout(() => {
              location.hash = '#guest=0';
              setTimeout(() => {
                document.body.dataset.images = document.images.length;
                document.body.dataset.scripts = document.scripts.length;
                document.body.dataset.heading = document.querySelector('h1').textContent;
              }, 100);
            }, 100);
            """
        let document = try Browser.open(page, running: script)
        #expect(document.attribute("data-ready") == "true" && document.attribute("data-error") == nil)
        // The data, the program, and the script of this test.
        #expect(document.html.contains("data-images=\"0\"") && document.html.contains("data-scripts=\"3\""))
        #expect(document.html.contains("<title>&lt;"))
        #expect(
            document.text("here")?.contains("snapshot 0 \"\(Self.hostile)\"") == true, "\(document.text("here") ?? "")")
        // As it stands in the file, the page has no such thing either, and asks for nothing.
        let bytes = try String(contentsOfFile: page, encoding: .utf8)
        #expect(bytes.components(separatedBy: "</script>").count == 3 && !bytes.contains("<img"))
        for word in ["http:", "https:", "url(", " src=", "@import", "fetch(", "XMLHttpRequest", "WebSocket"] {
            #expect(!bytes.replacingOccurrences(of: "img src=x", with: "").contains(word), "\(word)")
        }
        let diff = folder.file("diff.html")
        let result = try RBlock.run(["diff", "--html", diff, "-f", "raw", path, page])
        #expect(result.status == 1, "\(result.errors)")
        let both = try Browser.open(diff)
        #expect(both.attribute("data-ready") == "true" && both.attribute("data-error") == nil)
        #expect(both.text("facts")?.contains("<img src=x") == true && !both.html.contains("<img"))
    }

    @Test func `hold no markup whose first mark joins with a letter before it`() throws {
        // Letters of the class Prepend (Unicode Standard Annex 29): with one, a mark is one Character.
        for letter in ["\u{0d4e}", "\u{0600}", "\u{111c2}", "\u{11a3a}"] {
            let image = folder.file("\(letter)<h1>\(letter)<\u{2044}script>.raw")
            try Shell.check("mkdir -p \"$1\" && truncate -s 1M \"$1/$2\"", folder.file("\(letter)<"), "script><i>.raw")
            try Shell.check("truncate -s 1M \"$1\"", image)
            let page = folder.file("page.html")
            let result = try RBlock.run(
                ["diff", "--force", "--html", page, image, folder.file("\(letter)</script><i>.raw")])
            #expect(result.status == 0, "\(result.errors)")
            // By bytes, as a browser reads it: its own data and program.
            let ends = try Shell.check("LC_ALL=C grep -ao '</script>' \"$1\" | wc -l", page)
            #expect(ends.trimmingCharacters(in: .whitespaces) == "2", "\(letter.unicodeScalars): \(ends)")
        }
    }

    @Test func `are under a policy that stops scripts and requests which come from elsewhere`() throws {
        let path = folder.file("a.qcow2")
        let page = folder.file("page.html")
        try QemuImg.create(path, size: 1 << 20)
        #expect(try RBlock.run(["inspect", "--html", page, path]).status == 0)
        let html = try String(contentsOfFile: page, encoding: .utf8)
        for addition in [
            "<script>document.documentElement.dataset.foreign = 1</script>",
            "<img src=\"data:image/gif;base64,R0lGODlhAQABAAAAACw=\">", "<p style=\"color: red\">red</p>",
        ] {
            let changed = html.replacingOccurrences(of: "</body>", with: addition + "</body>")
            let document = try Browser.open(folder.write(Array(changed.utf8), to: "changed.html"))
            #expect(document.attribute("data-error") != nil, "\(addition)")
            #expect(document.attribute("data-foreign") == nil)
        }
    }

    @Test func `are bounded in size, memory and time`() throws {
        // 64 TiB of disk, 60,000 clusters of it here and there, in an order of their own.
        let path = folder.file("huge.qcow2")
        let page = folder.file("huge.html")
        try QemuImg.create(path, size: 64 << 40)
        try Shell.check(
            """
            python3 - "$1" <<'END'
            import random, struct, sys
            file = open(sys.argv[1], 'r+b')
            file.seek(40); l1 = struct.unpack('>Q', file.read(8))[0]
            random.seed(1)
            tables, each, cluster = 4000, 15, 65536
            data = (1 << 30) + tables * cluster
            places = list(range(0, 2 * tables * each, 2)); random.shuffle(places)
            for table in range(tables):
                file.seek(l1 + table * 32 * 8); file.write(struct.pack('>Q', 1 << 63 | (1 << 30) + table * cluster))
                for index in random.sample(range(8192), each):
                    file.seek((1 << 30) + table * cluster + index * 8)
                    file.write(struct.pack('>Q', 1 << 63 | data + places.pop() * cluster))
            file.truncate(data + 2 * tables * each * cluster)
            END
            """, path)
        let result = try Shell.run(
            "ulimit -v 1000000; timeout 60 \"$1\" inspect --html \"$2\" \"$3\"", Tool.rblock, page, path)
        #expect(result.status == 2, "\(result.errors)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: page)).count < 8 << 20)
        let document = try Browser.open(page)
        #expect(document.attribute("data-ready") == "true" && document.attribute("data-error") == nil)
        let note = document.text("coarse") ?? ""
        #expect(note.contains("There are more ranges than a page holds") && note.contains("only the bounds are known"))
        // Nothing is lost of the sums, and what of the findings is left out is said.
        #expect(document.part("legend")?.contains("data-name=\"data\" data-bytes=\"\(60_000 * 65536)\"") == true)
        #expect(document.text("findings")?.contains("is in use, but its refcount is 0") == true)
    }

    @Test func `go with JSON, and where nothing is lost`() throws {
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 base.qcow2 1M; echo mine >notes.html
            qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2; cp top.qcow2 copy.qcow2
            """, folder.path)
        func run(_ arguments: String...) throws -> ToolResult { try RBlock.run(arguments, in: folder.path) }
        let result = try run("inspect", "--output", "json", "--html", "a.html", "--svg", "a.svg", "top.qcow2")
        #expect(result.status == 0, "\(result.errors)")
        let plain = try run("inspect", "--output", "json", "top.qcow2")
        #expect(try JSONValue(parsing: result.output) == JSONValue(parsing: plain.output))
        let same = try run("diff", "--output", "json", "--html", "d.html", "top.qcow2", "copy.qcow2")
        #expect(same.status == 0, "\(same.errors)")
        #expect(try JSONValue(parsing: same.output)["summary", "changed-bytes"]?.number == 0)
        #expect(try Browser.open(folder.file("d.html")).text("findings") == "The disks are the same.")
        for verb in [["inspect"], ["diff", "copy.qcow2"]] {
            for force in [[], ["--force"]] {
                for lost in ["top.qcow2", "base.qcow2"] {
                    let refused = try RBlock.run(verb + ["--html", lost] + force + ["top.qcow2"], in: folder.path)
                    #expect(refused.status == (verb[0] == "diff" ? 2 : 1) && !refused.errors.contains("--force"))
                    #expect(refused.errors.contains("a file that the new page is made of"), "\(refused.errors)")
                }
            }
            let kept = try RBlock.run(verb + ["--html", "notes.html", "top.qcow2"], in: folder.path)
            #expect(kept.status != 0 && kept.errors.contains("notes.html: exists already; --force replaces it"))
        }
        #expect(try run("inspect", "--html", "notes.html", "--force", "top.qcow2").status == 0)
        #expect(try run("inspect", "--html", "x", "--svg", "x", "top.qcow2").status == 64)
        let left = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(left == ["a.html", "a.svg", "base.qcow2", "copy.qcow2", "d.html", "notes.html", "top.qcow2"])
    }
}
