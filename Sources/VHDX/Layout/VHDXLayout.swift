import BlockImage
import ByteFormat
import FormatCore

/// The structures of a VHDX file as they stand in it, sound or not: what `inspect` shows. Where a reader refuses, it goes on; what is
/// wrong is reported with the field that it is about. Where the log is to be replayed, that is done for all that it can change.
public struct VHDXLayout: FormatLayout {
    let file: any HostFile
    /// The file with what its log has.
    let source: any HostFile
    /// What keeps the image from being described; nil where nothing does.
    let fault: ImageError?
    /// The header that holds; nil where none does.
    let header: VHDXHeader?
    let log: ReplayedLog?

    /// A MiB, of which everything in the file is a multiple.
    public var unit: UInt64 { mebibyte }

    /// Looks at `file`.
    init(_ file: any HostFile) {
        self.file = file
        do throws(ImageError) {
            let description = try VHDXDescription(of: file)
            (header, log, source, fault) = (description.header, description.log, description.source, nil)
        } catch {
            fault = error
            let headers = VHDXHeader.offsets.compactMap { try? VHDXDescription.header(at: $0, of: file) }
            let found = headers.max { $0.sequenceNumber < $1.sequenceNumber }
            header = found
            var notes: [ErrorText] = []
            let isUsable = found.map { $0.unsupportedFeature == nil && (try? $0.checkLog()) != nil } ?? false
            log = isUsable ? found.flatMap { (try? ReplayedLog($0, of: file, &notes)) ?? nil } : nil
            source = log.map { ReplayedFile(file, $0) } ?? file
        }
    }

    /// Reports every structure to `consumer`. Throws what the consumer throws.
    public func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try listIdentifier(to: consumer)
        for (index, offset) in VHDXHeader.offsets.enumerated() {
            try listHeader(index + 1, at: offset, to: consumer)
        }
        for (index, offset) in RegionTable.offsets.enumerated() {
            try listRegionTable(index + 1, at: offset, to: consumer)
        }
        try listLog(to: consumer, options)
        let regions = regions
        guard let region = regions?[KnownIdentifier.metadataRegion] else { return }
        try listMetadata(region, to: consumer)
        if let table = regions?[KnownIdentifier.tableRegion] {
            try listTable(table, metadata(in: region), to: consumer, options)
        }
    }

    /// The regions of the first table that is one.
    var regions: RegionTable? {
        for offset in RegionTable.offsets {
            if let table = try? VHDXDescription.regionTable(at: offset, of: source) { return table }
        }
        return nil
    }

    /// The metadata table of `region`; nil where it cannot be read.
    func metadataTable(of region: Region) -> MetadataTable? {
        guard let bytes = try? held(UInt64(MetadataTable.size), at: region.offset) else { return nil }
        return try? MetadataTable(parsing: bytes)
    }

    /// What `region` says of the disk; nil where that makes no sense.
    func metadata(in region: Region) -> DiskMetadata? {
        metadataTable(of: region).flatMap { try? DiskMetadata($0, in: region, of: source) }
    }

    /// The bytes from `offset` on, at most `count`: as many as the file has.
    func held(_ count: UInt64, at offset: UInt64) throws(ImageError) -> [UInt8] {
        guard offset < source.size else { return [] }
        return try source.bytes(Int(min(count, source.size - offset)), at: HostOffset(offset), of: "structure")
    }

    /// Lists the structure `name` of `size` bytes at `offset` by its fields; `parse` says what is wrong with it.
    func listFields(
        _ name: String, at offset: UInt64, size: UInt64, to consumer: any LayoutConsumer,
        parse: ([UInt8]) throws(ParseFault) -> Void = { _ throws(ParseFault) in },
        _ body: (inout LayoutCursor) throws(ImageError) -> Void
    ) throws(ImageError) {
        try consumer.structure(LayoutStructure(name, at: HostOffset(offset), size: size)) { () throws(ImageError) in
            let bytes: [UInt8]
            do throws(ImageError) { bytes = try held(size, at: offset) } catch {
                return try consumer.fault(error.detail)
            }
            var cursor = LayoutCursor(bytes, at: HostOffset(offset), isLittleEndian: true, telling: consumer)
            do throws(ParseFault) { try parse(bytes) } catch {
                cursor.faults[error.position] = "\(error.message)"
            }
            try body(&cursor)
        }
    }
}

extension LayoutCursor {
    /// Tells of an identifier.
    @discardableResult
    mutating func identity(
        _ name: String, _ meaning: (ImageIdentity) -> String? = { _ in nil }
    ) throws(ImageError) -> ImageIdentity {
        ImageIdentity(
            guid: try bytes(name, size: ImageIdentity.size) { raw in
                let id = ImageIdentity(guid: raw)
                return meaning(id).map { "\(id): \($0)" } ?? "\(id)"
            })
    }

    /// Tells of a signature.
    mutating func signature(size: Int) throws(ImageError) {
        try bytes("Signature", size: size) { "\"\(printable($0))\"" }
    }

    /// Tells of a check sum.
    mutating func checksum() throws(ImageError) {
        try number("Checksum", size: 4) { hexadecimal($0) }
    }

    /// Tells of a number of bytes.
    @discardableResult
    mutating func size(_ name: String, size: Int) throws(ImageError) -> UInt64 {
        try number(name, size: size) { "\($0) (\(humanSize($0)))" }
    }

    /// Tells of a place.
    @discardableResult
    mutating func offset(_ name: String, size: Int) throws(ImageError) -> UInt64 {
        try number(name, size: size) { hexadecimal($0) }
    }
}
