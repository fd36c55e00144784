import BlockImage
import ByteFormat

/// What makes the bytes of the disk of those that are compressed or encrypted. Any thread may call any method.
public protocol ClusterDecoder: Sendable {
    /// Whether data that is not compressed is encrypted, in sectors of 512 bytes.
    var decrypts: Bool { get }
    /// Appends the bytes of `extent`, which is encoded, to `output`.
    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError)
}

/// The disk that a `ClusterMap` leads to. Immutable; every method may be called from any thread.
public final class ClusterMapLayer: ImageLayer {
    /// The most encrypted bytes of one run: what one call of `decode` may take memory for.
    public static let encryptedLimit: UInt64 = 1 << 20

    /// Where its clusters lie.
    public let map: ClusterMap
    private let decoder: (any ClusterDecoder)?
    private let resources: LayerResources

    /// The disk of `map`, whose encoded runs `decoder` decodes; nil: there are none.
    public init(_ map: ClusterMap, decoder: (any ClusterDecoder)? = nil, resources: LayerResources) {
        self.map = map
        self.decoder = decoder
        self.resources = resources
    }

    deinit {
        resources.tables.removeTables(of: map.file.id)
        resources.clusters.removeClusters(of: map.file.id)
    }

    /// The size of the disk in bytes.
    public var virtualSize: UInt64 { map.virtualSize }
    /// The image.
    public var files: [any HostFile] { [map.file] }
    /// The size of the image.
    public var hostSize: UInt64 { map.file.size }
    /// A cluster.
    public var granuleSize: UInt64 { map.clusterSize }

    /// Decodes it as the format does.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard let decoder else { preconditionFailure("this image encodes nothing") }
        try decoder.decode(extent, into: &output)
    }

    /// The entries of clusters from one on, as far as a page of the cache has them.
    private struct Found {
        var table: TableLocation
        var page: TablePage
        /// The entry of the cluster in the page.
        var place: Int
        /// The same in the table.
        var index: Int
    }

    /// How the layer stores the disk from `start`, which lies inside it, on.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let limit = min(limit, virtualSize - start.rawValue)
        guard let found = try entries(at: start) else {
            return Extent(start: start, count: try missing(at: start, limit: limit), storage: .unallocated)
        }
        let place: ClusterPlace
        do throws(ParseFault) {
            place = try map.entries.place(of: found.page.entries[found.place])
        } catch {
            throw map.error(error, found.index, of: found.table)
        }
        let skip = start.rawValue % map.clusterSize
        let count = run(of: place, from: found, count: map.clusterSize - skip, limit: limit)
        switch place {
        case .unallocated: return Extent(start: start, count: count, storage: .unallocated)
        case .zero: return Extent(start: start, count: count, storage: .zero(explicit: true))
        case .compressed(let host, let size):
            return Extent(
                start: start, count: count,
                storage: .encoded(.compressed, file: map.file, offset: host, count: size))
        case .data(let host): return try data(at: start, count: count, skip, in: host)
        }
    }

    /// The entries from the cluster that has `start` on; nil where there is no table with them.
    private func entries(at start: GuestOffset) throws(ImageError) -> Found? {
        let cluster = start.rawValue / map.clusterSize
        guard let second = map.second else {
            guard cluster < UInt64(map.first.count) else { return nil }
            return try found(Int(cluster), in: map.first)
        }
        let index = cluster / UInt64(second.count)
        guard index < UInt64(map.first.count) else { return nil }
        let (page, place) = try resources.tables.page(of: map.first, at: Int(index), counters: resources.counters)
        let offset: HostOffset?
        do throws(ParseFault) {
            offset = try map.entries.table(of: page.entries[place])
        } catch {
            throw map.error(error, Int(index), of: map.first)
        }
        guard let offset else { return nil }
        return try found(Int(cluster % UInt64(second.count)), in: map.table(at: offset, second))
    }

    private func found(_ index: Int, in table: TableLocation) throws(ImageError) -> Found {
        let (page, place) = try resources.tables.page(of: table, at: index, counters: resources.counters)
        return Found(table: table, page: page, place: place, index: index)
    }

    /// How many bytes from `start` on, at most `limit`, have no table of clusters, as far as one page knows.
    private func missing(at start: GuestOffset, limit: UInt64) throws(ImageError) -> UInt64 {
        guard map.second != nil else { return limit }
        let coverage = map.coverage
        let index = start.rawValue / coverage
        guard index < UInt64(map.first.count) else { return limit }
        let (page, place) = try resources.tables.page(of: map.first, at: Int(index), counters: resources.counters)
        var count = coverage - start.rawValue % coverage
        var next = place + 1
        while count < limit, next < page.entries.count, page.entries[next] == 0 {
            count = count.addingReportingOverflow(coverage).overflow ? limit : count + coverage
            next += 1
        }
        return min(count, limit)
    }

    /// How many bytes, `count` at least and `limit` at most, are stored as the cluster of `found` is, one after another.
    private func run(of place: ClusterPlace, from found: Found, count: UInt64, limit: UInt64) -> UInt64 {
        var (count, last, next) = (count, place, found.place + 1)
        while count < limit, next < found.page.entries.count,
            let neighbour = try? map.entries.place(of: found.page.entries[next])
        {
            switch (last, neighbour) {
            case (.unallocated, .unallocated), (.zero, .zero): break
            case (.data(let here), .data(let there))
            where here.rawValue.addingReportingOverflow(map.clusterSize) == (there.rawValue, false):
                last = neighbour
            default: return count
            }
            count += map.clusterSize
            next += 1
        }
        return min(count, limit)
    }

    /// The data from byte `skip` on of the cluster at `host`, as far as the file has it. What is missing there is an error:
    /// writers of these formats write whole clusters.
    private func data(
        at start: GuestOffset, count: UInt64, _ skip: UInt64, in host: HostOffset
    ) throws(ImageError) -> Extent {
        let file = map.file
        let (offset, overflow) = host.rawValue.addingReportingOverflow(skip)
        guard !overflow, offset < file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: host,
                "the cluster of guest offset \(start) lies past the end of the file at \(HostOffset(file.size))")
        }
        let held = min(count, file.size - offset)
        guard decoder?.decrypts == true else {
            return Extent(start: start, count: held, storage: .data(file: file, offset: HostOffset(offset)))
        }
        let into = skip % 512
        let first = offset - into
        // Part of a sector cannot be decrypted.
        let whole = (file.size - first) / 512 * 512
        guard whole > into else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(first),
                "the encrypted sector of guest offset \(start) lies past the end of the file at \(HostOffset(file.size))"
            )
        }
        let wanted = min(held, min(whole, Self.encryptedLimit) - into)
        return Extent(
            start: start, count: wanted,
            storage: .encoded(
                .encrypted, file: file, offset: HostOffset(first), count: (into + wanted + 511) / 512 * 512))
    }

    /// Without its second table all that this covers is lost, without its entry a cluster; neighbours whose entries are
    /// damaged as well, or lie in the same piece of a table, are lost with them.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let limit = min(limit, virtualSize - start.rawValue)
        func rest(_ unit: UInt64, _ more: Int) -> UInt64 {
            let (size, overflow) = unit.multipliedReportingOverflow(by: UInt64(more))
            let first = unit - start.rawValue % unit
            return overflow || first.addingReportingOverflow(size).overflow ? limit : min(limit, first + size)
        }
        let isTwofold = map.second != nil
        guard let found = try? entries(at: start) else {
            let coverage = map.coverage
            guard isTwofold, let (page, place) = firstPage(at: start) else {
                let index = start.rawValue / coverage
                return rest(coverage, TableCache.pageEntries - 1 - Int(index % UInt64(TableCache.pageEntries)))
            }
            var next = place + 1
            while next < page.entries.count, isLost(page.entries[next]) { next += 1 }
            return rest(coverage, next - place - 1)
        }
        var next = found.place + 1
        while next < found.page.entries.count, isPlaceLost(found.page.entries[next]) { next += 1 }
        return rest(map.clusterSize, next - found.place - 1)
    }

    private func firstPage(at start: GuestOffset) -> (page: TablePage, index: Int)? {
        let index = start.rawValue / map.coverage
        guard index < UInt64(map.first.count) else { return nil }
        return try? resources.tables.page(of: map.first, at: Int(index), counters: resources.counters)
    }

    /// Whether an entry of the first table leads nowhere.
    private func isLost(_ entry: UInt64) -> Bool {
        do throws(ParseFault) {
            return try map.entries.table(of: entry).map { $0.rawValue >= map.file.size } ?? false
        } catch {
            return true
        }
    }

    /// Whether an entry of a cluster leads nowhere.
    private func isPlaceLost(_ entry: UInt64) -> Bool {
        do throws(ParseFault) {
            switch try map.entries.place(of: entry) {
            case .data(let host): return host.rawValue >= map.file.size
            case .unallocated, .zero, .compressed: return false
            }
        } catch {
            return true
        }
    }
}
