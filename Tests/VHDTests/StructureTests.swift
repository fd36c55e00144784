import BlockImage
import FormatCore
import TestImages
import Testing

@testable import VHD

struct `The structures of a VHD` {
    @Test func `are the same when they are written and read again`() throws {
        var footer = Footer(
            .dynamic, size: 1 << 30, geometry: Geometry(sectors: 1 << 21), creator: "win ",
            identity: ImageIdentity(Array(1...16)))
        footer.timeStamp = 77
        footer.savedState = 1
        footer.hidden = 1
        let bytes = footer.encoded
        var read = try Footer(parsing: bytes)
        #expect(checkSum(of: bytes, at: Footer.checkSumOffset) == read.checkSum && bytes.count == Footer.size)
        read.checkSum = 0
        #expect(read == footer)
        var header = DynamicHeader(tableOffset: 1536, entryCount: 512, blockSize: 2 << 20)
        header.parentIdentity = ImageIdentity(Array(17...32))
        header.parentTimeStamp = 5
        header.locators = (0..<8).map {
            ParentLocator(code: Array("W2ru".utf8), space: $0, length: $0 + 1, offset: UInt64($0) << 40)
        }
        let encoded = header.encoded
        var parsed = try DynamicHeader(parsing: encoded)
        #expect(
            checkSum(of: encoded, at: DynamicHeader.checkSumOffset) == parsed.checkSum
                && encoded.count == DynamicHeader.size)
        parsed.checkSum = 0
        #expect(parsed == header)
    }

    @Test(
        arguments: [
            // What the specification's own algorithm makes of these numbers of sectors.
            (0, 0, 4, 17), (68, 1, 4, 17), (20480, 301, 4, 17), (69632, 140, 16, 31), (278528, 561, 16, 31),
            (507904, 503, 16, 63), (2 << 20, 2080, 16, 63), (65535 * 16 * 63, 16191, 16, 255),
            (1 << 40, 65535, 16, 255),
        ] as [(UInt64, UInt16, UInt8, UInt8)])
    func `have the geometry that the specification computes`(
        sectors: UInt64, cylinders: UInt16, heads: UInt8, perTrack: UInt8
    ) {
        #expect(Geometry(sectors: sectors) == Geometry(cylinders: cylinders, heads: heads, sectors: perTrack))
    }

    @Test(
        arguments: [(512, 512), (4096, 512), (2 << 20, 512), (4 << 20, 1024), (1 << 31, 524_288)] as [(UInt32, UInt64)])
    func `have a bitmap of a bit for each sector, in whole sectors`(blockSize: UInt32, bitmapSize: UInt64) {
        #expect(DynamicHeader(tableOffset: 0, entryCount: 0, blockSize: blockSize).bitmapSize == bitmapSize)
    }

    @Test func `tell a VHD by its first bytes and by its last ones`() {
        let dynamic = VHDBuilder.small.build().bytes
        var builder = VHDBuilder(size: 4096)
        builder.kind = 2
        let fixed = builder.build().bytes
        builder.footerSize = 511
        let old = builder.build().bytes
        let driver = VHDDriver()
        #expect(driver.recognizes(firstBytes: dynamic) && !driver.recognizes(firstBytes: fixed))
        #expect(driver.recognizes(lastBytes: Array(fixed.suffix(512))))
        #expect(driver.recognizes(lastBytes: Array(old.suffix(512))))
        #expect(!driver.recognizes(lastBytes: Array(fixed.prefix(512))) && !driver.recognizes(lastBytes: []))
        #expect(!driver.recognizes(firstBytes: Array("conectix".utf8) + [UInt8](repeating: 7, count: 504)))
    }

    @Test func `name the parent by locators, relative names first`() throws {
        var builder = VHDBuilder.small
        builder.kind = 4
        builder.parent = (Array(17...32), 0, "C:\\vm\\b\u{e4}se.vhd")
        builder.locators = [
            ("W2ku", "C:\\vm\\b\u{e4}se.vhd".utf16LittleBytes), ("MacX", Array("file://./b%C3%A4se.vhd".utf8)),
            ("W2ru", ".\\b\u{e4}se.vhd".utf16LittleBytes), ("Wi2r", [1, 2, 3]),
        ]
        let image = try describeVHD(builder.build().bytes)
        #expect(image.description.parentNames == [".\\b\u{e4}se.vhd", "./b\u{e4}se.vhd", "C:\\vm\\b\u{e4}se.vhd"])
        let backing = try #require(image.backing)
        #expect(backing.identity == ImageIdentity(Array(17...32)) && backing.usualFormat == "vpc")
        #expect(
            backing.sought.candidates.map { nameText($0.name) } == ["b\u{e4}se.vhd", "../vm/b\u{e4}se.vhd"])
    }

    @Test func `over a raw disk of XenServer have no identity of it`() throws {
        var builder = VHDBuilder.small
        builder.kind = 4
        builder.creator = "tap\0"
        builder.parent = ([UInt8](repeating: 0, count: 16), 9, "")
        #expect(imageError { _ = try describeVHD(builder.build().bytes) }?.code == .corrupt)
        builder.locators = [("MacX", Array("file:///sr/base.raw".utf8))]
        let backing = try #require(try describeVHD(builder.build().bytes).backing)
        #expect(backing.identity == nil && backing.usualFormat == "raw" && nameText(backing.bytes) == "/sr/base.raw")
    }
}
