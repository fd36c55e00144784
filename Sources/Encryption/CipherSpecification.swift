/// How sectors are encrypted: what a LUKS header says by its cipher-name, cipher-mode and key-bytes, for AES.
struct CipherSpecification: Hashable, Sendable {
    /// How the blocks of a sector are chained.
    enum Mode: String, Sendable {
        case ecb, cbc, ctr, xts
    }

    /// How a sector's number becomes its initial vector.
    enum InitialVector: Hashable, Sendable {
        /// The low 32 bits of the number, little-endian, filled up with zeros.
        case plain
        /// The number's 64 bits, little-endian, filled up with zeros.
        case plain64
        /// That of `plain64`, encrypted with the hash of the key.
        case essiv(HashAlgorithm)
    }

    var mode: Mode
    /// The bits of the AES key: 128, 192 or 256. XTS has two keys of this size.
    var keyBits: Int
    /// Not used by ECB.
    var initialVector: InitialVector

    /// The bytes of the whole key.
    var keySize: Int { keyBits / 8 * (mode == .xts ? 2 : 1) }
}

extension CipherSpecification {
    /// Where the three fields stand in a LUKS1 header, for faults.
    private enum Position {
        static let cipherName = 8
        static let cipherMode = 40
        static let keyBytes = 108
    }

    /// What a LUKS1 header asks for.
    init(name: String, mode modeText: String, keyBytes: UInt32) throws(EncryptionFault) {
        guard name == "aes" else {
            throw EncryptionFault(
                .unsupported, at: Position.cipherName, "cipher-name: the cipher '\(name)' is not supported; 'aes' is")
        }
        let parts = modeText.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let mode = Mode(rawValue: String(first)) else {
            throw EncryptionFault(
                .unsupported, at: Position.cipherMode,
                "cipher-mode: the mode '\(modeText)' is not supported; ecb, cbc, ctr and xts are")
        }
        let generator = parts.count > 1 ? String(parts[1]) : mode == .ecb ? "plain64" : ""
        let sizes: [UInt32] = mode == .xts ? [32, 48, 64] : [16, 24, 32]
        guard sizes.contains(keyBytes) else {
            throw EncryptionFault(
                .corrupt, at: Position.keyBytes,
                "key-bytes: is \(keyBytes), but must be \(sizes[0]), \(sizes[1]) or \(sizes[2]) for aes-\(mode)")
        }
        self.init(
            mode: mode, keyBits: Int(keyBytes) * (mode == .xts ? 4 : 8),
            initialVector: try InitialVector(named: generator, at: Position.cipherMode))
    }
}

extension CipherSpecification.InitialVector {
    /// The generator that the mode of a LUKS1 header calls `name`.
    fileprivate init(named name: String, at position: Int) throws(EncryptionFault) {
        if name == "plain" {
            self = .plain
        } else if name == "plain64" {
            self = .plain64
        } else if name.hasPrefix("essiv:") {
            let hash = try HashAlgorithm(named: String(name.dropFirst(6)), in: "cipher-mode", at: position)
            // The digest is the key of an AES of its own, as dm-crypt has it.
            guard [16, 24, 32].contains(hash.size) else {
                throw EncryptionFault(
                    .unsupported, at: position,
                    "cipher-mode: essiv with \(hash.rawValue), whose \(hash.size) bytes are no AES key")
            }
            self = .essiv(hash)
        } else {
            throw EncryptionFault(
                .unsupported, at: position,
                "cipher-mode: the IV generator '\(name)' is not supported; plain, plain64 and essiv are")
        }
    }
}
