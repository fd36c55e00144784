import BlockImage
import TestImages
import Testing

/// The `count` bytes of `file` at `offset`, read as images are.
private func read(_ count: Int, at offset: UInt64, of file: any HostFile) throws(ImageError) -> [UInt8] {
    let buffer = AlignedBuffer(capacity: count)
    try buffer.fill(count) { output throws(ImageError) in try file.read(count, at: HostOffset(offset), into: &output) }
    return buffer.array
}

/// A file that changed, or is about to.
private final class DatedFile: HostFile {
    let id = HostFileID()
    let path = "dated"
    let size: UInt64 = 4
    let allocatedSize: UInt64 = 4
    let identity: FileIdentity? = FileIdentity(device: 1, inode: 2)
    let modified: FileTime
    let isCurrent: Bool
    let descriptor: CInt? = 3

    init(_ modified: FileTime, isCurrent: Bool) {
        self.modified = modified
        self.isCurrent = isCurrent
    }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        throw ImageError(.system(errno: 5), path: path, offset: offset, "read: Input/output error")
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}

struct `A part of a file` {
    private let bytes = (0..<100).map { UInt8($0) }

    @Test func `has the bytes of the part, and no others`() throws {
        let file = MemoryFile(bytes, path: "whole")
        let slice = try FileSlice(of: file, offset: HostOffset(10), size: 20, path: "whole/part")
        #expect(slice.size == 20)
        #expect(slice.path == "whole/part")
        #expect(try read(20, at: 0, of: slice) == Array(10..<30))
        #expect(try read(1, at: 19, of: slice) == [29])
        #expect(try read(0, at: 20, of: slice) == [])
        #expect(try slice.bytes(3, at: HostOffset(4), of: "x") == [14, 15, 16])
        #expect(slice.id != file.id)
    }

    @Test(arguments: [(21, 0), (1, 20), (2, 19), (1, .max), (.max, 1)] as [(Int, UInt64)])
    func `is not read beyond its end`(count: Int, offset: UInt64) throws {
        let slice = try FileSlice(of: MemoryFile(bytes), offset: HostOffset(10), size: 20, path: "whole/part")
        let buffer = AlignedBuffer(capacity: 64)
        #expect(
            throws: ImageError(
                .truncated, path: "whole/part", offset: HostOffset(offset),
                "\(count) bytes are wanted here, but the file ends at 0x14")
        ) {
            try buffer.fill(64) { output throws(ImageError) in
                try slice.read(count, at: HostOffset(offset), into: &output)
            }
        }
        #expect(buffer.count == 0)
    }

    @Test(arguments: [(0, 101), (100, 1), (101, 0), (.max, 1), (1, .max), (.max, .max)] as [(UInt64, UInt64)])
    func `lies in its file`(offset: UInt64, size: UInt64) {
        #expect(
            throws: ImageError(
                .truncated, path: "part",
                "takes \(size) bytes from \(HostOffset(offset)) of memory.img, which ends at 0x64")
        ) { _ = try FileSlice(of: MemoryFile(bytes), offset: HostOffset(offset), size: size, path: "part") }
    }

    @Test func `may be empty, at the very end too`() throws {
        let slice = try FileSlice(of: MemoryFile(bytes), offset: HostOffset(100), size: 0, path: "part")
        #expect(try read(0, at: 0, of: slice) == [])
        #expect(slice.allocatedSize == 0)
        #expect(slice.run(at: HostOffset(0), limit: 5) == (true, 5))
    }

    @Test func `has the holes of its file, up to its own end`() throws {
        let file = MemoryFile(bytes, holes: [0..<15, 20..<40, 90..<100])
        let slice = try FileSlice(of: file, offset: HostOffset(10), size: 20, path: "part")
        #expect(slice.run(at: HostOffset(0), limit: 100) == (true, 5))
        #expect(slice.run(at: HostOffset(5), limit: 100) == (false, 5))
        #expect(slice.run(at: HostOffset(5), limit: 2) == (false, 2))
        #expect(slice.run(at: HostOffset(10), limit: .max) == (true, 10))
        #expect(slice.run(at: HostOffset(20), limit: 7) == (true, 7))
        #expect(slice.run(at: HostOffset(.max), limit: .max) == (true, .max))
        #expect(slice.allocatedSize == 5)
        let solid = try FileSlice(of: MemoryFile(bytes), offset: HostOffset(10), size: 20, path: "part")
        #expect(solid.allocatedSize == 20)
        #expect(solid.run(at: HostOffset(19), limit: 100) == (false, 1))
    }

    @Test func `counts as data what comes after many holes`() throws {
        let starts: [UInt64] = (0..<1000).map { $0 * 2 }
        let holes: [Range<UInt64>] = starts.map { start in start..<start + 1 }
        let file = MemoryFile(Array(repeating: 1, count: 2000), holes: holes)
        let slice = try FileSlice(of: file, offset: HostOffset(0), size: 2000, path: "part")
        // 256 runs, half of them holes.
        #expect(slice.allocatedSize == 2000 - 128)
    }

    @Test func `is as old and as current as its file, and has no descriptor and no identity`() throws {
        let time = FileTime(seconds: 7, nanoseconds: 8)
        for isCurrent in [true, false] {
            let file = DatedFile(time, isCurrent: isCurrent)
            let slice = try FileSlice(of: file, offset: HostOffset(1), size: 2, path: "part")
            #expect(slice.modified == time)
            #expect(slice.isCurrent == isCurrent)
            #expect(slice.identity == nil)
            #expect(slice.descriptor == nil)
            // An error of the file is about the file.
            #expect(
                throws: ImageError(
                    .system(errno: 5), path: "dated", offset: HostOffset(2), "read: Input/output error")
            ) { _ = try read(1, at: 1, of: slice) }
        }
    }
}

struct `Joined files` {
    private func joined(_ sizes: [Int]) throws -> (JoinedFile, [UInt8]) {
        let bytes = (0..<sizes.reduce(0, +)).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var start = 0
        let files = sizes.map { size in
            defer { start += size }
            return MemoryFile(Array(bytes[start..<start + size]), path: "part at \(start)")
        }
        return (try JoinedFile(files, path: "whole"), bytes)
    }

    @Test(arguments: [[10], [10, 10], [1, 1, 1], [0, 5, 0, 0, 7, 0], [3, 100, 2, 50], []])
    func `have the bytes of their parts, wherever they are read`(sizes: [Int]) throws {
        let (file, bytes) = try joined(sizes)
        #expect(file.size == UInt64(bytes.count))
        #expect(file.allocatedSize == UInt64(bytes.count))
        for start in 0...bytes.count {
            for end in start...bytes.count {
                #expect(try read(end - start, at: UInt64(start), of: file) == Array(bytes[start..<end]))
            }
        }
    }

    @Test(arguments: [(16, 0), (1, 15), (2, 14), (1, .max), (.max, 1)] as [(Int, UInt64)])
    func `are not read beyond their end`(count: Int, offset: UInt64) throws {
        let file = try joined([5, 10]).0
        let buffer = AlignedBuffer(capacity: 64)
        #expect(
            throws: ImageError(
                .truncated, path: "whole", offset: HostOffset(offset),
                "\(count) bytes are wanted here, but the file ends at 0xf")
        ) {
            try buffer.fill(64) { output throws(ImageError) in
                try file.read(count, at: HostOffset(offset), into: &output)
            }
        }
        #expect(buffer.count == 0)
    }

    @Test func `keep what was read before a part fails`() throws {
        let bad = DatedFile(FileTime(seconds: 0, nanoseconds: 0), isCurrent: true)
        let file = try JoinedFile([MemoryFile([1, 2, 3]), bad], path: "whole")
        let buffer = AlignedBuffer(capacity: 8)
        #expect(
            throws: ImageError(.system(errno: 5), path: "dated", offset: HostOffset(0), "read: Input/output error")
        ) {
            try buffer.fill(8) { output throws(ImageError) in try file.read(4, at: HostOffset(1), into: &output) }
        }
        #expect(buffer.array == [2, 3])
    }

    @Test func `have the holes of their parts`() throws {
        let first = MemoryFile(Array(repeating: 1, count: 10), holes: [2..<4, 8..<10])
        let second = MemoryFile(Array(repeating: 2, count: 10), holes: [0..<3])
        let file = try JoinedFile([first, second], path: "whole")
        #expect(file.allocatedSize == 13)
        #expect(file.run(at: HostOffset(0), limit: 100) == (false, 2))
        #expect(file.run(at: HostOffset(2), limit: 100) == (true, 2))
        #expect(file.run(at: HostOffset(8), limit: 100) == (true, 2))
        #expect(file.run(at: HostOffset(10), limit: 100) == (true, 3))
        #expect(file.run(at: HostOffset(11), limit: 1) == (true, 1))
        #expect(file.run(at: HostOffset(13), limit: 100) == (false, 7))
        #expect(file.run(at: HostOffset(20), limit: 9) == (true, 9))
    }

    @Test func `are as old as the newest part, and current when all parts are`() throws {
        let old = FileTime(seconds: 5, nanoseconds: 9)
        let new = FileTime(seconds: 6, nanoseconds: 0)
        let file = try JoinedFile(
            [DatedFile(old, isCurrent: true), DatedFile(new, isCurrent: false), DatedFile(old, isCurrent: true)],
            path: "whole")
        #expect(file.modified == new)
        #expect(!file.isCurrent)
        #expect(try JoinedFile([DatedFile(old, isCurrent: true)], path: "whole").isCurrent)
        #expect(file.identity == nil)
        #expect(file.descriptor == nil)
        #expect(FileTime(seconds: 5, nanoseconds: 8) < old)
        #expect(!(old < old))
    }

    @Test func `do not have more bytes than a file can have`() throws {
        let huge = try FileSlice(of: HugeFile(), offset: HostOffset(0), size: UInt64(Int64.max), path: "huge")
        #expect(try JoinedFile([huge], path: "whole").size == UInt64(Int64.max))
        #expect(
            throws: ImageError(.corrupt, path: "whole", "its 2 parts: have 2^63 bytes or more together")
        ) { _ = try JoinedFile([huge, MemoryFile([1])], path: "whole") }
    }
}

/// A file as large as files can be.
private final class HugeFile: HostFile {
    let id = HostFileID()
    let path = "huge"
    let size = UInt64(Int64.max)
    let allocatedSize: UInt64 = 0
    let identity: FileIdentity? = nil
    let modified = FileTime(seconds: 0, nanoseconds: 0)
    let isCurrent = true
    let descriptor: CInt? = nil

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        for _ in 0..<count { output.append(0, as: UInt8.self) }
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (true, limit) }
}
