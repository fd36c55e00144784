import BlockImage
import ByteFormat

/// The entries of an L2 table that one page of the cache holds.
struct L2Page {
    /// The entries, one word each, or two where they are extended.
    var words: [UInt64]
    /// Where the first of them lies.
    var location: HostOffset
    /// The guest offset of the cluster that the first of them is for.
    var start: UInt64
    /// How they are read.
    var format: L2Format
    /// The image, for messages.
    var path: String

    /// How the cluster of the entry `index` is stored. Throws `corrupt` where the entry contradicts the format.
    func mapping(at index: Int) throws(ImageError) -> ClusterMapping {
        let word = index * format.wordsPerEntry
        do throws(ParseFault) {
            let bitmap = SubclusterBitmap(rawValue: format.isExtended ? words[word + 1] : 0)
            let mapping = try L2Entry(rawValue: words[word]).mapping(format, bitmap: bitmap)
            let guest = start + UInt64(index) * format.clusterSize
            if format.hasDataFile, let host = mapping.host, host.rawValue != guest {
                throw ParseFault(
                    at: 0, "points to \(host) of the data file, where guest offset \(GuestOffset(guest)) cannot lie")
            }
            return mapping
        } catch {
            let offset = location.advanced(by: UInt64(word * 8 + error.position))
            throw ImageError(.corrupt, path: path, offset: offset, "L2 table: the entry here \(error.message)")
        }
    }

    /// The bytes from byte `skip` of the cluster of the entry `index` on that are stored in one way, one after another
    /// on the host: at most `limit`, and no more than this page knows.
    func run(from index: Int, skipping skip: UInt64, limit: UInt64) throws(ImageError) -> ClusterRun {
        let size = format.clusterSize
        var run = try mapping(at: index).run(from: skip, clusterSize: size)
        var next = index + 1
        // Runs that end inside a cluster end there. An entry that contradicts the format ends the run, too, and is
        // reported when it is asked for itself.
        while run.count < limit, (skip + run.count) % size == 0, (next + 1) * format.wordsPerEntry <= words.count,
            let neighbour = try? mapping(at: next).run(from: 0, clusterSize: size), run.isContinued(by: neighbour)
        {
            run.count += neighbour.count
            next += 1
        }
        run.count = min(run.count, limit)
        return run
    }
}
