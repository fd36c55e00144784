import CCrypto

/// Bytes as text (RFC 4648, section 4), by libcrypto. Callable from any thread.
public enum Base64 {
    /// What `bytes`, less than 1.5 GiB, are as text, in one line.
    public static func text(_ bytes: [UInt8]) -> String {
        // Safe: libcrypto writes four characters for each three bytes begun, and a NUL.
        unsafe String(unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4 + 1) { text in
            Int(unsafe EVP_EncodeBlock(text.baseAddress, bytes, CInt(bytes.count)))
        }
    }

    /// The bytes that `text` stands for; nil where it is no Base64.
    public static func bytes(_ text: String) -> [UInt8]? {
        let input = Array(text.utf8)
        let padding = input.reversed().prefix { $0 == UInt8(ascii: "=") }.count
        guard input.count % 4 == 0, padding <= 2, let count = CInt(exactly: input.count) else { return nil }
        var isValid = false
        // Safe: libcrypto writes three bytes for each four characters.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: input.count / 4 * 3) { space, initializedCount in
            let size = Int(unsafe EVP_DecodeBlock(space.baseAddress, input, count))
            isValid = size >= padding
            initializedCount = max(0, size - padding)
        }
        return isValid || input.isEmpty ? bytes : nil
    }
}
