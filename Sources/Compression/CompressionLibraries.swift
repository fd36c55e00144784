import CDeflate
import CZlib
import CZstd

/// The libraries that compress and decompress.
public enum CompressionLibraries {
    /// The name and version of each. libdeflate does not tell the one that runs: it is the one of the build.
    public static var versions: [String] {
        // Safe: the strings are constants of the libraries.
        unsafe [
            "libdeflate \(LIBDEFLATE_VERSION_MAJOR).\(LIBDEFLATE_VERSION_MINOR) (of the build)",
            "libzstd \(String(cString: ZSTD_versionString()))",
            "zlib \(String(cString: zlibVersion()))",
        ]
    }
}
