import BlockImage
import ByteFormat

/// What a VHD file says of itself: its footer, and the header of a dynamic or differencing disk. Reads no table.
public struct VHDDescription: Sendable {
    /// The footer that holds.
    public let footer: Footer
    /// Where that begins.
    public let footerOffset: HostOffset
    /// The header of a dynamic or differencing disk, and where it begins.
    public let header: DynamicHeader?
    /// The names of the parent, the best first; none in other disks than differencing ones.
    public let parentNames: [String]
    /// What people should know of it.
    public private(set) var notes: [ErrorText]
    /// What the disk is.
    public let kind: Footer.Kind
    /// The size of the disk in bytes: less than 2^63.
    public var virtualSize: UInt64 { footer.currentSize }

    /// Describes `file`.
    public static func describe(_ file: any HostFile) throws(ImageError) -> VHDDescription {
        try VHDDescription(file)
    }

    private init(_ file: any HostFile) throws(ImageError) {
        let found = try Footers(of: file).chosen()
        footer = found.footer
        footerOffset = found.offset
        notes = found.notes
        if let fault = footer.unsupportedField() {
            throw ImageError(.unsupported, in: file, at: footerOffset, of: "footer", fault)
        }
        // Checked with the fields.
        kind = footer.kind ?? .fixed
        guard footer.currentSize <= UInt64(Int64.max) else {
            throw ImageError(
                .corrupt, path: file.path, offset: footerOffset.advanced(by: 48),
                "footer: current size: is \(footer.currentSize), but must be less than 2^63")
        }
        header = kind == .fixed ? nil : try Self.header(of: file, footer, isSummed: found.isSummed, &notes)
        parentNames = kind == .differencing ? header.map { Self.parentNames($0, in: file) } ?? [] : []
        if let parent, parent.identity == nil, parent.bytes.isEmpty {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(footer.dataOffset).advanced(by: 40),
                "dynamic header: parent unique id: is zeros, and no name says either what the parent is, as it must")
        }
        noteSizes(in: file)
    }

    /// The dynamic header that `footer` leads to. `isSummed`: whether that has the right checksum, as a header must have as
    /// well then.
    private static func header(
        of file: any HostFile, _ footer: Footer, isSummed: Bool, _ notes: inout [ErrorText]
    ) throws(ImageError) -> DynamicHeader {
        let offset = HostOffset(footer.dataOffset)
        let bytes = try file.bytes(DynamicHeader.size, at: offset, of: "dynamic header")
        do throws(ParseFault) {
            let header = try DynamicHeader(parsing: bytes)
            let sum = VHD.checkSum(of: bytes, at: DynamicHeader.checkSumOffset)
            if sum != header.checkSum {
                let fault =
                    "checksum: is \(hexadecimal(header.checkSum)), but that of the header is \(hexadecimal(sum))"
                guard !isSummed else { throw ParseFault(at: DynamicHeader.checkSumOffset, fault) }
                notes.append("\(path: file.path): at \(offset): dynamic header: \(fault); it is read as it stands")
            }
            try header.check(size: footer.currentSize)
            guard header.tableOffset < file.size else {
                throw ParseFault(
                    at: 16,
                    "table offset: is \(hexadecimal(header.tableOffset)), but the file ends at \(HostOffset(file.size))"
                )
            }
            return header
        } catch {
            throw ImageError(
                error.isOfVersion ? .unsupported : .corrupt, in: file, at: offset, of: "dynamic header", error)
        }
    }

    /// Notes what of the sizes differs from what one would think.
    private mutating func noteSizes(in file: any HostFile) {
        if footer.isSizedByGeometry, !footer.geometry.isLargest, footer.geometry.size != footer.currentSize {
            notes.append(
                "\(path: file.path): its footer has a size of \(footer.currentSize) bytes, which is read, and a geometry of \(footer.geometry.size), which QEMU goes by as \"\(printable(footer.creator))\" made the disk"
            )
        }
        guard kind == .fixed else { return }
        let space = footerOffset.rawValue
        if space > footer.currentSize {
            notes.append(
                "\(path: file.path): has \(counted(space - footer.currentSize, "byte")) between the disk's end and the footer"
            )
        }
    }
}

extension Footer {
    /// Whether QEMU takes the size of the disk from its geometry, and not from the field for it (block/vpc.c): so with what
    /// Virtual PC and VirtualBox made, and what programs made that it does not know.
    public var isSizedByGeometry: Bool {
        !["win ", "qem2", "d2v ", "tap\0", "CTXS"].contains(String(decoding: creator, as: UTF8.self))
    }
}

extension ParseFault {
    /// Whether it is about a version that is not known.
    fileprivate var isOfVersion: Bool { position == 24 }
}

extension ImageError {
    /// The `fault` in the structure `what` that begins at `start` of `file`.
    init(_ code: Code, in file: any HostFile, at start: HostOffset, of what: String, _ fault: ParseFault) {
        let offset = start.advanced(by: UInt64(clamping: fault.position))
        self.init(code, path: file.path, offset: offset, "\(what): \(fault.message)")
    }
}

/// The two places of a file at which a footer can be.
struct Footers {
    /// A footer as it was found.
    struct Found {
        var footer: Footer
        var offset: HostOffset
        var bytes: [UInt8]
        /// Whether it has the right checksum.
        var isSummed: Bool
        /// What people should know of it.
        var notes: [ErrorText] = []
    }

    let file: any HostFile
    /// The one at the end of the file; nil where there is none.
    let last: Found?
    /// The copy at the beginning; nil where there is none.
    let first: Found?

    /// Looks at both places of `file`. Throws what reading it throws.
    init(of file: any HostFile) throws(ImageError) {
        self.file = file
        var last: Found?
        for size in [Footer.size, Footer.oldSize] where last == nil && file.size >= UInt64(size) {
            last = try Self.look(size, at: HostOffset(file.size - UInt64(size)), in: file)
        }
        self.last = last
        first = file.size >= UInt64(Footer.size) ? try Self.look(Footer.size, at: HostOffset(0), in: file) : nil
    }

    private static func look(_ size: Int, at offset: HostOffset, in file: any HostFile) throws(ImageError) -> Found? {
        let bytes = try file.bytes(size, at: offset, of: "footer")
        guard let footer = try? Footer(parsing: bytes) else { return nil }
        let sum = VHD.checkSum(of: bytes, at: Footer.checkSumOffset)
        return Found(footer: footer, offset: offset, bytes: bytes, isSummed: sum == footer.checkSum)
    }

    /// The one that holds: that at the end, if it is sound, else the copy. Throws where neither can be believed.
    func chosen() throws(ImageError) -> Found {
        let place: ErrorText = "\(path: file.path): "
        let copy = try copy()
        if var last, last.isSummed {
            if let copy, copy.isSummed, last.footer.kind != .fixed, copy.footer != last.footer {
                last.notes.append(
                    "\(place)its footer and the copy at the beginning differ; the footer at the end is read")
            }
            return last
        }
        if var copy, copy.isSummed {
            let fault =
                last == nil
                ? "has no footer at its end, so that the file is cut, or was not closed"
                : "the checksum of its footer at its end is wrong"
            copy.notes.append("\(place)\(fault); the copy at the beginning is read")
            return copy
        }
        guard var last = last ?? copy else {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(0),
                "footer: neither the end of the file nor its beginning has the cookie of a VHD, \"conectix\"")
        }
        // Who changed both alike did not know of checksums; what damages a file does not.
        let isMeant = copy.map { $0.bytes == last.bytes } ?? (last.footer.kind == .fixed && isWholly(last))
        let sum = VHD.checkSum(of: last.bytes, at: Footer.checkSumOffset)
        let fault = "checksum: is \(hexadecimal(last.footer.checkSum)), but that of the footer is \(hexadecimal(sum))"
        guard isMeant else {
            throw ImageError(
                .corrupt, in: file, at: last.offset, of: "footer", ParseFault(at: Footer.checkSumOffset, fault))
        }
        last.notes.append("\(place)at \(last.offset): footer: \(fault); it is read as it stands")
        return last
    }

    /// The copy at the beginning, where it can be one.
    ///
    /// What begins a fixed disk is its guest's, which may write there what looks like a copy: it counts only beside a footer of
    /// another kind with the same unique id, which a guest does not know; and where no footer is left, only as long as it names
    /// no other file.
    private func copy() throws(ImageError) -> Found? {
        guard let first, first.footer.kind != .fixed else { return nil }
        if let last {
            let isSame = last.footer.kind != .fixed && last.footer.identity == first.footer.identity
            return isSame ? first : nil
        }
        guard first.footer.kind != .differencing else {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(file.size),
                "footer: is missing at the end of the file; the copy at the beginning says that there is a parent, but the "
                    + "guest of a fixed disk whose footer was lost could have written it there")
        }
        return first
    }

    /// Whether the size in a fixed disk's footer is that of all that lies before it.
    private func isWholly(_ found: Found) -> Bool { found.footer.currentSize == found.offset.rawValue }
}
