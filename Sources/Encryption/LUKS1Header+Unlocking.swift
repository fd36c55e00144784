extension LUKS1Header {
    /// Into how many parts every writer splits the master key; QEMU and cryptsetup read no other number.
    public static let stripeCount: UInt32 = 4000
    /// The most HMACs that a passphrase that fits no key slot may cost: 2^27.
    ///
    /// Writers choose the iterations of a slot so that it takes 2 seconds on their machine, and those of the digest so
    /// that it takes a fraction of that. Eight slots of 2 seconds on a machine that does 8.4 million HMACs a second,
    /// twice what a server's core with instructions for SHA-256 did in 2026, make 8 · 2 · 8.4 million = 2^27. They take
    /// half a minute there, where the fields alone would allow 2^37.6 and most of a day.
    public static let workLimit: UInt64 = 1 << 27

    /// The most HMACs that are done for one passphrase unless more is allowed: 2^25, which are two seconds for one slot and
    /// its digest where 8.4 million are done a second, and another slot that is a bit slower.
    public static let usualWorkLimit: UInt64 = 1 << 25

    /// The bytes of key material of a slot: whole sectors, of which the splitter may leave the end unused.
    public var keyMaterialSize: Int {
        (Int(keyBytes) * Int(Self.stripeCount) + SectorCipher.sectorSize - 1)
            / SectorCipher.sectorSize * SectorCipher.sectorSize
    }

    /// Checks every field that unlocking depends on: the ciphers and hashes are known, the key slots lie apart from
    /// each other, from the header and from the data, and the work stays below `workLimit`.
    public func check() throws(EncryptionFault) {
        _ = try parameters()
    }

    /// Finds the key slot that `secret` opens, and answers the cipher of the encrypted data.
    ///
    /// `keyMaterial` reads `count` bytes at `offset`, counted from the header's first byte; the header does not know
    /// where its file ends. Checks the header first. Takes as long as its writer wanted it to, seconds for each slot, and
    /// at most `workLimit` HMACs: throws `unsupported` before a slot that takes more.
    public func unlock<Failure: Error>(
        with secret: Secret, workLimit: UInt64 = LUKS1Header.usualWorkLimit,
        keyMaterial: (_ offset: UInt64, _ count: Int) throws(Failure) -> [UInt8]
    ) throws(UnlockFailure<Failure>) -> SectorCipher {
        let parameters: Parameters
        do throws(EncryptionFault) { parameters = try self.parameters() } catch { throw .encryption(error) }
        var work: UInt64 = 0
        for index in keySlots.indices where keySlots[index].isActive {
            work += self.work(of: keySlots[index], parameters.hash)
            guard work <= workLimit else {
                throw .encryption(
                    fault(
                        .tooSlow, index, 4,
                        "iterations: is \(keySlots[index].iterations), and mk-digest-iter \(masterKeyDigestIterations):"
                            + " the key slots up to this cost \(work) HMACs, and \(workLimit) are done"))
            }
            let offset = UInt64(keySlots[index].keyMaterialOffset) * UInt64(SectorCipher.sectorSize)
            let material: [UInt8]
            do throws(Failure) { material = try keyMaterial(offset, keyMaterialSize) } catch { throw .reading(error) }
            do throws(EncryptionFault) {
                if let cipher = try cipher(of: index, with: secret, material, parameters) { return cipher }
            } catch {
                throw .encryption(error)
            }
        }
        throw .encryption(EncryptionFault(.wrongKey, "the passphrase fits none of the active key slots"))
    }

    /// What the texts of the header mean.
    private struct Parameters {
        var specification: CipherSpecification
        var hash: HashAlgorithm
    }

    private func parameters() throws(EncryptionFault) -> Parameters {
        let specification = try CipherSpecification(name: cipherName, mode: cipherMode, keyBytes: keyBytes)
        let hash = try HashAlgorithm(named: hashSpec, in: "hash-spec", at: 72)
        try checkKeySlots()
        try checkWork(hash)
        return Parameters(specification: specification, hash: hash)
    }

    private func checkKeySlots() throws(EncryptionFault) {
        let sectors = UInt64(keyMaterialSize / SectorCipher.sectorSize)
        for (index, slot) in keySlots.enumerated() {
            guard slot.stripes == Self.stripeCount else {
                throw fault(.corrupt, index, 44, "stripes: is \(slot.stripes), but must be \(Self.stripeCount)")
            }
            let first = UInt64(slot.keyMaterialOffset)
            guard first * UInt64(SectorCipher.sectorSize) >= UInt64(Self.size) else {
                throw fault(
                    .corrupt, index, 40, "key-material-offset: is \(first), inside the header; must be 2 or more")
            }
            // A header that is kept apart from its data has no payload offset.
            guard payloadOffset == 0 || first + sectors <= UInt64(payloadOffset) else {
                throw fault(
                    .corrupt, index, 40,
                    "key-material-offset: is \(first), but \(sectors) sectors must end by the payload at \(payloadOffset)"
                )
            }
            for other in keySlots[..<index].indices {
                let distance = first.distance(to: UInt64(keySlots[other].keyMaterialOffset)).magnitude
                guard distance >= sectors else {
                    throw fault(
                        .corrupt, index, 40,
                        "key-material-offset: is \(first), \(distance) sectors from that of key slot \(other + 1), but"
                            + " each takes \(sectors)")
                }
            }
        }
    }

    private func checkWork(_ hash: HashAlgorithm) throws(EncryptionFault) {
        guard masterKeyDigestIterations > 0 else {
            throw EncryptionFault(.corrupt, at: 164, "mk-digest-iter: is 0, but must be at least 1")
        }
        var work: UInt64 = 0
        for (index, slot) in keySlots.enumerated() where slot.isActive {
            guard slot.iterations > 0 else {
                throw fault(.corrupt, index, 4, "iterations: is 0, but must be at least 1")
            }
            // At most 8 · 6 · 2^32: a key is at most four digests long, and the check of it two.
            work += self.work(of: slot, hash)
            guard work <= Self.workLimit else {
                throw fault(
                    .unsupported, index, 4,
                    "iterations: is \(slot.iterations), and mk-digest-iter \(masterKeyDigestIterations): all key slots up"
                        + " to this cost \(work) HMACs, but at most \(Self.workLimit) are done")
            }
        }
    }

    /// The HMACs that a passphrase costs at this slot: for the slot's key, and for the digest of what that decrypts.
    private func work(of slot: KeySlot, _ hash: HashAlgorithm) -> UInt64 {
        hash.work(iterations: slot.iterations, count: Int(keyBytes))
            + hash.work(iterations: masterKeyDigestIterations, count: masterKeyDigest.count)
    }

    /// A fault about the field at `position` of the key slot `index`, which people count from 1 as the format does.
    private func fault(_ code: EncryptionFault.Code, _ index: Int, _ position: Int, _ message: String)
        -> EncryptionFault
    {
        EncryptionFault(
            code, at: 208 + index * KeySlot.size + position, "key-slot-\(index + 1): \(message)")
    }

    /// The cipher with the master key of a key slot; nil where `secret` does not fit it.
    private func cipher(
        of index: Int, with secret: Secret, _ material: [UInt8], _ parameters: Parameters
    ) throws(EncryptionFault) -> SectorCipher? {
        guard material.count == keyMaterialSize else {
            throw fault(
                .corrupt, index, 40, "key material: has \(material.count) bytes, but must have \(keyMaterialSize)")
        }
        let slot = keySlots[index]
        let hash = parameters.hash
        let slotKey = try hash.derive(
            Int(keyBytes), from: secret.bytes, salt: slot.salt, iterations: slot.iterations)
        var split = WipedBytes(copying: material)
        let slotCipher = try SectorCipher(parameters.specification, key: slotKey)
        var sectors = split.mutableBytes
        try slotCipher.decrypt(&sectors, firstSector: 0)
        let masterKey = try AntiForensic.merge(
            split, keySize: Int(keyBytes), stripes: Int(slot.stripes), hash: hash)
        let digest = try hash.derive(
            masterKeyDigest.count, from: masterKey, salt: masterKeyDigestSalt,
            iterations: masterKeyDigestIterations)
        guard digest.equals(masterKeyDigest) else { return nil }
        return try SectorCipher(parameters.specification, key: masterKey)
    }
}

/// The splitter of LUKS, which blows a key up so that a disk that loses a part of it has lost the key (LUKS1, "AF").
enum AntiForensic {
    /// Puts together the key of `keySize` bytes from the first `stripes` times as many bytes of `split`.
    static func merge(
        _ split: borrowing WipedBytes, keySize: Int, stripes: Int, hash: HashAlgorithm
    ) throws(EncryptionFault) -> WipedBytes {
        var key = WipedBytes(zeros: keySize)
        var digest = WipedBytes(zeros: hash.size)
        var context = try DigestContext(hash)
        for stripe in 0..<stripes {
            if stripe > 0 { try diffuse(&key, &context, &digest) }
            for index in 0..<keySize { key[index] ^= split[stripe * keySize + index] }
        }
        return key
    }

    /// Replaces every run of a digest's size by the hash of its number, big-endian, and itself; the last may be cut.
    private static func diffuse(
        _ key: inout WipedBytes, _ context: inout DigestContext, _ digest: inout WipedBytes
    ) throws(EncryptionFault) {
        for start in stride(from: 0, to: key.count, by: context.size) {
            let end = min(start + context.size, key.count)
            // A key has at most 64 bytes, so that the number fits into the last of its four.
            try context.hash(
                [0, 0, 0, UInt8(start / context.size)], key.bytes.extracting(start..<end), into: &digest)
            for index in start..<end { key[index] = digest[index - start] }
        }
    }
}
