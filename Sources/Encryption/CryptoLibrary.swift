import CCrypto

/// The library of ciphers and hash functions.
public enum CryptoLibrary {
    /// Its name and version.
    public static var version: String {
        // Safe: the string is a constant of the library.
        unsafe "libcrypto \(String(cString: OpenSSL_version(OPENSSL_VERSION_STRING)))"
    }
}
