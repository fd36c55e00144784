import BlockImage
import ByteFormat

extension QCOW2Layout {
    /// What the extensions lead to.
    struct FoundExtensions {
        /// The place of the bitmap directory.
        var bitmaps: HeaderExtensions.Bitmaps?
        /// The place of the LUKS header.
        var encryptionHeader: HeaderExtensions.EncryptionHeader?
    }

    /// Lists the header extensions one by one, up to the end record, the backing file's name or the end of the first
    /// cluster; answers where those lead that lead anywhere.
    func listExtensions(
        _ header: Header, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) -> FoundExtensions {
        var found = FoundExtensions()
        var position = headerLength(header)
        var end = start.count
        let name = header.backingFileOffset
        if name != 0, name < UInt64(end), name >= UInt64(position) { end = Int(name) }
        var left = options.entryLimit
        while position + 8 <= end {
            guard left > 0 else {
                try consumer.omit(1, "header extensions (at least)")
                return found
            }
            left -= 1
            let length = number(at: position + 4)
            let held = min(UInt64(length), UInt64(end - position - 8))
            let padded = min((held + 7) & ~7, UInt64(end - position - 8))
            let type = number(at: position)
            let place = HostOffset(UInt64(position))
            let structure = LayoutStructure(
                "header extension: \(Self.extensionName(type))", at: place, size: 8 + (type == 0 ? 0 : padded))
            try consumer.structure(structure) { () throws(ImageError) in
                let bytes = Array(start[position..<position + 8 + (type == 0 ? 0 : Int(padded))])
                var cursor = LayoutCursor(bytes, at: place, isLittleEndian: false, telling: consumer)
                if held < UInt64(length), type != 0 { cursor.faults[4] = "only \(held) bytes are left for it" }
                try cursor.number("type", size: 4) { "0x\(String($0, radix: 16))" }
                try cursor.number("length", size: 4) { counted($0, "byte") }
                guard type != 0 else { return }
                try listContent(type, Int(held), &cursor, &found, options, consumer)
                if padded > held { try cursor.reserved("padding", size: Int(padded - held)) }
            }
            if type == 0 || held < UInt64(length) { return found }
            position += 8 + Int(padded)
        }
        return found
    }

    private func number(at position: Int) -> UInt32 {
        start[position..<position + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func extensionName(_ type: UInt32) -> String {
        switch type {
        case HeaderExtensions.Kind.end: "end"
        case HeaderExtensions.Kind.backingFormat: "backing format"
        case HeaderExtensions.Kind.featureNames: "feature name table"
        case HeaderExtensions.Kind.bitmaps: "bitmaps"
        case HeaderExtensions.Kind.encryptionHeader: "full disk encryption header pointer"
        case HeaderExtensions.Kind.dataFile: "external data file name"
        case HeaderExtensions.Kind.baseIdentity: "identity of the disk under an overlay of rblock"
        default: "unknown"
        }
    }

    private func listContent(
        _ type: UInt32, _ size: Int, _ cursor: inout LayoutCursor, _ found: inout FoundExtensions,
        _ options: LayoutOptions, _ consumer: any LayoutConsumer
    ) throws(ImageError) {
        let kind = HeaderExtensions.Kind.self
        switch type {
        case kind.backingFormat:
            if size > 15 { cursor.faults[8] = "has \(counted(size, "byte")), but at most 15 are allowed" }
            try cursor.text("format", size: size)
        case kind.dataFile:
            try cursor.text("file name", size: size)
        case kind.featureNames:
            try listFeatureNames(size, &cursor, options, consumer)
        case kind.bitmaps:
            if size != 24 { cursor.faults[4] = "has \(counted(size, "byte")), but must have 24" }
            guard size >= 24 else { return try listUnknown(size, &cursor) }
            let count = try cursor.number("nb_bitmaps", size: 4)
            try cursor.reserved("reserved", size: 4)
            let directorySize = try cursor.number("bitmap_directory_size", size: 8) { counted($0, "byte") }
            let offset = try cursor.number("bitmap_directory_offset", size: 8) { "\(HostOffset($0))" }
            found.bitmaps = HeaderExtensions.Bitmaps(
                count: UInt32(clamping: count), directorySize: directorySize, directoryOffset: offset)
            try listUnknown(size - 24, &cursor)
        case kind.encryptionHeader:
            if size != 16 { cursor.faults[4] = "has \(counted(size, "byte")), but must have 16" }
            guard size >= 16 else { return try listUnknown(size, &cursor) }
            let offset = try cursor.number("offset", size: 8) { "\(HostOffset($0))" }
            let length = try cursor.number("length", size: 8) { counted($0, "byte") }
            found.encryptionHeader = HeaderExtensions.EncryptionHeader(offset: offset, length: length)
            try listUnknown(size - 16, &cursor)
        default:
            try listUnknown(size, &cursor)
        }
    }

    private func listUnknown(_ size: Int, _ cursor: inout LayoutCursor) throws(ImageError) {
        guard size > 0 else { return }
        try cursor.bytes("data", size: size) { raw in
            let shown = raw.prefix(LayoutField.rawLimit).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
            return "\(shown.joined(separator: " "))\(size > LayoutField.rawLimit ? " …" : "")"
        }
    }

    private func listFeatureNames(
        _ size: Int, _ cursor: inout LayoutCursor, _ options: LayoutOptions, _ consumer: any LayoutConsumer
    ) throws(ImageError) {
        let count = size / 48
        if size % 48 != 0 { cursor.faults[4] = "has \(counted(size, "byte")), which is no multiple of 48" }
        let shown = Int(min(UInt64(count), options.entryLimit))
        for _ in 0..<shown {
            try cursor.bytes("feature name", size: 48) { raw in
                let kind = raw.first.flatMap { FeatureName.Kind(rawValue: $0) }.map { "\($0)" } ?? "no kind known"
                let name = printable(raw.dropFirst(2).prefix { $0 != 0 })
                return "\(kind) bit \(raw.dropFirst().first ?? 0): \"\(name)\""
            }
        }
        if shown < count {
            try consumer.omit(UInt64(count - shown), "feature names")
            cursor.skip((count - shown) * 48)
        }
        try listUnknown(size % 48, &cursor)
    }
}
