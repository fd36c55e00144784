import BlockImage

extension ISOFileSystem {
    /// The most bytes of a directory: Linux has no limit but its 32 bits.
    private static let directoryLimit: UInt32 = 1 << 28
    /// The most directories that are remembered.
    private static let parentLimit = 1 << 20
    /// The most sections that Linux reads of a file.
    private static let sectionLimit = 100

    /// A file by its record.
    struct Found {
        var record: ISORecord
        var extra: RockRidge?
        var kind: GuestFileKind
    }

    /// The record at `offset` of `disk`. Throws `corrupt` for what is none.
    static func record(at offset: UInt64, of disk: GuestDisk) throws(ImageError) -> ISORecord {
        let size = UInt64(ISOVolume.sectorSize)
        // The first sectors are none of the file system's.
        guard offset >= 16 * size, offset < disk.image.virtualSize else {
            throw disk.corrupt(at: offset, "no directory record is here")
        }
        let count = min(255, size - offset % size, disk.image.virtualSize - offset)
        guard let record = ISORecord(try disk.bytes(Int(count), at: offset)[...], at: offset) else {
            throw disk.corrupt(at: offset, "no directory record is here")
        }
        return record
    }

    /// The file `file`. Throws `corrupt` for what is none.
    func found(_ file: GuestFileID) throws(ImageError) -> Found {
        let record = try Self.record(at: file.number, of: disk)
        guard record.isSelf == record.isDirectory, !record.isParent else {
            throw disk.corrupt(at: file.number, "no file has its record here, and no directory begins here")
        }
        var areas = ContinuationAreas()
        let extra = try rockRidge(record, &areas)
        guard let mode = extra?.mode else {
            return Found(record: record, extra: extra, kind: record.isDirectory ? .directory : .regular)
        }
        let device = extra?.device ?? (0, 0)
        let kind: GuestFileKind? =
            switch mode & 0o170000 {
            case 0o010000: .fifo
            case 0o020000: .characterDevice(major: device.major, minor: device.minor)
            case 0o040000: .directory
            case 0o060000: .blockDevice(major: device.major, minor: device.minor)
            case 0o100000: .regular
            case 0o120000: .link
            case 0o140000: .socket
            default: nil
            }
        guard let kind, (kind == .directory) == record.isDirectory else {
            throw disk.corrupt(
                at: file.number,
                "the mode is 0\(String(mode, radix: 8)), but the record says that this is \(record.isDirectory ? "a" : "no") directory"
            )
        }
        return Found(record: record, extra: extra, kind: kind)
    }

    /// Gives `body` each file in `directory` until it answers false.
    func forEachFile(
        in directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        let found = try found(directory)
        guard found.kind == .directory else { throw disk.corrupt(at: directory.number, "this is no directory") }
        guard found.record.size <= Self.directoryLimit else {
            throw unsupported(
                "the directory has \(found.record.size) bytes, but no more than \(Self.directoryLimit) are read",
                at: directory.number)
        }
        let start = found.record.block * volume.blockSize
        var records = ISORecords(start..<start + UInt64(found.record.size), of: disk, start: start)
        var areas = ContinuationAreas()
        // The first record of a file that has several.
        var first: ISORecord?
        while let record = try records.record() {
            let begin = first ?? record
            first = record.isContinued ? begin : nil
            if record.isContinued || record.isSelf || record.isParent || record.isAssociated { continue }
            let extra = try rockRidge(record, &areas)
            if extra?.isMoved == true { continue }
            guard let name = name(of: record, extra) else { continue }
            let isDirectory = extra?.child != nil || begin.isDirectory
            let block = extra?.child.map { UInt64($0) } ?? begin.block
            let file = GuestFileID(isDirectory ? block * volume.blockSize : begin.offset)
            if isDirectory { try note(file, in: directory, record) }
            guard try body(GuestEntry(name: name, file: file, isDirectory: isDirectory)) else { return }
        }
        if let first {
            noted.add(
                "a file is not shown: the directory ends before the last of its records, from \(GuestOffset(first.offset)) on"
            )
        }
    }

    /// What `record` is called; nil, and a note, where it has no name that a file can have.
    private func name(of record: ISORecord, _ extra: RockRidge?) -> [UInt8]? {
        let name =
            extra?.name ?? (isJoliet ? ISOName.joliet(record.identifier) : ISOName.translated(record.identifier))
        if GuestName.isName(name) { return name }
        noted.add("a file is not shown: the record at \(GuestOffset(record.offset)) has no name that a file can have")
        return nil
    }

    /// Remembers that `child` is in `directory`, as `record` says. Throws `corrupt` where it is in an other one, or the topmost: a
    /// path could then go round.
    private func note(_ child: GuestFileID, in directory: GuestFileID, _ record: ISORecord) throws(ImageError) {
        let (known, isFull) = parents.withLock { parents in
            if parents[child] == nil, parents.count < Self.parentLimit { parents[child] = directory }
            return (parents[child], parents[child] == nil)
        }
        if isFull {
            throw unsupported(
                "there are more than \(Self.parentLimit) directories, which is as many as are read", at: child.number)
        }
        guard child != root, known == directory else {
            throw disk.corrupt(
                at: record.offset,
                "leads to the directory at \(GuestOffset(child.number)), which is "
                    + (child == root ? "the topmost one" : "in an other one already"))
        }
    }

    /// The pieces that the file of `record` lies in.
    func sections(of record: ISORecord) throws(ImageError) -> [ISOContent.Section] {
        var sections: [ISOContent.Section] = []
        var (last, position) = (record, UInt64(0))
        let next = record.offset + UInt64(record.bytes.count)
        let end = min(disk.image.virtualSize, next + UInt64((Self.sectionLimit + 1) * ISOVolume.sectorSize))
        var records = ISORecords(next..<max(next, end), of: disk, start: 0)
        while true {
            let size = UInt64(last.size)
            sections.append(ISOContent.Section(position: position, start: last.block * volume.blockSize, size: size))
            guard last.isContinued else { return sections }
            position += size
            guard size.isMultiple(of: volume.blockSize) else {
                throw disk.corrupt(
                    at: last.offset + 10,
                    "a section of a file has \(size) bytes, but one that is not the last must have whole blocks")
            }
            guard sections.count < Self.sectionLimit else {
                throw unsupported("the file has more than \(Self.sectionLimit) sections", at: record.offset)
            }
            guard let following = try records.record(), following.identifier == record.identifier else {
                throw disk.corrupt(
                    at: last.offset, "the file goes on in the next record, but that is not there, or of an other file")
            }
            last = following
        }
    }
}
