import BlockImage
import ByteFormat
import FormatCore

/// What a QCOW2 image says of itself: the first of the two steps of opening it. An image that cannot be read because
/// it needs what this program does not do has a description all the same.
public struct QCOW2Description: Sendable {
    /// The header.
    public let header: Header
    /// The header extensions.
    public let extensions: HeaderExtensions
    /// The backing file's name as stored; nil where there is none.
    public let backingFile: [UInt8]?
    /// The internal snapshots, in the table's order; those whose entries can be read.
    public let snapshots: [Snapshot]
    /// Why other snapshots are unknown; nil where there are no others.
    public let snapshotFault: ImageError?
    /// The dirty bitmaps, in the directory's order. Where the autoclear bit does not vouch for them they are all
    /// inconsistent, and left out where the directory is damaged.
    public let bitmaps: [Bitmap]
    /// Why the bitmaps are unknown, although the header says that the image has some; nil where they are known.
    public let bitmapFault: ImageError?
    /// Why the image cannot be read as it is, though its tables may be sound.
    public var refusal: ImageError? { refusalWithKey ?? refusalWithoutKey }
    /// The same for a reader that has the key of an encrypted image.
    public let refusalWithKey: ImageError?
    private let refusalWithoutKey: ImageError?
    /// Whether nothing but the key keeps it from being read.
    public var lacksKey: Bool { refusalWithKey == nil && refusalWithoutKey != nil }

    /// Whether a file that begins with `bytes` is a QCOW image, of any version but the first, which is another format.
    public static func recognizes(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.starts(with: Header.magic) && !bytes.dropFirst(4).starts(with: [0, 0, 0, 1])
    }

    /// Reads the header and what it leads to, the tables of clusters excepted, and checks it as QEMU does.
    ///
    /// Throws `corrupt` and `truncated` about what is damaged of that, and `unsupported` for QCOW version 1 and unknown
    /// versions. Damaged tables of snapshots and of bitmaps, which the disk does not need, do not keep it from being
    /// described: see `snapshotFault` and `bitmapFault`.
    public init(_ file: any HostFile) throws(ImageError) {
        let start = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "header")
        var reader = ByteReader(start)
        if start.starts(with: Header.magic), start.count >= 8, start[4..<7] != [0, 0, 0] || !(2...3).contains(start[7])
        {
            let version = start[4..<8].reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
            throw ImageError(
                .unsupported, path: file.path, offset: HostOffset(4),
                "header: QCOW version \(version) is not supported, only 2 and 3 are")
        }
        do throws(ParseFault) {
            header = try Header(parsing: &reader)
        } catch {
            throw ImageError(error, in: file, at: HostOffset(0), of: "header")
        }
        try header.check(file)

        // Everything up to the backing file's name, and that name, lies in the first cluster.
        let cluster = try file.bytes(Int(min(file.size, header.clusterSize)), at: HostOffset(0), of: "header cluster")
        do throws(ParseFault) {
            var reader = ByteReader(cluster, at: Int(header.headerLength))
            let end = header.backingFileOffset == 0 ? cluster.count : Int(header.backingFileOffset)
            extensions = try HeaderExtensions(parsing: &reader, upTo: min(end, cluster.count))
            backingFile = try header.backingFileName(in: cluster)
        } catch {
            throw ImageError(error, in: file, at: HostOffset(0), of: "header")
        }
        (snapshots, snapshotFault) = Snapshot.readTable(header, of: file)
        (bitmaps, bitmapFault) = Bitmap.list(header, extensions, of: file)
        refusalWithKey = Self.refusal(header, extensions, hasBacking: backingFile != nil, file)
        refusalWithoutKey = Self.encryption(header).map { method in
            ImageError(
                .denied, path: file.path, offset: HostOffset(32), "crypt_method: encrypted, no key",
                hint: "--secret gives the passphrase of \(method)")
        }
    }

    /// What people should know of the image, and does not keep its disk from being read.
    public var notes: [ErrorText] {
        var notes: [ErrorText] = []
        if let snapshotFault {
            notes.append(
                "\(snapshotFault); of \(header.snapshotCount) snapshots \(snapshots.count) can be read, and the disk "
                    + "needs none")
        }
        if let bitmapFault { notes.append("\(bitmapFault); no dirty bitmap can be read, and the disk needs none") }
        return notes
    }

    /// The name of the external data file, which must be opened for the layer; nil where there is none.
    public var dataFile: [UInt8]? {
        header.incompatibleFeatures.contains(.externalDataFile) ? extensions.dataFile : nil
    }

    private static func encryption(_ header: Header) -> String? {
        switch header.cryptMethod {
        case 1: "AES"
        case 2: "LUKS"
        default: nil
        }
    }

    /// What the image needs that this program does not do, by name.
    private static func refusal(
        _ header: Header, _ extensions: HeaderExtensions, hasBacking: Bool, _ file: any HostFile
    ) -> ImageError? {
        func refuse(_ offset: UInt64, _ message: ErrorText, _ code: ImageError.Code = .unsupported) -> ImageError {
            ImageError(code, path: file.path, offset: HostOffset(offset), message)
        }
        let known: IncompatibleFeatures = [.dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2]
        let unknown = header.incompatibleFeatures.subtracting(known)
        if !unknown.isEmpty {
            let names = unknown.names(in: extensions.featureNames).joined(separator: ", ")
            return refuse(72, "incompatible_features: needs features that are not supported: \(names)")
        }
        if header.cryptMethod > 2 {
            return refuse(32, "crypt_method: encrypted with unknown method \(header.cryptMethod)")
        }
        let hasDataFile = header.incompatibleFeatures.contains(.externalDataFile)
        if hasDataFile, extensions.dataFile == nil {
            return refuse(
                72, "incompatible_features: uses an external data file, but no header extension gives its name")
        }
        if header.autoclearFeatures.contains(.rawExternalData) {
            if !hasDataFile {
                return refuse(
                    88, "autoclear_features: says that the external data file is raw, but there is none", .corrupt)
            }
            if hasBacking {
                return refuse(
                    88,
                    "autoclear_features: says that the external data file is the whole disk, but there is a backing file",
                    .corrupt)
            }
        }
        if header.compressionType > 1 {
            return refuse(104, "compression_type: type \(header.compressionType) is unknown; 0 is deflate, 1 is zstd")
        }
        return nil
    }
}
