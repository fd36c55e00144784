import BlockImage
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

@testable import KernelMap

struct `A map says for each chunk of a disk where the kernel finds it` {
    /// A layer that stores what it is given.
    final class Layer: ImageLayer {
        let virtualSize: UInt64
        let extents: [Extent]

        init(_ storages: [(count: UInt64, storage: Extent.Storage)]) {
            var start: UInt64 = 0
            var extents: [Extent] = []
            for (count, storage) in storages {
                extents.append(Extent(start: GuestOffset(start), count: count, storage: storage))
                start += count
            }
            self.extents = extents
            virtualSize = start
        }

        func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
            guard let extent = extents.last(where: { $0.start <= start }) else {
                throw ImageError(.outOfRange, about: .disk, "nothing there")
            }
            let skipped = start.rawValue - extent.start.rawValue
            var part = extent
            part.start = start
            part.count = min(limit, extent.count - skipped)
            if case .data(let file, let offset) = extent.storage {
                part.storage = .data(file: file, offset: offset.advanced(by: skipped))
            }
            return part
        }
    }

    /// A file of this host of `size` bytes.
    static func file(_ name: String, size: Int, in folder: TemporaryFolder) throws -> any HostFile {
        let path = try folder.write([UInt8](repeating: 7, count: size), to: name)
        return try ConfinedOpenPolicy(images: FilePath(folder.path)).openImage(at: FilePath(path))
    }

    static func map(_ storages: [(UInt64, Extent.Storage)]) throws -> ExtentMap {
        try ExtentMap(of: Image(layer: Layer(storages)))
    }

    /// The entries as words: `-` zeros, `F` the fallback, else the device and the block; the fallback's blocks must be
    /// those of the disk.
    static func words(_ map: ExtentMap) -> [String] {
        map.index.enumerated().map { chunk, entry in
            let (device, block) = (Int(entry >> 16 & 0xffff), entry >> 32)
            #expect(entry & 0xffff == 0)
            if device == 0 { return block == 0xffff_ffff ? "-" : "?" }
            guard device == map.files.count + 1 else { return "\(device):\(block)" }
            return block << UInt64(map.blockBits) == UInt64(chunk) << UInt64(map.chunkBits) ? "F" : "F?"
        }
    }

    @Test func `data of files, zeros and what only the server can read`() throws {
        let folder = try TemporaryFolder()
        let one = try Self.file("one", size: 1 << 20, in: folder)
        let two = try Self.file("two", size: 1 << 20, in: folder)
        let memory = MemoryFile([UInt8](repeating: 1, count: 65536))
        let map = try Self.map([
            (65536, .data(file: one, offset: HostOffset(0x1000))), (65536, .zero(explicit: true)),
            (65536, .data(file: two, offset: HostOffset(0x3000))),
            (65536, .encoded(.compressed, file: one, offset: HostOffset(0), count: 9)), (65536, .unallocated),
            (65536, .data(file: memory, offset: HostOffset(0))),
            (65536, .data(file: one, offset: HostOffset(0x2000))),
        ])
        #expect(Self.words(map) == ["1:1", "-", "2:3", "F", "-", "F", "1:2"])
        #expect(map.blockBits == 12 && map.chunkBits == 16)
        #expect(map.directSize == 3 << 16 && map.zeroSize == 2 << 16 && map.fallbackSize == 2 << 16)
        #expect(map.files.map(\.path) == [one.path, two.path])
    }

    @Test func `neighbours in a file are one chunk, and a part of a file is where it lies in the whole`() throws {
        let folder = try TemporaryFolder()
        let file = try Self.file("file", size: 1 << 20, in: folder)
        let slice = try FileSlice(of: file, offset: HostOffset(0x8000), size: 1 << 18, path: "slice")
        let map = try Self.map([
            (65536, .data(file: file, offset: HostOffset(0x8000))),
            (65536, .data(file: slice, offset: HostOffset(0x10000))),
            (131072, .zero(explicit: true)),
        ])
        #expect(Self.words(map) == ["1:8", "-"])
        #expect(map.chunkBits == 17 && map.files.count == 1)
    }

    @Test func `blocks are as small as the alignment of nearly all data needs`() throws {
        let folder = try TemporaryFolder()
        let file = try Self.file("file", size: 1 << 20, in: folder)
        let small = try Self.map([
            (65536, .data(file: file, offset: HostOffset(512))),
            (65536, .data(file: file, offset: HostOffset(0x30000))),
        ])
        #expect(Self.words(small) == ["1:1", "1:384"] && small.blockBits == 9 && small.chunkBits == 16)
        // One cluster of 100 is less than one part of 64.
        let few: [(UInt64, Extent.Storage)] = (0..<100).map { index in
            (4096, .data(file: file, offset: HostOffset(UInt64(index) * 8192 + (index == 50 ? 1024 : 0))))
        }
        let most = try Self.map(few)
        #expect(most.blockBits == 12 && Self.words(most)[50] == "F" && Self.words(most)[51] == "1:102")
        // Data at an odd offset is in no block.
        let odd = try Self.map([
            (65536, .data(file: file, offset: HostOffset(100))), (65536, .data(file: file, offset: HostOffset(0))),
        ])
        #expect(Self.words(odd) == ["F", "1:0"])
    }

    @Test func `a block that the file ends in is got from the fallback, at the end of the disk as well`() throws {
        let folder = try TemporaryFolder()
        let file = try Self.file("file", size: 0x2_8200, in: folder)
        let cut = try Self.map([
            (65536, .data(file: file, offset: HostOffset(0x1_0000))),
            (65536, .data(file: file, offset: HostOffset(0x2_0000))),
            (65536, .data(file: file, offset: HostOffset(0x9_0000))),
        ])
        // 0x8000 bytes are there as whole pages, and 512 more, which are not.
        #expect(cut.chunkBits == 15 && Self.words(cut) == ["1:16", "1:24", "1:32", "F", "F", "F"])
        #expect(cut.directSize + cut.zeroSize + cut.fallbackSize == cut.size)
        let end = try Self.map([(0x8200, .data(file: file, offset: HostOffset(0x2_0000)))])
        #expect(end.chunkBits == 15 && Self.words(end) == ["1:32", "F"])
        let inside = try Self.map([(0x8200, .data(file: file, offset: HostOffset(0)))])
        #expect(Self.words(inside) == ["1:0"] && inside.fallbackSize == 0)
    }

    @Test func `a map of nothing is refused, and so is one of too many runs or too many blocks`() throws {
        let folder = try TemporaryFolder()
        let file = try Self.file("file", size: 1 << 20, in: folder)
        let memory = MemoryFile([UInt8](repeating: 1, count: 65536))
        let refusals: [([(UInt64, Extent.Storage)], String)] = [
            ([], "has no bytes"), ([(1 << 20, .unallocated)], "nothing but zeros"),
            ([(65536, .data(file: memory, offset: HostOffset(0)))], "no chunk of 4096 bytes"),
            ([(4096, .data(file: file, offset: HostOffset(0))), (1 << 45, .unallocated)], "4294967295 blocks of 4096"),
        ]
        for (storages, words) in refusals {
            let error = #expect(throws: ImageError.self) { try Self.map(storages) }
            #expect(error?.code == .unsupported && error?.message.contains(words) == true, "\(words)")
        }
    }

    @Test func `there are never more chunks than the limit, whatever the runs are like`() throws {
        let folder = try TemporaryFolder()
        let file = try Self.file("file", size: 1 << 20, in: folder)
        // Chunks of 512 KiB, since there may be 2^21: one of them is whole.
        let map = try Self.map([
            (4096, .data(file: file, offset: HostOffset(0))), (65536 - 4096, .unallocated),
            (1 << 20, .data(file: file, offset: HostOffset(0))), ((1 << 40) - (1 << 21), .unallocated),
        ])
        #expect(map.index.count <= Int(ExtentMap.chunkLimit) && map.chunkBits == 19)
        #expect(Self.words(map).prefix(4) == ["F", "1:112", "F", "-"] && map.directSize == 1 << 19)
        #expect(map.directSize + map.zeroSize + map.fallbackSize == map.size)
    }
}
