import BlockImage
import ByteFormat

/// The tables of an image that is written to, as they are to be: what `WritableQCOW2` has under its lock.
///
/// All changes are made here, in memory; `takeChanges` takes them together, so that what is then written fits together:
/// every cluster that a table of it leads to has its refcount in it, and its data in the file.
struct Metadata: Sendable {
    /// What a cluster of the file is that holds no data.
    enum Role: String, Sendable {
        case header = "the header"
        case l1Table = "the L1 table"
        case l2Table = "an L2 table"
        case refcountTable = "the refcount table"
        case refcountBlock = "a refcount block"
    }

    /// The most pages that are kept besides those to be written: 16 MiB.
    private static let pageLimit = 4096

    let file: any WritableFile
    let format: L2Format
    /// How refcounts are stored.
    let refcountFormat: RefcountFormat
    /// log2 of the clusters whose refcounts one block has.
    let blockBits: UInt64
    /// The bytes in which metadata is read and written.
    let pageSize: UInt64
    /// The bytes of the disk that one L2 table covers.
    let l2Coverage: UInt64
    var header: Header
    var pages = MetadataPages(capacity: pageLimit)
    var l1Table: KeptTable
    var refcountTable: KeptTable
    /// What clusters are that hold metadata, by their numbers.
    var roles: [UInt64: Role] = [:]
    /// The L2 tables, by their clusters, that no L1 table on the disk leads to yet.
    var newTables: Set<UInt64> = []
    /// Whether the refcount table has a new place that the header on the disk does not name yet.
    var isTableMoved = false
    /// Whether data was written for which tables in memory lead to clusters that no barrier has followed, and without which
    /// these would show something that the disk never had there.
    var hasNewData = false

    /// Below this cluster all are taken, or among `reusable`.
    var hint: UInt64 = 0
    /// Clusters that were given up, the next to be taken last.
    var reusable: [UInt64] = []
    /// From this cluster on none was ever written: they read as zeros.
    var unusedFrom: UInt64
    /// Clusters that are accounted ahead of what needs them, and were never written: the next to be taken.
    var reserved: Range<UInt64> = 0..<0
    /// How many clusters were taken since the tables were written.
    var takenCount = 0
    /// Where the file ends.
    var fileEnd: UInt64
    /// How many references were given up in memory to which clusters, and may still be on the disk.
    var freed: [UInt64: UInt64] = [:]
    /// The same of clusters to which nothing on the disk leads any more, but which those may still read who began before
    /// that, by when it was.
    var retired: [(generation: UInt64, clusters: [UInt64: UInt64])] = []
    /// Why nothing can be written any more.
    var failure: ImageError?

    /// The tables of an image in `file` with this header, as they were read.
    init(_ header: Header, _ file: any WritableFile, l1Words: [UInt64], refcountWords: [UInt64]) {
        self.file = file
        self.header = header
        format = L2Format(header)
        refcountFormat = header.refcountFormat
        blockBits = UInt64(header.clusterBits) + 3 - refcountFormat.order
        pageSize = min(MetadataPages.sizeLimit, header.clusterSize)
        l2Coverage = header.l2Coverage
        l1Table = KeptTable(l1Words, at: header.l1TableOffset, pageSize: pageSize)
        refcountTable = KeptTable(refcountWords, at: header.refcountTableOffset, pageSize: pageSize)
        fileEnd = file.currentSize
        unusedFrom = (fileEnd + header.clusterSize - 1) / header.clusterSize
    }

    /// The bytes of a cluster.
    var clusterSize: UInt64 { format.clusterSize }

    /// The words of the page at `offset`, which are read where they are not kept.
    mutating func page(at offset: UInt64, of what: String) throws(ImageError) -> [UInt64] {
        if let words = pages.words(at: offset) { return words }
        let words = try MetadataPages.load(pageSize, at: offset, of: file, what)
        pages.insert(words, at: offset)
        return words
    }

    /// Makes the cluster `cluster` one of metadata that is all zeros, and is written whole.
    mutating func make(_ role: Role, in cluster: UInt64) {
        roles[cluster] = role
        let zeros = [UInt64](repeating: 0, count: Int(pageSize / 8))
        for offset in stride(from: cluster * clusterSize, to: (cluster + 1) * clusterSize, by: Int(pageSize)) {
            pages.insertNew(zeros, at: offset)
        }
    }

    /// Throws why nothing can be written any more, if that is so.
    func checkIsSound() throws(ImageError) {
        if let failure { throw failure }
    }

    /// An error about a contradiction in the image, after which nothing is written to it: the header says so from now on,
    /// as QEMU has it.
    mutating func damaged(_ offset: UInt64, _ message: ErrorText) -> ImageError {
        let error = ImageError(
            .corrupt, path: file.path, offset: HostOffset(offset), message,
            hint: "nothing more is written to it; check the image")
        guard failure == nil else { return error }
        failure = error
        header.incompatibleFeatures.insert(.corrupt)
        // What is wrong is said whether that can be written or not.
        try? write([header.incompatibleFeatures.rawValue], at: 72)
        try? file.sync()
        return error
    }

    /// Writes words at `offset`.
    func write(_ words: [UInt64], at offset: UInt64) throws(ImageError) {
        // Safe: integers have no bytes that are not set.
        let bytes = encodeTable(words, .big)
        unsafe try file.write(bytes.span.bytes, at: HostOffset(offset))
    }

    /// Has the bits of the header cleared that say of structures which no writer here knows that they are up to date:
    /// durably, before anything is changed.
    mutating func clearAutoclearFeatures() throws(ImageError) {
        guard !header.autoclearFeatures.isEmpty else { return }
        try write([0], at: 88)
        do throws(ImageError) { try file.sync() } catch {
            failure = error
            throw error
        }
        header.autoclearFeatures = []
    }
}
