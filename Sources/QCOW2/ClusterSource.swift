import BlockImage
import ByteFormat
import Encryption

/// What all disks of one image are read from, the active one and those of its snapshots: its files, and what decodes
/// them. The caches hold what was read until the last of these disks goes.
final class ClusterSource: Sendable {
    let header: Header
    let format: L2Format
    /// The image: tables, and compressed clusters.
    let file: any HostFile
    /// What holds the clusters: the external data file, else the image itself.
    let dataFile: any HostFile
    /// What decrypts the clusters; nil where they are not encrypted.
    let cipher: SectorCipher?
    let resources: LayerResources

    init(
        _ header: Header, file: any HostFile, dataFile: (any HostFile)?, cipher: SectorCipher?,
        resources: LayerResources
    ) {
        self.header = header
        format = L2Format(header)
        self.file = file
        self.dataFile = dataFile ?? file
        self.cipher = cipher
        self.resources = resources
    }

    deinit {
        resources.tables.removeTables(of: file.id)
        resources.clusters.removeClusters(of: file.id)
    }

    /// The table of `count` 64-bit words at `offset` of the image.
    func table(at offset: UInt64, count: Int, name: String) -> TableLocation {
        TableLocation(file: file, offset: HostOffset(offset), count: count, entrySize: 8, name: name) { bytes in
            decodeTable(bytes, of: UInt64.self, .big)
        }
    }

    /// The page of `table` with its word `index`, and that word's index in the page.
    func page(of table: TableLocation, at index: Int) throws(ImageError) -> (page: TablePage, index: Int) {
        try resources.tables.page(of: table, at: index, counters: resources.counters)
    }

    /// An error about something that should lie at `offset` of `file`.
    func beyondEnd(of file: any HostFile, _ offset: HostOffset, _ what: String) -> ImageError {
        ImageError(
            .truncated, path: file.path, offset: offset,
            "\(what) lies behind the end of the file at \(HostOffset(file.size))")
    }
}
