import Foundation
import HostTools
import TestImages
import Testing

/// The pages of `inspect --html` in Chromium.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "chromium")))
struct `The page of an image` {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Makes the page of `image`, and answers its path.
    private func page(of image: String, status: Int32 = 0) throws -> String {
        let page = folder.file("page.html")
        let result = try RBlock.run(["inspect", "--html", page, "--force", image])
        #expect(result.status == status, "\(result.errors)")
        return page
    }

    /// Checks that a page works, and answers it.
    private func sound(_ document: Browser.Document) -> Browser.Document {
        #expect(document.attribute("data-ready") == "true")
        #expect(document.attribute("data-error") == nil)
        #expect(document.html.contains("<p id=\"failure\" role=\"alert\" hidden=\"\"></p>"))
        return document
    }

    /// Opens a page at a place, and answers what stands there about it.
    private func description(_ page: String, at fragment: String) throws -> String {
        try #require(sound(try Browser.open(page, at: fragment)).text("here"))
    }

    /// What a page says at each of these places, one after the other.
    private func descriptions(_ page: String, at fragments: [String]) throws -> [String] {
        let list = fragments.map { "'#\($0)'" }.joined(separator: ", ")
        let script = """
            document.body.dataset.said = JSON.stringify([\(list)].map(place => {
              history.replaceState(null, '', place);
              goToAddress();
              return document.getElementById('here').textContent;
            }));
            """
        let html = sound(try Browser.open(page, running: script)).html
        let body = try #require(html.range(of: "<body[^>]*>", options: .regularExpression))
        let said = try #require(Browser.Document.attribute("data-said", in: html[body]))
        return try JSONDecoder().decode([String].self, from: Data(said.utf8))
    }

    private func hex(_ number: some BinaryInteger) -> String { "0x" + String(number, radix: 16) }

    @Test(arguments: ["plain.qcow2", "small-clusters.qcow2", "extended.qcow2", "sparse.vmdk", "flat.raw"])
    func `says where in the file each part of the disk lies, as qemu-img map does`(name: String) throws {
        let path = folder.file(name)
        let format = name.hasSuffix("vmdk") ? "vmdk" : name.hasSuffix("raw") ? "raw" : "qcow2"
        let options = ["small-clusters.qcow2": ["cluster_size=4096"], "extended.qcow2": ["extended_l2=on"]]
        try QemuImg.create(path, format: format, size: 1 << 30, options: options[name] ?? [])
        try QemuImg.io(path, format: format, ["write -P 1 700M 1M", "write -P 2 5M 192k", "write -P 3 6M 64k"])
        let page = try page(of: path)
        let runs = try QemuImg.map(path, format: format).filter { $0.data && $0.length > 0 }
        #expect(runs.count >= 2)
        let places = try runs.map { run in
            let middle = run.length / 2 / 512 * 512
            return (guest: hex(run.start + middle), host: hex(try #require(run.offset) + middle))
        }
        // Where each lies in the file, and the other way round.
        let said = try descriptions(
            page, at: places.flatMap { ["guest=\($0.guest)", "host=\($0.host)"] } + ["guest=900M"])
        for (index, place) in places.enumerated() {
            #expect(said[2 * index].contains("disk \(place.guest) lies at \(place.host) of the file"), "\(said)")
            #expect(said[2 * index + 1].contains("disk \(place.guest)"), "\(said)")
        }
        #expect(said.last?.contains("is not stored in this file") == true, "\(said)")
    }

    @Test func `has the sums of the file's uses, its tables, and its snapshots under their names`() throws {
        let path = folder.file("a.qcow2")
        try QemuImg.create(path, size: 1 << 30)
        try QemuImg.io(path, ["write 0 1M", "write 600M 300k"])
        try QemuImg.run("snapshot", "-c", "daily", path)
        try QemuImg.io(path, ["write 0 128k"])
        let page = try page(of: path)
        let json = try RBlock.json("inspect", "--graph", path)
        let document = sound(try Browser.open(page))
        let uses = try #require(json["use", "uses"]?.array)
        #expect(document.totals.count == uses.count)
        for use in uses { #expect(document.totals[use["use"]?.text ?? ""] == use["bytes"]?.number) }
        #expect(document.text("findings-count") == "0 errors, 0 notes")
        let structures = try #require(document.html.range(of: "id=\"structures\""))
        for name in ["header", "refcount table", "snapshot table", "L1 table"] {
            #expect(document.html[structures.upperBound...].contains(">\(name)</span>"), "\(name)")
        }
        // The tables say which part of the disk they are for.
        let all = try #require(json["structures"]?.array)
        let l1 = try #require(all.first { $0["name"]?.text == "L1 table" })
        let entry = try #require(l1["entries"]?.array?.last)
        let table = try #require(entry["l2"]?.number)
        let text = try description(page, at: "host=\(hex(table))")
        #expect(text.contains("L2 table of L1 index 1: for disk 0x20000000–0x3fffffff"), "\(text)")
        let old = try description(page, at: "guest=0")
        #expect(old.contains("of the file (snapshot 0 \"daily\")"), "\(old)")
        // What a cluster of a compressed image holds is a cluster of the disk.
        let small = folder.file("small.qcow2")
        try QemuImg.convert(path, from: "qcow2", to: small, compressed: true)
        let compressed = try description(try self.page(of: small), at: "guest=0x12345")
        #expect(compressed.contains("disk 0x12345 is in this compressed data"), "\(compressed)")
    }

    @Test func `shows overlays, streams and what is damaged`() throws {
        let base = folder.file("base.raw")
        let over = folder.file("over.qcow2")
        let stream = folder.file("stream.vmdk")
        try Pattern.writeDisk(base, size: 5 << 20, seed: 3)
        try QemuImg.create(over, size: nil, backing: (base, "raw"))
        try QemuImg.io(over, ["write 1M 64k"])
        let overlay = try page(of: over)
        #expect(
            try description(overlay, at: "guest=2M").contains("is not stored in this file; this table says what it is"))
        #expect(try description(overlay, at: "guest=1M").contains("disk 0x100000 lies at 0x50000 of the file"))
        try QemuImg.convert(base, to: stream, as: "vmdk", options: ["subformat=streamOptimized"])
        let grain = try description(try page(of: stream), at: "guest=0x20000")
        #expect(grain.contains("is in this compressed data") && grain.contains("disk 0x20000–0x2ffff"), "\(grain)")

        let fixture = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../Fixtures/damaged.qcow2").standardized.path
        let broken = try page(of: fixture, status: 2)
        let text = try RBlock.run(["inspect", fixture]).text
        let faults = text.components(separatedBy: "!! ").count - 1
        // A finding leads to its place, and is marked.
        let document = sound(
            try Browser.open(
                broken, running: "[...document.querySelectorAll('#findings button')].find(b => !b.disabled).click()"))
        #expect(document.texts("li", in: "findings").count == faults && faults > 3)
        #expect(document.text("findings-count") == "\(faults) errors, 0 notes")
        #expect(document.part("findings")?.contains("aria-current=\"true\"") == true)
        #expect(
            document.text("here")?.contains("header: no QCOW2 image") == true, "\(document.text("here") ?? "")")
        let cut = folder.file("cut.qcow2")
        try Shell.check("head -c 300000 \"$1\" >\"$2\"", over, cut)
        let short = sound(try Browser.open(try page(of: cut, status: 2)))
        #expect(
            short.text("findings")?.contains("behind the end of the file") == true, "\(short.text("findings") ?? "")")
        // An empty file, too, has a page.
        let empty = sound(try Browser.open(try page(of: folder.write([], to: "empty.raw")), at: "host=5"))
        #expect(empty.text("here")?.contains("past the end") == true)
    }

    @Test func `is used by keys, the wheel, the field for offsets, and lists`() throws {
        let path = folder.file("a.qcow2")
        try QemuImg.create(path, size: 1 << 30, options: ["cluster_size=4096"])
        try QemuImg.io(path, ["write 0 64M", "write 600M 300k"])
        let page = try page(of: path)
        let script = """
            const shown = document.body.dataset, said = () => document.getElementById('here').textContent;
            const press = key => picture.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
            const enter = (text, where) => {
              $('offset').value = text; $('where').value = where; $('go').requestSubmit();
              return said();
            };
            shown.host = enter('320K', 'host'); shown.guest = enter('0x25800000', 'guest');
            shown.wrong = enter('many', 'host'); shown.far = enter('1T', 'host');
            enter('0x50000', 'host'); press('ArrowRight'); shown.right = said();
            press('ArrowLeft'); press('ArrowLeft'); shown.left = said();
            press('End'); shown.end = said(); press('Home'); press('Enter'); shown.home = said();
            press('0'); const all = view.cell; press('+'); shown.nearer = all / view.cell;
            press('-'); press('-'); shown.farther = view.cell / all;
            const box = picture.getBoundingClientRect();
            const at = {clientX: box.left + 300, clientY: box.top + 200, cancelable: true, bubbles: true};
            const before = cellAt(at);
            picture.dispatchEvent(new WheelEvent('wheel', {deltaY: -1, ...at}));
            const after = cellAt(at);
            shown.wheel = view.cell * 2 === all && before.start <= after.start && after.start < before.end;
            shown.tip = tip.textContent;
            document.querySelector('#legend [data-name="L1 table"]').click(); shown.legend = said();
            document.querySelectorAll('#structures details')[0].open = true;
            setTimeout(() => {
              const names = [...document.querySelectorAll('#structures td button')];
              names.find(name => name.textContent === 'cluster_bits').click();
              shown.field = said(); shown.address = location.hash;
            }, 100);
            """
        let document = sound(try Browser.open(page, running: script))
        let body = try #require(document.html.range(of: "<body[^>]*>", options: .regularExpression))
        func said(_ name: String) -> String {
            Browser.Document.attribute("data-\(name)", in: document.html[body]) ?? ""
        }
        #expect(said("host").hasPrefix("0x50000–0x50fff · 4 KiB"), "\(said("host"))")
        #expect(said("guest").hasPrefix("disk 0x25800000 lies at 0x"), "\(said("guest"))")
        #expect(said("wrong").hasPrefix("An offset is a number") && said("far").contains("past the end of the file"))
        #expect(said("right").hasPrefix("0x51000–0x51fff") && said("left").hasPrefix("0x4f000–0x4ffff"))
        #expect(said("home").hasPrefix("0x0–0xfff · 4 KiBheader") && said("end").contains("KiB"))
        #expect(said("nearer") == "2" && said("farther") == "1")
        #expect(said("wheel") == "true" && said("tip").contains("KiB"), "\(said("tip"))")
        #expect(said("legend").contains("L1 table"))
        #expect(said("field").hasPrefix("header: cluster_bits = 12") && said("address") == "#host=0x14-0x17")
    }
}
