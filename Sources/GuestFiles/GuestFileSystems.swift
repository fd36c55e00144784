import BlockImage

/// The file systems of guests that are read: the only place that names them all.
public enum GuestFileSystems {
    /// The file system on `disk`, a partition, a volume or a whole disk, of the image in the file `path`; nil for none that is
    /// known.
    ///
    /// A disk that has partitions may be a file system as well: the live images of Linux are ISO 9660 as a whole. An ISO 9660
    /// leaves the first 32 KiB to others, so that what else has its superblock there is either a second file system by intent, or
    /// was made over an ISO 9660 that was there: neither is taken for the one that is meant.
    ///
    /// Throws `unsupported` for one that has a feature which this program does not know, or for more than one, `corrupt` for a
    /// damaged one, and what reading throws.
    public static func open(_ disk: Image, path: String) throws(ImageError) -> (any GuestFileSystem)? {
        var found: [any GuestFileSystem] = []
        if let ext = try ExtFileSystem.open(disk, path: path) { found.append(ext) }
        if let exFAT = try ExFATFileSystem(on: disk, path: path) { found.append(exFAT) }
        if let fat = try FATFileSystem(on: disk, path: path) { found.append(fat) }
        if let iso = try ISOFileSystem(on: disk, path: path) { found.append(iso) }
        guard found.count < 2 else {
            let types = found.map(\.info.type).joined(separator: " and ")
            throw ImageError(
                .unsupported, path: path,
                "has the superblocks of \(types), one of which was left when the other was made, and none is read")
        }
        if found.isEmpty, let other = try ISOFileSystem.other(on: disk, path: path) {
            throw ImageError(.unsupported, path: path, "has a \(other) file system, which this program does not read")
        }
        return found.first
    }
}
