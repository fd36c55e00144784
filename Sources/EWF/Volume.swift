import BlockImage
import ByteFormat
import Compression

/// What an image says of its disk: the specification's "Volume section", of 1,052 bytes, and that of SMART, of 94.
///
///     OFFSET SIZE FIELD                            SMART
///          0    1 media type                         0    4 1
///          4    4 number of chunks                   4    4 number of chunks
///          8    4 sectors of a chunk                 8    4 sectors of a chunk
///         12    4 bytes of a sector                 12    4 bytes of a sector
///         16    8 number of sectors                 16    4 number of sectors
///         24   12 cylinders, heads, sectors         20   65 unknown
///         36    1 media flags                       85    5 "SMART"
///         52    1 compression level                 90    4 Adler-32 of the bytes before
///         56    4 error granularity, in sectors
///         64   16 identifier of the set of segments
///       1048    4 Adler-32 of the bytes before
struct Volume: Hashable, Sendable {
    /// The bytes of the usual form.
    static let length = 1052
    /// The bytes of that of SMART.
    static let smartLength = 94
    /// The most bytes of a chunk. EnCase 7 makes chunks of up to 16 MiB; libewf has 32 KiB by default.
    static let chunkLimit: UInt64 = 128 << 20

    /// Whether it is in SMART's form.
    var isSMART: Bool
    /// 0 removable, 1 fixed, 3 optical, 14 single files, 16 memory; nil where it is not said.
    var mediaType: UInt8?
    /// The chunks of the disk.
    var chunkCount: UInt32
    /// The sectors of a chunk.
    var sectorsPerChunk: UInt32
    /// The bytes of a sector.
    var bytesPerSector: UInt32
    /// The sectors of the disk.
    var sectorCount: UInt64
    /// 1 an image, 2 of a whole device, 4 and 8 by a write blocker; nil where it is not said.
    var mediaFlags: UInt8?
    /// 0 none, 1 good, 2 best; nil where it is not said.
    var compressionLevel: UInt8?
    /// How many sectors were given up at a read error; nil where it is not said.
    var errorGranularity: UInt32?
    /// The identifier of the set; nil where there is none.
    var setIdentifier: [UInt8]?

    /// Parses the data of a section.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        isSMART = bytes.count < Self.length
        let length = isSMART ? Self.smartLength : Self.length
        guard bytes.count >= length else {
            throw ParseFault(
                at: 0,
                "has \(counted(bytes.count, "byte")), but must have \(Self.length), or \(Self.smartLength) as of SMART")
        }
        var reader = ByteReader(bytes)
        let first: UInt32 = try reader.read(.little)
        chunkCount = try reader.read(.little)
        sectorsPerChunk = try reader.read(.little)
        bytesPerSector = try reader.read(.little)
        if isSMART {
            let count: UInt32 = try reader.read(.little)
            sectorCount = UInt64(count)
        } else {
            sectorCount = try reader.read(.little)
            mediaType = UInt8(truncatingIfNeeded: first)
            mediaFlags = bytes[36]
            compressionLevel = bytes[52]
            var later = ByteReader(bytes, at: 56)
            errorGranularity = try later.read(.little)
            setIdentifier = bytes[64..<80].contains { $0 != 0 } ? Array(bytes[64..<80]) : nil
        }
        var end = ByteReader(bytes, at: length - 4)
        let stored: UInt32 = try end.read(.little)
        let found = Adler32.value(of: Array(bytes.prefix(length - 4)))
        guard stored == found else {
            throw ParseFault(
                at: length - 4, "check sum is \(hexadecimal(stored)), but that of the section is \(hexadecimal(found))")
        }
        try check()
    }

    private func check() throws(ParseFault) {
        guard (1...65536).contains(bytesPerSector) else {
            throw ParseFault(at: 12, "a sector has \(counted(bytesPerSector, "byte")), but must have 1 to 65536")
        }
        guard sectorsPerChunk > 0, chunkSize <= Self.chunkLimit else {
            throw ParseFault(
                at: 8,
                "a chunk has \(counted(sectorsPerChunk, "sector")), but must have 1 to what \(Self.chunkLimit) bytes hold"
            )
        }
        let (size, overflow) = sectorCount.multipliedReportingOverflow(by: UInt64(bytesPerSector))
        guard !overflow, size <= UInt64(Int64.max) else {
            throw ParseFault(at: 16, "the disk has \(sectorCount) sectors, more than any file has")
        }
    }

    /// The bytes of a chunk.
    var chunkSize: UInt64 { UInt64(sectorsPerChunk) * UInt64(bytesPerSector) }
    /// The bytes of the disk.
    var diskSize: UInt64 { sectorCount * UInt64(bytesPerSector) }
    /// The chunks that these take.
    var neededChunks: UInt64 { diskSize / chunkSize + (diskSize % chunkSize == 0 ? 0 : 1) }
}

/// The digests of the whole disk that a writer stored.
struct StoredDigests: Hashable, Sendable {
    /// Of the section "hash" or "digest".
    var md5: [UInt8]?
    /// Of the section "digest".
    var sha1: [UInt8]?

    /// Adds those in the data of the section `type`, "hash" or "digest":
    ///
    ///     hash:   16 MD5, 16 unknown, 4 Adler-32 of the bytes before
    ///     digest: 16 MD5, 20 SHA-1, 40 padding, 4 Adler-32 of the bytes before
    ///
    /// A digest of zeros is none. Throws where the check sum is wrong.
    mutating func add(_ bytes: [UInt8], of type: String) throws(ParseFault) {
        let length = type == "hash" ? 36 : 80
        guard bytes.count >= length else {
            throw ParseFault(at: 0, "has \(counted(bytes.count, "byte")), but must have \(length)")
        }
        var end = ByteReader(bytes, at: length - 4)
        let stored: UInt32 = try end.read(.little)
        let found = Adler32.value(of: Array(bytes.prefix(length - 4)))
        guard stored == found else {
            throw ParseFault(
                at: length - 4, "check sum is \(hexadecimal(stored)), but that of the section is \(hexadecimal(found))")
        }
        func digest(_ range: Range<Int>) -> [UInt8]? { bytes[range].contains { $0 != 0 } ? Array(bytes[range]) : nil }
        md5 = digest(0..<16) ?? md5
        if type == "digest" { sha1 = digest(16..<36) ?? sha1 }
    }
}
