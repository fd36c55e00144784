internal import CFuse3

/// The library that talks to the kernel.
public enum FuseLibrary {
    /// Its name and version.
    public static var version: String {
        // Safe: the string is a constant of the library.
        unsafe "libfuse \(String(cString: fuse_pkgversion()))"
    }
}
