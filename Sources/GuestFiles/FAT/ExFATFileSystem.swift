import BlockImage
import ByteFormat

/// exFAT.
///
/// Files are shown as Linux shows those of `mount -t exfat -o ro,umask=022`. Names are the same where the up-case table of the
/// file system says so. A file's number is where its first record is on the disk, in records, with `contiguousBit` in
/// those whose directory lies in neighbouring clusters; the root directory has 0.
final class ExFATFileSystem: GuestFileSystem {
    /// The most bytes of a directory.
    private static let directoryLimit: UInt64 = 256 << 20
    private static let contiguousBit: UInt64 = 1 << 62

    let info: GuestFileSystemInfo
    let root = GuestFileID(0)
    private let boot: ExFATBootSector
    private let disk: GuestDisk
    private let table: ClusterTable
    private let noted: GuestNotes
    /// What the root directory says of the file system.
    private let system: ExFATSystemRecords

    var notes: [ErrorText] { noted.all }

    /// The file system on `image`; nil where it is no exFAT. `path`: the image that errors are about.
    init?(on image: Image, path: String) throws(ImageError) {
        disk = GuestDisk(image: image, path: path, name: "exFAT")
        guard image.virtualSize >= UInt64(ExFATBootSector.size) else { return nil }
        let bytes = try disk.bytes(ExFATBootSector.size, at: 0)
        guard ExFATBootSector.isThere(in: bytes) else { return nil }
        do throws(ParseFault) {
            boot = try ExFATBootSector(parsing: bytes)
        } catch {
            throw disk.corrupt(
                at: UInt64(clamping: error.position),
                "\(error.message); a copy of this sector is in sector 12, and fsck.exfat puts it back")
        }
        guard boot.tables == 1 else {
            throw ImageError(.unsupported, path: path, "exFAT: it has two FATs (TexFAT), which are not read")
        }
        table = ClusterTable(.exFAT, at: boot.tableStart, of: disk, for: boot.heap)
        noted = GuestNotes()
        try Self.checkSum(boot, of: disk)
        let rootChain = Self.rootChain(boot, table)
        system = try ExFATSystemRecords(
            in: DirectoryRecords(rootChain.ranges(in: boot.heap), of: disk), table, disk, noting: noted)
        let digits = hexDigits(boot.serial, 8).uppercased()
        info = GuestFileSystemInfo(
            type: "exfat", label: system.label,
            uuid: boot.serial == 0 ? nil : "\(digits.prefix(4))-\(digits.dropFirst(4))")
        if boot.totalSize > image.virtualSize {
            noted.add("the file system has \(boot.totalSize) bytes, but its disk only \(image.virtualSize)")
        }
        if boot.isDirty {
            noted.add("it was not unmounted: what was written last may be missing or damaged; fsck.exfat repairs it")
        }
        if boot.hasFailed { noted.add("it says that reading or writing failed when it was mounted") }
    }

    /// Throws where the sum of the boot sectors is not what the last of them says.
    private static func checkSum(_ boot: ExFATBootSector, of disk: GuestDisk) throws(ImageError) {
        let size = ExFATBootSector.summedSectors * boot.sectorSize
        let bytes = try disk.bytes(size + boot.sectorSize, at: 0)
        let found = ExFATBootSector.checksum(of: Array(bytes[..<size]))
        for position in stride(from: size, to: bytes.count, by: 4) {
            let stated: UInt32 = littleEndian(bytes[...], position)
            guard stated == found else {
                throw disk.corrupt(
                    at: UInt64(position),
                    "the check sum of the boot sectors is \(hexadecimal(found)), but must be \(hexadecimal(stated)); a copy of them begins with sector 12, and fsck.exfat puts it back"
                )
            }
        }
    }

    func usage() throws(ImageError) -> GuestUsage {
        let free = try system.freeClusters(in: boot.heap, of: disk)
        return GuestUsage(
            blockSize: boot.heap.clusterSize, blocks: UInt64(boot.heap.count), freeBlocks: free, availableBlocks: free)
    }

    func status(of file: GuestFileID) throws(ImageError) -> GuestStatus {
        guard file != root else {
            let start = FileTime(seconds: 0, nanoseconds: 0)
            let chain = Self.rootChain(boot, table)
            if let fault = chain.fault { throw fault }
            let size = UInt64(chain.count) * boot.heap.clusterSize
            return GuestStatus(
                kind: .directory, permissions: 0o755, size: size, allocatedSize: size,
                linkCount: try subdirectories(of: root) &+ 2, modified: start)
        }
        let record = try record(of: file)
        let modified = record.time(.modified)
        return GuestStatus(
            kind: record.isDirectory ? .directory : .regular,
            permissions: record.isReadOnly && !record.isDirectory ? 0o555 : 0o755, size: record.size,
            allocatedSize: boot.heap.allocatedSize(for: record.size),
            linkCount: record.isDirectory ? try subdirectories(of: file) &+ 2 : 1, modified: modified,
            accessed: record.time(.accessed), changed: modified, born: record.time(.born))
    }

    func list(
        _ directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        try forEachFile(in: directory) { file, id throws(ImageError) in
            let name = file.name
            guard GuestName.isName(name) else {
                noted.add(
                    "a file is not shown: the record at \(GuestOffset(file.offset)) has no name that a file can have")
                return true
            }
            return try body(GuestEntry(name: name, file: id, isDirectory: file.isDirectory))
        }
    }

    func find(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID? {
        var end = name.count
        while end > 0, name[end - 1] == UInt8(ascii: ".") { end -= 1 }
        let wanted = system.folded(String(decoding: name[..<end], as: UTF8.self).utf16)
        var found: GuestFileID?
        try forEachFile(in: directory) { file, id throws(ImageError) in
            let shown = file.name
            guard GuestName.isName(shown) else { return true }
            if shown == name {
                found = id
                return false
            }
            if found == nil, system.folded(file.units) == wanted { found = id }
            return true
        }
        return found
    }

    func open(_ file: GuestFileID) throws(ImageError) -> any GuestFileContent {
        let record = file == root ? nil : try record(of: file)
        guard let record, !record.isDirectory else {
            throw disk.corrupt(at: place(of: file), "this is a directory, and no regular file")
        }
        return ClusterContent(
            try chain(of: record), size: record.size, writtenSize: record.writtenSize, in: boot.heap, of: disk,
            entry: record.offset)
    }

    func target(ofLink file: GuestFileID) throws(ImageError) -> [UInt8] {
        throw disk.corrupt(at: place(of: file), "this is no symbolic link: exFAT has none")
    }

    func extendedAttributes(of file: GuestFileID) throws(ImageError) -> [GuestAttribute] { [] }
}

extension ExFATFileSystem {
    private static func rootChain(_ boot: ExFATBootSector, _ table: ClusterTable) -> ClusterChain {
        let limit = boot.heap.clusters(for: directoryLimit)
        var chain = table.chain(from: boot.rootCluster, limit: limit + 1, entry: 96)
        if UInt64(chain.count) > limit { chain.fault = table.tooLong(directoryLimit, entry: 96) }
        return chain
    }

    /// Where on the disk the first record of `file` is.
    private func place(of file: GuestFileID) -> UInt64 {
        (file.number & ~Self.contiguousBit).multipliedReportingOverflow(by: UInt64(DirectoryRecords.size)).partialValue
    }

    /// The clusters of `file`.
    private func chain(of file: ExFATFile) throws(ImageError) -> ClusterChain {
        let count = boot.heap.clusters(for: file.size)
        guard count > 0 else { return ClusterChain() }
        guard count <= UInt64(boot.heap.count) else {
            throw disk.corrupt(
                at: file.offset,
                "the file has \(file.size) bytes, but the file system only \(boot.heap.count) clusters of \(boot.heap.clusterSize)"
            )
        }
        guard file.isContiguous else { return table.chain(from: file.firstCluster, limit: count, entry: file.offset) }
        let last = UInt64(file.firstCluster) + count - 1
        guard boot.heap.contains(file.firstCluster), last < UInt64(boot.heap.count) + UInt64(ClusterHeap.first) else {
            throw disk.corrupt(
                at: file.offset,
                "the file lies in the clusters \(file.firstCluster) to \(last), but the last one is \(UInt64(boot.heap.count) + 1)"
            )
        }
        return ClusterChain(neighbours: UInt32(count), from: file.firstCluster)
    }

    /// The file with the number of `file`, which is not the root.
    private func record(of file: GuestFileID) throws(ImageError) -> ExFATFile {
        let offset = place(of: file)
        guard file.number & ~Self.contiguousBit < 1 << 58, let cluster = boot.heap.cluster(at: offset) else {
            throw disk.corrupt(at: offset, "no record of a directory is here")
        }
        let size = UInt64((ExFATFile.secondaryLimit + 1) * DirectoryRecords.size)
        var ranges: [Range<UInt64>]
        var fault: ImageError?
        if file.number & Self.contiguousBit != 0 {
            ranges = [offset..<min(offset + size, boot.heap.end)]
        } else {
            // The chain may end with this cluster, or be damaged after it.
            let chain = table.chain(from: cluster, limit: boot.heap.clusters(for: size) + 1, entry: offset)
            fault = chain.fault
            ranges = chain.ranges(in: boot.heap)
            ranges[0] = offset..<ranges[0].upperBound
        }
        var records = DirectoryRecords(ranges, of: disk, fault: fault)
        guard let first = try records.record(), first.bytes.first == ExFATFile.RecordType.file else {
            throw disk.corrupt(at: offset, "no file has its record here")
        }
        switch try records.file(first) {
        case .success(let file): return file
        case .failure(let fault): throw disk.corrupt(at: offset, "the file cannot be read: \(fault.message)")
        }
    }

    /// The number of `file`, in a directory that lies in neighbouring clusters or not.
    private func id(of file: ExFATFile, isContiguous: Bool) -> GuestFileID {
        GuestFileID(file.offset / UInt64(DirectoryRecords.size) | (isContiguous ? Self.contiguousBit : 0))
    }

    /// Gives `body` each file in `directory`, with its number, until it answers false. What is damaged is passed by with a note.
    private func forEachFile(
        in directory: GuestFileID, _ body: (ExFATFile, GuestFileID) throws(ImageError) -> Bool
    ) throws(ImageError) {
        var isContiguous = false
        var chain: ClusterChain
        if directory == root {
            chain = Self.rootChain(boot, table)
        } else {
            let file = try record(of: directory)
            guard file.isDirectory else { throw disk.corrupt(at: file.offset, "this is no directory") }
            guard file.size <= Self.directoryLimit else {
                throw table.tooLong(Self.directoryLimit, entry: file.offset)
            }
            (chain, isContiguous) = (try self.chain(of: file), file.isContiguous)
            if chain.fault == nil, UInt64(chain.count) < boot.heap.clusters(for: file.size) {
                chain.fault = disk.corrupt(
                    at: file.offset,
                    "the directory has \(file.size) bytes, but its chain ends after \(chain.count) clusters")
            }
        }
        var records = DirectoryRecords(chain.ranges(in: boot.heap), of: disk, fault: chain.fault)
        while let record = try records.record(), let type = record.bytes.first, type != ExFATFile.RecordType.end {
            guard type == ExFATFile.RecordType.file else { continue }
            switch try records.file(record) {
            case .failure(let fault):
                noted.add("a file is not shown: the record at \(GuestOffset(record.offset)): \(fault.message)")
            case .success(let file):
                let sums = file.checksums
                if sums.stated != sums.found {
                    noted.add(
                        "the check sum of the records at \(GuestOffset(record.offset)) is \(hexadecimal(sums.found)), but must be \(hexadecimal(sums.stated)): what is shown of the file may be wrong"
                    )
                }
                guard try body(file, id(of: file, isContiguous: isContiguous)) else { return }
            }
        }
    }

    /// How many directories are in `directory`.
    private func subdirectories(of directory: GuestFileID) throws(ImageError) -> UInt32 {
        var count: UInt32 = 0
        try forEachFile(in: directory) { file, _ throws(ImageError) in
            if file.isDirectory { count &+= 1 }
            return true
        }
        return count
    }
}
