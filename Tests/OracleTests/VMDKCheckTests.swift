import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `What check says of VMDK images goes beyond qemu-img check` {
    /// A damage, what qemu-img says of it, what this program finds, and why they differ.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var theirs: Int32
        var kinds: Set<CheckFinding.Kind>
        var change: @Sendable (inout BuiltVMDK) -> Void
    }

    static let cases: [Case] = [
        Case(testDescription: "nothing", theirs: 0, kinds: []) { _ in },
        // qemu-img ends at the first such grain, and says that the check failed.
        Case(testDescription: "a grain behind the end of the file", theirs: 1, kinds: [.outOfFile, .redundancy]) {
            $0.poke(UInt32(1 << 30), at: $0.entryOffset(of: $0.grainOffsets.keys.min() ?? 0))
        },
        // qemu-img looks at each grain for itself.
        Case(testDescription: "two grains in one place", theirs: 0, kinds: [.overlap, .redundancy]) {
            let grains = $0.grainOffsets.keys.sorted()
            $0.poke(UInt32(($0.grainOffsets[grains[0]] ?? 0) / 512), at: $0.entryOffset(of: grains[1]))
        },
        // qemu-img never reads the redundant grain directory.
        Case(testDescription: "another redundant grain directory", theirs: 0, kinds: [.redundancy]) {
            $0.poke(UInt32(0), at: $0.redundantDirectoryOffset)
        },
    ]

    @Test(arguments: cases)
    func `of damaged grain tables`(damage: Case) throws {
        let folder = try TemporaryFolder()
        var image = try SparseVMDKBuilder.whole(GrainModel(size: 4 << 20, seed: 3)).build()
        damage.change(&image)
        let path = try folder.write(image.bytes, to: "image.vmdk")
        #expect(try CheckVerdict.theirs(path, .vmdk).status == damage.theirs)
        let (ours, findings) = try CheckVerdict.ours(path, .vmdk)
        #expect(ours.status == (damage.kinds.isEmpty ? 0 : 2))
        #expect(Set(findings.filter { $0.severity != .warning }.map(\.kind)) == damage.kinds)
    }

    @Test func `of a parent that was changed: qemu-img looks at content identifiers when it reads`() throws {
        let folder = try TemporaryFolder()
        try QemuImg.create(folder.file("base.vmdk"), format: "vmdk", size: 1 << 20)
        try QemuImg.create(
            folder.file("delta.vmdk"), format: "vmdk", size: nil, backing: (folder.file("base.vmdk"), "vmdk"))
        #expect(try CheckVerdict.differences(folder.file("delta.vmdk"), .vmdk) == [])
        // A write gives the parent a new identifier.
        try QemuImg.io(folder.file("base.vmdk"), format: "vmdk", ["write -P 1 0 64k"])
        #expect(try CheckVerdict.theirs(folder.file("delta.vmdk"), .vmdk).status == 0)
        let (ours, findings) = try CheckVerdict.ours(folder.file("delta.vmdk"), .vmdk)
        #expect(ours.status == 2 && findings.map(\.kind) == [.contentID])
    }

    @Test func `of a flat extent that is too short`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("image.vmdk")
        try QemuImg.create(path, format: "vmdk", size: 1 << 20, options: ["subformat=monolithicFlat"])
        #expect(try CheckVerdict.differences(path, .vmdk) == [])
        let flat = try #require(FileHandle(forUpdatingAtPath: folder.file("image-flat.vmdk")))
        try flat.truncate(atOffset: 1 << 19)
        try flat.close()
        let (ours, findings) = try CheckVerdict.ours(path, .vmdk)
        #expect(ours.status == 2 && findings.first?.kind == .outOfFile)
    }
}
