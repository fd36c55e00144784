import BlockImage

/// The file systems of guests that are read: the only place that names them all.
public enum GuestFileSystems {
    /// The file system on `disk`, a partition or a volume, of the image in the file `path`; nil for none that is known.
    ///
    /// Throws `unsupported` for one that has a feature which this program does not know, `corrupt` for a damaged one, and what
    /// reading throws.
    public static func open(_ disk: Image, path: String) throws(ImageError) -> (any GuestFileSystem)? {
        var found: [any GuestFileSystem] = []
        if let ext = try ExtFileSystem.open(disk, path: path) { found.append(ext) }
        if let exFAT = try ExFATFileSystem(on: disk, path: path) { found.append(exFAT) }
        if let fat = try FATFileSystem(on: disk, path: path) { found.append(fat) }
        guard found.count < 2 else {
            let types = found.map(\.info.type).joined(separator: " and ")
            throw ImageError(
                .unsupported, path: path,
                "has the superblocks of \(types), one of which was left when the other was made, and none is read")
        }
        return found.first
    }
}
