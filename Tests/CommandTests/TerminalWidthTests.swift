import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "python3")))
struct `Lines on a terminal` {
    private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    private static let script = tests.appendingPathComponent("Scripts/run-on-terminal.py").path

    /// The images, and one of them with damage of several kinds in its tables; and an appliance.
    private func images() throws -> VerbImages {
        let images = try VerbImages([.chain, .small, .vmdk])
        try FileManager.default.copyItem(
            atPath: Self.tests.appendingPathComponent("../../Fixtures/appliance.ova").standardized.path,
            toPath: images.folder.file("app.ova"))
        try Shell.check(
            """
            cd "$1"; cp middle.qcow2 damaged.qcow2; cp monolithicSparse.vmdk damaged.vmdk
            python3 - <<'END'
            image = open('damaged.qcow2', 'r+b')
            def get(at): image.seek(at); return int.from_bytes(image.read(8), 'big')
            def put(at, value, n=8): image.seek(at); image.write(value.to_bytes(n, 'big'))
            table = get(get(40)) & (1 << 56) - 512
            put(table + 8, 1 << 63 | 1 << 40)
            put(table + 16, 1 << 63 | 0x50200)
            put(table + 24, 0x7fff << 48)
            put(80, (1 << 64) - 1)
            END
            cp damaged.qcow2 unknown.qcow2; printf '\\377\\377' | dd of=unknown.qcow2 bs=1 seek=74 conv=notrunc status=none
            printf '\\377\\377\\377\\377' | dd of=damaged.vmdk bs=1 seek=60 conv=notrunc status=none
            """, images.path)
        return images
    }

    /// What a terminal of `columns` shows of the verb, which prints the same words as in a pipe; and the widest line of both.
    private func widest(_ arguments: [String], columns: Int, in folder: String) throws -> (shown: Int, piped: Int) {
        let words = { (text: String) in text.split(whereSeparator: \.isWhitespace) }
        let piped = try RBlock.run(arguments, in: folder)
        let result = try Tool.run("python3", [Self.script, "\(columns)", Tool.rblock] + arguments, in: folder)
        let shown = result.text.replacing(/\u{1b}\[[0-9;]*m/, with: "")
        #expect(result.status == piped.status && words(shown) == words(piped.text), "\(arguments): \(shown)")
        #expect(!piped.text.isEmpty, "\(arguments)")
        let width = { (text: String) in text.split(separator: "\n").map(\.count).max() ?? 0 }
        return (width(shown), width(piped.text))
    }

    @Test func `are no longer than it is wide, and whole where there is none`() throws {
        let images = try images()
        let qcow2 = ["damaged.qcow2", "middle.qcow2", "small.qcow2"]
        let vmdk = ["damaged.vmdk", "monolithicFlat.vmdk", "streamOptimized.vmdk", "twoGbMaxExtentSparse.vmdk"]
        let verbs: [(verb: [String], images: [String])] = [
            (["inspect", "--l2", "--limit", "50"], ["unknown.qcow2"] + qcow2 + vmdk),
            (["check"], ["damaged.qcow2", "damaged.vmdk", "app.ova", "middle.qcow2"]),
            (["info"], qcow2 + ["app.ova", "top.qcow2"] + vmdk),
            (["map"], ["damaged.qcow2", "top.qcow2", "app.ova"] + vmdk),
            (["diff"], ["top.qcow2"]),
        ]
        var cut: Set<String> = []
        for (verb, names) in verbs {
            for name in names {
                let arguments = verb + [name] + (verb == ["diff"] ? ["base.raw"] : [])
                let (shown, piped) = try widest(arguments, columns: 80, in: images.path)
                #expect(shown <= 80, "\(arguments): \(shown)")
                if piped > 80 { cut.insert(verb[0]) }
            }
        }
        #expect(cut == ["inspect", "check", "info", "map"], "\(cut)")
        #expect(try widest(["diff", "top.qcow2", "base.raw"], columns: 50, in: images.path).shown <= 50)
        // What is used for what is drawn as wide as the terminal is.
        for columns in [60, 80, 132] {
            let graph = ["inspect", "--graph", "middle.qcow2"]
            let output = try Tool.run("python3", [Self.script, "\(columns)", Tool.rblock] + graph, in: images.path)
            let lines = output.text.replacing(/\u{1b}\[[0-9;]*m/, with: "").split(separator: "\n")
            #expect(output.status == 0 && lines.allSatisfy { $0.count <= columns }, "\(columns)")
        }
        withExtendedLifetime(images) {}
    }
}
