import ByteFormat

/// The integers of a structure on disk, little-endian. Those past its end are 0, so that short structures of older revisions
/// are read as the longer ones.
struct ExtFields: Sendable {
    /// The whole structure.
    let bytes: [UInt8]

    /// Those of `bytes`.
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// How many bytes it has.
    var count: Int { bytes.count }

    /// The byte at `place`.
    func u8(_ place: Int) -> UInt8 {
        place >= 0 && place < bytes.count ? bytes[place] : 0
    }

    /// The 16-bit integer at `place`.
    func u16(_ place: Int) -> UInt16 {
        guard place >= 0, place <= bytes.count - 2 else { return 0 }
        return UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8
    }

    /// The 32-bit integer at `place`.
    func u32(_ place: Int) -> UInt32 {
        UInt32(u16(place)) | UInt32(u16(place + 2)) << 16
    }

    /// The 32-bit integer at `place`, big-endian as everything in a journal.
    func big32(_ place: Int) -> UInt32 { u32(place).byteSwapped }

    /// The 64-bit integer at `place`, big-endian.
    func big64(_ place: Int) -> UInt64 { UInt64(big32(place)) << 32 | UInt64(big32(place + 4)) }

    /// The number whose lower half is the 32-bit integer at `low`, and the upper one at `high`.
    func wide(_ low: Int, _ high: Int) -> UInt64 { UInt64(u32(low)) | UInt64(u32(high)) << 32 }

    /// Those bytes of `range` that there are.
    func slice(_ range: Range<Int>) -> [UInt8] { Array(bytes[range.clamped(to: 0..<bytes.count)]) }
}

extension CRC32C {
    /// Goes on with all of `bytes`, of which those of `field` count as zeros.
    mutating func update(_ bytes: [UInt8], without field: Range<Int>) {
        update(bytes, in: 0..<field.lowerBound)
        update(zeros: field.count)
        update(bytes, in: min(field.upperBound, bytes.count)..<bytes.count)
    }
}

/// The check sum CRC-16 with the polynomial 0x8005, bits reversed, which protects group descriptors of file systems that have the
/// feature `uninit_bg`.
func extCRC16(_ parts: [UInt8]...) -> UInt16 {
    var sum = UInt16.max
    for part in parts {
        for byte in part {
            sum ^= UInt16(byte)
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xa001 }
        }
    }
    return sum
}
