import BlockImage
import ByteFormat

/// What a QCOW2 image says of itself: the first of the two steps of opening it. An image that cannot be read because
/// it needs what this program does not do has a description all the same.
public struct QCOW2Description: Sendable {
    /// The header.
    public let header: Header
    /// The header extensions.
    public let extensions: HeaderExtensions
    /// The backing file's name as stored; nil where there is none.
    public let backingFile: [UInt8]?
    /// The internal snapshots, in the table's order.
    public let snapshots: [Snapshot]
    /// The dirty bitmaps, in the directory's order; none where the autoclear bit does not vouch for them.
    public let bitmaps: [Bitmap]
    /// Why the image cannot be read though nothing is wrong with it.
    public let refusal: ImageError?

    /// Whether a file that begins with `bytes` is a QCOW image, of any version.
    public static func recognizes(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.starts(with: Header.magic)
    }

    /// Reads the header and what it leads to, the tables of clusters excepted, and checks it as QEMU does.
    ///
    /// Throws `corrupt` and `truncated` about what is damaged, `unsupported` for QCOW version 1 and unknown versions.
    public init(_ file: any HostFile) throws(ImageError) {
        let start = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "header")
        var reader = ByteReader(start)
        if Self.recognizes(start), start.count >= 8, start[4..<7] != [0, 0, 0] || !(2...3).contains(start[7]) {
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
        snapshots = try Snapshot.readTable(header, of: file)
        if header.autoclearFeatures.contains(.bitmaps), let location = extensions.bitmaps {
            bitmaps = try Bitmap.readDirectory(location, of: file)
        } else {
            bitmaps = []
        }
        refusal = Self.refusal(header, extensions, file)
    }

    /// What the image needs that this program does not do, by name.
    private static func refusal(
        _ header: Header, _ extensions: HeaderExtensions, _ file: any HostFile
    ) -> ImageError? {
        func refuse(_ offset: UInt64, _ message: String) -> ImageError {
            ImageError(.unsupported, path: file.path, offset: HostOffset(offset), message)
        }
        let known: IncompatibleFeatures = [.dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2]
        let unknown = header.incompatibleFeatures.subtracting(known)
        if !unknown.isEmpty {
            let names = unknown.names(in: extensions.featureNames).joined(separator: ", ")
            return refuse(72, "incompatible_features: needs features that are not supported: \(names)")
        }
        switch header.cryptMethod {
        case 0: break
        case 1: return refuse(32, "crypt_method: encrypted with AES, which is not supported yet")
        case 2: return refuse(32, "crypt_method: encrypted with LUKS, which is not supported yet")
        default: return refuse(32, "crypt_method: encrypted with unknown method \(header.cryptMethod)")
        }
        if header.incompatibleFeatures.contains(.externalDataFile) {
            let name = extensions.dataFile.map { " \"\(String(decoding: $0, as: UTF8.self))\"" } ?? ""
            return refuse(72, "incompatible_features: uses an external data file\(name), which is not supported yet")
        }
        if header.incompatibleFeatures.contains(.extendedL2) {
            return refuse(72, "incompatible_features: uses extended L2 entries, which are not supported yet")
        }
        if header.compressionType > 1 {
            return refuse(104, "compression_type: type \(header.compressionType) is unknown; 0 is deflate, 1 is zstd")
        }
        return nil
    }
}
