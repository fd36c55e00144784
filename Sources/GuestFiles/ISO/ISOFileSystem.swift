import BlockImage

/// ISO 9660 (ECMA-119), with the names and attributes of Rock Ridge, or else the names of Joliet.
///
/// Files are shown as Linux shows those of `mount -t iso9660 -o ro,iocharset=utf8`: Rock Ridge where the root directory says that
/// there is some, else Joliet where there is some; names that have neither are in small letters and without their version. Names of
/// 254 and 255 bytes, which Linux cuts, are shown whole. Of the sessions of a disk, the one whose volume descriptors are in its
/// sector 16 is read.
///
/// A file's number is where its record is on the disk; that of a directory is where it begins, which is its own record.
final class ISOFileSystem: GuestFileSystem {
    let info: GuestFileSystemInfo
    let root: GuestFileID
    let disk: GuestDisk
    let volume: ISOVolume
    /// Whether names are those of Joliet, and nothing of Rock Ridge is read.
    let isJoliet: Bool
    /// Whether the root directory says that there is SUSP; Linux looks for it without that, too.
    private let isCertain: Bool
    /// The bytes before SUSP in the system use: of the root directory, and of all others.
    private let rootSkip: Int
    private let skip: Int
    let noted = GuestNotes()
    /// The directory that each directory was found in: there is one, so that no path goes round.
    let parents = Guarded<[GuestFileID: GuestFileID]>([:])

    var notes: [ErrorText] { noted.all }

    /// The file system on `image`; nil where there is none of ISO 9660. `path`: the image that errors are about.
    init?(on image: Image, path: String) throws(ImageError) {
        disk = GuestDisk(image: image, path: path, name: "ISO 9660")
        let volumes = try ISOVolumes(of: disk)
        guard let volume = volumes.primary ?? volumes.joliet else { return nil }
        self.volume = volume
        let start = try Self.start(of: volume, on: disk, hasOther: volumes.joliet != nil)
        let usesRockRidge = volumes.primary != nil && start?.hasExtension == true
        isJoliet = volumes.joliet != nil && !usesRockRidge
        (isCertain, rootSkip, skip) = (start?.skip != nil, start?.rootSkip ?? 0, start?.skip ?? 0)
        root = GuestFileID((isJoliet ? volumes.joliet ?? volume : volume).root)
        var label = volume.label
        if let joliet = volumes.joliet, !volume.hasLabel(of: joliet) { label = joliet.jolietLabel }
        info = GuestFileSystemInfo(type: "iso9660", label: label.isEmpty ? nil : label, uuid: volume.uuid)
        // 32 bits times 12.
        let size = volume.blocks * volume.blockSize
        if size > image.virtualSize {
            noted.add("the file system has \(size) bytes, but its disk only \(image.virtualSize)")
        }
        if volumes.hasUDF {
            noted.add("there is a UDF file system as well, which is not read, and may have other files")
        }
    }

    /// What `image` has in the place of ISO 9660, and is not read; nil for nothing that is known.
    static func other(on image: Image, path: String) throws(ImageError) -> String? {
        let volumes = try ISOVolumes(of: GuestDisk(image: image, path: path, name: "ISO 9660"))
        return volumes.hasUDF ? "UDF" : volumes.isHighSierra ? "High Sierra" : nil
    }

    /// What the root directory says of SUSP.
    private struct Start {
        /// The bytes before the first entry in the root directory itself.
        var rootSkip: Int
        /// Those in other records, if it says so.
        var skip: Int?
        var hasExtension: Bool
    }

    /// What that of `volume` says. Nil, where there is an other one (`hasOther`), for one that is damaged or has no files: some
    /// disks have all of them only there.
    private static func start(
        of volume: ISOVolume, on disk: GuestDisk, hasOther: Bool
    ) throws(ImageError) -> Start? {
        do throws(ImageError) {
            let record = try record(at: volume.root, of: disk)
            guard record.isDirectory, record.isSelf else {
                throw disk.corrupt(at: volume.root, "the root directory does not begin with its own record")
            }
            var areas = ContinuationAreas()
            // After the attributes of CD-ROM XA, where a disk has them.
            for skip in [0, 14] {
                let found = try RockRidge(record, skip: skip, blockSize: volume.blockSize, of: disk, &areas)
                guard found.skip != nil || found.hasExtension else { continue }
                if hasOther, try isEmpty(record, volume, disk) { return nil }
                return Start(rootSkip: skip, skip: found.skip, hasExtension: found.hasExtension)
            }
        } catch {
            guard hasOther else { throw error }
        }
        return nil
    }

    /// Whether the directory that begins with `record` has only itself and its parent, as Linux sees that.
    private static func isEmpty(_ record: ISORecord, _ volume: ISOVolume, _ disk: GuestDisk) throws(ImageError) -> Bool
    {
        let end = volume.root + min(UInt64(ISOVolume.sectorSize), UInt64(record.size))
        var records = ISORecords(volume.root..<end, of: disk, start: volume.root)
        for _ in 0..<3 {
            guard try records.record() != nil else { return true }
        }
        return false
    }

    /// What `record` says by Rock Ridge; nil where none is read.
    func rockRidge(_ record: ISORecord, _ areas: inout ContinuationAreas) throws(ImageError) -> RockRidge? {
        guard !isJoliet else { return nil }
        let skip = record.offset == root.number ? rootSkip : skip
        let found = try RockRidge(record, skip: skip, blockSize: volume.blockSize, of: disk, &areas)
        // What is no SUSP may be anything.
        if isCertain, let fault = found.fault {
            noted.add(
                "at \(GuestOffset(fault.offset)) of the disk: \(fault.detail); what it says of a file is not known")
        }
        return found
    }

    func usage() throws(ImageError) -> GuestUsage {
        GuestUsage(blockSize: volume.blockSize, blocks: volume.blocks, freeBlocks: 0, availableBlocks: 0)
    }

    func status(of file: GuestFileID) throws(ImageError) -> GuestStatus {
        let found = try found(file)
        let (record, extra) = (found.record, found.extra)
        let stored = try sections(of: record).reduce(0) { $0 + $1.size }
        var size = extra?.size ?? stored
        if found.kind == .link { size = UInt64(try target(of: found).count) }
        return GuestStatus(
            kind: found.kind, permissions: extra?.mode.map { UInt16($0 & 0o7777) } ?? 0o555, userID: extra?.user ?? 0,
            groupID: extra?.group ?? 0, size: size, allocatedSize: (stored + 511) / 512 * 512,
            linkCount: extra?.links ?? 1, modified: extra?.modified ?? record.time,
            accessed: extra?.accessed ?? record.time, changed: extra?.changed ?? extra?.made ?? record.time,
            born: extra?.made)
    }

    func list(
        _ directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        try forEachFile(in: directory, body)
    }

    func find(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID? {
        let folded = isJoliet ? ISOName.folded(name) : nil
        var found: GuestFileID?
        try forEachFile(in: directory) { entry throws(ImageError) in
            if entry.name == name {
                found = entry.file
                return false
            }
            if let folded, found == nil, ISOName.folded(entry.name) == folded { found = entry.file }
            return true
        }
        return found
    }

    func open(_ file: GuestFileID) throws(ImageError) -> any GuestFileContent {
        let found = try found(file)
        guard found.kind == .regular else { throw disk.corrupt(at: file.number, "this is no regular file") }
        if let coding = found.extra?.coding {
            throw unsupported(
                coding == .compressed
                    ? "the file is compressed (zisofs), which this program does not read; mount the file system to read it"
                    : "the file is stored without its holes (SF), which this program does not read", at: file.number)
        }
        guard !found.record.isInterleaved else {
            throw unsupported("the file is interleaved with others, which this program does not read", at: file.number)
        }
        return ISOContent(try sections(of: found.record), of: disk)
    }

    func target(ofLink file: GuestFileID) throws(ImageError) -> [UInt8] {
        let found = try found(file)
        guard found.kind == .link else { throw disk.corrupt(at: file.number, "this is no symbolic link") }
        return try target(of: found)
    }

    private func target(of found: Found) throws(ImageError) -> [UInt8] {
        guard let target = found.extra?.target, !target.isDamaged, !target.path.isEmpty, target.path.count <= 4095,
            !target.path.contains(0)
        else { throw disk.corrupt(at: found.record.offset, "the symbolic link has no target that it can have") }
        return target.path
    }

    func extendedAttributes(of file: GuestFileID) throws(ImageError) -> [GuestAttribute] { [] }

    func unsupported(_ detail: String, at offset: UInt64) -> ImageError {
        ImageError(.unsupported, path: disk.path, "\(disk.name), at \(GuestOffset(offset)) of its disk: \(detail)")
    }
}
