import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

/// What becomes of an image in which something was changed.
enum Outcome: Sendable {
    /// Both read it, and the same bytes.
    case alike
    /// Neither reads it.
    case refused
    /// We differ on purpose. Each verdict compares with the disk before the change.
    case differ(ours: Verdict, qemu: Verdict, why: String)
}

extension Oracle {
    /// We and qemu-img make `outcome` of the image `name`, which held `disk` before it was changed.
    func expect(
        _ outcome: Outcome, of name: String, before disk: [UInt8], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let raw = folder.file("qemu-img.raw")
        let (isRead, refusal) = try QemuImg.reads(folder.file(name), format: "vmdk", into: raw)
        let theirs = isRead ? Array(try Data(contentsOf: URL(fileURLWithPath: raw))) : nil
        var ours: [UInt8]?
        var error: ImageError?
        do throws(ImageError) {
            ours = try open(name, as: .vmdk).disk.result.get().wholeDisk()
        } catch let thrown {
            error = thrown
            #expect(thrown.path.hasPrefix(folder.path), "\(thrown)", sourceLocation: sourceLocation)
        }
        let context: Comment = "ours: \(error?.description ?? "read"); qemu-img: \(isRead ? "read" : refusal)"
        switch outcome {
        case .alike:
            guard let ours, let theirs else {
                Issue.record(context, sourceLocation: sourceLocation)
                return
            }
            #expect(areSame(ours, theirs), "both read it, but not the same", sourceLocation: sourceLocation)
        case .refused:
            #expect(ours == nil && theirs == nil, context, sourceLocation: sourceLocation)
        case .differ(let expected, let expectedOfQEMU, let why):
            func verdict(_ read: [UInt8]?) -> Verdict { read.map { areSame($0, disk) ? .same : .other } ?? .refused }
            #expect(verdict(ours) == expected, context, sourceLocation: sourceLocation)
            #expect(verdict(theirs) == expectedOfQEMU, context, sourceLocation: sourceLocation)
            #expect(expected != expectedOfQEMU && !why.isEmpty, sourceLocation: sourceLocation)
        }
    }
}

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `What is refused of VMDK, and what is read all the same, agrees with qemu-img` {
    /// Something that is changed in a good extent.
    struct Damage: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var outcome: Outcome
        var change: @Sendable (inout BuiltVMDK) -> Void

        init(_ text: String, _ outcome: Outcome, _ change: @escaping @Sendable (inout BuiltVMDK) -> Void) {
            testDescription = text
            self.outcome = outcome
            self.change = change
        }

        /// A field of the header.
        init(_ text: String, at offset: Int, _ value: some FixedWidthInteger & Sendable, _ outcome: Outcome) {
            self.init(text, outcome) { $0.poke(value, at: offset) }
        }
    }

    private static let isDamage = "what cannot be is damage, and its consequence is not shown as a disk"
    private static let isLost = "data that the file has lost is an error, and no zeros"
    private static let isRedundant = "the redundant directory is there for that"
    private static let mayMatter = "who sets it says that who does not know it must not read on"

    // MARK: Hosted sparse

    static let sparse: [Damage] = [
        Damage("nothing", .alike) { _ in },
        Damage("magic", at: 0, UInt32(0x5644_4d4c), .refused),
        Damage("version 0", at: 4, UInt32(0), .differ(ours: .refused, qemu: .same, why: isDamage)),
        Damage("version 2", at: 4, UInt32(2), .alike),
        Damage("version 3", at: 4, UInt32(3), .alike),
        Damage("version 4", at: 4, UInt32(4), .refused),
        Damage("a compatible flag that is not known", at: 8, UInt32(0x103), .alike),
        Damage(
            "an incompatible flag that is not known", at: 8, UInt32(0x10_0003),
            .differ(ours: .refused, qemu: .same, why: mayMatter)),
        Damage("no redundant directory", at: 8, UInt32(1), .alike),
        Damage("a capacity of two more grains", at: 12, UInt64(42 * 128), .alike),
        Damage("a capacity of a sector less", at: 12, UInt64(36 * 128 + 4), .alike),
        Damage("a capacity of 2^55 sectors", at: 12, UInt64(1) << 55, .refused),
        Damage("a capacity of 2^64 - 1 sectors", at: 12, UInt64.max, .refused),
        Damage("a capacity of 0, so that the descriptor names the disk", at: 12, UInt64(0), .refused),
        Damage("grainSize 0", at: 20, UInt64(0), .refused),
        Damage("grainSize 192", at: 20, UInt64(192), .differ(ours: .refused, qemu: .other, why: isDamage)),
        Damage("grainSize 2^22", at: 20, UInt64(1 << 22), .refused),
        Damage("grainSize 2^63", at: 20, UInt64(1) << 63, .refused),
        Damage("no descriptor, which qemu-img reads at its usual place", at: 28, UInt64(0), .alike),
        Damage(
            "a descriptor behind the end of the file", at: 28, UInt64(1 << 30),
            .differ(ours: .refused, qemu: .same, why: isDamage)),
        Damage("numGTEsPerGT 0", at: 44, UInt32(0), .refused),
        Damage("numGTEsPerGT 256", at: 44, UInt32(256), .alike),
        Damage(
            "numGTEsPerGT 513", at: 44, UInt32(513),
            .differ(ours: .same, qemu: .refused, why: "the specification leaves the number open")),
        Damage("numGTEsPerGT 2^31", at: 44, UInt32(1) << 31, .refused),
        Damage(
            "gdOffset 0", at: 56, UInt64(0),
            .differ(ours: .same, qemu: .other, why: isRedundant)),
        Damage(
            "gdOffset behind the end of the file", at: 56, UInt64(1 << 30),
            .differ(ours: .same, qemu: .other, why: isRedundant)),
        Damage(
            "gdOffset behind the end of the file, and no redundant directory",
            .differ(ours: .refused, qemu: .other, why: isLost)
        ) {
            $0.poke(UInt32(1), at: 8)
            $0.poke(UInt64(1 << 30), at: 56)
        },
        Damage("overHead behind the end of the file", at: 64, UInt64(1 << 30), .refused),
        Damage("overHead 0", at: 64, UInt64(0), .alike),
        Damage("uncleanShutdown", at: 72, UInt8(1), .alike),
        Damage(
            "line ends that a transfer as text changed", at: 73, UInt32(0x0a0d_0a20),
            .differ(ours: .refused, qemu: .same, why: "all of the file was changed like that")),
        Damage("the same, and no flag that says that they count", .alike) {
            $0.poke(UInt32(2), at: 8)
            $0.poke(UInt32(0x0a0d_0a20), at: 73)
        },
        Damage("compressAlgorithm 1 without the flags for it", at: 77, UInt16(1), .refused),
        Damage(
            "compressAlgorithm 2", at: 77, UInt16(2), .differ(ours: .refused, qemu: .same, why: mayMatter)),
        Damage("junk in the padding of the header", at: 300, UInt64.max, .alike),
    ]

    static let tables: [Damage] = [
        Damage("a directory entry of 0", .differ(ours: .same, qemu: .other, why: isRedundant)) {
            $0.poke(UInt32(0), at: $0.directoryOffset)
        },
        Damage(
            "the same in both directories, so that grains are lost", .differ(ours: .refused, qemu: .other, why: isLost)
        ) {
            $0.poke(UInt32(0), at: $0.directoryOffset)
            $0.poke(UInt32(0), at: $0.redundantDirectoryOffset)
        },
        Damage(
            "a directory entry that leads behind the end of the file",
            .differ(ours: .same, qemu: .other, why: isRedundant)
        ) { $0.poke(UInt32.max, at: $0.directoryOffset) },
        Damage(
            "the same in both directories", .differ(ours: .refused, qemu: .other, why: isLost)
        ) {
            $0.poke(UInt32.max, at: $0.directoryOffset)
            $0.poke(UInt32.max, at: $0.redundantDirectoryOffset)
        },
        Damage(
            "the same, and no redundant directory", .differ(ours: .refused, qemu: .other, why: isLost)
        ) {
            $0.poke(UInt32(1), at: 8)
            $0.poke(UInt32.max, at: $0.directoryOffset)
        },
        Damage("a table entry of 0", .differ(ours: .same, qemu: .other, why: isRedundant)) {
            $0.poke(UInt32(0), at: $0.entryOffset(of: 0))
        },
        Damage(
            "a table entry of 1, without the flag that it stands for zeros",
            .differ(ours: .refused, qemu: .other, why: isDamage)
        ) { $0.poke(UInt32(1), at: $0.entryOffset(of: 0)) },
        Damage("a table entry of 1, with that flag", .alike) {
            $0.poke(UInt32(7), at: 8)
            $0.poke(UInt32(1), at: $0.entryOffset(of: 0))
        },
        Damage("two table entries that lead to one grain", .alike) {
            $0.poke(UInt32($0.grainOffsets[0]! / 512), at: $0.entryOffset(of: 1))
        },
        Damage("a grain that is not aligned to its size", .alike) {
            $0.poke(UInt32($0.grainOffsets[0]! / 512 + 3), at: $0.entryOffset(of: 0))
        },
        Damage(
            "a table entry that leads behind the end of the file", .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.poke(UInt32.max, at: $0.entryOffset(of: 0)) },
        Damage("a last grain that the end of the file cuts", .alike) { $0.bytes.removeLast(512) },
        Damage(
            "a last grain that the end of the file cuts inside a sector",
            .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.bytes.removeLast(100) },
        Damage(
            "a last grain that is cut off", .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.bytes.removeLast(65536) },
        Damage("a file of 511 bytes", .refused) { $0.bytes.removeSubrange(511...) },
        Damage("a file of its header", .refused) { $0.bytes.removeSubrange(512...) },
    ]

    static let model = GrainModel(size: 40 * 65536, seed: 70, of: [.data, .data, .absent])

    @Test(arguments: sparse + tables)
    func `one change in a hosted sparse extent`(damage: Damage) throws {
        let oracle = try Oracle(try TemporaryFolder())
        var builder = SparseVMDKBuilder.whole(Self.model)
        builder.model.grains[0] = .data
        builder.model.grains[1] = .data
        var image = try builder.build()
        damage.change(&image)
        try oracle.folder.write(image.bytes, to: "disk.vmdk")
        try oracle.expect(damage.outcome, of: "disk.vmdk", before: builder.model.disk())
    }

    // MARK: streamOptimized

    private static let isFound = "the footer is looked for, since archives and tools leave bytes behind it"
    private static let isRecovered = "every grain has a marker, and nothing of the stream is missing"

    static let stream: [Damage] = [
        Damage("nothing", .alike) { _ in },
        Damage("a footer without its marker", .differ(ours: .same, qemu: .refused, why: isRecovered)) {
            $0.poke(UInt32(9), at: $0.footerOffset - 500)
        },
        Damage("a stream without its end", .differ(ours: .same, qemu: .refused, why: isFound)) {
            $0.poke(UInt32(9), at: $0.footerOffset + 512 + 12)
        },
        Damage("no footer at its place", .differ(ours: .same, qemu: .refused, why: isRecovered)) {
            $0.poke(UInt32(9), at: $0.footerOffset)
        },
        Damage(
            "a footer that says that the directory is at the end",
            .differ(ours: .same, qemu: .refused, why: isRecovered)
        ) { $0.poke(UInt64.max, at: $0.footerOffset + 56) },
        Damage("a footer with another capacity than the header", .alike) {
            $0.poke(UInt64(30 * 128), at: $0.footerOffset + 12)
        },
        Damage("a footer of another version than the header", .alike) { $0.poke(UInt32(1), at: $0.footerOffset + 4) },
        Damage("a footer of version 4", .refused) { $0.poke(UInt32(4), at: $0.footerOffset + 4) },
        Damage(
            "a footer with an incompatible flag that is not known",
            .differ(ours: .refused, qemu: .same, why: mayMatter)
        ) { $0.poke(UInt32(0x13_0001), at: $0.footerOffset + 8) },
        Damage("a directory of zeros", .differ(ours: .same, qemu: .other, why: isRecovered)) {
            $0.poke(UInt32(0), at: $0.directoryOffset)
        },
        Damage("an entry of 0", .differ(ours: .same, qemu: .other, why: isRecovered)) {
            $0.poke(UInt32(0), at: $0.entryOffset(of: 1))
        },
        Damage("a file that ends before its footer", .differ(ours: .same, qemu: .refused, why: isRecovered)) {
            $0.bytes.removeSubrange(($0.footerOffset - 512)...)
        },
        // The last grain of the disk is there, and so are all before it.
        Damage("a file that ends before its tables", .differ(ours: .same, qemu: .refused, why: isRecovered)) {
            $0.bytes.removeSubrange(($0.tableOffsets[0]! - 512)...)
        },
        Damage("a file that ends between two grains", .refused) { $0.bytes.removeSubrange($0.grainOffsets[1]!...) },
        Damage("a file that ends in its grains", .refused) { $0.bytes.removeSubrange(($0.grainOffsets[1]! + 700)...) },
        Damage("a grain's marker with a size of 0", .refused) { $0.poke(UInt32(0), at: $0.grainOffsets[0]! + 8) },
        Damage("a grain's marker with a size of four grains", .refused) {
            $0.poke(UInt32(4 * 65536), at: $0.grainOffsets[0]! + 8)
        },
        Damage("a grain's marker with a size of 2^32 - 1", .refused) {
            $0.poke(UInt32.max, at: $0.grainOffsets[0]! + 8)
        },
        Damage("a grain's marker with a size that is too small", .refused) {
            $0.poke(UInt32(1000), at: $0.grainOffsets[0]! + 8)
        },
        Damage("a grain that is no stream", .refused) { $0.poke(UInt64.max, at: $0.grainOffsets[0]! + 12) },
        Damage("a grain whose content was changed", .refused) { $0.poke(UInt64.max, at: $0.grainOffsets[0]! + 5000) },
        Damage("an entry that leads behind the end of the file", .refused) {
            $0.poke(UInt32.max, at: $0.entryOffset(of: 0))
        },
        Damage("an entry that leads into another grain", .refused) {
            $0.poke(UInt32($0.grainOffsets[0]! / 512 + 1), at: $0.entryOffset(of: 1))
        },
    ]

    @Test(arguments: stream)
    func `one change in a streamOptimized extent`(damage: Damage) throws {
        let oracle = try Oracle(try TemporaryFolder())
        var builder = StreamVMDKBuilder.whole(Self.model)
        for index in [0, 1, 39] { builder.model.grains[index] = .data }
        var image = try builder.build()
        damage.change(&image)
        try oracle.folder.write(image.bytes, to: "disk.vmdk")
        try oracle.expect(damage.outcome, of: "disk.vmdk", before: builder.model.disk())
    }

    // MARK: COWD and seSparse

    static let cowd: [Damage] = [
        Damage("nothing", .alike) { _ in },
        Damage("magic", at: 0, UInt32(0x4457_4f44), .refused),
        Damage("flags 0", at: 8, UInt32(0), .alike),
        Damage("a capacity beyond the directory", at: 12, UInt32(1 << 24), .refused),
        // qemu-img divides by it, and crashes.
        Damage("grainSize 0", at: 16, UInt32(0), .refused),
        Damage("grainSize 2^31", at: 16, UInt32(1) << 31, .refused),
        Damage("a directory without entries", at: 24, UInt32(0), .refused),
        Damage(
            "a directory of 2^31 entries", at: 24, UInt32(1) << 31,
            .differ(ours: .same, qemu: .refused, why: "only those are read that the disk has use for")),
        Damage("freeSector 0", at: 28, UInt32(0), .alike),
        Damage(
            "a directory behind the end of the file", at: 20, UInt32(1 << 24),
            .differ(ours: .refused, qemu: .other, why: isLost)),
        Damage(
            "a directory entry of 0, so that all grains are lost", .differ(ours: .refused, qemu: .other, why: isLost)
        ) {
            $0.poke(UInt32(0), at: $0.directoryOffset)
        },
        Damage(
            "a directory entry behind the end of the file", .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.poke(UInt32.max, at: $0.directoryOffset) },
        Damage("a table entry of 0", .alike) { $0.poke(UInt32(0), at: $0.entryOffset(of: 0)) },
        Damage(
            "a table entry behind the end of the file", .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.poke(UInt32.max, at: $0.entryOffset(of: 0)) },
    ]

    static let seSparse: [Damage] = [
        Damage("nothing", .alike) { _ in },
        Damage("magic", at: 0, UInt64(0xcafe_babf), .refused),
        Damage("another version", at: 8, UInt64(0x2_0000_0002), .refused),
        Damage("a capacity beyond the directory", at: 16, UInt64(1 << 40), .refused),
        Damage("grains of 16 sectors", at: 24, UInt64(16), .refused),
        Damage("grain tables of 32 sectors", at: 32, UInt64(32), .refused),
        Damage("flags 1", at: 40, UInt64(1), .refused),
        Damage("a reserved field", at: 56, UInt64(1), .refused),
        Damage("no volatile header at its place", at: 512, UInt64(0xcafe_babe), .refused),
        Damage("a volatile header behind the end of the file", at: 80, UInt64(1 << 40), .refused),
        Damage("a journal to be replayed", at: 536, UInt64(1), .refused),
        Damage("a directory of 2^60 sectors", at: 136, UInt64(1) << 60, .refused),
        Damage(
            "a directory behind the end of the file", at: 128, UInt64(1 << 40),
            .differ(ours: .refused, qemu: .other, why: isLost)),
        Damage(
            "a directory entry of 0, so that all grains are lost", .differ(ours: .refused, qemu: .other, why: isLost)
        ) {
            $0.poke(UInt64(0), at: $0.directoryOffset)
        },
        Damage("a directory entry without its mark", .refused) { $0.poke(UInt64(1), at: $0.directoryOffset) },
        Damage("a directory entry with another mark", .refused) {
            $0.poke(UInt64(0x1000_0001_0000_0000), at: $0.directoryOffset)
        },
        Damage(
            "a directory entry behind the end of the file", .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.poke(UInt64(0x1000_0000_0010_0000), at: $0.directoryOffset) },
        Damage("a table entry of type 0 with an offset", .refused) { $0.poke(UInt64(5), at: $0.entryOffset(of: 0)) },
        Damage("a table entry of type 1 with an offset", .alike) {
            $0.poke(UInt64(0x1000_0000_0000_0005), at: $0.entryOffset(of: 0))
        },
        Damage("a table entry of type 4", .refused) { $0.poke(UInt64(4) << 60, at: $0.entryOffset(of: 0)) },
        Damage(
            "a table entry behind the end of the file", .differ(ours: .refused, qemu: .other, why: isLost)
        ) { $0.poke(UInt64(0x3000_0000_0100_0000), at: $0.entryOffset(of: 0)) },
    ]

    @Test(arguments: cowd)
    func `one change in a COWD extent`(damage: Damage) throws {
        var model = GrainModel(size: 300 * 512, grainSize: 512, seed: 71, of: [.absent, .data])
        model.grains[0] = .data
        try expect(damage, COWDBuilder(model).build(), model, "VMFSSPARSE", "vmfsSparse")
    }

    @Test(arguments: seSparse)
    func `one change in a seSparse extent`(damage: Damage) throws {
        var model = GrainModel(size: 50 * 4096, grainSize: 4096, seed: 72)
        model.grains[0] = .data
        try expect(damage, SESparseBuilder(model).build(), model, "SESPARSE", "seSparse")
    }

    private func expect(
        _ damage: Damage, _ built: BuiltVMDK, _ model: GrainModel, _ type: String, _ createType: String
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        var image = built
        damage.change(&image)
        try oracle.folder.write(image.bytes, to: "extent.vmdk")
        let line = VMDKDescriptorText.extent(type, size: model.size, file: "extent.vmdk")
        try oracle.write(VMDKDescriptorText(createType, [line]), to: "disk.vmdk")
        try oracle.expect(damage.outcome, of: "disk.vmdk", before: model.disk())
    }
}
