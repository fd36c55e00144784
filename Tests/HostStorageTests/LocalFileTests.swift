import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

struct `A local file` {
    private let folder: TemporaryFolder
    private let policy: ConfinedOpenPolicy

    init() throws {
        folder = try TemporaryFolder()
        policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
    }

    private func open(_ name: String) throws -> LocalFile {
        try policy.openImage(at: FilePath(folder.file(name)))
    }

    private func read(_ file: LocalFile, _ count: Int, at offset: UInt64) throws -> [UInt8] {
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in
            try file.read(count, at: HostOffset(offset), into: &output)
        }
        return buffer.array
    }

    @Test func `says of which of its bytes a read waits for no disk, also behind the size that it had`() throws {
        let path = folder.file("a.raw")
        // Written out, so that the page cache may lose it.
        try Shell.check("head -c 2M /dev/urandom >\"$1\"; sync \"$1\"", path)
        let file = try open("a.raw")
        try Shell.check("dd if=\"$1\" of=/dev/null iflag=nocache count=0 status=none", path)
        let descriptor = try #require(file.descriptor)
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        // What is read at random is not followed by more.
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM)
        guard !file.isCached(4096, at: HostOffset(1 << 20)) else { return }  // A file system in memory.
        _ = try read(file, 512 << 10, at: 256 << 10)
        #expect(file.isCached(512 << 10, at: HostOffset(256 << 10)))
        #expect(file.isCached(1, at: HostOffset(256 << 10)) && !file.isCached(0, at: HostOffset(256 << 10)))
        #expect(!file.isCached((512 << 10) + 4096, at: HostOffset(256 << 10)))
        #expect(!file.isCached(1 << 20, at: HostOffset(0)))
        // The pages in the middle count, and not only the ends.
        _ = try read(file, 4096, at: 0)
        #expect(!file.isCached(768 << 10, at: HostOffset(0)))
        try Shell.check("head -c 1M /dev/zero >>\"$1\"", path)
        #expect(file.isCached(1 << 20, at: HostOffset(2 << 20)) && !file.isCached(2 << 20, at: HostOffset(2 << 20)))
        #expect(!file.isCached(2, at: HostOffset(UInt64(Int64.max))) && !file.isCached(.max, at: HostOffset(1)))
    }

    @Test func `is read without a trace of when it was`() throws {
        let path = try folder.write(Array(repeating: 7, count: 8192), to: "a.raw")
        // Older than the last change: then reading is noted even where that is done as rarely as usual.
        try Shell.check("touch -a -d '2001-02-03 04:05:06 UTC' \"$1\"", path)
        _ = try read(try open("a.raw"), 8192, at: 0)
        #expect(
            try Shell.check("stat -c %X \"$1\"", path).trimmingCharacters(in: .whitespacesAndNewlines) == "981173106")
    }

    @Test func `has its size, its place and its identity`() throws {
        let path = try folder.write([1, 2, 3], to: "a.raw")
        try FileManager.default.linkItem(atPath: path, toPath: folder.file("b.raw"))
        try folder.write([1, 2, 3], to: "c.raw")
        let file = try open("a.raw")
        #expect(file.size == 3)
        #expect(file.path == path)
        #expect(file.identity != nil)
        #expect(try open("b.raw").identity == file.identity)
        #expect(try open("c.raw").identity != file.identity)
        #expect(try open("a.raw").id != file.id)
    }

    @Test(
        arguments: [(0, 10, nil), (3, 7, nil), (10, 0, nil), (0, 11, 10), (10, 1, 10), (20, 1, 20)]
            as [(
                UInt64, Int, UInt64?
            )])
    func `gives all bytes that are asked for, or says where it ends`(
        offset: UInt64, count: Int, end: UInt64?
    ) throws {
        let bytes = (0..<10).map { UInt8($0) }
        try folder.write(bytes, to: "a.raw")
        let file = try open("a.raw")
        guard let end else {
            #expect(try read(file, count, at: offset) == Array(bytes[Int(offset)..<Int(offset) + count]))
            return
        }
        let error = #expect(throws: ImageError.self) { _ = try read(file, count, at: offset) }
        #expect(error?.code == .truncated)
        #expect(error?.offset == HostOffset(end))
    }

    @Test func `keeps what was read before its end`() throws {
        try folder.write([1, 2, 3], to: "a.raw")
        let file = try open("a.raw")
        let buffer = AlignedBuffer(capacity: 8)
        #expect(throws: ImageError.self) {
            try buffer.fill(8) { output throws(ImageError) in try file.read(8, at: HostOffset(0), into: &output) }
        }
        #expect(buffer.array == [1, 2, 3])
    }

    @Test(arguments: [UInt64(1) << 63, .max])
    func `has no bytes where no file reaches`(offset: UInt64) throws {
        try folder.write([1, 2, 3], to: "a.raw")
        let file = try open("a.raw")
        #expect(throws: ImageError.self) { _ = try read(file, 1, at: offset) }
        #expect(file.run(at: HostOffset(offset), limit: 5) == (false, 5))
    }

    @Test func `that is cut while it is open is an error, not zeros`() throws {
        let path = try folder.write(Array(repeating: 7, count: 10000), to: "a.raw")
        let file = try open("a.raw")
        #expect(truncate(path, 4000) == 0)
        #expect(try read(file, 4000, at: 0).count == 4000)
        let error = #expect(throws: ImageError.self) { _ = try read(file, 5000, at: 0) }
        #expect(error?.code == .truncated)
        #expect(error?.offset == HostOffset(4000))
        #expect(file.size == 10000)
        #expect(!file.isCurrent)
    }

    @Test func `is current until it is written, replaced or removed`() throws {
        let path = try folder.write([1, 2, 3], to: "a.raw")
        #expect(try open("a.raw").isCurrent)

        let grown = try open("a.raw")
        let writer = try #require(FileHandle(forWritingAtPath: path))
        try writer.seekToEnd()
        try writer.write(contentsOf: Data([4]))
        try writer.close()
        #expect(!grown.isCurrent)

        let replaced = try open("a.raw")
        try folder.write([1, 2, 3, 4], to: "new")
        #expect(rename(folder.file("new"), path) == 0)
        #expect(!replaced.isCurrent)

        let touched = try open("a.raw")
        var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
        #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
        #expect(!touched.isCurrent)

        let removed = try open("a.raw")
        #expect(removed.isCurrent)
        try FileManager.default.removeItem(atPath: path)
        #expect(!removed.isCurrent)
        #expect(try read(removed, 4, at: 0) == [1, 2, 3, 4])
    }

    @Test func `tells holes from data`() throws {
        let path = try folder.write([], to: "a.raw")
        let size: UInt64 = 4 << 20
        let writer = try #require(FileHandle(forWritingAtPath: path))
        try writer.truncate(atOffset: size)
        try writer.seek(toOffset: 1 << 20)
        try writer.write(contentsOf: Data(repeating: 1, count: 1 << 20))
        try writer.close()
        let file = try open("a.raw")
        #expect(file.run(at: HostOffset(0), limit: size) == (true, 1 << 20))
        #expect(file.run(at: HostOffset(0), limit: 100) == (true, 100))
        #expect(file.run(at: HostOffset(1 << 20), limit: size) == (false, 1 << 20))
        #expect(file.run(at: HostOffset(3 << 19), limit: size) == (false, 1 << 19))
        #expect(file.run(at: HostOffset(2 << 20), limit: 2 << 20) == (true, 2 << 20))
        #expect(file.run(at: HostOffset(size - 1), limit: 1) == (true, 1))
        #expect(file.allocatedSize >= 1 << 20 && file.allocatedSize < 2 << 20)
    }
}

struct `A folder's listing` {
    @Test func `has every name, and tells folders and links from files, looking at none`() throws {
        let folder = try TemporaryFolder()
        _ = try folder.makeFolder("sub")
        try folder.write([], to: "file.raw")
        try FileManager.default.createSymbolicLink(atPath: folder.file("to-folder"), withDestinationPath: "sub")
        try FileManager.default.createSymbolicLink(atPath: folder.file("to-file"), withDestinationPath: "file.raw")
        try FileManager.default.createSymbolicLink(atPath: folder.file("dangling"), withDestinationPath: "none")
        #expect(mkfifo(folder.file("fifo"), 0o600) == 0)
        let entries = try FolderListing(FilePath(folder.path)).entries
        let found = Dictionary(
            uniqueKeysWithValues: entries.map { (String(decoding: $0.name, as: UTF8.self), $0.kind) })
        #expect(
            found == [
                "sub": .folder, "to-folder": .link, "file.raw": .file, "to-file": .link, "dangling": .link,
                "fifo": .file,
            ])
        #expect(throws: ImageError.self) { _ = try FolderListing(FilePath(folder.file("none"))) }
    }
}
