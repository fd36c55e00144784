import BlockImage
import FormatCore

/// What only a QCOW2 image has, under the keys of `qemu-img info`.
struct QCOW2Info: Encodable, Sendable {
    private struct BitmapInfo: Encodable, Sendable {
        var name: String
        var granularity: UInt64
        var flags: [String]
    }

    private var compat: String
    private var compressionType: String
    private var refcountBits: Int
    private var lazyRefcounts: Bool?
    private var corrupt: Bool?
    private var extendedL2: Bool?
    private var bitmaps: [BitmapInfo]?
    private var dataFile: PathText?
    private var dataFileRaw: Bool?
    private var encrypt: EncryptionInfo?

    private enum CodingKeys: String, CodingKey {
        case compat, corrupt, bitmaps, encrypt
        case compressionType = "compression-type"
        case refcountBits = "refcount-bits"
        case lazyRefcounts = "lazy-refcounts"
        case extendedL2 = "extended-l2"
        case dataFile = "data-file"
        case dataFileRaw = "data-file-raw"
    }

    init(_ description: QCOW2Description, in file: any HostFile, listsBitmaps: Bool) {
        let header = description.header
        encrypt = EncryptionInfo(description, in: file)
        compat = header.version == 2 ? "0.10" : "1.1"
        compressionType = header.compressionType == 0 ? "zlib" : header.compressionType == 1 ? "zstd" : "unknown"
        refcountBits = 1 << Int(header.refcountOrder)
        guard header.version >= 3 else { return }
        lazyRefcounts = header.compatibleFeatures.contains(.lazyRefcounts)
        corrupt = header.incompatibleFeatures.contains(.corrupt)
        extendedL2 = header.incompatibleFeatures.contains(.extendedL2)
        // QEMU lists the bitmaps that the autoclear bit vouches for, and knows of no others.
        if listsBitmaps, header.autoclearFeatures.contains(.bitmaps), !description.bitmaps.isEmpty {
            bitmaps = description.bitmaps.map { bitmap in
                BitmapInfo(name: bitmap.name, granularity: bitmap.granularity, flags: bitmap.flags.names)
            }
        }
        if header.incompatibleFeatures.contains(.externalDataFile) {
            dataFile = description.extensions.dataFile.map { PathText(nameText($0)) }
            dataFileRaw = header.autoclearFeatures.contains(.rawExternalData)
        }
    }
}
