import CGuest
import Glibc
import GuestProtocol

extension MountedTree {
    /// The regular file at `path`, opened. Throws EINVAL for any other: a FIFO would wait for who writes to it.
    func openRegular(_ path: [UInt8], isWritable: Bool) throws(GuestFailure) -> Descriptor {
        let found = try find(path)
        guard try record(of: found, "", isComplete: false).isOf(type: UInt32(S_IFREG)) else {
            throw GuestFailure(EINVAL, "open what is no regular file")
        }
        // Safe: a string of ours. The descriptor leads to the file that was looked at, whatever has its name.
        let flags = (isWritable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK
        return try unsafe Descriptor(Glibc.open(found.path, flags), "open it")
    }

    /// What is known of the file at `path`.
    func record(of path: [UInt8]) throws(GuestFailure) -> GuestRecord {
        try record(of: try find(path), "", isComplete: true)
    }

    private func record(
        of file: Descriptor, _ name: String, isComplete: Bool
    ) throws(GuestFailure) -> GuestRecord {
        var status = cguest_status()
        // Safe: the name ends in NUL, and the call fills a structure of ours.
        try check(unsafe cguest_status(file.number, name, &status), "read its status")
        var record = GuestRecord(status)
        guard isComplete else { return record }
        if record.isOf(type: UInt32(S_IFLNK)) { record.target = try target(of: file.number) }
        // Safe: a string of ours, and no space for names.
        record.hasAttributes = unsafe listxattr(file.path, nil, 0) != 0
        return record
    }
}

extension GuestRecord {
    /// What statx(2) says.
    init(_ status: cguest_status) {
        func time(_ seconds: Int64, _ nanoseconds: UInt32) -> GuestTime {
            GuestTime(seconds: seconds, nanoseconds: min(nanoseconds, 999_999_999))
        }
        let (seconds, nanoseconds) = (status.seconds, status.nanoseconds)
        self.init(
            mode: status.mode, user: status.user, group: status.group, links: status.links, size: status.size,
            blocks: status.blocks, inode: status.inode, device: status.device, major: status.major,
            minor: status.minor, modified: time(seconds.0, nanoseconds.0), accessed: time(seconds.1, nanoseconds.1),
            changed: time(seconds.2, nanoseconds.2),
            born: status.has_born != 0 ? time(seconds.3, nanoseconds.3) : nil, hasAttributes: true, target: [])
    }
}

/// The target of the link `name` in `directory`, or of that which is open as `directory`.
func target(of directory: CInt, _ name: [UInt8] = []) throws(GuestFailure) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: GuestProtocol.targetLimit + 1)
    // Safe: the name ends in NUL, and readlinkat writes at most as many bytes as the array has.
    let count = unsafe name.withCString { text in
        unsafe bytes.withUnsafeMutableBytes { space in
            unsafe space.withMemoryRebound(to: CChar.self) {
                unsafe readlinkat(directory, text, $0.baseAddress!, $0.count)
            }
        }
    }
    try check(count, "read the link")
    guard count <= GuestProtocol.targetLimit else { throw GuestFailure(ENAMETOOLONG, "read the link") }
    return Array(bytes[..<count])
}

extension Descriptor {
    /// The names of the extended attributes.
    func attributeNames() throws(GuestFailure) -> [[UInt8]] {
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        // Safe: listxattr writes at most as many bytes as the array has.
        let count = unsafe bytes.withUnsafeMutableBytes { space in
            unsafe space.withMemoryRebound(to: CChar.self) { unsafe listxattr(path, $0.baseAddress, $0.count) }
        }
        if count < 0, errno == EOPNOTSUPP { return [] }
        try check(count, "list its extended attributes")
        return bytes[..<count].split(separator: 0).map { Array($0) }
    }

    /// The value of an extended attribute.
    func attribute(_ name: [UInt8]) throws(GuestFailure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: GuestProtocol.attributeLimit)
        // Safe: the name ends in NUL, and getxattr writes at most as many bytes as the array has.
        let count = unsafe name.withCString { text in
            unsafe bytes.withUnsafeMutableBytes { unsafe getxattr(path, text, $0.baseAddress, $0.count) }
        }
        try check(count, "read its extended attribute")
        return Array(bytes[..<count])
    }

    /// The `count` bytes at `offset`, or fewer at the end of the file.
    func bytes(_ count: Int, at offset: UInt64) throws(GuestFailure) -> [UInt8] {
        guard let start = off_t(exactly: offset) else { throw GuestFailure(EINVAL, "read it") }
        var failure: GuestFailure?
        // Safe: the array has space for `count` bytes, of which those are said to be there that were read.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { space, filled in
            while filled < count {
                let got = unsafe pread(number, space.baseAddress! + filled, count - filled, start + off_t(filled))
                if got < 0, errno == EINTR { continue }
                if got < 0 { failure = GuestFailure(errno, "read it") }
                guard got > 0 else { break }
                filled += got
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Where data and holes are from `offset` on, which is inside the file.
    func runs(from offset: UInt64) throws(GuestFailure) -> GuestRuns {
        let end = lseek(number, 0, SEEK_END)
        try check(end, "find its end")
        guard let start = off_t(exactly: offset), start < end else {
            throw GuestFailure(ENXIO, "find data past its end")
        }
        let firstData = try seek(to: cguest_SEEK_DATA, from: start) ?? end
        var runs = GuestRuns(beginsWithData: firstData == start, counts: [])
        var (position, isData) = (start, firstData == start)
        while position < end, runs.counts.count < GuestProtocol.runLimit {
            let next = try seek(to: isData ? cguest_SEEK_HOLE : cguest_SEEK_DATA, from: position) ?? end
            // A file that changes, or a file system that is damaged, may have it elsewhere.
            guard next > position else { break }
            runs.counts.append(UInt64(min(next, end) - position))
            (position, isData) = (next, !isData)
        }
        guard !runs.counts.isEmpty else { throw GuestFailure(EIO, "find its data and holes") }
        return runs
    }

    /// The next place of that kind; nil where there is none.
    private func seek(to kind: CInt, from offset: off_t) throws(GuestFailure) -> off_t? {
        let found = lseek(number, offset, kind)
        if found < 0, errno == ENXIO { return nil }
        try check(found, "find its data and holes")
        return found
    }
}
