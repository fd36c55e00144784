import CGuest
import Glibc
import GuestProtocol

/// A directory whose entries are given in batches.
final class DirectoryListing {
    private let directory: Descriptor
    /// What getdents64(2) answered, and how much of it was used.
    private var bytes = [UInt8](repeating: 0, count: 32 << 10)
    private var (position, end) = (0, 0)

    /// The entries of `directory`.
    init(_ directory: Descriptor) { self.directory = directory }

    /// The next entries; none at the end.
    func next() throws(GuestFailure) -> GuestReply {
        // Extended attributes are asked for by path.
        try check(fchdir(directory.number), "enter the directory")
        // Safe: a string of ours.
        defer { unsafe _ = chdir("/") }
        var entries: [GuestListedEntry] = []
        var size = 0
        while size < GuestProtocol.batchSize {
            if position >= end {
                // Safe: the call writes at most as many bytes as the array has.
                let count = unsafe bytes.withUnsafeMutableBytes { space in
                    unsafe cguest_entries(directory.number, space.baseAddress, space.count)
                }
                try check(count, "list the directory")
                (position, end) = (0, count)
                if count == 0 { return .entries(entries, isEnd: true) }
            }
            guard let entry = takeEntry() else { throw GuestFailure(EIO, "list the directory") }
            guard entry.name != [0x2e], entry.name != [0x2e, 0x2e] else { continue }
            guard GuestPath.isName(entry.name) else {
                throw GuestFailure(EUCLEAN, "list the directory: it has a name that is none")
            }
            entries.append(complete(entry))
            size += entry.name.count + 160
        }
        return .entries(entries, isEnd: false)
    }

    /// Takes the entry at `position`: an inode of 8 bytes, an offset of 8, the length of the entry in 2, a type in 1, and the name up to a NUL.
    private func takeEntry() -> (name: [UInt8], inode: UInt64)? {
        guard end - position >= 19 else { return nil }
        let inode = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[position + $1]) << UInt64(8 * $1) }
        let length = Int(bytes[position + 16]) | Int(bytes[position + 17]) << 8
        guard length > 19, length <= end - position else { return nil }
        let name = bytes[(position + 19)..<(position + length)].prefix { $0 != 0 }
        position += length
        return (Array(name), inode)
    }

    private func complete(_ entry: (name: [UInt8], inode: UInt64)) -> GuestListedEntry {
        var status = cguest_status()
        // Safe: the name ends in NUL, and the call fills a structure of ours.
        let isKnown = unsafe entry.name.withCString { unsafe cguest_status(AT_FDCWD, $0, &status) } == 0
        var listed = GuestListedEntry(name: entry.name, inode: entry.inode, record: nil)
        guard isKnown else { return listed }
        var record = GuestRecord(status)
        if record.isOf(type: UInt32(S_IFLNK)) {
            guard let target = try? target(of: AT_FDCWD, entry.name) else { return listed }
            record.target = target
        }
        // Safe: the name ends in NUL; there is no space for names.
        record.hasAttributes = unsafe entry.name.withCString { unsafe llistxattr($0, nil, 0) } != 0
        listed.record = record
        return listed
    }
}
