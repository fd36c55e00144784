import BlockImage
import TestImages
import Testing

@testable import QCOW2

/// A good image with one field overwritten, and the error that says so.
struct Poke: Sendable, CustomTestStringConvertible {
    var offset: UInt64
    var bytes: [UInt8]
    var error: ImageError

    var testDescription: String { error.message }

    init(
        _ value: some FixedWidthInteger, at offset: UInt64, _ code: ImageError.Code, said at: UInt64? = nil,
        _ message: String, hint: String? = nil
    ) {
        self.offset = offset
        bytes = withUnsafeBytes(of: value.bigEndian) { Array($0) }
        error = ImageError(code, path: "memory.img", offset: HostOffset(at ?? offset), "\(message)", hint: hint)
    }
}

struct `A damaged image` {
    /// 1 MiB and a sector, of 64 KiB clusters: L1 at 0x30000; nothing is shuffled, so that the L2 table lies at 0x40000
    /// and the data of clusters 1 and 2 behind it.
    static let good: BuiltQCOW2 = {
        var builder = QCOW2Builder(size: 1 << 20 | 512, clusters: [.unallocated, .data, .data, .compressed, .zero])
        builder.isShuffled = false
        return builder.build(seed: 11)
    }()

    static let header: [Poke] = [
        Poke(
            UInt8(0x52), at: 0, .corrupt, "header: no QCOW2 image: it does not begin with the magic 'QFI\\xfb'"),
        Poke(UInt32(1), at: 4, .unsupported, "header: QCOW version 1 is not supported, only 2 and 3 are"),
        Poke(UInt32.max, at: 4, .unsupported, "header: QCOW version 4294967295 is not supported, only 2 and 3 are"),
        Poke(UInt64(65537), at: 8, .corrupt, "header: backing_file_offset is 0x10001, outside the first cluster"),
        Poke(
            UInt64.max, at: 8, .corrupt, "header: backing_file_offset is 0xffffffffffffffff, outside the first cluster"),
        Poke(
            UInt128(512) << 64 | 1024 << 32 | 16, at: 8, .corrupt, said: 16,
            "header: backing_file_size is 1024, more than fits into the first cluster or 1023 bytes"),
        Poke(
            UInt128(65535) << 64 | 2 << 32 | 16, at: 8, .corrupt, said: 16,
            "header: backing_file_size is 2, more than fits into the first cluster or 1023 bytes"),
        Poke(UInt32(8), at: 20, .corrupt, "header: cluster_bits is 8, but must be 9 to 21"),
        Poke(UInt32(22), at: 20, .corrupt, "header: cluster_bits is 22, but must be 9 to 21"),
        Poke(UInt32.max, at: 20, .corrupt, "header: cluster_bits is 4294967295, but must be 9 to 21"),
        Poke(
            UInt64(1) << 63, at: 24, .corrupt, "header: size is 9223372036854775808 bytes, more than any file has"),
        Poke(
            UInt64(1) << 40, at: 24, .corrupt, said: 36,
            "header: l1_size is 1, but a disk of 1099511627776 bytes needs 2048 entries"),
        Poke(UInt32(0), at: 36, .corrupt, "header: l1_size is 0, but a disk of 1049088 bytes needs 1 entries"),
        Poke(UInt32.max, at: 36, .corrupt, "header: l1_size is 4294967295, but at most 4194304 is allowed"),
        Poke(
            UInt64(0x30200), at: 40, .corrupt,
            "header: l1_table_offset is 0x30200, but must be a multiple of the cluster size (65536) below 2^56"),
        Poke(
            UInt64(1) << 56, at: 40, .corrupt,
            "header: l1_table_offset is 0x100000000000000, but must be a multiple of the cluster size (65536) below 2^56"
        ),
        Poke(
            UInt64(0x10001), at: 48, .corrupt,
            "header: refcount_table_offset is 0x10001, but must be a multiple of the cluster size (65536) below 2^56"),
        Poke(
            UInt32(0), at: 56, .corrupt, "header: refcount_table_clusters is 0, but there must be a refcount table"),
        Poke(UInt32(129), at: 56, .corrupt, "header: refcount_table_clusters is 129, more than 8388608 bytes"),
        Poke(UInt32(65537), at: 60, .corrupt, "header: nb_snapshots is 65537, but at most 65536 are allowed"),
        Poke(
            UInt128(1) << 96 | 512 << 32, at: 60, .corrupt, said: 64,
            "header: snapshots_offset is 0x200, but must be a multiple of the cluster size (65536) below 2^56"),
        Poke(
            UInt64(8), at: 72, .corrupt, said: 104,
            "header: compression_type is 0, which contradicts the incompatible feature bit for it"),
        Poke(UInt32(7), at: 96, .corrupt, "header: refcount_order is 7, but must be 0 to 6"),
        Poke(
            UInt32(96), at: 100, .corrupt,
            "header: header_length is 96, but must be a multiple of 8 from 104 to the cluster size"),
        Poke(
            UInt32(65544), at: 100, .corrupt,
            "header: header_length is 65544, but must be a multiple of 8 from 104 to the cluster size"),
        Poke(
            UInt8(1), at: 104, .corrupt,
            "header: compression_type is 1, which contradicts the incompatible feature bit for it"),
    ]

    static let tables: [Poke] = [
        Poke(
            UInt64(0x41200), at: 0x30000, .corrupt,
            "active L1 table: entry 0 points to an L2 table at 0x41200, "
                + "which is not aligned to the cluster size (65536)"),
        Poke(
            UInt64(0x40_0000_0000), at: 0x30000, .truncated, said: 0x40_0000_0000,
            "L2 table: entry 0 lies past the end of the file at 0x\(String(good.bytes.count, radix: 16))"),
        Poke(
            UInt64(0x50200), at: 0x40008, .corrupt,
            "L2 table: the entry here points to 0x50200, which is not aligned to the cluster size (65536)"),
        Poke(
            UInt64(0xff_ffff_ffff_0000), at: 0x40008, .truncated, said: 0xff_ffff_ffff_0000,
            "the cluster of guest offset 0x10000 lies past the end of the file at "
                + "0x\(String(good.bytes.count, radix: 16))"),
        Poke(
            UInt64(0x7fff_ffff_ffff_ffff), at: 0x40018, .truncated, said: 0x3f_ffff_ffff_ffff,
            "a compressed cluster lies past the end of the file at 0x\(String(good.bytes.count, radix: 16))"),
        Poke(
            UInt64(1) << 62 | 0x50000, at: 0x40018, .corrupt, said: 0x50000,
            "compressed cluster: the deflate stream is damaged or gives fewer than 65536 bytes"),
    ]

    @Test(arguments: header + tables)
    func `is an error of its own, at the byte that is wrong`(poke: Poke) {
        var image = Self.good
        #expect(failure(of: image.bytes) == nil)
        image.replace(poke.bytes, at: Int(poke.offset))
        #expect(failure(of: image.bytes) == poke.error)
    }

    @Test func `whose L1 table lies past the end of the file cannot be opened`() throws {
        var image = Self.good
        image.poke(UInt64(1) << 40, at: 40)
        let file = MemoryFile(image.bytes)
        let description = try QCOW2Description(file)
        let error = #expect(throws: ImageError.self) {
            _ = try QCOW2Layer(description, file: file, resources: LayerResources())
        }
        #expect(error?.code == .truncated && error?.offset == HostOffset(1 << 40))
        #expect(error?.message.hasPrefix("the active L1 table lies past the end of the file") == true)
    }

    @Test func `that was cut inside its last cluster is read up to its end`() throws {
        var image = Self.good
        image.bytes.removeSubrange(0x60000...)
        let whole = image.bytes
        for refcount in [UInt16(0), 1] {
            // After the last cluster that is left there was another, by its refcount; else the rest was never written.
            image.bytes = Array(whole.dropLast(1024))
            image.poke(refcount, at: 0x20000 + 6 * 2)
            let file = MemoryFile(image.bytes)
            let layer = try QCOW2Layer(try QCOW2Description(file), file: file, resources: LayerResources())
            let disk = Image(layer: layer)
            #expect(try areSame(disk.bytes(0xfc00, at: 0x10000), image.disk[0x10000..<0x1fc00]))
            let result = try layer.source.header.isCut(file, hasRefcounts: true)
            let findings = try QCOW2Description(file).check(file).findings.filter { $0.message.contains("is cut by") }
            if refcount == 0 {
                #expect(try disk.bytes(1024, at: 0x1fc00).allSatisfy { $0 == 0 })
                #expect(layer.notes == [] && !result && findings == [])
            } else {
                let error = #expect(throws: ImageError.self) { _ = try disk.bytes(1024, at: 0x1fc00) }
                #expect(error?.code == .truncated && error?.offset == HostOffset(0x5fc00))
                #expect(layer.notes.first?.hasSuffix("the file was cut") == true && result)
                #expect(findings.map(\.guestOffset) == [GuestOffset(0x10000)])
            }
        }
    }

    @Test func `can be read where the damage is not`() throws {
        var image = Self.good
        image.poke(UInt64(0x50200), at: image.entryOffset(of: 2))
        let disk = try openQCOW2(MemoryFile(image.bytes))
        #expect(try areSame(disk.bytes(0x20000, at: 0), image.disk.prefix(0x20000)))
        #expect(throws: ImageError.self) { _ = try disk.bytes(1, at: 0x20000) }
        #expect(try areSame(disk.bytes(0x10000, at: 0x30000), image.disk[0x30000..<0x40000]))
        let (sum, error) = disk.allocation()
        #expect(error?.offset == HostOffset(image.entryOffset(of: 2)))
        #expect(sum.data == 0x10000 && sum.unallocated == 0x10000)
    }

    @Test func `of version 2 with the zero flag is an error`() {
        var builder = QCOW2Builder(size: 1 << 20, clusters: [.data])
        builder.version = 2
        var image = builder.build()
        image.poke(UInt64(1), at: image.entryOffset(of: 0))
        let error = failure(of: image.bytes)
        #expect(error?.code == .corrupt)
        #expect(error?.message == "L2 table: the entry here has the zero flag, which version 2 does not have")
    }
}

struct `An image that needs what is not there yet` {
    static let feature: [UInt8] = [0, 40] + Array("time travel".utf8) + Array(repeating: 0, count: 35)

    @Test(arguments: [
        Poke(
            UInt64(4), at: 72, .unsupported,
            "incompatible_features: uses an external data file, but no header extension gives its name"),
        Poke(
            UInt32(1), at: 32, .denied, "crypt_method: encrypted, no key",
            hint: "--secret gives the passphrase of AES"),
        Poke(
            UInt32(2), at: 32, .denied, "crypt_method: encrypted, no key",
            hint: "--secret gives the passphrase of LUKS"),
        Poke(UInt32(9), at: 32, .unsupported, "crypt_method: encrypted with unknown method 9"),
        Poke(
            UInt64(1) << 40 | 1 << 63 | 1, at: 72, .unsupported,
            "incompatible_features: needs features that are not supported: time travel (bit 40), unknown (bit 63)"),
    ])
    func `is refused by name, and described all the same`(poke: Poke) throws {
        var builder = QCOW2Builder(size: 1 << 20, clusters: [.data])
        builder.extensions = [(0x6803_f857, Self.feature)]
        var image = builder.build()
        image.replace(poke.bytes, at: Int(poke.offset))
        let description = try QCOW2Description(MemoryFile(image.bytes))
        #expect(description.header.virtualSize == 1 << 20)
        #expect(failure(of: image.bytes) == poke.error)
    }

    @Test func `names its external data file`() {
        var builder = QCOW2Builder(size: 1 << 20)
        builder.incompatibleFeatures = 4
        builder.extensions = [(0x4441_5441, Array("disk.raw".utf8))]
        #expect(
            failure(of: builder.build().bytes)?.message
                == "data file \"disk.raw\": it holds the clusters, but was not opened")
    }

    @Test func `is refused for a compression type that is unknown`() {
        var image = QCOW2Builder(size: 1 << 20).build()
        image.poke(UInt64(8), at: 72)
        image.poke(UInt8(2), at: 104)
        let error = ImageError(
            .unsupported, path: "memory.img", offset: HostOffset(104),
            "compression_type: type 2 is unknown; 0 is deflate, 1 is zstd")
        #expect(failure(of: image.bytes) == error)
    }
}
