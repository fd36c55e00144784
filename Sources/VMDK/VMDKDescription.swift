import BlockImage
import ByteFormat

/// What a VMDK image says of itself: enough to show also of an image that cannot be read.
public struct VMDKDescription: Sendable {
    /// The file that was looked at.
    public let path: String
    /// Its sparse header, or the footer that takes its place, where that is at the end of the file; nil for a
    /// descriptor that is a file of its own, and for a file of ESX.
    public let sparseHeader: SparseHeader?
    /// Its descriptor; nil for a sparse extent that comes without one.
    public let descriptor: Descriptor?
    /// What people should know, and does not keep the image from being read.
    public let notes: [ErrorText]
    /// Why the image is not read, although it is sound as far as it was looked at; nil when it can be opened.
    public let refusal: ImageError?
    /// The sectors of the disk that a VMFSSPARSE or SESPARSE extent is by itself; nil for other files.
    var bareCapacity: UInt64?

    /// The kind of disk by its own words, which decide nothing; nil where there are none.
    public var createType: String? { descriptor?.createType }
    /// The content identifier; nil where the image has none.
    public var cid: UInt32? { descriptor?.cid }
    /// The parent's content identifier, `ffffffff` for none; nil where the image has no such number.
    public var parentCID: UInt32? { descriptor?.parentCID }
    /// The name of the parent, where the image is a delta; nil where it is a disk of its own.
    public var parent: DescriptorName? { descriptor?.parent }
    /// Where parentCID stands in the file; nil where it does not.
    public var parentCIDOffset: HostOffset? {
        guard let descriptor, !descriptor.isUTF16, let entry = descriptor.entry("parentCID") else { return nil }
        // An embedded descriptor was found to lie in the file.
        let base = (sparseHeader?.descriptorOffset ?? 0).multipliedReportingOverflow(by: sectorSize).partialValue
        return HostOffset(base).advanced(by: UInt64(entry.position))
    }
    /// The keys of the descriptor, `ddb.…` among them, in their order.
    public var entries: [Descriptor.Entry] { descriptor?.entries ?? [] }
    /// The extent lines of the descriptor.
    public var extents: [DescriptorExtent] { descriptor?.extents ?? [] }

    /// The size of the disk in bytes by this file alone: a sparse header's capacity, or the sum of the extent lines;
    /// nil where neither says it. The sparse extents that are named may know better: see `VMDKLayer`.
    public var virtualSize: UInt64? {
        let ownSectors = bareCapacity ?? sparseHeader?.capacity
        guard let sectors = namesExtents ? descriptor?.sectors : ownSectors else { return nil }
        return sectors <= sectorLimit ? sectors * sectorSize : nil
    }

    /// Whether the disk lies in the files that the descriptor names, and not in grains of this file: a sparse header
    /// with a capacity of 0 only carries the descriptor.
    var namesExtents: Bool {
        guard let sparseHeader else { return bareCapacity == nil }
        return sparseHeader.capacity == 0 && descriptor != nil
    }

    /// Looks at the header and at the descriptor of `file`, and at no other file.
    ///
    /// Throws `corrupt` or `truncated` for what cannot be made sense of, and what reading the file throws. What is
    /// sound but not supported becomes the `refusal`.
    public static func describe(_ file: any HostFile) throws(ImageError) -> VMDKDescription {
        let start = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "VMDK image")
        switch Magic(firstBytes: start) {
        case .hostedSparse: return try describeSparse(file)
        case nil: return try describeText(file, firstBytes: start)
        case .cowd: return try describeCOWD(file)
        case .seSparse: return try describeSESparse(file)
        }
    }

    /// A VMFSSPARSE extent without its descriptor.
    private static func describeCOWD(_ file: any HostFile) throws(ImageError) -> VMDKDescription {
        let header = try COWDHeader.load(from: file)
        let refusal = header.unsupportedFeature.map { file.unsupported($0) }
        if refusal == nil {
            do throws(ParseFault) { try header.checkGeometry() } catch { throw file.corrupt(error) }
        }
        return bare(
            .cowd, file, capacity: UInt64(header.capacity),
            refusal: refusal ?? header.parentFileName.map { lostParent(called: $0, of: file) })
    }

    /// A SESPARSE extent without its descriptor.
    private static func describeSESparse(_ file: any HostFile) throws(ImageError) -> VMDKDescription {
        let header = try SESparseHeader.load(from: file)
        return bare(.seSparse, file, capacity: header.capacity, refusal: try header.refusal(in: file))
    }

    /// The refusal of a VMFSSPARSE extent by itself whose header says that it is a delta: what it does not hold is the
    /// parent's, and not zeros.
    private static func lostParent(called name: [UInt8], of file: any HostFile) -> ImageError {
        ImageError(
            .unsupported, path: file.path, offset: HostOffset(32),
            "parentFileName: the extent is a delta of \"\(path: String(decoding: name, as: UTF8.self))\", but comes without "
                + "its descriptor, which says where that is; the descriptor is what must be opened")
    }

    private static func bare(
        _ magic: Magic, _ file: any HostFile, capacity: UInt64, refusal: ImageError?
    ) -> VMDKDescription {
        let note: ErrorText =
            "\(path: file.path): the \(magic.lineKind.rawValue) extent comes without its descriptor, so it is taken for a "
            + "whole disk: what it does not hold belongs to a parent, which only the descriptor names, and is read as "
            + "zeros"
        return VMDKDescription(
            path: file.path, sparseHeader: nil, descriptor: nil, notes: refusal == nil ? [note] : [], refusal: refusal,
            bareCapacity: capacity)
    }

    private static func describeSparse(_ file: any HostFile) throws(ImageError) -> VMDKDescription {
        let header = try SparseHeader.load(from: file)
        var refusal = header.unsupportedFeature.map { file.unsupported($0) }
        if refusal == nil {
            do throws(ParseFault) { try header.checkGeometry() } catch { throw file.corrupt(error) }
        }
        var effective = header
        if refusal == nil, header.hasDirectoryAtEnd, header.capacity > 0 {
            effective = try StreamFooter.find(for: header, in: file)?.header ?? header
        }
        var findings = Findings()
        var descriptor: Descriptor?
        do throws(ImageError) {
            descriptor = try Descriptor.embedded(in: file, header: header)
        } catch {
            // A refused image is described as far as that goes.
            guard refusal != nil else { throw error }
            findings.notes.append(error.text)
        }
        if let descriptor, header.capacity > 0, !descriptor.isReadable {
            refusal = refusal ?? missingDescriptor(header, in: file)
        } else if let descriptor {
            // The offset was found to lie in the file.
            let base = Int(header.descriptorOffset * sectorSize)
            if header.capacity == 0 {
                try findings.lookAtNamedExtents(of: descriptor, at: base, in: file)
            } else {
                findings.lookAtOwnExtent(of: descriptor, at: base, in: file, capacity: effective.capacity)
            }
        } else if refusal == nil {
            findings.notes.append(
                "\(path: file.path): the sparse extent has no descriptor, so it is taken for a whole disk")
        }
        refusal = refusal ?? findings.refusal
        return VMDKDescription(
            path: file.path, sparseHeader: effective, descriptor: descriptor, notes: findings.notes, refusal: refusal)
    }

    /// The refusal of an extent whose header has a place for a descriptor, where none is. QEMU leaves the place blank in
    /// the parts of a split disk, which their descriptor names.
    private static func missingDescriptor(_ header: SparseHeader, in file: any HostFile) -> ImageError {
        ImageError(
            .corrupt, path: file.path, offset: HostOffset(header.descriptorOffset * sectorSize),
            "descriptor: is blank or no text of one, but the header says that it is here: without it it is not known "
                + "whether the extent is a disk, a delta of a parent or a part of a disk, which is opened by the "
                + "descriptor that names it")
    }

    private static func describeText(
        _ file: any HostFile, firstBytes: [UInt8]
    ) throws(ImageError) -> VMDKDescription {
        guard file.size <= Descriptor.sizeLimit else {
            guard isVMDK(firstBytes: firstBytes) else { throw noVMDK(file) }
            let message: ErrorText =
                "the descriptor has \(file.size) bytes, but must have at most \(Descriptor.sizeLimit)"
            throw ImageError(.unsupported, path: file.path, message)
        }
        let text = try file.bytes(Int(file.size), at: HostOffset(0), of: "descriptor")
        let descriptor = Descriptor(parsing: text, isFile: true)
        guard descriptor.hasMark || descriptor.createType != nil else { throw noVMDK(file) }
        var findings = Findings()
        try findings.lookAtNamedExtents(of: descriptor, at: 0, in: file)
        return VMDKDescription(
            path: file.path, sparseHeader: nil, descriptor: descriptor, notes: findings.notes,
            refusal: findings.refusal)
    }

    /// What `describe` throws where `file` is of another format.
    public static func noVMDK(_ file: any HostFile) -> ImageError {
        ImageError(
            .corrupt, path: file.path, offset: HostOffset(0),
            "magic: is no VMDK image's, which begins with \"KDMV\" or is a text that begins \"# Disk DescriptorFile\"")
    }
}

/// What a look at a descriptor brings up.
private struct Findings {
    var notes: [ErrorText] = []
    var refusal: ImageError?

    /// Looks at a descriptor whose extents lie in the files that it names; it begins at `base` of `file`.
    mutating func lookAtNamedExtents(
        of descriptor: Descriptor, at base: Int, in file: any HostFile
    ) throws(ImageError) {
        lookAtKeys(of: descriptor, at: base, in: file)
        if refusal != nil { return }
        let faults = [descriptor.extentFault, descriptor.namelessFault].compactMap { $0 }
        if let fault = faults.min(by: { $0.position < $1.position }) { throw file.corrupt(fault, base: base) }
        guard !descriptor.extents.isEmpty else {
            throw file.corrupt(ParseFault(at: base, "descriptor: has no extent, but must have at least one"))
        }
        guard descriptor.sectors != nil else {
            throw file.corrupt(
                ParseFault(at: base, "descriptor: its extents have more than \(sectorLimit) sectors together"))
        }
        guard descriptor.extents.count <= Descriptor.extentLimit else {
            let message =
                "descriptor: has \(descriptor.extents.count) extents, but must have at most \(Descriptor.extentLimit)"
            refusal = file.unsupported(ParseFault(at: base, message))
            return
        }
        for extent in descriptor.extents {
            if let feature = extent.unsupportedFeature {
                let name: ErrorText = extent.name.map { " \"\(path: $0.text)\"" } ?? ""
                refusal = file.unsupported("extent\(name): \(feature)", at: base + extent.position)
                return
            }
        }
        lookAtDevices(of: descriptor, at: base, in: file)
        let hidden = descriptor.extents.count { $0.access == .noAccess }
        if hidden > 0 {
            notes.append("\(path: file.path): extents whose access is NOACCESS are read as zeros; there are \(hidden)")
        }
    }

    /// A disk all of which lies on devices is refused; of others, what lies there.
    private mutating func lookAtDevices(of descriptor: Descriptor, at base: Int, in file: any HostFile) {
        let devices = descriptor.extents.filter(\.needsDevice)
        guard let first = devices.first, let name = first.name?.text else { return }
        guard descriptor.extents.contains(where: { $0.needsFile && !$0.needsDevice }) else {
            let kind: ErrorText = descriptor.createType.map { " (\(quoting: $0))" } ?? ""
            let message: ErrorText =
                "extent: the disk is the device \"\(path: name)\" itself\(kind), not a file; open the device directly, or copy it "
                + "to an image"
            refusal = file.unsupported(message, at: base + first.position)
            return
        }
        notes.append(
            "\(path: file.path): extents on devices cannot be read; there are \(devices.count), the first on \"\(path: name)\""
        )
    }

    /// Looks at a descriptor embedded in the sparse extent that it describes. The line's file name is not looked at:
    /// it is wrong as soon as the file was renamed.
    mutating func lookAtOwnExtent(
        of descriptor: Descriptor, at base: Int, in file: any HostFile, capacity: UInt64
    ) {
        lookAtKeys(of: descriptor, at: base, in: file)
        if let fault = descriptor.extentFault { notes.append(file.corrupt(fault, base: base).text) }
        let extents = descriptor.extents.filter { $0.sectors > 0 }
        guard extents.count <= 1 else {
            let message =
                "descriptor: has \(extents.count) extents, but one in a sparse extent with grains must have one"
            refusal = refusal ?? file.unsupported(ParseFault(at: base, message))
            return
        }
        guard let extent = extents.first, extent.sectors != capacity else { return }
        notes.append(
            "\(path: file.path): the descriptor says \(extent.sectors) sectors and the sparse header \(capacity), which holds"
        )
    }

    private mutating func lookAtKeys(of descriptor: Descriptor, at base: Int, in file: any HostFile) {
        notes += descriptor.notes.map { "\(path: file.path): \($0)" }
        if let feature = descriptor.unsupportedFeature {
            refusal =
                feature == descriptor.textFault
                ? file.corrupt(feature, base: base) : file.unsupported(feature, base: base)
        }
        if let hint = descriptor.parentFileNameHint?.text {
            if descriptor.parentCID == Descriptor.noParent {
                notes.append(
                    "\(path: file.path): parentCID is ffffffff, so the parentFileNameHint \"\(path: hint)\" is ignored")
            } else if descriptor.parentCID == nil {
                notes.append(
                    "\(path: file.path): parentCID is missing or no number, so that it is unknown whether the parent "
                        + "\"\(path: hint)\" was changed after the image was made")
            }
        }
        if let fault = descriptor.encodingFault { notes.append(file.corrupt(fault, base: base).text) }
        if let line = descriptor.unknownLine { notes.append(file.corrupt(line, base: base).text) }
    }
}

extension Descriptor {
    /// The descriptor embedded in the sparse extent `file`; nil when its header says that there is none.
    ///
    /// A size of 0 is taken for "to its NUL": the padding ends the text in any case.
    fileprivate static func embedded(
        in file: any HostFile, header: SparseHeader
    ) throws(ImageError) -> Descriptor? {
        // Only the layout of known versions says where it lies.
        guard header.descriptorOffset != 0, header.version <= 3 else { return nil }
        guard header.descriptorOffset <= sectorLimit, header.descriptorOffset * sectorSize < file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(28),
                "descriptorOffset: is sector \(header.descriptorOffset), which must lie in the file, "
                    + "but that has \(file.size) bytes")
        }
        let offset = HostOffset(header.descriptorOffset * sectorSize)
        let most = min(file.size - offset.rawValue, UInt64(sizeLimit))
        let sectors = header.descriptorSize == 0 ? sectorLimit : min(header.descriptorSize, sectorLimit)
        let bytes = try file.bytes(Int(min(most, sectors * sectorSize)), at: offset, of: "descriptor")
        return Descriptor(parsing: bytes)
    }
}

extension HostFile {
    /// The error that `fault` is, in a structure that begins at `base` of this file.
    func corrupt(_ fault: ParseFault, base: Int = 0) -> ImageError {
        ImageError(.corrupt, path: path, offset: HostOffset(UInt64(base + fault.position)), ErrorText(fault))
    }

    /// The refusal that `fault` is, in a structure that begins at `base` of this file.
    func unsupported(_ fault: ParseFault, base: Int = 0) -> ImageError {
        unsupported(ErrorText(fault), at: base + fault.position)
    }

    /// The refusal of what is at `position` of this file.
    func unsupported(_ detail: ErrorText, at position: Int) -> ImageError {
        ImageError(.unsupported, path: path, offset: HostOffset(UInt64(position)), detail)
    }
}

extension ErrorText {
    /// What `fault` says.
    init(_ fault: ParseFault) {
        let (start, end) = fault.parts
        self = fault.quote.map { "\(start)\"\(quoting: $0)\"\(end)" } ?? "\(start)"
    }
}
