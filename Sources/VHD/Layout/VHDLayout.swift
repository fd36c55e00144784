import BlockImage
import ByteFormat
import FormatCore

/// The structures of a VHD file as they stand in it, sound or not: what `inspect` shows. Where a reader refuses, it goes on;
/// what is wrong is reported with the field that it is about.
public struct VHDLayout: FormatLayout {
    let file: any HostFile
    private let footers: Footers

    /// Looks at `file`, whatever it is. Throws where it cannot be read at all.
    public init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        footers = try Footers(of: file)
    }

    /// A sector.
    public var unit: UInt64 { sectorSize }

    /// The footer that the other structures go by.
    private var footer: Footers.Found? { (try? footers.chosen()) ?? footers.last ?? footers.first }

    /// Whether the disk is stored in blocks.
    private var hasBlocks: Bool { footer.map { $0.footer.kind != .fixed } ?? false }

    /// Reports every structure to `consumer`. Throws what the consumer throws.
    public func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let size = footers.last?.bytes.count ?? Footer.size
        if hasBlocks || footers.last == nil { try listFooter("copy of the footer", at: 0, Footer.size, to: consumer) }
        if let footer, hasBlocks {
            let start = footer.footer.dataOffset
            let bytes = try held(UInt64(DynamicHeader.size), at: start, of: "dynamic header")
            try listHeader(bytes, at: start, to: consumer)
            if let header = try? DynamicHeader(parsing: bytes) {
                try listLocators(header, to: consumer)
                try listTable(header, size: footer.footer.currentSize, to: consumer, options)
            }
        }
        guard file.size >= UInt64(size) else { return }
        try listFooter("footer", at: file.size - UInt64(size), size, to: consumer)
    }

    /// The bytes from `offset` on, at most `count`: as many as the file has.
    func held(_ count: UInt64, at offset: UInt64, of what: String) throws(ImageError) -> [UInt8] {
        guard offset < file.size else { return [] }
        return try file.bytes(Int(min(count, file.size - offset)), at: HostOffset(offset), of: what)
    }

    private func listFooter(
        _ name: String, at offset: UInt64, _ size: Int, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        let bytes = try held(UInt64(size), at: offset, of: name)
        var cursor = LayoutCursor(bytes, at: HostOffset(offset), isLittleEndian: false, telling: consumer)
        if let footer = try? Footer(parsing: bytes) {
            let sum = checkSum(of: bytes, at: Footer.checkSumOffset)
            if sum != footer.checkSum { cursor.faults[Footer.checkSumOffset] = "must be \(hexadecimal(sum))" }
            if let fault = footer.unsupportedField() { cursor.faults[fault.position] = "\(fault.message)" }
        } else if bytes.count == size {
            cursor.faults[0] = "must be \"conectix\""
        }
        try consumer.begin(LayoutStructure(name, at: HostOffset(offset), size: UInt64(size)))
        try cursor.text("cookie", size: 8)
        try cursor.number("features", size: 4) { flags in
            let names = [flags & 1 != 0 ? "temporary" : nil, flags & 2 != 0 ? "reserved (always set)" : nil]
            return names.compactMap(\.self).joined(separator: ", ")
        }
        try cursor.number("file format version", size: 4, versionText)
        try cursor.number("data offset", size: 8) { $0 == .max ? "none" : hexadecimal($0) }
        try cursor.number("time stamp", size: 4, timeText)
        try cursor.text("creator application", size: 4)
        try cursor.number("creator version", size: 4, versionText)
        try cursor.text("creator host OS", size: 4)
        try cursor.number("original size", size: 8) { "\($0) (\(humanSize($0)))" }
        try cursor.number("current size", size: 8) { "\($0) (\(humanSize($0)))" }
        try cursor.number("cylinders", size: 2)
        try cursor.number("heads", size: 1)
        try cursor.number("sectors per track", size: 1)
        try cursor.number("disk type", size: 4) { kind in
            "\(kind): \(UInt32(exactly: kind).flatMap(Footer.Kind.init)?.name ?? "unknown")"
        }
        try cursor.number("checksum", size: 4) { hexadecimal($0) }
        try cursor.bytes("unique id", size: 16) { "\(ImageIdentity($0))" }
        try cursor.number("saved state", size: 1) { $0 == 0 ? "no" : "yes" }
        try cursor.number("hidden", size: 1) { $0 == 0 ? "no" : "yes (XenServer)" }
        try cursor.reserved("reserved", size: size - 86)
        try consumer.end()
    }

    private func listHeader(
        _ bytes: [UInt8], at offset: UInt64, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        var cursor = LayoutCursor(bytes, at: HostOffset(offset), isLittleEndian: false, telling: consumer)
        if let header = try? DynamicHeader(parsing: bytes) {
            let sum = checkSum(of: bytes, at: DynamicHeader.checkSumOffset)
            if sum != header.checkSum { cursor.faults[DynamicHeader.checkSumOffset] = "must be \(hexadecimal(sum))" }
            do throws(ParseFault) { try header.check(size: min(footer?.footer.currentSize ?? 0, .max >> 1)) } catch {
                cursor.faults[error.position] = "\(error.message)"
            }
        } else if bytes.count == DynamicHeader.size {
            cursor.faults[0] = "must be \"cxsparse\""
        }
        try consumer.begin(LayoutStructure("dynamic header", at: HostOffset(offset), size: UInt64(DynamicHeader.size)))
        try cursor.text("cookie", size: 8)
        try cursor.number("data offset", size: 8) { $0 == .max ? "none" : hexadecimal($0) }
        try cursor.number("table offset", size: 8) { hexadecimal($0) }
        try cursor.number("header version", size: 4, versionText)
        try cursor.number("max table entries", size: 4)
        try cursor.number("block size", size: 4) { "\($0) (\(humanSize($0)))" }
        try cursor.number("checksum", size: 4) { hexadecimal($0) }
        try cursor.bytes("parent unique id", size: 16) { "\(ImageIdentity($0))" }
        try cursor.number("parent time stamp", size: 4, timeText)
        try cursor.reserved("reserved", size: 4)
        try cursor.bytes("parent Unicode name", size: DynamicHeader.nameSize) { raw in
            VHDDescription.utf16(raw, .big).map { "\"\(path: printable($0))\"" } ?? "none"
        }
        for index in 0..<DynamicHeader.locatorCount {
            try cursor.text("locator \(index) platform code", size: 4)
            try cursor.number("locator \(index) data space", size: 4)
            try cursor.number("locator \(index) data length", size: 4)
            try cursor.reserved("locator \(index) reserved", size: 4)
            try cursor.number("locator \(index) data offset", size: 8) { hexadecimal($0) }
        }
        try cursor.reserved("reserved", size: 256)
        try consumer.end()
    }

    private func listLocators(_ header: DynamicHeader, to consumer: any LayoutConsumer) throws(ImageError) {
        for (index, locator) in header.locators.enumerated() where locator.isUsed {
            let structure = LayoutStructure(
                "parent locator \(index)", at: HostOffset(locator.offset), size: UInt64(locator.length))
            try consumer.structure(structure) { () throws(ImageError) in
                guard let bytes = VHDDescription.bytes(of: locator, in: file) else {
                    return try consumer.fault("is no name that lies in the file")
                }
                var cursor = LayoutCursor(
                    bytes, at: HostOffset(locator.offset), isLittleEndian: true, telling: consumer)
                let isUTF16 = locator.code.starts(with: "W2".utf8)
                try cursor.bytes("name", size: bytes.count) { raw in
                    let text = isUTF16 ? VHDDescription.utf16(raw, .little) ?? "" : nameText(raw.prefix { $0 != 0 })
                    return "\"\(path: printable(text))\""
                }
            }
        }
    }
}

/// A major and a minor version, of 16 bits each.
private func versionText(_ version: UInt64) -> String { "\(version >> 16).\(version & 0xffff)" }

/// A time stamp: seconds since the beginning of 2000.
private func timeText(_ seconds: UInt64) -> String {
    seconds == 0 ? "not set" : utcTime(vhdEpoch + seconds) ?? "\(seconds)"
}
