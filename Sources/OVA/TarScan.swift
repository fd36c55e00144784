import BlockImage
import ByteFormat

/// An archive while it is listed, from the front to the back.
struct TarScan {
    private static let blockSize = UInt64(TarHeader.blockSize)

    let file: any HostFile
    let limits: TarArchive.Limits
    private(set) var members: [TarMember] = []
    private(set) var notes: [ErrorText] = []
    /// Whether the file is an archive at all.
    private(set) var foundHeader = false
    /// What the file begins with: at most a block.
    private(set) var firstBytes: [UInt8] = []

    /// The next byte to look at.
    private var position = HostOffset(0)
    private var headers = 0
    private var metadata: UInt64 = 0
    private var segments = 0
    private var globalRecords = PaxRecords()
    /// What was found for the member that comes next.
    private var records: PaxRecords?
    private var longName: [UInt8]?

    init(_ file: any HostFile, within limits: TarArchive.Limits) {
        self.file = file
        self.limits = limits
    }

    /// Reads header after header up to the end of the archive. What it found before it throws stays.
    mutating func run() throws(ImageError) {
        firstBytes = try file.bytes(Int(min(file.size, Self.blockSize)), at: HostOffset(0), of: "archive")
        while let block = try nextBlock() {
            if block.allSatisfy({ $0 == 0 }) { return try end() }
            let start = position
            let subject = foundHeader ? "" : "this is no tar archive: "
            let header = try parse(at: start, subject) { () throws(ParseFault) in try TarHeader(parsing: block) }
            foundHeader = true
            position = start.advanced(by: Self.blockSize)
            guard try take(header, at: start) else { return }
        }
        notes.append("the archive has no end mark, which is two blocks of zeros: it may have been cut")
    }

    /// The block at `position`; nil at the end of the file.
    private mutating func nextBlock() throws(ImageError) -> [UInt8]? {
        let rest = file.size - min(position.rawValue, file.size)
        guard rest > 0 || !foundHeader else { return nil }
        guard rest >= Self.blockSize else {
            throw error(
                foundHeader ? .truncated : .corrupt, at: position,
                (foundHeader ? "" : "this is no tar archive: ")
                    + "\(rest) bytes are left, fewer than a header has (\(Self.blockSize))")
        }
        headers += 1
        guard headers <= limits.headers else {
            throw error(
                .unsupported, at: position,
                "the archive has more than \(limits.headers) headers, which is the limit")
        }
        return try file.bytes(TarHeader.blockSize, at: position, of: "header")
    }

    /// Looks at what follows the first block of zeros.
    private mutating func end() throws(ImageError) {
        guard foundHeader else {
            throw error(.corrupt, at: position, "this is no tar archive, or an empty one: it begins with zeros")
        }
        let start = position
        position = position.advanced(by: Self.blockSize)
        guard file.size - min(position.rawValue, file.size) >= Self.blockSize else {
            notes.append("the archive ends in one block of zeros, but two are its end mark: it may have been cut")
            return
        }
        guard let next = try nextBlock(), next.contains(where: { $0 != 0 }) else { return }
        notes.append(
            "a single block of zeros at \(start): what comes after it is passed over, because it may be an end mark")
    }

    /// Takes in what the header at `start` is of, and steps to the next one. Answers whether there may be one.
    private mutating func take(_ header: TarHeader, at start: HostOffset) throws(ImageError) -> Bool {
        switch header.purpose {
        case .longName:
            let data = try contents(of: header, at: start, limit: TarArchive.nameLimit + 1, "long name")
            longName = Array(untilNUL(data[...]))
        case .longLink:
            _ = try contents(of: header, at: start, limit: TarArchive.recordLimit, nil)
        case .records, .globalRecords:
            let data = position
            let bytes = try contents(of: header, at: start, limit: TarArchive.recordLimit, "pax header")
            let found = try parse(at: data) { () throws(ParseFault) in try PaxRecords(parsing: bytes) }
            if header.purpose == .records {
                records = found
            } else {
                globalRecords = globalRecords.with(found)
            }
        case .regular, .folder, .sparse, .special, .other:
            return try append(header, at: start)
        }
        return true
    }

    /// The data of a header that is about another one, stepped over; not read when it is called nothing.
    private mutating func contents(
        of header: TarHeader, at start: HostOffset, limit: Int, _ what: String?
    ) throws(ImageError) -> [UInt8] {
        let name = what ?? "long link target"
        guard header.size <= UInt64(limit) else {
            throw error(
                .unsupported, at: start, "\(name): has \(header.size) bytes, and must have no more than \(limit)")
        }
        guard header.size <= file.size - min(position.rawValue, file.size) else {
            throw error(.truncated, at: start, "\(name): has \(header.size) bytes, but the archive ends before them")
        }
        metadata += header.size
        guard metadata <= UInt64(limits.metadata) else {
            throw error(
                .unsupported, at: start,
                "\(name): with those before it there are more than \(limits.metadata) bytes of names and pax "
                    + "headers, which is the limit")
        }
        let bytes = what == nil ? [] : try file.bytes(Int(header.size), at: position, of: name)
        step(over: header.size)
        return bytes
    }

    /// Lists the member whose header is at `start`. Answers whether another one may follow.
    private mutating func append(_ header: TarHeader, at start: HostOffset) throws(ImageError) -> Bool {
        let found = globalRecords.with(records ?? PaxRecords())
        let name = found.name ?? longName ?? header.name
        records = nil
        longName = nil
        guard name.count <= TarArchive.nameLimit else {
            throw error(
                .unsupported, at: start,
                "member name: has \(name.count) bytes, and must have no more than \(TarArchive.nameLimit)")
        }
        guard members.count < limits.members else {
            throw error(
                .unsupported, at: start,
                "the archive has more than \(limits.members) members, which is the limit")
        }
        let reading = header.purpose == .sparse ? try sparseMap(of: header, at: start) : nil
        var size = header.size
        if header.purpose != .special, header.purpose != .folder {
            size = try parse(at: start) { () throws(ParseFault) in try found.size() } ?? size
        }
        let rest = file.size - min(position.rawValue, file.size)
        var member = TarMember(
            name: Array(untilNUL(name[...])), kind: kind(of: header, name: name, isSparse: found.isSparse),
            dataOffset: position, size: size, modified: found.modified ?? header.modified, isCut: size > rest)
        if member.kind == .sparse, !member.isCut {
            member.sparseMap = sparseMap(of: member, reading, found, at: start)
        }
        members.append(member)
        guard !member.isCut else {
            throw error(
                .truncated, at: position,
                "member \"\(path: member.shortText)\": has \(size) bytes, but the archive ends \(size - rest) bytes early"
            )
        }
        step(over: size)
        return true
    }

    private func kind(of header: TarHeader, name: [UInt8], isSparse: Bool) -> TarMember.Kind {
        switch header.purpose {
        case .regular where name.last == UInt8(ascii: "/"): .folder
        case .regular: isSparse ? .sparse : .regular
        case .sparse: .sparse
        case .folder: .folder
        default: .other
        }
    }

    /// Reads the map in the header of a sparse file of GNU tar, and in the blocks that continue it; each says whether one
    /// more follows.
    private mutating func sparseMap(of header: TarHeader, at start: HostOffset) throws(ImageError) -> SparseMapReading {
        var reading = SparseMapReading(
            size: header.realSize, at: start.advanced(by: 483), limit: limits.segments - segments)
        let entries = header.sparseEntries
        if entries.isEmpty {
            reading.fail(.unsupported, at: start, "is none of GNU tar, whose magic is \"ustar  \"")
        }
        var goesOn = reading.addEntries(entries[...], at: start.advanced(by: UInt64(TarHeader.sparseOffset)))
        var isExtended = header.isExtended
        while isExtended {
            guard let block = try nextBlock() else {
                throw error(.truncated, at: position, "sparse map: the archive ends before it does")
            }
            if goesOn { goesOn = reading.addEntries(block[..<504], at: position) }
            isExtended = block[504] != 0
            position = position.advanced(by: Self.blockSize)
        }
        return reading
    }

    /// The map of a sparse `member`: the one that its header has, which `reading` is of, or that of pax `records`. `start`:
    /// where its header stands. Its data lies in the file.
    private mutating func sparseMap(
        of member: TarMember, _ reading: SparseMapReading?, _ records: PaxRecords, at start: HostOffset
    ) -> Result<SparseMap, ImageError> {
        do throws(ImageError) {
            var place = member.dataOffset
            let reading =
                if let reading {
                    reading
                } else {
                    try records.sparseMap(
                        of: member, in: file, at: start, limit: limits.segments - segments, data: &place)
                }
            let mapSize = place.rawValue - member.dataOffset.rawValue
            do throws(SparseMapFault) {
                let map = try reading.finish(stored: member.size - min(mapSize, member.size), at: place)
                segments += map.segments.count
                return .success(map)
            } catch {
                throw self.error(
                    error.code, at: error.offset, "sparse map of \"\(path: member.shortText)\": \(error.message)")
            }
        } catch {
            return .failure(error)
        }
    }

    /// Steps over `size` bytes, which lie in the file, and the padding after them, which may be missing there.
    private mutating func step(over size: UInt64) {
        let over = size % Self.blockSize
        let padding = over == 0 ? 0 : Self.blockSize - over
        position = position.advanced(by: size).advanced(by: padding)
    }

    /// Runs `body`, whose faults are about what lies at `offset`.
    private func parse<Value>(
        at offset: HostOffset, _ subject: String = "", _ body: () throws(ParseFault) -> Value
    ) throws(ImageError) -> Value {
        do throws(ParseFault) {
            return try body()
        } catch {
            throw self.error(.corrupt, at: offset.advanced(by: UInt64(error.position)), "\(subject)\(error.message)")
        }
    }

    private func error(_ code: ImageError.Code, at offset: HostOffset, _ message: ErrorText) -> ImageError {
        ImageError(code, path: file.path, offset: offset, message)
    }
}

extension TarMember {
    /// The name for messages: its first 200 bytes.
    var shortText: String { String(decoding: name.prefix(200), as: UTF8.self) }
}
