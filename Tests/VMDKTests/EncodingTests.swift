import BlockImage
import ByteFormat
import HostTools
import TestImages
import Testing

@testable import VMDK

struct `What is encoded is parsed as what it was` {
    @Test func `sparse headers`() throws {
        var random = SeededRandom(seed: 1)
        for _ in 0..<500 {
            let header = SparseHeader(
                version: random.number(), flags: random.number(), capacity: random.number(),
                grainSize: random.number(), descriptorOffset: random.number(), descriptorSize: random.number(),
                grainTableEntryCount: random.number(), redundantDirectoryOffset: random.number(),
                directoryOffset: random.number(), overhead: random.number(),
                uncleanShutdown: Bool.random(using: &random), compressAlgorithm: random.number())
            #expect(header.encoded.count == SparseHeader.size)
            #expect(try SparseHeader(parsing: header.encoded) == header)
        }
    }

    @Test(arguments: [
        StreamMarker.Kind.grain(lba: 0, size: 1), .grain(lba: 1 << 40, size: .max),
        .metadata(.endOfStream, sectors: 0), .metadata(.grainTable, sectors: 4),
        .metadata(.grainDirectory, sectors: 1 << 20), .metadata(.footer, sectors: 1), .metadata(.progress, sectors: 7),
    ])
    func `stream markers`(kind: StreamMarker.Kind) throws {
        let encoded = kind.encoded
        #expect(try StreamMarker(parsing: encoded + [UInt8](repeating: 0, count: 4)).kind == kind)
        #expect(encoded.count == (encoded.count > StreamMarker.grainHeaderSize ? 512 : StreamMarker.grainHeaderSize))
    }

    /// Names in which something looks like a part of the line.
    static let names = [
        "disk.vmdk", "größe-磁盘.vmdk", "two words", " blanks around ", "a=b", "#no comment", "RW 1 ZERO", "back\\slash",
        "per%cent", "quote'd", String(repeating: "long", count: 60),
    ]

    @Test(arguments: names)
    func `descriptors`(name: String) throws {
        for subformat in NewVMDK.Subformat.allCases {
            var disk = NewVMDK(size: (5 << 30) + 1)
            disk.subformat = subformat
            disk.adapterType = .lsilogic
            if !subformat.isFlat { disk.parent = NewVMDK.Parent(name: "../\(name)", cid: 0xabc) }
            let lines = disk.extents(ofImage: name)
            let written = NewDescriptor(disk: disk, extents: lines, cid: 0x12)
            let descriptor = Descriptor(parsing: written.bytes)
            #expect(descriptor.hasMark && descriptor.unknownLine == nil && descriptor.encodingFault == nil)
            #expect(descriptor.extentFault == nil && descriptor.unsupportedFeature == nil)
            #expect(descriptor.extents.map(\.encoded) == lines.map(\.encoded))
            #expect(descriptor.extents.map(\.name) == lines.map(\.name))
            #expect(descriptor.sectors == (10 << 20) + 1)
            #expect(descriptor.cid == 0x12)
            #expect(descriptor.parent?.text == (subformat.isFlat ? nil : "../\(name)"))
            #expect(descriptor.parentCID == (subformat.isFlat ? Descriptor.noParent : 0xabc))
            #expect(descriptor.createType == subformat.rawValue)
            #expect(descriptor.value(of: "ddb.adapterType") == "lsilogic")
        }
    }
}

extension SeededRandom {
    fileprivate mutating func number<Number: FixedWidthInteger>() -> Number { Number(truncatingIfNeeded: next()) }
}
