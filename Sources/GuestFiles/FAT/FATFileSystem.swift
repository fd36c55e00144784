import BlockImage
import ByteFormat

/// FAT12, FAT16 and FAT32, with the long names of Windows.
///
/// Files are shown as Linux shows those of `mount -t vfat -o ro,utf8,tz=UTC,umask=022`: times are taken as those of UTC, short
/// names are in code page 437, root owns all. A directory ends at the first record that begins with 0, as the
/// specification says; Linux goes on.
///
/// A file's number is where its record is on the disk, in records; the root directory has 0.
final class FATFileSystem: GuestFileSystem {
    /// The most bytes of a directory.
    private static let directoryLimit: UInt64 = 65536 * 32

    let info: GuestFileSystemInfo
    let root = GuestFileID(0)
    private let boot: FATBootSector
    private let disk: GuestDisk
    private let table: ClusterTable
    private let noted = GuestNotes()

    var notes: [ErrorText] { noted.all }

    /// The file system on `image`; nil where it is none of FAT. `path`: the image that errors are about.
    init?(on image: Image, path: String) throws(ImageError) {
        let probe = GuestDisk(image: image, path: path, name: "FAT")
        guard image.virtualSize >= UInt64(FATBootSector.size) else { return nil }
        let bytes = try probe.bytes(FATBootSector.size, at: 0)
        guard FATBootSector.isThere(in: bytes), try !Self.hasExt(probe) else { return nil }
        let isCertain = FATBootSector.hasTypeText(bytes)
        do throws(ParseFault) {
            boot = try FATBootSector(parsing: bytes)
        } catch {
            // A program that only looks like a boot sector of FAT.
            guard isCertain else { return nil }
            throw probe.corrupt(at: UInt64(clamping: error.position), "\(error.message)")
        }
        disk = GuestDisk(image: image, path: path, name: boot.name)
        table = ClusterTable(boot.width, at: boot.tableStart, of: disk, for: boot.heap)
        if !isCertain {
            // Without a text that says so, the FAT itself must begin as it does.
            guard boot.tableStart < image.virtualSize,
                try disk.bytes(1, at: boot.tableStart) == [boot.media]
            else { return nil }
        }
        if boot.totalSize > image.virtualSize {
            noted.add("the file system has \(boot.totalSize) bytes, but its disk only \(image.virtualSize)")
        }
        let uuid = boot.serial.flatMap { serial in
            let digits = hexDigits(serial, 8).uppercased()
            return serial == 0 ? nil : "\(digits.prefix(4))-\(digits.dropFirst(4))"
        }
        let label = try Self.label(in: Self.rootPlace(boot, table), of: disk, noting: noted)
        info = GuestFileSystemInfo(type: "vfat", label: label, uuid: uuid)
        try noteState()
    }

    /// Whether `disk` has an ext2, ext3 or ext4 file system, behind whose first sector an old boot sector may be left.
    private static func hasExt(_ disk: GuestDisk) throws(ImageError) -> Bool {
        guard disk.image.virtualSize >= 2048 else { return false }
        let bytes = try disk.bytes(1024, at: 1024)
        // s_magic, s_log_block_size, s_state, s_rev_level and s_inodes_count: the magic by itself may be an entry of a FAT.
        return littleEndian(bytes[...], 56, as: UInt16.self) == 0xef53
            && littleEndian(bytes[...], 24, as: UInt32.self) <= 6
            && littleEndian(bytes[...], 58, as: UInt16.self) <= 7
            && littleEndian(bytes[...], 76, as: UInt32.self) <= 1
            && littleEndian(bytes[...], 0, as: UInt32.self) > 0
    }

    /// Says when it was not unmounted, by Windows's bits in the second entry of the FAT, and by Linux's in the boot sector.
    private func noteState() throws(ImageError) {
        var cursor = ClusterTable.Cursor()
        var (isClean, isWhole) = (true, true)
        do throws(ImageError) {
            let state = try table.value(of: 1, &cursor)
            switch boot.width {
            case .fat12: break
            case .fat16: (isClean, isWhole) = (state & 0x8000 != 0, state & 0x4000 != 0)
            case .fat32, .exFAT: (isClean, isWhole) = (state & 0x800_0000 != 0, state & 0x400_0000 != 0)
            }
        } catch {
            noted.add("\(error)")
        }
        if boot.isDirty || !isClean {
            noted.add("it was not unmounted: what was written last may be missing or damaged; fsck.fat repairs it")
        }
        if !isWhole { noted.add("it says that reading or writing failed when it was mounted last") }
    }

    func usage() throws(ImageError) -> GuestUsage {
        let free = try table.freeClusters()
        return GuestUsage(
            blockSize: boot.heap.clusterSize, blocks: UInt64(boot.heap.count), freeBlocks: free, availableBlocks: free)
    }

    func status(of file: GuestFileID) throws(ImageError) -> GuestStatus {
        guard file != root else {
            let start = FileTime(seconds: 0, nanoseconds: 0)
            let size = try Self.rootPlace(boot, table).size()
            return GuestStatus(
                kind: .directory, permissions: 0o755, size: size, allocatedSize: boot.heap.allocatedSize(for: size),
                linkCount: try subdirectories(of: root) &+ 2, modified: start, accessed: start, changed: start)
        }
        let record = try record(of: file)
        let size = record.isDirectory ? try place(of: record).size() : UInt64(record.size)
        let modified = FileTime(date: record.modified.date, time: record.modified.time)
        let born = record.born
        return GuestStatus(
            kind: record.isDirectory ? .directory : .regular,
            // As Linux, which lets files be made in directories that are read-only.
            permissions: record.isReadOnly && !record.isDirectory ? 0o555 : 0o755, size: size,
            allocatedSize: boot.heap.allocatedSize(for: size),
            linkCount: record.isDirectory ? try subdirectories(of: file) &+ 2 : 1, modified: modified,
            accessed: FileTime(date: record.accessedDate, time: 0), changed: modified,
            born: born.date == 0 ? nil : FileTime(date: born.date, time: born.time, hundredths: born.hundredths))
    }

    func list(
        _ directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        try forEachFile(in: directory) { record, longName throws(ImageError) in
            guard let name = name(of: record, longName) else { return true }
            return try body(GuestEntry(name: name, file: id(of: record), isDirectory: record.isDirectory))
        }
    }

    func find(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID? {
        let wanted = FATText.folded(name)
        var found: GuestFileID?
        try forEachFile(in: directory) { record, longName throws(ImageError) in
            guard let shown = self.name(of: record, longName) else { return true }
            if shown == name {
                found = id(of: record)
                return false
            }
            if found == nil, FATText.folded(shown) == wanted || FATText.folded(record.shortName) == wanted {
                found = id(of: record)
            }
            return true
        }
        return found
    }

    func open(_ file: GuestFileID) throws(ImageError) -> any GuestFileContent {
        let record = file == root ? nil : try record(of: file)
        guard let record, !record.isDirectory else {
            throw disk.corrupt(at: file.number &* 32, "this is a directory, and no regular file")
        }
        let size = UInt64(record.size)
        let chain = table.chain(
            from: record.firstCluster(boot.width), limit: boot.heap.clusters(for: size), entry: record.offset)
        return ClusterContent(
            chain, size: size, writtenSize: size, in: boot.heap, of: disk, entry: record.offset)
    }

    func target(ofLink file: GuestFileID) throws(ImageError) -> [UInt8] {
        throw disk.corrupt(at: file.number &* 32, "this is no symbolic link: FAT has none")
    }

    func extendedAttributes(of file: GuestFileID) throws(ImageError) -> [GuestAttribute] { [] }
}

extension FATFileSystem {
    /// Where a directory lies on the disk, and why no more of it is found.
    private struct Place {
        var ranges: [Range<UInt64>]
        var fault: ImageError?

        /// Its bytes. Throws what keeps them from being known.
        func size() throws(ImageError) -> UInt64 {
            if let fault { throw fault }
            return ranges.reduce(0) { $0 + UInt64($1.count) }
        }
    }

    private static func rootPlace(_ boot: FATBootSector, _ table: ClusterTable) -> Place {
        guard boot.width == .fat32 else { return Place(ranges: [boot.rootRange]) }
        return place(from: boot.rootCluster, entry: 44, boot, table)
    }

    private static func place(
        from cluster: UInt32, entry: UInt64, _ boot: FATBootSector, _ table: ClusterTable
    ) -> Place {
        let limit = boot.heap.clusters(for: directoryLimit)
        // One more, to see whether there is one.
        let chain = table.chain(from: cluster, limit: limit + 1, entry: entry)
        var place = Place(ranges: chain.ranges(in: boot.heap), fault: chain.fault)
        if UInt64(chain.count) > limit { place.fault = table.tooLong(directoryLimit, entry: entry) }
        return place
    }

    private func place(of record: FATRecord) throws(ImageError) -> Place {
        guard record.isDirectory else { throw disk.corrupt(at: record.offset, "this is no directory") }
        return Self.place(from: record.firstCluster(boot.width), entry: record.offset, boot, table)
    }

    /// The first label in the directory at `place`: what the boot sector has for one is out of date where they differ, and
    /// blkid(8) does not take it.
    private static func label(
        in place: Place, of disk: GuestDisk, noting notes: GuestNotes
    ) throws(ImageError) -> String? {
        var records = DirectoryRecords(place.ranges, of: disk)
        do throws(ImageError) {
            while let record = try records.record().map({ FATRecord($0) }), record.kind != .end {
                if record.kind == .label, !record.isDirectory {
                    return record.label.isEmpty || record.label == "NO NAME" ? nil : record.label
                }
            }
        } catch {
            notes.add("\(error)")
        }
        return nil
    }

    private func id(of record: FATRecord) -> GuestFileID { GuestFileID(record.offset / UInt64(DirectoryRecords.size)) }

    /// The record of `file`, which is not the root.
    private func record(of file: GuestFileID) throws(ImageError) -> FATRecord {
        let size = UInt64(DirectoryRecords.size)
        let offset = file.number.multipliedReportingOverflow(by: size).partialValue
        guard file.number < 1 << 58, boot.rootRange.contains(offset) || boot.heap.cluster(at: offset) != nil else {
            throw disk.corrupt(at: offset, "no record of a directory is here")
        }
        let bytes = try disk.bytes(Int(size), at: offset)
        let record = FATRecord(DirectoryRecords.Record(bytes: bytes[...], offset: offset))
        guard record.kind == .file, !record.isDots else {
            throw disk.corrupt(at: offset, "no file has its record here")
        }
        return record
    }

    /// Gives `body` the record of each file in `directory`, with its long name, if it has one, until it answers false.
    private func forEachFile(
        in directory: GuestFileID, _ body: (FATRecord, [UInt8]?) throws(ImageError) -> Bool
    ) throws(ImageError) {
        let place = directory == root ? Self.rootPlace(boot, table) : try place(of: record(of: directory))
        var records = DirectoryRecords(place.ranges, of: disk, fault: place.fault)
        var longName = FATLongName()
        while let record = try records.record().map({ FATRecord($0) }) {
            switch record.kind {
            case .end: return
            case .longName: longName.add(record)
            case .deleted, .label: longName.reset()
            case .file:
                let name = longName.take(for: record)
                if record.isDots { continue }
                guard try body(record, name) else { return }
            }
        }
    }

    /// How many directories are in `directory`.
    private func subdirectories(of directory: GuestFileID) throws(ImageError) -> UInt32 {
        var count: UInt32 = 0
        try forEachFile(in: directory) { record, _ throws(ImageError) in
            if record.isDirectory { count &+= 1 }
            return true
        }
        return count
    }

    /// What `record` is called; nil, and a note, where it has no name that a file can have.
    private func name(of record: FATRecord, _ longName: [UInt8]?) -> [UInt8]? {
        if let longName, GuestName.isName(longName) { return longName }
        let name = record.shortName
        if GuestName.isName(name) { return name }
        noted.add("a file is not shown: the record at \(GuestOffset(record.offset)) has no name that a file can have")
        return nil
    }
}
