import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `What is refused of a VMDK descriptor, and what is read all the same, agrees with qemu-img` {
    /// A line of a good descriptor, and what stands in its place.
    struct Change: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var line: String
        var replacement: String
        var outcome: Outcome

        init(_ text: String, _ line: String, _ replacement: String, _ outcome: Outcome) {
            testDescription = text
            self.line = line
            self.replacement = replacement
            self.outcome = outcome
        }
    }

    private static let mark = "# Disk DescriptorFile\n"
    private static let version = "version=1\n"
    private static let cid = "CID=12345678\n"
    private static let parent = "parentCID=ffffffff\n"
    private static let type = "createType=\"monolithicFlat\"\n"
    private static let extent = "RW 60 FLAT \"flat.vmdk\" 0\n"

    private static let isWritten = "products write it"
    private static let isOdd = "whoever wrote it, there is only one thing it can mean"
    private static let isNothing = "qemu-img passes over the line, and shows what is left as the disk"
    private static let isLost = "data that the file has lost is an error, and no zeros"

    static let keys: [Change] = [
        Change("nothing", mark, mark, .alike),
        Change("another comment first", mark, "# made by hand\n\(mark)", .alike),
        Change("the comment as some write it", mark, "#DISK  Descriptor file\n", .alike),
        Change("no such comment", mark, "", .alike),
        Change("a byte order mark", mark, "\u{feff}\(mark)", .alike),
        Change("no version", version, "", .alike),
        Change("version 9", version, "version=9\n", .alike),
        Change("no CID", cid, "", .alike),
        Change("a CID that is no number", cid, "CID=none\n", .differ(ours: .same, qemu: .refused, why: isOdd)),
        Change("no parentCID", parent, "", .differ(ours: .same, qemu: .refused, why: isOdd)),
        Change("a parentCID with something behind it", parent, "parentCID=ffffffffpa\n", .alike),
        Change("no createType", type, "", .differ(ours: .same, qemu: .refused, why: isOdd)),
        Change(
            "a createType without quotes", type, "createType=monolithicFlat\n",
            .differ(ours: .same, qemu: .refused, why: isOdd)),
        Change(
            "spaces around the createType", type, "createType = \"monolithicFlat\"\n",
            .differ(ours: .same, qemu: .refused, why: isWritten)),
        Change(
            "a createType in capitals", type, "CREATETYPE=\"MONOLITHICFLAT\"\n",
            .differ(ours: .same, qemu: .refused, why: isWritten)),
        Change("a key that is not known", type, "\(type)someKey=\"value\"\n", .alike),
        Change("a line that means nothing", type, "\(type)nothing at all\n", .alike),
        Change(
            "a parent's name without a parent", parent, "\(parent)parentFileNameHint=\"gone.vmdk\"\n",
            .differ(ours: .same, qemu: .refused, why: "parentCID says that there is none")),
        Change(
            "an encryption key", type, "\(type)encryption.keySafe = \"vmware:key/list\"\n",
            .differ(ours: .refused, qemu: .same, why: "qemu-img shows the encrypted bytes as the disk")),
    ]

    static let lines: [Change] = [
        Change("spaces at both ends", extent, "  RW 60 FLAT \"flat.vmdk\" 0  \n", .alike),
        Change(
            "words in small letters", extent, "rw 60 flat \"flat.vmdk\" 0\n",
            .differ(ours: .same, qemu: .refused, why: isWritten)),
        Change(
            "no offset", extent, "RW 60 FLAT \"flat.vmdk\"\n",
            .differ(ours: .same, qemu: .refused, why: "the offset may be left out, by the specification")),
        Change(
            "more words behind the offset", extent, "RW 60 FLAT \"flat.vmdk\" 0 partition device\n", .alike),
        Change(
            "a name without quotes", extent, "RW 60 FLAT flat.vmdk 0\n",
            .differ(ours: .same, qemu: .refused, why: isOdd)),
        Change("a name whose last quote is missing", extent, "RW 60 FLAT \"flat.vmdk 0\n", .refused),
        Change("no name", extent, "RW 60 FLAT\n", .refused),
        Change("an empty name", extent, "RW 60 FLAT \"\" 0\n", .refused),
        Change("a file that is not there", extent, "RW 60 FLAT \"gone.vmdk\" 0\n", .refused),
        Change("./ before the name", extent, "RW 60 FLAT \"./flat.vmdk\" 0\n", .alike),
        Change("the descriptor itself", extent, "RW 1 FLAT \"disk.vmdk\" 0\n", .alike),
        Change("a size of 0", extent, "RW 0 FLAT \"flat.vmdk\" 0\n\(extent)", .alike),
        Change("a size that is no number", extent, "RW many FLAT \"flat.vmdk\" 0\n", .refused),
        Change("a size below 0", extent, "RW -60 FLAT \"flat.vmdk\" 0\n", .refused),
        Change("a size of 2^64 sectors", extent, "RW 18446744073709551616 FLAT \"flat.vmdk\" 0\n", .refused),
        Change("a size of 2^62 sectors", extent, "RW 4611686018427387904 FLAT \"flat.vmdk\" 0\n", .refused),
        Change("two extents that together have 2^54 sectors", extent, twice(1 << 53), .refused),
        Change("a smaller size than the file has", extent, "RW 59 FLAT \"flat.vmdk\" 0\n", .alike),
        Change(
            "a larger size than the file has", extent, "RW 61 FLAT \"flat.vmdk\" 0\n",
            .differ(ours: .refused, qemu: .other, why: isLost)),
        Change(
            "an offset behind the end of the file", extent, "RW 60 FLAT \"flat.vmdk\" 1000\n",
            .differ(ours: .refused, qemu: .other, why: isLost)),
        Change("an offset below 0", extent, "RW 60 FLAT \"flat.vmdk\" -1\n", .refused),
        Change("a type that is not known", extent, "RW 60 WARP \"flat.vmdk\" 0\n", .refused),
        Change("a sparse type on a flat file", extent, "RW 60 SPARSE \"flat.vmdk\"\n", .refused),
        Change("a COWD type on a flat file", extent, "RW 60 VMFSSPARSE \"flat.vmdk\"\n", .refused),
        Change("a seSparse type on a flat file", extent, "RW 60 SESPARSE \"flat.vmdk\"\n", .refused),
        Change("an access that is not known", extent, "RO 60 FLAT \"flat.vmdk\" 0\n", .refused),
        Change("no extent", extent, "", .refused),
        Change("a comment in its place", extent, "#\(extent)", .refused),
        Change("a file above the folder of images", extent, "RW 1 FLAT \"/etc/passwd\" 0\n", outside),
        Change("a device", extent, "RW 60 FLAT \"/dev/zero\" 0\n", outside),
    ]

    private static let outside = Outcome.differ(
        ours: .refused, qemu: .other, why: "an image may not have any file of the host shown")

    private static func twice(_ sectors: Int) -> String {
        "RW \(sectors) FLAT \"flat.vmdk\" 0\nRW \(sectors) FLAT \"flat.vmdk\" 1\n"
    }

    @Test(arguments: keys + lines)
    func `one change in a descriptor`(change: Change) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let disk = GrainModel(size: 60 * 512, grainSize: 512, seed: 80, of: [.data]).disk()
        try oracle.folder.write(disk, to: "flat.vmdk")
        let extent = String(Self.extent.dropLast())
        let text = String(decoding: try VMDKDescriptorText("monolithicFlat", [extent]).bytes(), as: UTF8.self)
        #expect(text.contains(change.line))
        let changed = text.replacing(change.line, with: change.replacement, maxReplacements: 1)
        try oracle.folder.write(Array(changed.utf8), to: "disk.vmdk")
        try oracle.expect(change.outcome, of: "disk.vmdk", before: disk)
    }

    @Test(arguments: ["\r\n", "\r"])
    func `lines that end as elsewhere`(lineEnd: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let disk = GrainModel(size: 60 * 512, grainSize: 512, seed: 80, of: [.data]).disk()
        try oracle.folder.write(disk, to: "flat.vmdk")
        var descriptor = VMDKDescriptorText("monolithicFlat", [String(Self.extent.dropLast())])
        descriptor.lineEnd = lineEnd
        try oracle.write(descriptor, to: "disk.vmdk")
        try oracle.expect(
            lineEnd == "\r" ? .differ(ours: .same, qemu: .refused, why: Self.isOdd) : .alike, of: "disk.vmdk",
            before: disk)
    }

    @Test(arguments: [10_000, 1 << 20])
    func `a descriptor that is longer than any`(count: Int) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let disk = GrainModel(size: 60 * 512, grainSize: 512, seed: 80, of: [.data]).disk()
        try oracle.folder.write(disk, to: "flat.vmdk")
        let text = try VMDKDescriptorText("monolithicFlat", [String(Self.extent.dropLast())]).bytes()
        // In long lines: qemu-img looks at all that follows once a line.
        let comment = Array("#\(String(repeating: " ", count: 998))\n".utf8)
        let padding = Array(repeatElement(comment, count: count / 1000 + 1).joined())
        try oracle.folder.write(text + padding, to: "disk.vmdk")
        let isLong = Outcome.differ(
            ours: .refused, qemu: .same, why: "qemu-img passes over the end of it, in which there may be extents")
        try oracle.expect(count > 1 << 19 ? isLong : .alike, of: "disk.vmdk", before: disk)
    }
}
