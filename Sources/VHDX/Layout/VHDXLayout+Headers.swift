import BlockImage
import ByteFormat

extension VHDXLayout {
    func listIdentifier(to consumer: any LayoutConsumer) throws(ImageError) {
        try listFields(
            "file type identifier", at: 0, size: 520, to: consumer,
            parse: { bytes throws(ParseFault) in
                var reader = ByteReader(bytes)
                try reader.checkSignature("vhdxfile")
            },
            { cursor throws(ImageError) in
                try cursor.signature(size: 8)
                try cursor.bytes("Creator", size: 512) { "\"\(quoting: printable(VHDXDescription.text($0)))\"" }
            })
    }

    func listHeader(_ number: Int, at offset: UInt64, to consumer: any LayoutConsumer) throws(ImageError) {
        var isCurrent = false
        try listFields(
            "header \(number)", at: offset, size: UInt64(VHDXHeader.size), to: consumer,
            parse: { bytes throws(ParseFault) in
                let parsed = try VHDXHeader(parsing: bytes)
                isCurrent = parsed == header
                if let fault = parsed.unsupportedFeature { throw fault }
                try parsed.checkLog()
            },
            { cursor throws(ImageError) in
                if isCurrent { try consumer.note("the header that holds") }
                try cursor.signature(size: 4)
                try cursor.checksum()
                try cursor.number("SequenceNumber", size: 8)
                try cursor.identity("FileWriteGuid")
                try cursor.identity("DataWriteGuid") { _ in "children know the disk by it" }
                try cursor.identity("LogGuid") { $0.isZero ? "the log is empty" : "the log is to be replayed" }
                try cursor.number("LogVersion", size: 2)
                try cursor.number("Version", size: 2)
                try cursor.size("LogLength", size: 4)
                try cursor.offset("LogOffset", size: 8)
                try cursor.reserved("Reserved", size: 4016)
            })
    }

    func listRegionTable(_ number: Int, at offset: UInt64, to consumer: any LayoutConsumer) throws(ImageError) {
        try listFields(
            "region table \(number)", at: offset, size: UInt64(RegionTable.size), to: consumer,
            parse: { bytes throws(ParseFault) in
                let table = try RegionTable(parsing: bytes)
                try table.check()
                if let fault = table.unsupportedRegion { throw fault }
            },
            { cursor throws(ImageError) in
                try cursor.signature(size: 4)
                try cursor.checksum()
                let count = try cursor.number("EntryCount", size: 4)
                try cursor.reserved("Reserved", size: 4)
                for index in 0..<min(count, UInt64(RegionTable.entryLimit)) {
                    try cursor.identity("Guid of region \(index)") { KnownIdentifier.name(of: $0) }
                    try cursor.offset("FileOffset", size: 8)
                    try cursor.size("Length", size: 4)
                    try cursor.number("Required", size: 4) { $0 & 1 == 0 ? "no" : "yes" }
                }
            })
    }

    /// Lists the log, and, where entries are asked for, those that are replayed.
    func listLog(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        guard let header, header.logLength > 0 else { return }
        try consumer.structure(
            LayoutStructure("log", at: HostOffset(header.logOffset), size: UInt64(header.logLength))
        ) { () throws(ImageError) in
            guard !header.logID.isZero else { return try consumer.note("is empty") }
            guard let log else { return try consumer.note("has nothing that is to be replayed") }
            try consumer.note(
                "\(counted(log.entryCount, "entry", "entries")) up to number \(log.lastSequenceNumber) \(log.entryCount == 1 ? "is" : "are") replayed "
                    + "in memory: what follows is shown as it is then")
            guard options.showsEntries else { return }
            var lister = LayoutEntryLister(consumer, "pages of the log", limit: options.entryLimit)
            for (index, page) in log.pages.enumerated() {
                if lister.isExhausted {
                    lister.omit(UInt64(log.pages.count - index))
                    break
                }
                try lister.add(
                    LayoutEntry(
                        UInt64(index), at: HostOffset(header.logOffset + UInt64(page.sector)), raw: [],
                        facts: [.init("replaces", .range(page.offset, ReplayedLog.pageSize))]), isEmpty: false)
            }
            try lister.finish()
            for zeros in log.zeros.prefix(Int(clamping: options.entryLimit)) {
                try consumer.note("zeros from \(HostOffset(zeros.lowerBound)) to \(HostOffset(zeros.upperBound))")
            }
        }
    }
}
