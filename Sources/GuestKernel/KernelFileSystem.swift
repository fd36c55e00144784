import BlockImage
import Glibc
import GuestFiles
import GuestProtocol
import SystemPackage

/// A file system that the kernel of a machine has mounted. It can be used until the machine ends.
public final class KernelFileSystem: WritableGuestFileSystem {
    /// What it says of itself.
    public let info: GuestFileSystemInfo
    /// What people should know: nothing.
    public var notes: [ErrorText] { [] }
    /// Its topmost directory.
    public let root: GuestFileID

    /// The most entries of a directory.
    private static let entryLimit = 1 << 24

    let machine: GuestMachine
    let mount: GuestMountID
    let isWritable: Bool
    /// What errors call the disk.
    let path: String
    /// Whether inodes have other numbers each time that they are read: those of FAT are not stored.
    private let isByPlace: Bool
    let table: Guarded<FileTable>
    /// The file that is written to, and its handle.
    let written = Guarded<(file: GuestFileID, handle: GuestHandle)?>(nil)

    init(
        _ machine: GuestMachine, _ mount: GuestMountID, disk: MachineDisk, type: String, isWritable: Bool
    ) throws(ImageError) {
        (self.machine, self.mount, self.isWritable, path) = (machine, mount, isWritable, disk.path)
        let reply = try machine.channel.exchange(.status(GuestPath(mount, [])))
        guard case .record(let record) = reply else { throw machine.unexpected(reply) }
        isByPlace = ["vfat", "msdos", "exfat"].contains(type)
        let table = FileTable(root: record, isByPlace: isByPlace)
        root = table.root
        self.table = Guarded(table)
        info = SuperblockIdentity.info(of: disk.image, type: type)
    }

    /// What is known of a file.
    public func status(of file: GuestFileID) throws(ImageError) -> GuestStatus {
        try GuestStatus(try record(of: file), path: path)
    }

    func record(of file: GuestFileID) throws(ImageError) -> GuestRecord {
        if let known = table.withLock({ $0.record(of: file) }) { return known }
        let reply = try ask(.status(try guestPath(of: file)), about: file)
        guard case .record(let record) = reply else { throw machine.unexpected(reply) }
        table.withLock { $0.keep(record, of: file) }
        return record
    }

    /// How much it holds.
    public func usage() throws(ImageError) -> GuestUsage {
        let reply = try ask(.usage(mount), about: root)
        guard case .counts(let counts) = reply else { throw machine.unexpected(reply) }
        // btrfs says 0: there is no limit.
        return GuestUsage(
            blockSize: counts.blockSize, blocks: counts.blocks, freeBlocks: counts.freeBlocks,
            availableBlocks: counts.availableBlocks, files: counts.files == 0 ? nil : counts.files,
            freeFiles: counts.files == 0 ? nil : counts.freeFiles)
    }

    /// Gives `body` each entry of `directory`. What the kernel says is not in a file system that it has mounted: what is twice there.
    public func list(
        _ directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        let opened = try ask(.list(try guestPath(of: directory)), about: directory)
        guard case .number(let number) = opened else { throw machine.unexpected(opened) }
        let handle = GuestHandle(number)
        defer { machine.channel.release(handle) }
        var count = 0
        while true {
            let reply = try ask(.entries(handle), about: directory)
            guard case .entries(let entries, let isEnd) = reply, isEnd || !entries.isEmpty else {
                throw machine.unexpected(reply)
            }
            count += entries.count
            guard count <= Self.entryLimit else {
                throw ImageError(.corrupt, path: path, "a directory has more than \(Self.entryLimit) entries")
            }
            for entry in entries {
                let file = table.withLock { table in
                    table.add(
                        .init(parent: directory, name: entry.name), inode: entry.inode(), record: entry.record)
                }
                let isDirectory = entry.record.map { $0.isOf(type: UInt32(S_IFDIR)) }
                guard try body(GuestEntry(name: entry.name, file: file, isDirectory: isDirectory)) else { return }
            }
            if isEnd { return }
        }
    }

    /// The file that is called `name` in `directory`; nil where there is none.
    public func find(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID? {
        guard GuestPath.isName(name) else { return nil }
        let place = FileTable.Place(parent: directory, name: name)
        let reply = try exchange(.status(try child(name, of: directory)))
        switch reply {
        case .record(let record):
            guard isByPlace else {
                return table.withLock { $0.add(place, inode: record.inode, record: record) }
            }
            if let known = table.withLock({ $0.known(place) }) { return known }
            return try entry(record.inode, in: directory)
        case .failure(let failure) where failure.number == UInt32(ENOENT) || failure.number == UInt32(ENAMETOOLONG):
            return nil
        case .failure(let failure): throw error(failure, about: directory)
        default: throw machine.unexpected(reply)
        }
    }

    /// The file whose inode has that number now: it may be called otherwise, in small letters or capitals.
    private func entry(_ inode: UInt64, in directory: GuestFileID) throws(ImageError) -> GuestFileID? {
        var found: GuestFileID?
        try list(directory) { entry throws(ImageError) in
            if table.withLock({ $0.record(of: entry.file)?.inode }) == inode { found = entry.file }
            return found == nil
        }
        return found
    }

    /// The content of a regular file.
    public func open(_ file: GuestFileID) throws(ImageError) -> any GuestFileContent {
        let size = try status(of: file).size
        let reply = try ask(.open(try guestPath(of: file), isWritable: false), about: file)
        guard case .number(let number) = reply else { throw machine.unexpected(reply) }
        return KernelFileContent(self, file, GuestHandle(number), size: size)
    }

    /// The path that a symbolic link has.
    public func target(ofLink file: GuestFileID) throws(ImageError) -> [UInt8] {
        let record = try record(of: file)
        guard record.isOf(type: UInt32(S_IFLNK)) else {
            throw ImageError(.corrupt, path: path, "the file \(file.number) is no symbolic link")
        }
        return record.target
    }

    /// The extended attributes of a file.
    public func extendedAttributes(of file: GuestFileID) throws(ImageError) -> [GuestAttribute] {
        guard try record(of: file).hasAttributes else { return [] }
        let place = try guestPath(of: file)
        let reply = try ask(.attributeNames(place), about: file)
        guard case .names(let names) = reply else { throw machine.unexpected(reply) }
        var attributes: [GuestAttribute] = []
        for name in names {
            let reply = try ask(.attribute(place, name: name), about: file)
            guard case .bytes(let value) = reply else { throw machine.unexpected(reply) }
            attributes.append(GuestAttribute(name: name, value: value))
        }
        return attributes
    }
}

extension KernelFileSystem {
    /// Where `file` is.
    func guestPath(of file: GuestFileID) throws(ImageError) -> GuestPath {
        guard let bytes = table.withLock({ $0.path(of: file) }) else {
            throw ImageError(.corrupt, path: path, "the file \(file.number) was found nowhere in the file system")
        }
        return GuestPath(mount, bytes)
    }

    /// Where what is called `name` in `directory` is.
    func child(_ name: [UInt8], of directory: GuestFileID) throws(ImageError) -> GuestPath {
        guard GuestPath.isName(name) else {
            throw ImageError(.system(errno: EINVAL), path: path, "no file can be called \(quoting: nameText(name))")
        }
        var place = try guestPath(of: directory)
        if !place.bytes.isEmpty { place.bytes.append(UInt8(ascii: "/")) }
        place.bytes += name
        guard place.bytes.count <= GuestProtocol.pathLimit else {
            throw ImageError(.system(errno: ENAMETOOLONG), path: path, "\(Errno.fileNameTooLong)")
        }
        return place
    }

    func exchange(_ request: GuestRequest) throws(ImageError) -> GuestReply {
        try machine.channel.exchange(request)
    }

    /// What the agent answers; throws what failed there with `file`.
    func ask(_ request: GuestRequest, about file: GuestFileID) throws(ImageError) -> GuestReply {
        let reply = try exchange(request)
        if case .failure(let failure) = reply { throw error(failure, about: file) }
        return reply
    }

    /// The error that `failure` is.
    func error(_ failure: GuestFailure, about file: GuestFileID) -> ImageError {
        let number = CInt(bitPattern: failure.number)
        let name = table.withLock { $0.path(of: file) }.map { "/" + nameText($0) } ?? "\(file.number)"
        // EUCLEAN and EBADMSG: a structure, or its check sum, is wrong.
        let isDamage = number == 117 || number == 74
        var detail: ErrorText = "\(quoting: name): \(quoting: failure.step): \(Errno(rawValue: number))"
        if isDamage || number == EIO {
            if let fault = machine.channel.faults.error {
                detail += "; its disk: \(fault)"
            } else if let line = machine.channel.process.lastLines(1).first {
                detail += "; the kernel said last: \(quoting: line)"
            }
        }
        return ImageError(isDamage ? .corrupt : .system(errno: number), path: path, detail)
    }
}

extension GuestListedEntry {
    /// The inode that the file has; what its directory says where its status cannot be read.
    fileprivate func inode() -> UInt64 { record?.inode ?? inode }
}

extension GuestStatus {
    /// What the kernel says of a file of the disk at `path`.
    init(_ record: GuestRecord, path: String) throws(ImageError) {
        func time(_ time: GuestTime) -> FileTime {
            FileTime(seconds: time.seconds, nanoseconds: Int(time.nanoseconds))
        }
        let kind: GuestFileKind
        switch mode_t(record.mode & 0o170000) {
        case S_IFREG: kind = .regular
        case S_IFDIR: kind = .directory
        case S_IFLNK: kind = .link
        case S_IFIFO: kind = .fifo
        case S_IFSOCK: kind = .socket
        case S_IFCHR: kind = .characterDevice(major: record.major, minor: record.minor)
        case S_IFBLK: kind = .blockDevice(major: record.major, minor: record.minor)
        default:
            throw ImageError(.corrupt, path: path, "a file has the mode 0\(String(record.mode, radix: 8))")
        }
        guard record.size <= UInt64(Int64.max) else {
            throw ImageError(.corrupt, path: path, "a file has \(record.size) bytes, and none has 2^63")
        }
        let (allocated, overflow) = record.blocks.multipliedReportingOverflow(by: 512)
        self.init(
            kind: kind, permissions: UInt16(record.mode & 0o7777), userID: record.user, groupID: record.group,
            size: record.size, allocatedSize: overflow ? .max : allocated, linkCount: record.links,
            modified: time(record.modified), accessed: time(record.accessed), changed: time(record.changed),
            born: record.born.map(time))
    }
}
