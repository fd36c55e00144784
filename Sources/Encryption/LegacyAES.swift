/// The encryption of QCOW2 that is older than LUKS: crypt_method 1. Its passphrase *is* the key, which no one can check.
public enum LegacyAES {
    /// AES-128-CBC whose IVs are the guest's sector numbers.
    ///
    /// The specification says "256 bit AES", but QEMU has always used the first 16 bytes of the passphrase, filled up
    /// with zeros, as a key of 128 bits. A wrong passphrase gives wrong bytes and no fault.
    public static func cipher(for secret: Secret) throws(EncryptionFault) -> SectorCipher {
        var key = WipedBytes(zeros: 16)
        for index in 0..<min(key.count, secret.bytes.count) { key[index] = secret.bytes[index] }
        return try SectorCipher(CipherSpecification(mode: .cbc, keyBits: 128, initialVector: .plain64), key: key)
    }
}
