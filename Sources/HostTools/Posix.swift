import Foundation

/// A system call failed.
package struct PosixFailure: Error, CustomStringConvertible {
    /// Its errno.
    package var number: CInt
    /// What was called, on what.
    package var call: String

    /// That `call` set errno to `number`.
    package init(number: CInt, call: String) {
        self.number = number
        self.call = call
    }

    /// The call and the system's text.
    package var description: String { "\(call): \(String(cString: strerror(number)))" }
}

/// The numbers of stat(2) that tests look at.
package struct Status: Sendable {
    /// st_ino.
    package var inode: UInt64
    /// st_mode.
    package var mode: UInt32
    /// st_size, in bytes.
    package var size: Int64
    /// st_blksize.
    package var blockSize: Int
    /// st_blocks, of 512 bytes.
    package var blocks: Int64
    /// st_mtim, in seconds from 1970 on.
    package var modified: Double
    /// st_uid.
    package var userID: UInt32

    /// Of what `path` leads to.
    package init(_ path: String) throws {
        var result = stat()
        guard stat(path, &result) == 0 else { throw PosixFailure(number: errno, call: "stat \(path)") }
        inode = UInt64(result.st_ino)
        mode = result.st_mode
        size = Int64(result.st_size)
        blockSize = Int(result.st_blksize)
        blocks = Int64(result.st_blocks)
        modified = Double(result.st_mtim.tv_sec) + Double(result.st_mtim.tv_nsec) / 1e9
        userID = result.st_uid
    }

    /// The permission bits.
    package var permissions: UInt32 { mode & 0o7777 }
    /// Whether it is a directory.
    package var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
}

/// An open file, closed with the last reference.
package final class OpenedFile: Sendable {
    /// Its descriptor.
    package let descriptor: CInt
    /// The path it was opened by.
    package let path: String

    /// Opens `path` for reading, or with other `flags`.
    package init(_ path: String, flags: CInt = O_RDONLY) throws {
        self.path = path
        descriptor = open(path, flags | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw PosixFailure(number: errno, call: "open \(path)") }
    }

    deinit {
        close(descriptor)
    }

    /// The size that fstat(2) tells.
    package func size() throws -> Int64 {
        var result = stat()
        guard fstat(descriptor, &result) == 0 else { throw PosixFailure(number: errno, call: "fstat \(path)") }
        return Int64(result.st_size)
    }

    /// What one pread(2) of `count` bytes gives.
    package func read(_ count: Int, at offset: Int64) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xa5, count: count)
        let got = pread(descriptor, &bytes, count, off_t(offset))
        guard got >= 0 else { throw PosixFailure(number: errno, call: "pread \(path) at \(offset)") }
        return Array(bytes[..<got])
    }

    /// Every byte, through one mapping of the whole file into memory.
    package func mapped() throws -> [UInt8] {
        let size = Int(try size())
        guard let start = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0), start != MAP_FAILED else {
            throw PosixFailure(number: errno, call: "mmap \(path)")
        }
        defer { munmap(start, size) }
        return Array(UnsafeRawBufferPointer(start: start, count: size))
    }

    /// Where lseek(2) finds the next data (`hole` false) or hole; nil where no data follows.
    package func next(hole: Bool, from offset: Int64) throws -> Int64? {
        // SEEK_DATA and SEEK_HOLE, which Glibc's module does not show.
        let found = lseek(descriptor, off_t(offset), hole ? 4 : 3)
        if found >= 0 { return Int64(found) }
        guard errno == ENXIO else { throw PosixFailure(number: errno, call: "lseek \(path) to \(offset)") }
        return nil
    }
}
