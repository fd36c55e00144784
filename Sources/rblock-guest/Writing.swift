import CGuest
import Glibc
import GuestProtocol

extension MountedTree {
    /// Makes a file that is no link.
    func make(_ path: [UInt8], mode: UInt32, major: UInt32, minor: UInt32) throws(GuestFailure) {
        let (directory, name) = try parent(of: path)
        // Safe: the name ends in NUL.
        let result = unsafe name.withCString { text in
            mode & UInt32(S_IFMT) == UInt32(S_IFDIR)
                ? unsafe mkdirat(directory.number, text, mode & 0o7777)
                : unsafe cguest_make_node(directory.number, text, mode, major, minor)
        }
        try check(result, "make it")
    }

    /// Makes a symbolic link.
    func makeLink(_ path: [UInt8], target: [UInt8]) throws(GuestFailure) {
        let (directory, name) = try parent(of: path)
        // Safe: both end in NUL.
        let result = unsafe name.withCString { text in
            unsafe target.withCString { unsafe symlinkat($0, directory.number, text) }
        }
        try check(result, "make the link")
    }

    /// Gives the file at `other` a second name.
    func makeName(_ path: [UInt8], of other: [UInt8]) throws(GuestFailure) {
        let (directory, name) = try parent(of: path)
        let (otherDirectory, otherName) = try parent(of: other)
        // Safe: both end in NUL. A link is not followed.
        let result = unsafe name.withCString { text in
            unsafe otherName.withCString { unsafe linkat(otherDirectory.number, $0, directory.number, text, 0) }
        }
        try check(result, "give it another name")
    }

    func setSize(_ size: UInt64, of path: [UInt8]) throws(GuestFailure) {
        guard let size = off_t(exactly: size) else { throw GuestFailure(EFBIG, "change its size") }
        let file = try openRegular(path, isWritable: true)
        try check(ftruncate(file.number, size), "change its size")
    }

    func setMode(_ mode: UInt32, of path: [UInt8]) throws(GuestFailure) {
        let file = try find(path)
        // A link has no mode of its own.
        guard !(try record(of: path).isOf(type: UInt32(S_IFLNK))) else {
            throw GuestFailure(EOPNOTSUPP, "change the mode of a link")
        }
        // Safe: a string of ours.
        try check(unsafe chmod(file.path, mode & 0o7777), "change its mode")
    }

    func setOwner(_ user: UInt32, _ group: UInt32, of path: [UInt8]) throws(GuestFailure) {
        let (directory, name) = try place(of: path)
        // Safe: the name ends in NUL.
        let result = unsafe name.withCString { text in
            unsafe fchownat(directory.number, text, user, group, AT_SYMLINK_NOFOLLOW)
        }
        try check(result, "change its owner")
    }

    func setTimes(_ accessed: GuestTime?, _ modified: GuestTime?, of path: [UInt8]) throws(GuestFailure) {
        let (directory, name) = try place(of: path)
        // UTIME_OMIT.
        let none = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2)
        let times = [accessed, modified].map { time in
            time.map { timespec(tv_sec: Int($0.seconds), tv_nsec: Int($0.nanoseconds)) } ?? none
        }
        // Safe: the name ends in NUL, and there are two times.
        let result = unsafe name.withCString { text in
            unsafe times.withUnsafeBufferPointer { times in
                unsafe utimensat(directory.number, text, times.baseAddress!, AT_SYMLINK_NOFOLLOW)
            }
        }
        try check(result, "change its times")
    }

    func remove(_ path: [UInt8], isDirectory: Bool) throws(GuestFailure) {
        let (directory, name) = try parent(of: path)
        // Safe: the name ends in NUL.
        let result = unsafe name.withCString { text in
            unsafe unlinkat(directory.number, text, isDirectory ? AT_REMOVEDIR : 0)
        }
        try check(result, "remove it")
    }

    func rename(_ path: [UInt8], to other: [UInt8]) throws(GuestFailure) {
        let (directory, name) = try parent(of: path)
        let (otherDirectory, otherName) = try parent(of: other)
        // Safe: both end in NUL.
        let result = unsafe name.withCString { text in
            unsafe otherName.withCString { unsafe renameat(directory.number, text, otherDirectory.number, $0) }
        }
        try check(result, "rename it")
    }

    /// The directory of the file, and its name there; of the root itself it is ".".
    private func place(of path: [UInt8]) throws(GuestFailure) -> (directory: Descriptor, name: [UInt8]) {
        path.isEmpty ? (root, [UInt8(ascii: ".")]) : try parent(of: path)
    }
}

extension Descriptor {
    func setAttribute(_ name: [UInt8], _ value: [UInt8]) throws(GuestFailure) {
        // Safe: the name ends in NUL, and the value is an array of ours.
        let result = unsafe name.withCString { text in
            unsafe value.withUnsafeBytes { unsafe setxattr(path, text, $0.baseAddress, $0.count, 0) }
        }
        try check(result, "set its extended attribute")
    }

    func removeAttribute(_ name: [UInt8]) throws(GuestFailure) {
        // Safe: the name ends in NUL.
        try check(unsafe name.withCString { unsafe removexattr(path, $0) }, "remove its extended attribute")
    }

    /// Writes all of `bytes` at `offset`.
    func write(_ bytes: [UInt8], at offset: UInt64) throws(GuestFailure) {
        guard let start = off_t(exactly: offset) else { throw GuestFailure(EFBIG, "write to it") }
        var written = 0
        while written < bytes.count {
            // Safe: the rest of an array of ours.
            let count = unsafe bytes.withUnsafeBytes { space in
                unsafe pwrite(number, space.baseAddress! + written, bytes.count - written, start + off_t(written))
            }
            if count < 0, errno == EINTR { continue }
            try check(count, "write to it")
            guard count > 0 else { throw GuestFailure(EIO, "write to it") }
            written += count
        }
    }
}
