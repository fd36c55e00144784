import BlockImage

/// A member of a tar archive: a file that is kept in it.
package struct TarMember: Hashable, Sendable {
    /// What a member is.
    package enum Kind: Hashable, Sendable {
        /// A file whose bytes lie in the archive one after the other.
        case regular
        /// A folder.
        case folder
        /// A file of which only the parts that are no holes are stored.
        case sparse
        /// A link, a device, or what else archives keep.
        case other
    }

    /// Its name as the archive has it: a path with slashes, in any encoding; at most `TarArchive.nameLimit` bytes.
    package var name: [UInt8]
    /// What it is.
    package var kind: Kind
    /// Where its data begins in the archive.
    package var dataOffset: HostOffset
    /// How many bytes of data it has, those that the archive says; less than 2^63. Of a sparse file, what is stored.
    package var size: UInt64
    /// Where the parts of a sparse file lie, or why that is unknown; nil for what is none.
    package var sparseMap: Result<SparseMap, ImageError>?
    /// When it changed, as the archive says.
    package var modified: FileTime
    /// Whether the archive ends before the member's data does.
    package var isCut: Bool

    /// How many bytes the file has once it is unpacked: with its holes.
    package var fileSize: UInt64 { (try? sparseMap?.get())?.size ?? size }

    /// The name for people, with what is not UTF-8 replaced.
    package var text: String { nameText(name) }
}

/// What a tar archive holds, from its headers alone: data is stepped over, so that the size of the members does not
/// matter. Reads the formats v7, ustar, pax and GNU (POSIX.1-2017, pax; GNU tar manual, "Basic Tar Format").
///
/// libarchive hands out a member's bytes as a stream, and its header's offset (archive_read_header_position(3)), but not
/// where the data begins in the archive: disks are read in place here.
package struct TarArchive: Sendable {
    /// The most members that are listed. Appliances have a few; nothing larger is of use here.
    package static let memberLimit = 65_536
    /// The most bytes that a member's name may have: PATH_MAX of Linux.
    package static let nameLimit = 4096
    /// The most bytes that one pax header may have.
    package static let recordLimit = 1 << 20
    /// The most stored parts of all sparse files together: 24 MiB of memory.
    package static let segmentLimit = 1 << 20
    /// The most bytes that all pax headers and long names may have together: 256 for each member.
    package static let metadataLimit = memberLimit << 8

    /// How much of an archive is read, at most.
    struct Limits: Sendable {
        /// The most members.
        var members = TarArchive.memberLimit
        /// The most headers: a member may have one for its name, one for its link target, one for pax records, and its
        /// own.
        var headers = 4 * TarArchive.memberLimit
        /// The most stored parts of all sparse files together.
        var segments = TarArchive.segmentLimit
        /// The most bytes of all pax headers and long names together.
        var metadata = TarArchive.metadataLimit
    }

    /// The members, in the order of the archive. When a name comes twice, the last one is the file, as it is when the
    /// archive is unpacked.
    package let members: [TarMember]
    /// Why the list ends before the archive does; nil when it does not.
    package let fault: ImageError?
    /// What is odd about the archive, but does not matter.
    package let notes: [ErrorText]

    /// Lists the archive in `file`.
    ///
    /// Throws when it is no archive: `unsupported` when it is a compressed one, `corrupt` when it is anything else, and
    /// what reading throws. Damage after the first header is in `fault`.
    package init(reading file: any HostFile) throws(ImageError) {
        try self.init(reading: file, within: Limits())
    }

    init(reading file: any HostFile, within limits: Limits) throws(ImageError) {
        var scan = TarScan(file, within: limits)
        do throws(ImageError) {
            try scan.run()
            fault = nil
        } catch {
            guard scan.foundHeader else { throw Self.refusal(of: file, scan.firstBytes) ?? error }
            fault = error
        }
        members = scan.members
        notes = scan.notes
    }

    /// Why a file that begins with `bytes`, which are no header, is no archive, where that is known.
    private static func refusal(of file: any HostFile, _ bytes: [UInt8]) -> ImageError? {
        let compressions: [(mark: [UInt8], name: String)] = [
            ([0x1f, 0x8b], "gzip"), ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "xz"),
            ([0x42, 0x5a, 0x68], "bzip2"), ([0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        ]
        guard let found = compressions.first(where: { bytes.starts(with: $0.mark) }) else { return nil }
        return ImageError(
            .unsupported, path: file.path,
            "the archive: is compressed with \(found.name), and disks can be read in place only: decompress it first"
        )
    }
}
