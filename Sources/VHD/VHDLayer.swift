import BlockImage

/// A VHD file's own part of its disk. Immutable; every method may be called from any thread.
public final class VHDLayer: ImageLayer {
    private enum Storage {
        /// Byte for byte, from the start of the file on.
        case fixed
        case blocks(BlockTable)
    }

    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    /// What the file says of itself.
    let description: VHDDescription
    private let file: any HostFile
    private let storage: Storage

    /// The disk in `file`, which `description` describes.
    init(_ description: VHDDescription, file: any HostFile, resources: LayerResources) {
        self.description = description
        self.file = file
        virtualSize = description.virtualSize
        storage =
            description.header.map { .blocks(BlockTable(description, $0, file: file, resources: resources)) } ?? .fixed
    }

    deinit {
        table?.resources.tables.removeTables(of: file.id)
    }

    /// The file.
    public var files: [any HostFile] { [file] }
    /// Its size.
    public var hostSize: UInt64 { file.size }

    /// The sectors of one word of a bitmap, unless a block is smaller.
    public var granuleSize: UInt64 {
        switch storage {
        case .fixed: 1 << 62
        case .blocks(let table): min(table.blockSize, 64 * sectorSize)
        }
    }

    /// The table of a dynamic or differencing disk; nil for a fixed one.
    var table: BlockTable? {
        if case .blocks(let table) = storage { table } else { nil }
    }

    /// See `BlockTable.run`; a fixed disk is one run, as far as the file has it.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let limit = min(limit, virtualSize - start.rawValue)
        switch storage {
        case .blocks(let table):
            let run = try table.run(at: start.rawValue, limit: limit)
            var extent = Extent(start: start, count: run.count, storage: run.storage)
            extent.reserved = run.reserved
            return extent
        case .fixed:
            let end = description.footerOffset.rawValue
            guard start.rawValue < end else {
                throw ImageError(
                    .truncated, path: file.path, offset: HostOffset(end),
                    "fixed disk: has \(virtualSize) bytes, but the file has \(end) before its footer")
            }
            let count = min(limit, end - start.rawValue)
            return Extent(start: start, count: count, storage: .data(file: file, offset: HostOffset(start.rawValue)))
        }
    }

    /// The rest of the block, and those behind it that lie past the end of the file as well.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        table?.lost(at: start.rawValue, limit: limit) ?? limit
    }
}
