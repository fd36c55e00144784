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
    /// What came up while clusters were read.
    let findings = ReadFindings()
    /// Whether `dataFile` was cut; nil: not known yet.
    private let cut = Guarded<Bool?>(nil)

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

    /// The L1 table of `count` entries at `offset`. Throws `truncated` where not even its first entry lies in the file: then
    /// nothing can be read through it. Of one that the file's end cuts, the entries that are there can be used.
    func l1Table(at offset: UInt64, count: Int, name: String) throws(ImageError) -> TableLocation {
        guard count == 0 || offset < file.size && file.size - offset >= 8 else {
            throw beyondEnd(of: file, HostOffset(offset), "the \(name)")
        }
        return table(at: offset, count: count, name: name)
    }

    /// Whether the file that holds the clusters was cut inside its last one. Reads refcounts when it is first asked.
    func isCut() throws(ImageError) -> Bool {
        if let known = cut.withLock({ $0 }) { return known }
        let isCut = try header.isCut(dataFile, hasRefcounts: !format.hasDataFile)
        cut.withLock { $0 = isCut }
        return isCut
    }

    /// The page of `table` with its word `index`, and that word's index in the page.
    func page(of table: TableLocation, at index: Int) throws(ImageError) -> (page: TablePage, index: Int) {
        try resources.tables.page(of: table, at: index, counters: resources.counters)
    }

    /// An error about something that should lie at `offset` of `file`.
    func beyondEnd(of file: any HostFile, _ offset: HostOffset, _ what: String) -> ImageError {
        ImageError(
            .truncated, path: file.path, offset: offset,
            "\(what) lies past the end of the file at \(HostOffset(file.size))")
    }
}
