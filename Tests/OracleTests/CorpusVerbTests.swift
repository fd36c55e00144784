import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: !Corpus.rows.isEmpty && Tool.areThere("qemu-img")))
struct `What the command says of images that other products made` {
    /// Images of which one of both can say nothing, and why.
    enum Expected {
        /// Neither we nor qemu-img can make sense of the image.
        case refused
        /// Only we can: qemu-img knows no SESPARSE extent by itself, and wants another footer.
        case onlyOurs
        /// Both read the disk, but qemu-img lists 65,536 snapshots of a table that the file does not hold; we say that it is
        /// cut.
        case snapshotsUnseen
        /// Both, but for what only the extents of the image know: we do not open them.
        case extentsUnseen
    }

    static let expected: [String: Expected] = [
        "fox-it_dissect.hypervisor/sesparse.vmdk": .onlyOurs,
        "vmware_govmomi/ttylinux-pc_i486-16.1-disk1.vmdk": .onlyOurs,
        "vmware_govmomi/ttylinux-pc_i486-16.1.ova.d/ttylinux-pc_i486-16.1-disk1.vmdk": .onlyOurs,
        "kubevirt_containerized-data-importer/invalid-qcow-large-json.img": .snapshotsUnseen,
        "kubevirt_containerized-data-importer/invalid-qcow-backing-file.img": .refused,
        "kubevirt_containerized-data-importer/invalid-qcow-large-memory.img": .refused,
        "qemu_qemu/afl9.vmdk": .refused,
        "jnode_jnode/JNode-1.vmdk": .extentsUnseen,
    ]

    @Test func `is what qemu-img info says, one process for all, whatever they name`() throws {
        let paths = Corpus.rows.map { "\(Corpus.folder)/\($0.path)" }
        let result = try RBlock.run(["info", "--output", "json"] + paths)
        #expect(result.status == 1)
        let found = try #require(try JSONValue(parsing: result.output).array)
        try #require(found.count == paths.count)
        for (row, ours) in zip(Corpus.rows, found) {
            let format = try #require(ours["format"]?.text, "\(row.path)")
            let expected = Self.expected[row.path]
            #expect((ours["error"] != nil) == (expected == .refused), "\(row.path)")
            let theirs = try Tool.run(
                "qemu-img", ["info", "-U", "--output=json", "-f", format, "\(Corpus.folder)/\(row.path)"])
            #expect((theirs.status != 0) == (expected == .refused || expected == .onlyOurs), "\(row.path)")
            guard theirs.status == 0, expected != .snapshotsUnseen else { continue }
            let facts = ours.leaves
            var differing = try JSONValue(parsing: theirs.output).leaves.filter { facts[$0.key] != $0.value }
            // "children" came with QEMU 8.1: the tree of its block nodes, not a fact about the image.
            differing = differing.filter { !$0.key.hasPrefix("children") }
            if expected == .extentsUnseen {
                differing = differing.filter { $0.key != "actual-size" && !$0.key.hasSuffix("cluster-size") }
            }
            #expect(differing == [:], "\(row.path)")
        }
    }

    @Test(arguments: Corpus.rows)
    func `is what qemu-img map says, or that the image cannot be read`(row: Corpus.Row) throws {
        let path = "\(Corpus.folder)/\(row.path)"
        let ours = try RBlock.run(["map", "--output", "json", path])
        // Some that are refused make qemu-img hang.
        guard ours.status == 0 else {
            // 2: parts of the disk cannot be mapped.
            return #expect([1, 2].contains(ours.status) && ours.errors.hasPrefix("rblock: "), "\(ours.errors)")
        }
        let format =
            row.path.hasSuffix(".vmdk")
            ? "vmdk" : row.format.hasPrefix("qcow2") ? "qcow2" : row.format == "qed" ? "qed" : "raw"
        // qemu-img looks for data files in the folder that it is started in.
        let theirs = try Tool.run(
            "qemu-img", ["map", "-U", "--output=json", "-f", format, path],
            in: String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
        if Self.expected[row.path] == .onlyOurs { return #expect(theirs.status != 0) }
        // A backing file that is not where the image says is found by its last component here.
        if theirs.status != 0, ours.errors.contains(" is read") { return }
        try #require(theirs.status == 0, "\(theirs.errors)")
        let decoder = JSONDecoder()
        #expect(
            RBlock.differences(
                try decoder.decode([QemuImg.MapEntry].self, from: ours.output),
                try decoder.decode([QemuImg.MapEntry].self, from: theirs.output)) == [])
    }
}
