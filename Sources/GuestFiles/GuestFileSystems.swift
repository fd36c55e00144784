import BlockImage

/// The file systems of guests that are read: the only place that names them all.
public enum GuestFileSystems {
    /// The file system on `disk`, a partition or a volume, of the image in the file `path`; nil for none that is known.
    ///
    /// Throws `unsupported` for one that has a feature which this program does not know, `corrupt` for a damaged one, and what
    /// reading throws.
    public static func open(_ disk: Image, path: String) throws(ImageError) -> (any GuestFileSystem)? {
        if let found = try ExtFileSystem.open(disk, path: path) { return found }
        return nil
    }
}
