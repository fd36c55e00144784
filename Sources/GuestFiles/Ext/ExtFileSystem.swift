import BlockImage
import ByteFormat

/// ext2, ext3 or ext4, with its journal replayed in memory. Every method may be called from any thread.
///
/// libext2fs does not replay journals, is not thread-safe, and is C that trusts much of what it reads.
final class ExtFileSystem: GuestFileSystem {
    private let volume: ExtVolume
    let info: GuestFileSystemInfo
    let notes: [ErrorText]
    let root = GuestFileID(2)

    private init(_ volume: ExtVolume, notes: [ErrorText]) {
        let superblock = volume.superblock
        self.volume = volume
        self.notes = notes
        info = GuestFileSystemInfo(type: superblock.type, label: superblock.label, uuid: uuidText(superblock.uuid))
    }

    /// The file system on `disk`, of the image in the file `path`; nil where it is of another kind. Throws `unsupported`, `corrupt`
    /// and what reading throws.
    static func open(_ disk: Image, path: String) throws(ImageError) -> ExtFileSystem? {
        guard disk.virtualSize >= ExtSuperblock.offset + UInt64(ExtSuperblock.size) else { return nil }
        let stored = AlignedBuffer(capacity: ExtSuperblock.size)
        try stored.fill(ExtSuperblock.size) { output throws(ImageError) in
            try disk.read(ExtSuperblock.size, at: GuestOffset(ExtSuperblock.offset), into: &output)
        }
        guard ExtSuperblock.isThere(in: stored.array) else { return nil }
        let superblock = try parse(stored.array, path)
        var notes: [ErrorText] = []
        let asStored = ExtVolume(disk, path: path, superblock, JournalCopies())
        if superblock.blockCount << UInt64(superblock.blockShift) > disk.virtualSize {
            notes.append(
                "the file system has \(superblock.blockCount) blocks of \(superblock.blockSize) bytes, but the disk has \(disk.virtualSize) bytes: Linux does not mount it"
            )
        }
        let state = superblock.fields.u16(0x3a)
        if state & 2 != 0 { notes.append("errors were found in the file system, which e2fsck(8) has not mended yet") }
        if state & 1 == 0, !superblock.hasJournal {
            notes.append(
                "the file system has no journal and was not unmounted: of what was written last there may be a part")
        }
        let copies = try ExtJournal.replay(asStored, &notes)
        var volume = asStored
        if copies.count > 0 {
            let replayed = ExtVolume(disk, path: path, superblock, copies)
            let current = try parse(try replayed.bytes(ExtSuperblock.size, at: ExtSuperblock.offset), path)
            guard current.blockShift == superblock.blockShift, current.blockCount >= superblock.blockCount else {
                throw asStored.corrupt(
                    "superblock", at: ExtSuperblock.offset, "its copy in the journal is of another file system")
            }
            volume = ExtVolume(disk, path: path, current, copies)
        }
        let top = try volume.file(2)
        guard top.kind == .directory else {
            throw volume.corrupt("inode 2", at: top.place, "is the topmost directory, but no directory")
        }
        return ExtFileSystem(volume, notes: notes)
    }

    private static func parse(_ bytes: [UInt8], _ path: String) throws(ImageError) -> ExtSuperblock {
        let superblock: ExtSuperblock
        do throws(ParseFault) {
            superblock = try ExtSuperblock(parsing: bytes)
        } catch {
            let place = hexadecimal(ExtSuperblock.offset + UInt64(error.position))
            throw ImageError(
                .corrupt, path: path, "superblock, at \(place) of the file system: \(error.message)")
        }
        let unknown = superblock.features.unknownNames
        guard unknown.isEmpty else {
            throw ImageError(
                .unsupported, path: path,
                "the file system has the feature \(unknown.joined(separator: ", ")), which this program does not know")
        }
        return superblock
    }

    /// See `GuestFileSystem`.
    func usage() throws(ImageError) -> GuestUsage { try volume.usage() }

    /// See `GuestFileSystem`.
    func status(of file: GuestFileID) throws(ImageError) -> GuestStatus {
        try volume.file(file.number).status(volume.superblock)
    }

    /// See `GuestFileSystem`.
    func list(
        _ directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        try volume.list(try volume.file(directory.number), body)
    }

    /// See `GuestFileSystem`.
    func find(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID? {
        try volume.find(name, in: try volume.file(directory.number)).map { GuestFileID(UInt64($0)) }
    }

    /// See `GuestFileSystem`.
    func open(_ file: GuestFileID) throws(ImageError) -> any GuestFileContent {
        let inode = try volume.file(file.number)
        guard inode.kind == .regular else {
            throw volume.corrupt("inode \(inode.number)", at: inode.place, "is no regular file")
        }
        if inode.flags.contains(.encrypted) {
            throw volume.unsupported("inode \(inode.number): this file is encrypted, and there is no key for it")
        }
        return try ExtContent(inode, of: volume)
    }

    /// See `GuestFileSystem`.
    func target(ofLink file: GuestFileID) throws(ImageError) -> [UInt8] {
        try volume.target(of: try volume.file(file.number))
    }

    /// See `GuestFileSystem`.
    func extendedAttributes(of file: GuestFileID) throws(ImageError) -> [GuestAttribute] {
        try volume.guestAttributes(of: try volume.file(file.number))
    }
}
