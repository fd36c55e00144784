import BlockImage
import ByteFormat

extension VMDKLayout {
    /// Lists a descriptor that is a file of its own.
    func listText(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let bytes = try held(UInt64(Descriptor.sizeLimit), at: 0, of: "descriptor")
        let text = DescriptorText(bytes, isFile: true)
        try listDescriptor(text, at: 0, followsExtents: true, to: consumer, options) { () throws(ImageError) in
            if file.size > UInt64(Descriptor.sizeLimit) {
                try consumer.fault("has \(file.size) bytes, but must have at most \(Descriptor.sizeLimit)")
            }
            if !isVMDK(firstBytes: bytes) {
                try consumer.fault(
                    "is no VMDK: it begins neither with the magic of a sparse extent nor with \"# Disk DescriptorFile\""
                )
            }
        }
    }

    /// Lists the descriptor embedded in a sparse extent, if it has one.
    func listEmbeddedDescriptor(
        _ header: SparseHeader, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        guard header.descriptorOffset != 0 else { return }
        let isThere = header.descriptorOffset <= sectorLimit && header.descriptorOffset * sectorSize < file.size
        guard isThere else {
            return try consumer.structure(LayoutStructure("descriptor", at: nil, size: nil)) { () throws(ImageError) in
                try consumer.fault(
                    "descriptorOffset: is sector \(header.descriptorOffset), but the file has \(file.size) bytes")
            }
        }
        let start = header.descriptorOffset * sectorSize
        let sectors = header.descriptorSize == 0 ? sectorLimit : min(header.descriptorSize, sectorLimit)
        let bytes = try held(min(sectors * sectorSize, UInt64(Descriptor.sizeLimit)), at: start, of: "descriptor")
        try listDescriptor(
            DescriptorText(bytes, isFile: false), at: start, followsExtents: header.capacity == 0, to: consumer, options
        ) { () throws(ImageError) in
            if header.capacity > 0, !Descriptor(parsing: bytes).isReadable {
                try consumer.fault("is blank or no text of a descriptor, but the header says that it is here")
            }
        }
    }

    private func listDescriptor(
        _ stored: DescriptorText, at start: UInt64, followsExtents: Bool, to consumer: any LayoutConsumer,
        _ options: LayoutOptions, _ also: () throws(ImageError) -> Void
    ) throws(ImageError) {
        let bytes = stored.bytes
        let descriptor = Descriptor(parsing: stored)
        var faults: [Int: ErrorText] = [:]
        for fault in [
            descriptor.extentFault, followsExtents ? descriptor.namelessFault : nil, descriptor.entryFault,
            descriptor.unknownLine, descriptor.encodingFault, descriptor.unsupportedFeature,
        ] {
            if let fault { faults[fault.position] = Self.both(faults[fault.position], ErrorText(fault)) }
        }
        let extents = Dictionary(descriptor.extents.map { ($0.position, $0) }) { first, _ in first }
        let entries = Dictionary(descriptor.entries.map { ($0.position, $0) }) { first, _ in first }
        var search = policy.map { FileSearch(of: file, policy: $0) }
        let text = bytes.prefix { $0 != 0 }
        try consumer.structure(LayoutStructure("descriptor", at: HostOffset(start), size: UInt64(text.count))) {
            () throws(ImageError) in
            try also()
            for note in descriptor.notes { try consumer.note(note) }
            var lines = LineCounter(bytes)
            var left = options.entryLimit
            var omitted: UInt64 = 0
            for line in DescriptorLines(bytes) where !line.isEmpty {
                let number = lines.number(at: line.startIndex)
                guard left > 0 else {
                    omitted += 1
                    continue
                }
                left -= 1
                var field = LayoutField(
                    "line \(number)", at: HostOffset(start).advanced(by: UInt64(line.startIndex)),
                    size: UInt64(line.count), raw: [], value: "\(quoting: printable(line.prefix(400)))")
                let told = faults.filter { line.indices.contains($0.key) }.sorted { $0.key < $1.key }
                field.fault = told.reduce(nil) { Self.both($0, $1.value.map { printable($0) }) }
                if let extent = extents[line.startIndex] {
                    field.name += ": extent"
                    describe(extent, follows: followsExtents, &search, &field)
                } else if let entry = entries[line.startIndex] {
                    field.name += ": \(printable(String(entry.key.prefix(80))))"
                    field.value = "\"\(path: printable(String(entry.value.prefix(400))))\""
                } else if line.first == UInt8(ascii: "#") {
                    field.name += ": comment"
                }
                try consumer.add(field)
            }
            if omitted > 0 { try consumer.omit(omitted, "lines") }
        }
    }

    private static func both(_ first: ErrorText?, _ second: ErrorText) -> ErrorText {
        first.map { "\($0); \(second)" } ?? second
    }

    /// Says what an extent line says, and where it leads.
    private func describe(
        _ extent: DescriptorExtent, follows: Bool, _ search: inout FileSearch?, _ field: inout LayoutField
    ) {
        var text: ErrorText = "\(extent.access.rawValue), \(sectorsText(extent.sectors)), \(printable(extent.kindName))"
        if let name = extent.name { text += " \"\(path: printable(name.text))\"" }
        if extent.offset != 0 { text += " from \(sectorText(extent.offset)) on" }
        field.value = text
        if let feature = extent.unsupportedFeature {
            field.fault = Self.both(field.fault, "\(printable(feature))")
        }
        guard let name = extent.name, extent.needsFile else { return }
        guard follows else {
            field.value += " -> this file"
            return
        }
        guard var found = search else { return }
        do throws(ImageError) {
            let target = try found.open(name.sought, as: .extent)
            field.value += " -> \(path: printable(target.path)), \(counted(target.size, "byte"))"
            let end = extent.hostOffset.map { $0.advanced(by: extent.virtualSize).rawValue }
            if let end, end > target.size {
                let fault: ErrorText = "ends at \(HostOffset(end)) of its file, which has only \(target.size) bytes"
                field.fault = Self.both(field.fault, fault)
            }
        } catch {
            field.fault = Self.both(field.fault, error.detail.map { printable($0) })
        }
        search = found
    }
}

/// Counts lines as text editors do: LF, CR and both together end one.
private struct LineCounter {
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// The number of the line that has the byte at `index`, which is not before the one asked for last.
    mutating func number(at index: Int) -> Int {
        while position < min(index, bytes.count) {
            let isCarriageReturn = bytes[position] == UInt8(ascii: "\r")
            let next = position + 1 < bytes.count ? bytes[position + 1] : 0
            if bytes[position] == UInt8(ascii: "\n") || isCarriageReturn && next != UInt8(ascii: "\n") { line += 1 }
            position += 1
        }
        return line
    }
}
