import BlockImage
import ByteFormat
import FormatCore

/// The structures of a VDI as they stand in it, sound or not: what `inspect` shows. Where a reader refuses, it goes on; what
/// is wrong is reported with the field that it is about.
public struct VDILayout: FormatLayout {
    /// The entries that are read at once.
    private static let step: UInt64 = 4096

    private let file: any HostFile
    private let bytes: [UInt8]
    /// The header, as far as it can be read.
    private let header: Header?

    /// Looks at `file`, whatever it is. Throws where it cannot be read at all.
    public init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        bytes = try file.bytes(Int(min(file.size, 512)), at: HostOffset(0), of: "header")
        header = try? Header(parsing: bytes)
    }

    /// A sector.
    public var unit: UInt64 { sectorSize }

    /// Reports every structure to `consumer`. Throws what the consumer throws.
    public func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try listHeader(to: consumer)
        guard let header else { return }
        let name = "block map"
        try consumer.begin(
            LayoutStructure(name, at: HostOffset(UInt64(header.mapOffset)), size: UInt64(header.blockCount) * 4))
        let held = entryCount(header)
        if held < UInt64(header.blockCount) {
            try consumer.fault("of its \(header.blockCount) entries only \(held) lie in the file")
        }
        var lister = LayoutEntryLister(consumer, "\(name) entries", limit: options.entryLimit)
        do throws(ImageError) {
            try visit(header) { (index, word) throws(ImageError) in
                try lister.add(entry(word, index, header), isEmpty: word == Header.free)
                if lister.isExhausted { lister.omit(held - index - 1) }
                return !lister.isExhausted
            }
        } catch {
            // What the consumer threw is about no place of this file.
            guard error.subject == .file(file.path) else { throw error }
            try consumer.fault(error.detail)
        }
        try lister.finish()
        try consumer.end()
    }

    private func listHeader(to consumer: any LayoutConsumer) throws(ImageError) {
        var cursor = LayoutCursor(bytes, at: HostOffset(0), isLittleEndian: true, telling: consumer)
        if let header {
            if let fault = header.unsupportedFeature {
                cursor.faults[fault.position] = "\(fault.message)"
            } else {
                do throws(ParseFault) { try header.check(fileSize: file.size) } catch {
                    cursor.faults[error.position] = "\(error.message)"
                }
            }
        } else if bytes.count >= Header.start {
            cursor.faults[Header.signatureOffset] = "must be 0xbeda107f"
        }
        try consumer.begin(LayoutStructure("header", at: HostOffset(0), size: 512))
        try cursor.text("szFileInfo", size: 64)
        try cursor.number("u32Signature", size: 4) { hexadecimal($0) }
        try cursor.number("u32Version", size: 4) { "\($0 >> 16).\($0 & 0xffff)" }
        try cursor.number("cbHeader", size: 4)
        try cursor.number("u32Type", size: 4) { kind in
            "\(kind): \(UInt32(exactly: kind).flatMap(Header.Kind.init)?.name ?? "unknown")"
        }
        try cursor.number("fFlags", size: 4) { hexadecimal($0) }
        try cursor.text("szComment", size: 256)
        try cursor.number("offBlocks", size: 4) { hexadecimal($0) }
        try cursor.number("offData", size: 4) { hexadecimal($0) }
        for name in ["cCylinders", "cHeads", "cSectors", "cbSector"] {
            try cursor.number("LegacyGeometry.\(name)", size: 4)
        }
        try cursor.number("u32Dummy", size: 4)
        try cursor.number("cbDisk", size: 8) { "\($0) (\(humanSize($0)))" }
        try cursor.number("cbBlock", size: 4) { "\($0) (\(humanSize($0)))" }
        try cursor.number("cbBlockExtra", size: 4)
        try cursor.number("cBlocks", size: 4)
        try cursor.number("cBlocksAllocated", size: 4)
        for name in ["uuidCreate", "uuidModify", "uuidLinkage", "uuidParentModify"] {
            try cursor.bytes(name, size: 16) { "\(ImageIdentity(guid: $0))" }
        }
        if let header, header.headerSize >= 400 {
            for name in ["cCylinders", "cHeads", "cSectors", "cbSector"] {
                try cursor.number("LCHSGeometry.\(name)", size: 4)
            }
        }
        if cursor.remaining > 0 { try cursor.reserved("behind the header", size: cursor.remaining) }
        try consumer.end()
    }

    /// How many entries of the map lie in the file.
    private func entryCount(_ header: Header) -> UInt64 {
        let start = UInt64(header.mapOffset)
        return start < file.size ? min(UInt64(header.blockCount), (file.size - start) / 4) : 0
    }

    /// Hands over each entry of the map that the file has, with its index. Ends where `body` answers false.
    private func visit(
        _ header: Header, _ body: (UInt64, UInt64) throws(ImageError) -> Bool
    ) throws(ImageError) {
        let count = entryCount(header)
        var index: UInt64 = 0
        while index < count {
            let here = min(Self.step, count - index)
            let bytes = try file.bytes(
                Int(here) * 4, at: HostOffset(UInt64(header.mapOffset) + index * 4), of: "block map")
            // Safe: integers have no bytes that are not set.
            for (place, entry) in unsafe decodeTable(bytes.span.bytes, of: UInt32.self, .little).enumerated() {
                guard try body(index + UInt64(place), entry) else { return }
            }
            index += here
        }
    }

    private func entry(_ word: UInt64, _ index: UInt64, _ header: Header) -> LayoutEntry {
        let blockSize = UInt64(header.blockSize)
        var entry = LayoutEntry(
            index, at: HostOffset(UInt64(header.mapOffset) + index * 4), raw: [word],
            facts: [.init("guest", .range(index * blockSize, blockSize))])
        guard word != Header.free else { return entry }
        guard word != Header.zero else {
            entry.facts.append(.init("kind", .text("zero")))
            return entry
        }
        let place = Self.offset(word, header)
        entry.facts.append(.init("host", .offset(place)))
        if place >= file.size {
            entry.fault = "its block must lie in the file, but that ends at \(HostOffset(file.size))"
        }
        return entry
    }

    /// Where the block `word` of the file begins; the largest offset where a damaged header puts it past that.
    private static func offset(_ word: UInt64, _ header: Header) -> UInt64 {
        let (bytes, overflow) = word.multipliedReportingOverflow(
            by: UInt64(header.blockSize) + UInt64(header.extraSize))
        let base = UInt64(header.dataOffset) + UInt64(header.extraSize)
        return overflow ? .max : HostOffset(base).advanced(by: bytes).rawValue
    }

    /// Tells `recorder` what every part of the file is used for. Damage is passed over: `list` reports it.
    public func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        guard let header else { return }
        recorder.record(.header, at: HostOffset(0), count: 512) { _, _ in false }
        recorder.record(
            .blockTable, at: HostOffset(UInt64(header.mapOffset)), count: UInt64(header.blockCount) * 4
        ) { _, _ in false }
        let blockSize = UInt64(header.blockSize)
        // Blocks that lie over one another, as a hostile map has them, are recorded twice at most.
        var budget = min(file.size, .max >> 2) * 2 + (1 << 30)
        try visit(header) { (index, word) throws(ImageError) in
            guard word < Header.zero, blockSize > 0, index * blockSize < header.diskSize else { return true }
            let place = Self.offset(word, header)
            guard place < file.size else { return true }
            let taken = min(blockSize, file.size - place)
            guard budget >= taken else {
                recorder.note("blocks lie over one another: what the map has from entry \(index) on is not shown")
                return false
            }
            budget -= taken
            recorder.record(.data, at: HostOffset(place), count: blockSize) { _, _ in false }
            recorder.record(
                StoredRange(
                    .data, at: HostOffset(place), count: blockSize, start: index * blockSize,
                    covered: min(blockSize, header.diskSize - index * blockSize)))
            return true
        }
    }
}
