import BlockImage
import ByteFormat

/// The passphrases of encrypted images, and the ciphers that they unlocked. May be used from any thread.
public final class ImageKeys: Sendable {
    private let secrets: [ExactName: Secret]
    private let workLimit: UInt64
    private let slowKeyHint: String?
    /// Unlocking takes as long as the image's writer wanted it to, and is done once for each key, also where that does not
    /// fit.
    private let attempts = Guarded<[Unlocking: Attempt]>([:])

    /// What came of unlocking: whoever asks while it is done waits for it, and for no other.
    private final class Attempt: Sendable {
        let result = Guarded<Result<SectorCipher, EncryptionFault>?>(nil)
    }

    private struct Unlocking: Hashable {
        var header: LUKS1Header
        /// A digest of the key material that was read: a damaged copy of an image must not be taken for the sound one.
        var material: [UInt8]
        var secret: ObjectIdentifier
    }

    /// The passphrases of images by their file names or paths. At most `workLimit` HMACs are done for one of them;
    /// `slowKeyHint` says what to do where it takes more.
    public init(
        _ secrets: [ExactName: Secret] = [:], workLimit: UInt64 = LUKS1Header.usualWorkLimit, slowKeyHint: String? = nil
    ) {
        self.secrets = secrets
        self.workLimit = workLimit
        self.slowKeyHint = slowKeyHint
    }

    /// Whether a passphrase was given for the image in `file`.
    public func hasSecret(for file: any HostFile) -> Bool { secret(for: file) != nil }

    /// What decrypts the image in `file` by QEMU's older method; nil where no passphrase was given for it. Throws what is
    /// wrong with the passphrase.
    public func legacyCipher(for file: any HostFile) throws(ImageError) -> SectorCipher? {
        guard let secret = secret(for: file) else { return nil }
        do throws(EncryptionFault) {
            return try LegacyAES.cipher(for: secret)
        } catch {
            throw ImageError(error, in: file, headerAt: HostOffset(0))
        }
    }

    /// What decrypts the image in `file` whose LUKS header begins at `start`; nil where no passphrase was given for it.
    ///
    /// Throws `denied` where the passphrase fits none of the header's key slots, `corrupt` where these are damaged, and
    /// `unsupported` for ciphers that are not done here.
    public func luksCipher(at start: HostOffset, in file: any HostFile) throws(ImageError) -> SectorCipher? {
        guard let secret = secret(for: file) else { return nil }
        var reader = ByteReader(try file.bytes(LUKS1Header.size, at: start, of: "LUKS header"))
        let header: LUKS1Header
        do throws(EncryptionFault) {
            header = try LUKS1Header(parsing: &reader)
        } catch {
            throw ImageError(error, in: file, headerAt: start)
        }
        return try cipher(for: header, at: start, in: file, with: secret)
    }

    private func cipher(
        for header: LUKS1Header, at start: HostOffset, in file: any HostFile, with secret: Secret
    ) throws(ImageError) -> SectorCipher {
        let material: KeyMaterial
        do throws(EncryptionFault) { material = try KeyMaterial(of: header, at: start, in: file) } catch {
            throw ImageError(error, in: file, headerAt: start)
        }
        let unlocking = Unlocking(header: header, material: material.digest, secret: ObjectIdentifier(secret))
        let attempt = attempts.withLock { attempts in
            let attempt = attempts[unlocking] ?? Attempt()
            attempts[unlocking] = attempt
            return attempt
        }
        return try attempt.result.withLock { result throws(ImageError) in
            if result == nil {
                do throws(UnlockFailure<ImageError>) {
                    let cipher = try header.unlock(with: secret, workLimit: workLimit) {
                        offset, count throws(ImageError) in
                        if let read = material.slots[offset] { return try read.get() }
                        return try file.bytes(count, at: start.advanced(by: offset), of: "LUKS key material")
                    }
                    result = .success(cipher)
                } catch {
                    switch error {
                    case .encryption(let fault): result = .failure(fault)
                    // The host may be able to read it next time.
                    case .reading(let error): throw error
                    }
                }
            }
            switch result {
            case .success(let cipher)?: return cipher
            case .failure(let fault)?:
                var error = ImageError(fault, in: file, headerAt: start)
                if fault.code == .tooSlow { error.hint = slowKeyHint }
                throw error
            case nil: throw ImageError(.denied, path: file.path, "encryption header: was not unlocked")
            }
        }
    }

    /// The key that was given for the file's path or, failing that, its name.
    private func secret(for file: any HostFile) -> Secret? {
        // By bytes: an accent at the start of a name makes one character of it and the slash.
        let name = file.path.utf8.split(separator: UInt8(ascii: "/")).last.flatMap { String($0) } ?? file.path
        let given = [ExactName(file.path), ExactName(name)]
        if let secret = given.lazy.compactMap({ self.secrets[$0] }).first { return secret }
        // The key that was typed on another keyboard than the name of the file. Of two, none is tried.
        let alike = secrets.filter { key, _ in given.contains { areEquivalent(key.text.utf8, $0.text.utf8) } }
        return alike.count == 1 ? alike.first?.value : nil
    }
}

/// The key material of the active key slots of a LUKS header, read before any lock is taken: a host that hangs must not
/// keep others from a sound copy of the image.
private struct KeyMaterial {
    /// What was read at each offset, counted from the header's first byte, or why it cannot be read: another slot may do.
    var slots: [UInt64: Result<[UInt8], ImageError>] = [:]
    /// A digest of all that was read.
    var digest: [UInt8]

    /// Reads the key material of `header`, which begins at `start` of `file`. Throws what is wrong with the header.
    init(of header: LUKS1Header, at start: HostOffset, in file: any HostFile) throws(EncryptionFault) {
        // Then there are at most 8 slots of 256,000 bytes.
        try header.check()
        var content = try ContentDigest(.sha256)
        for slot in header.keySlots where slot.isActive {
            let offset = UInt64(slot.keyMaterialOffset) * UInt64(SectorCipher.sectorSize)
            let read = Result { () throws(ImageError) in
                try file.bytes(header.keyMaterialSize, at: start.advanced(by: offset), of: "LUKS key material")
            }
            if case .success(let bytes) = read { try content.update(unsafe bytes.span.bytes) }
            slots[offset] = read
        }
        digest = try content.finish()
    }
}

extension ImageError {
    /// What a fault of an encryption header that begins at `start` of `file` means for the image.
    fileprivate init(_ fault: EncryptionFault, in file: any HostFile, headerAt start: HostOffset) {
        let code: Code =
            switch fault.code {
            case .corrupt: .corrupt
            case .unsupported, .tooSlow: .unsupported
            case .wrongKey: .denied
            }
        let offset = fault.position.map { start.advanced(by: UInt64(clamping: $0)) }
        self.init(code, path: file.path, offset: offset, "encryption header: \(fault.message)")
    }
}
