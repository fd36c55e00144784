import BlockImage

/// What only a VHDX image has. What an image does not say is left out.
struct VHDXInfo: Encodable, Sendable {
    /// The log.
    private struct Log: Encodable, Sendable {
        var offset: UInt64
        var length: UInt32
        var replayedEntries: Int?
        var lastSequenceNumber: UInt64?

        private enum CodingKeys: String, CodingKey {
            case offset, length
            case replayedEntries = "replayed-entries"
            case lastSequenceNumber = "last-sequence-number"
        }
    }

    private var subformat: String
    private var blockSize: UInt32
    private var logicalSectorSize: UInt32
    private var physicalSectorSize: UInt32
    private var diskID: String
    private var dataWriteID: String
    private var fileWriteID: String
    private var creator: ErrorText?
    private var log: Log
    private var parentLocator: [String: PathText]?

    private enum CodingKeys: String, CodingKey {
        case subformat, creator, log
        case blockSize = "block-size"
        case logicalSectorSize = "logical-sector-size"
        case physicalSectorSize = "physical-sector-size"
        case diskID = "disk-id"
        case dataWriteID = "data-write-guid"
        case fileWriteID = "file-write-guid"
        case parentLocator = "parent-locator"
    }

    init(_ description: VHDXDescription) {
        let metadata = description.metadata
        subformat = metadata.hasParent ? "differencing" : metadata.keepsBlocks ? "fixed" : "dynamic"
        blockSize = metadata.blockSize
        logicalSectorSize = metadata.logicalSectorSize
        physicalSectorSize = metadata.physicalSectorSize
        diskID = "\(metadata.diskID)"
        dataWriteID = "\(description.header.dataWriteID)"
        fileWriteID = "\(description.header.fileWriteID)"
        creator = description.creator.isEmpty ? nil : "\(quoting: description.creator)"
        log = Log(
            offset: description.header.logOffset, length: description.header.logLength,
            replayedEntries: description.log?.entryCount, lastSequenceNumber: description.log?.lastSequenceNumber)
        parentLocator = metadata.parentLocator.map { locator in
            Dictionary(locator.entries.map { ($0.key, PathText($0.value)) }) { first, _ in first }
        }
    }
}
