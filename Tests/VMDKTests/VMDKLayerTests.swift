import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct VMDKLayerTests {
    private static let head = DescriptorTests.head

    private static func flat(_ sectors: Int, seed: Int) -> [UInt8] {
        (0..<sectors * 512).map { SparseImage.pattern(at: $0 + seed * 100_000) }
    }

    @Test func `all lines count, in their order, whatever they are`() throws {
        var sparse = SparseImage(capacity: 40)
        sparse.grains = [.absent, .data]
        let flat = Self.flat(20, seed: 1)
        let files = [
            "f.vmdk": MemoryFile(flat, path: "f.vmdk"), "s.vmdk": MemoryFile(sparse.build().bytes, path: "s.vmdk"),
        ]
        let layer = try openLayer(
            Self.head + """
                rw 4 flat "f.vmdk" 10
                RW 3 ZERO
                RDONLY 40 SPARSE "s.vmdk"
                NOACCESS 2 FLAT "secret.vmdk" 0
                RW 0 FLAT "nothing.vmdk" 0
                RW 10 VMFS "f.vmdk"
                """, files)
        let zeros = [UInt8](repeating: 0, count: 512)
        let expected =
            Array(flat[10 * 512..<14 * 512]) + zeros + zeros + zeros + sparse.disk + zeros + zeros
            + Array(flat[..<(10 * 512)])
        let image = Image(layer: layer)
        #expect(layer.virtualSize == UInt64(expected.count))
        #expect(try image.wholeDisk() == expected)
        #expect(layer.files.map(\.path) == ["memory.img", "f.vmdk", "s.vmdk"])
        #expect(layer.extents.map(\.kindName) == ["FLAT", "ZERO", "SPARSE", "FLAT", "VMFS"])
        #expect(layer.extents.map(\.path) == ["f.vmdk", nil, "s.vmdk", nil, "f.vmdk"])
        #expect(layer.extents.map(\.virtualSize) == [4, 3, 40, 2, 10].map { $0 * 512 })
        #expect(layer.extents.map(\.clusterSize) == [nil, nil, 8192, nil, nil])
        #expect(layer.clusterSize == nil)
        #expect(layer.notes == ["memory.img: extents whose access is NOACCESS are read as zeros; there are 1"])
        var random = SeededRandom(seed: 3)
        for _ in 0..<100 {
            let start = Int.random(in: 0..<expected.count, using: &random)
            let count = Int.random(in: 1...expected.count - start, using: &random)
            #expect(try image.bytes(count, at: UInt64(start)).elementsEqual(expected[start..<start + count]))
        }
    }

    @Test func `a renamed monolithicSparse image is its own extent`() throws {
        var sparse = SparseImage(capacity: 40, descriptor: Self.head + "RW 41 SPARSE \"old name.vmdk\"\n")
        sparse.grains = [.data]
        let layer = try openLayer(MemoryFile(sparse.build().bytes))
        #expect(try Image(layer: layer).wholeDisk() == sparse.disk)
        #expect(layer.description.cid == 0x1a2b_3c4d)
        #expect(layer.description.parentCID == 0xffff_ffff)
        #expect(layer.extents.map(\.kindName) == [""])
        #expect(layer.extents.map(\.path) == ["memory.img"])
        #expect(layer.files.count == 1)
        #expect(layer.clusterSize == 8192)
        #expect(
            layer.notes == ["memory.img: the descriptor says 41 sectors and the sparse header 40, which holds"])
    }

    @Test func `a sparse extent without a descriptor is a disk`() throws {
        var sparse = SparseImage(capacity: 33)
        sparse.grains = [.absent, .absent, .data]
        let layer = try openLayer(MemoryFile(sparse.build().bytes))
        #expect(try Image(layer: layer).wholeDisk() == sparse.disk)
        #expect(layer.description.createType == nil)
        #expect(layer.description.cid == nil)
        #expect(layer.notes == ["memory.img: the sparse extent has no descriptor, so it is taken for a whole disk"])
    }

    @Test func `a sparse file without capacity only carries the descriptor`() throws {
        let sparse = SparseImage(capacity: 0, descriptor: Self.head + "RW 5 FLAT \"f\" 0\n")
        let flat = Self.flat(5, seed: 2)
        let layer = try openLayer(MemoryFile(sparse.build().bytes), ["f": MemoryFile(flat, path: "f")])
        #expect(try Image(layer: layer).wholeDisk() == flat)
    }

    @Test func `a sparse file without capacity and descriptor is an empty disk, whatever else it says`() throws {
        var bytes = SparseImage(capacity: 0).build().bytes
        bytes.put(UInt64.max - 1, at: 56)
        bytes.put(UInt64.max, at: 48)
        #expect(try openLayer(MemoryFile(bytes)).virtualSize == 0)
        let layer = try openLayer(Self.head + "RW 8 SPARSE \"s\"\nRW 1 ZERO\n", ["s": MemoryFile(bytes, path: "s")])
        #expect(layer.virtualSize == 512)
    }

    @Test func `an embedded descriptor of several extents is refused`() throws {
        let sparse = SparseImage(capacity: 40, descriptor: Self.head + "RW 40 SPARSE \"a\"\nRW 8 FLAT \"b\" 0\n")
        let error = imageError { () throws(ImageError) in _ = try openLayer(MemoryFile(sparse.build().bytes)) }
        #expect(error?.code == .unsupported)
        #expect(error?.offset == HostOffset(512))
    }

    @Test func `the sparse header's capacity holds where the line says otherwise`() throws {
        var sparse = SparseImage(capacity: 40)
        sparse.grains = [.data]
        let layer = try openLayer(
            Self.head + "RW 50 SPARSE \"s\"\nRW 1 ZERO\n", ["s": MemoryFile(sparse.build().bytes, path: "s")])
        #expect(layer.virtualSize == 41 * 512)
        #expect(layer.notes == ["s: the descriptor says 50 sectors and the sparse header 40, which holds"])
    }

    @Test func `a flat file that ends early is truncated from there on`() throws {
        let flat = Array(Self.flat(8, seed: 3)[..<1500])
        let layer = try openLayer(Self.head + "RW 8 FLAT \"f\" 0\n", ["f": MemoryFile(flat, path: "f")])
        let image = Image(layer: layer)
        // The third sector is cut short.
        #expect(try image.bytes(1536, at: 0) == flat + [UInt8](repeating: 0, count: 36))
        let error = imageError { () throws(ImageError) in _ = try image.bytes(1, at: 1536) }
        #expect(
            error
                == ImageError(
                    .truncated, path: "f", offset: HostOffset(1536),
                    "FLAT extent: reaches to 0x1000, which must lie in the file, but that ends at 0x5dc"))
        #expect(layer.notes == ["f: has 1500 bytes, but the extent needs 4096; the rest is lost"])
    }

    @Test(arguments: [
        ("SPARSE", "magic: is no sparse extent's, which must be \"KDMV\""),
        ("VMFSSPARSE", "magic: is no VMFSSPARSE extent's, which must be \"COWD\""),
        ("SESPARSE", "magic: is no SESPARSE extent's, which must be 0x00000000cafebabe"),
    ])
    func `an extent in grains whose file has no magic is corrupt`(kind: String, message: String) throws {
        let bytes = Array("QFI!".utf8) + [UInt8](repeating: 0, count: 2044)
        let error = imageError { () throws(ImageError) in
            _ = try openLayer(Self.head + "RW 5 \(kind) \"s\"", ["s": MemoryFile(bytes, path: "s")])
        }
        #expect(error == ImageError(.corrupt, path: "s", offset: HostOffset(0), "\(message)"))
    }

    @Test(arguments: ["SPARSE", "VMFSSPARSE", "SESPARSE"], ["SPARSE", "VMFSSPARSE", "SESPARSE"])
    func `an extent in grains is what its magic says, whatever its line says`(line: String, kind: String) throws {
        let (bytes, disk): ([UInt8], [UInt8])
        switch kind {
        case "SPARSE":
            let image = SparseImage(capacity: 40, grains: [.absent, .data])
            (bytes, disk) = (image.build().bytes, image.disk)
        case "VMFSSPARSE":
            let image = COWDImage(capacity: 40, order: [3, 17, 18])
            (bytes, disk) = (image.build().bytes, image.disk)
        default:
            let image = SESparseImage(capacity: 40, grains: [.data, .absent, .data])
            (bytes, disk) = (image.build().bytes, image.disk)
        }
        let layer = try openLayer(Self.head + "RW 40 \(line) \"s\"", ["s": MemoryFile(bytes, path: "s")])
        #expect(try Image(layer: layer).wholeDisk() == disk)
        #expect(layer.extents.map(\.kindName) == [line])
        let note: ErrorText = "s: the descriptor says \(line), but the file is a \(kind) extent, and is read as that"
        #expect(layer.notes == (line == kind ? [] : [note]))
    }

    @Test func `facts of refused images are shown`() throws {
        let stream = SparseImage(
            capacity: 40, version: 3, flags: 0x1_0001, descriptor: Self.head + "RW 40 SPARSE \"s\"\n")
        let description = try VMDKDescription.describe(MemoryFile(stream.build().bytes))
        #expect(description.refusal?.code == .unsupported)
        #expect(description.createType == "vmfs")
        #expect(description.sparseHeader?.isCompressed == true)
        #expect(description.virtualSize == 40 * 512)
        let future = SparseImage(capacity: 40, version: 4)
        #expect(try VMDKDescription.describe(MemoryFile(future.build().bytes)).refusal?.offset == HostOffset(4))
        var cowd = COWDImage(capacity: 40).build().bytes
        cowd.put(UInt32(2), at: 4)
        let refused = try VMDKDescription.describe(MemoryFile(cowd))
        #expect(refused.refusal?.message == "version: is 2, which is not supported; 1 is")
        #expect(refused.virtualSize == 40 * 512)
        #expect(refused.notes == [])
    }

    @Test func `two names of one file are one file`() throws {
        let identity = FileIdentity(device: 1, inode: 2)
        let bytes = Self.flat(4, seed: 4)
        let files = [
            "a": MemoryFile(bytes, path: "a", identity: identity),
            "b": MemoryFile(bytes, path: "b", identity: identity),
        ]
        let layer = try openLayer(Self.head + "RW 2 FLAT \"a\" 0\nRW 2 FLAT \"b\" 2\nRW 1 FLAT \"a\" 0", files)
        #expect(layer.files.map(\.path) == ["memory.img", "a"])
        #expect(try Image(layer: layer).wholeDisk() == bytes + Array(bytes[..<512]))
    }

    @Test func `a file that the policy refuses makes the open fail`() throws {
        let error = imageError { () throws(ImageError) in _ = try openLayer(Self.head + "RW 5 FLAT \"../f\" 0") }
        #expect(error?.code == .denied)
    }
}
