import BlockImage
import ByteFormat
import Encryption

/// How an image is encrypted, under the keys of `qemu-img info`. Holds nothing of a key.
struct EncryptionInfo: Encodable, Sendable {
    private struct Slot: Encodable, Sendable {
        var active: Bool
        var iters: UInt32?
        var keyOffset: UInt64
        var stripes: UInt32?

        private enum CodingKeys: String, CodingKey {
            case active, iters, stripes
            case keyOffset = "key-offset"
        }

        init(_ slot: LUKS1Header.KeySlot) {
            active = slot.isActive
            keyOffset = UInt64(slot.keyMaterialOffset) * 512
            guard slot.isActive else { return }
            iters = slot.iterations
            stripes = slot.stripes
        }
    }

    private var format: String
    private var uuid: String?
    private var cipherAlg: String?
    private var cipherMode: String?
    private var ivgenAlg: String?
    private var ivgenHashAlg: String?
    private var hashAlg: String?
    private var payloadOffset: UInt64?
    private var masterKeyIters: UInt32?
    private var slots: [Slot]?

    private enum CodingKeys: String, CodingKey {
        case format, uuid, slots
        case cipherAlg = "cipher-alg"
        case cipherMode = "cipher-mode"
        case ivgenAlg = "ivgen-alg"
        case ivgenHashAlg = "ivgen-hash-alg"
        case hashAlg = "hash-alg"
        case payloadOffset = "payload-offset"
        case masterKeyIters = "master-key-iters"
    }

    /// What the image in `file` says of its encryption; nil where it is not encrypted. Of a damaged LUKS header, nothing
    /// but that there is one.
    init?(_ description: QCOW2Description, in file: any HostFile) {
        switch description.header.cryptMethod {
        case 1: format = "aes"
        case 2:
            format = "luks"
            guard let location = description.extensions.encryptionHeader,
                let bytes = try? file.bytes(LUKS1Header.size, at: HostOffset(location.offset), of: "LUKS header")
            else { return }
            var reader = ByteReader(bytes)
            if let header = try? LUKS1Header(parsing: &reader) { add(header) }
        default: return nil
        }
    }

    private mutating func add(_ header: LUKS1Header) {
        // As "xts-plain64" or "cbc-essiv:sha256".
        let mode = header.cipherMode.split(separator: "-", maxSplits: 1).map { String($0) }
        let generator = mode.dropFirst().first?.split(separator: ":").map { String($0) } ?? []
        let keyCount = mode.first == "xts" ? 2 : 1
        uuid = header.uuid
        cipherAlg = "\(header.cipherName)-\(UInt64(header.keyBytes) * 8 / UInt64(keyCount))"
        cipherMode = mode.first
        ivgenAlg = generator.first
        ivgenHashAlg = generator.dropFirst().first
        hashAlg = header.hashSpec
        payloadOffset = UInt64(header.payloadOffset) * 512
        masterKeyIters = header.masterKeyDigestIterations
        slots = header.keySlots.map(Slot.init)
    }
}
