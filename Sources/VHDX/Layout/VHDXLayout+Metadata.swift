import BlockImage
import ByteFormat

extension VHDXLayout {
    /// Lists the metadata table of `region` and its items.
    func listMetadata(_ region: Region, to consumer: any LayoutConsumer) throws(ImageError) {
        try listFields(
            "metadata table", at: region.offset, size: UInt64(MetadataTable.size), to: consumer,
            parse: { bytes throws(ParseFault) in
                let table = try MetadataTable(parsing: bytes)
                try table.check(regionLength: region.length)
                if let fault = table.unsupportedItem { throw fault }
            },
            { cursor throws(ImageError) in
                try cursor.signature(size: 8)
                try cursor.reserved("Reserved", size: 2)
                let count = try cursor.number("EntryCount", size: 2)
                try cursor.reserved("Reserved2", size: 20)
                for index in 0..<min(count, UInt64(MetadataTable.entryLimit)) {
                    try cursor.identity("ItemId of item \(index)") { KnownIdentifier.name(of: $0) }
                    try cursor.offset("Offset", size: 4)
                    try cursor.size("Length", size: 4)
                    try cursor.number("Flags", size: 4, Self.flags)
                    try cursor.reserved("Reserved", size: 4)
                }
            })
        for item in metadataTable(of: region)?.items ?? [] where item.placeFault(regionLength: region.length) == nil {
            if item.length > 0, !item.isUser { try listItem(item, in: region, to: consumer) }
        }
    }

    private static func flags(_ flags: UInt64) -> String {
        let names = [(1, "IsUser"), (2, "IsVirtualDisk"), (4, "IsRequired")].filter { flags & UInt64($0.0) != 0 }
        return names.isEmpty ? "none" : names.map(\.1).joined(separator: ", ")
    }

    private func listItem(
        _ item: MetadataItem, in region: Region, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        // Both were checked to lie in the region.
        let offset = region.offset + UInt64(item.offset)
        try listFields(item.name, at: offset, size: UInt64(item.length), to: consumer) { cursor throws(ImageError) in
            switch item.id {
            case KnownIdentifier.fileParameters:
                try cursor.size("BlockSize", size: 4)
                try cursor.number("Flags", size: 4) { flags in
                    let names = [(1, "LeaveBlockAllocated"), (2, "HasParent")].filter { flags & UInt64($0.0) != 0 }
                    return names.isEmpty ? "none" : names.map(\.1).joined(separator: ", ")
                }
            case KnownIdentifier.virtualSize: try cursor.size("VirtualDiskSize", size: 8)
            case KnownIdentifier.diskID: try cursor.identity("VirtualDiskId")
            case KnownIdentifier.logicalSectorSize: try cursor.number("LogicalSectorSize", size: 4)
            case KnownIdentifier.physicalSectorSize: try cursor.number("PhysicalSectorSize", size: 4)
            case KnownIdentifier.parentLocator: try listLocator(item, at: offset, &cursor, consumer)
            default: try cursor.bytes("bytes", size: Int(item.length)) { "\(counted($0.count, "byte"))" }
            }
        }
    }

    private func listLocator(
        _ item: MetadataItem, at offset: UInt64, _ cursor: inout LayoutCursor, _ consumer: any LayoutConsumer
    ) throws(ImageError) {
        let bytes = try held(UInt64(item.length), at: offset)
        var locator: ParentLocator?
        do throws(ParseFault) { locator = try ParentLocator(parsing: bytes) } catch {
            cursor.faults[error.position] = "\(error.message)"
        }
        try cursor.identity("LocatorType")
        try cursor.reserved("Reserved", size: 2)
        let count = try cursor.number("KeyValueCount", size: 2)
        for index in 0..<min(count, UInt64(ParentLocator.entryLimit)) {
            let entry = locator.flatMap { Int(index) < $0.entries.count ? $0.entries[Int(index)] : nil }
            try cursor.offset("KeyOffset of entry \(index)", size: 4)
            try cursor.offset("ValueOffset", size: 4)
            try cursor.number("KeyLength", size: 2)
            try cursor.number("ValueLength", size: 2)
            if let entry {
                try consumer.note("\(printable(entry.key)) is \"\(path: printable(entry.value))\"")
            }
        }
    }
}
