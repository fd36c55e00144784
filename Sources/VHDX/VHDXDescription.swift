import BlockImage
import ByteFormat

/// What a VHDX file says of itself: its headers, its log, its regions and its metadata.
public struct VHDXDescription: Sendable {
    /// The file.
    let file: any HostFile
    /// The same with what the log has in its place; the file itself where the log is empty.
    let source: any HostFile
    /// What made the file, as it calls itself.
    public let creator: String
    /// The header that holds.
    public let header: VHDXHeader
    /// Where in the file it lies.
    let headerOffset: HostOffset
    /// What of the log was not written to its places; nil where it is empty.
    public let log: ReplayedLog?
    /// The parts of the file.
    let regions: RegionTable
    /// The one that the block allocation table (BAT) lies in.
    let blockTable: Region
    /// What is said of the disk.
    public let metadata: DiskMetadata
    /// What people should know, in sentences.
    public let notes: [ErrorText]

    /// The magic at the start of the file.
    static let magic = Array("vhdxfile".utf8)

    /// Reads what `file` says. Throws `unsupported` where it must not be read by what does not know more of the format than this,
    /// and `corrupt` or `truncated` where it cannot be read.
    public init(of file: any HostFile) throws(ImageError) {
        self.file = file
        let start = try file.bytes(Int(min(file.size, 520)), at: HostOffset(0), of: "file type identifier")
        guard start.starts(with: Self.magic) else {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(0),
                "file type identifier: is no VHDX image's, which must be \"vhdxfile\"")
        }
        creator = Self.text(start.dropFirst(8))
        var notes: [ErrorText] = []
        (header, headerOffset) = try Self.currentHeader(of: file, &notes)
        if let fault = header.unsupportedFeature {
            throw file.corrupt(fault, in: "header", at: headerOffset.rawValue, .unsupported)
        }
        do throws(ParseFault) { try header.checkLog() } catch {
            throw file.corrupt(error, in: "header", at: headerOffset.rawValue)
        }
        log = try ReplayedLog(header, of: file, &notes)
        source = log.map { ReplayedFile(file, $0) } ?? file
        regions = try Self.regions(of: source, &notes)
        let region = try Self.region(KnownIdentifier.metadataRegion, in: regions, of: file)
        let bytes = try source.bytes(MetadataTable.size, at: HostOffset(region.offset), of: "metadata table")
        let table: MetadataTable
        do throws(ParseFault) { table = try MetadataTable(parsing: bytes) } catch {
            throw file.corrupt(error, in: "metadata table", at: region.offset)
        }
        metadata = try DiskMetadata(table, in: region, of: source)
        self.notes = notes
        let geometry = metadata.geometry
        blockTable = try Self.region(KnownIdentifier.tableRegion, in: regions, of: file)
        guard geometry.entryCount * 8 <= UInt64(blockTable.length) else {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(blockTable.offset),
                "BAT: has \(blockTable.length) bytes, but a disk of \(metadata.virtualSize) bytes in blocks of "
                    + "\(metadata.blockSize) takes \(geometry.entryCount * 8)")
        }
    }

    /// The text that `bytes` begin with, in UTF-16 up to a NUL.
    static func text(_ bytes: some Collection<UInt8>) -> String {
        let bytes = Array(bytes)
        let units = stride(from: 0, to: bytes.count - 1, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
        return String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
    }
}

// MARK: The parts that there are twice

extension VHDXDescription {
    /// The header that holds, of the two of `file`: the valid one with the higher sequence number. Disk2vhd makes both equal.
    static func currentHeader(
        of file: any HostFile, _ notes: inout [ErrorText]
    ) throws(ImageError) -> (header: VHDXHeader, offset: HostOffset) {
        var found: [(header: VHDXHeader, offset: UInt64)] = []
        var faults: [ImageError] = []
        for offset in VHDXHeader.offsets {
            do throws(ImageError) {
                found.append((try header(at: offset, of: file), offset))
            } catch {
                if case .system = error.code { throw error }
                faults.append(error)
            }
        }
        guard let first = found.first else {
            var error = faults[0]
            error.detail = "neither header is valid: \(error.detail); the other one, \(faults[1].detail)"
            throw error
        }
        if let fault = faults.first { notes.append("\(fault); the other header is read") }
        guard found.count > 1, found[1].header.sequenceNumber >= first.header.sequenceNumber else {
            return (first.header, HostOffset(first.offset))
        }
        let second = found[1]
        guard second.header.sequenceNumber > first.header.sequenceNumber || second.header == first.header else {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(second.offset),
                "both headers have the sequence number \(second.header.sequenceNumber), and say different things")
        }
        return (second.header, HostOffset(second.offset))
    }

    /// The header at `offset` of `file`.
    static func header(at offset: UInt64, of file: any HostFile) throws(ImageError) -> VHDXHeader {
        let name = "header \(offset == VHDXHeader.offsets[0] ? 1 : 2)"
        let bytes = try file.bytes(VHDXHeader.size, at: HostOffset(offset), of: name)
        do throws(ParseFault) { return try VHDXHeader(parsing: bytes) } catch {
            throw file.corrupt(error, in: name, at: offset)
        }
    }

    /// What the region table of `file` has, the second copy of it where the first is damaged.
    private static func regions(
        of file: any HostFile, _ notes: inout [ErrorText]
    ) throws(ImageError) -> RegionTable {
        var faults: [ImageError] = []
        for offset in RegionTable.offsets {
            do throws(ImageError) {
                let table = try regionTable(at: offset, of: file)
                if let fault = table.unsupportedRegion {
                    throw file.corrupt(fault, in: "region table", at: offset, .unsupported)
                }
                if let fault = faults.first { notes.append("\(fault); the other region table is read") }
                return table
            } catch {
                guard error.code == .corrupt || error.code == .truncated else { throw error }
                faults.append(error)
            }
        }
        var error = faults[0]
        error.detail = "neither region table is valid: \(error.detail); the other one, \(faults[1].detail)"
        throw error
    }

    /// The copy of the region table at `offset` of `file`, with regions that can be.
    static func regionTable(at offset: UInt64, of file: any HostFile) throws(ImageError) -> RegionTable {
        let name = "region table \(offset == RegionTable.offsets[0] ? 1 : 2)"
        let bytes = try file.bytes(RegionTable.size, at: HostOffset(offset), of: name)
        do throws(ParseFault) {
            let table = try RegionTable(parsing: bytes)
            try table.check()
            return table
        } catch {
            throw file.corrupt(error, in: name, at: offset)
        }
    }

    /// The region `id` of `table`, which was checked to be there.
    private static func region(
        _ id: ImageIdentity, in table: RegionTable, of file: any HostFile
    ) throws(ImageError) -> Region {
        guard let region = table[id] else {
            throw ImageError(.corrupt, path: file.path, "region \(KnownIdentifier.name(of: id) ?? ""): is missing")
        }
        return region
    }
}
