import BlockImage
import Dispatch
import FormatCore
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

/// What a client asks for, in units of sectors.
private enum Request: CaseIterable {
    case partOfFirst, partOfSecond, acrossClusters, zeroCluster, zeroPart, discardClusters, flush, writeBack

    /// The bytes that it changes, in a disk of such clusters.
    func range(_ cluster: Int) -> Range<Int> {
        switch self {
        case .partOfFirst: 512..<1024
        case .partOfSecond: cluster / 2..<cluster / 2 + 512
        case .acrossClusters: cluster - 1024..<cluster + 1024
        case .zeroCluster: 0..<cluster
        case .zeroPart: 512..<cluster - 512
        case .discardClusters: 0..<2 * cluster
        case .flush, .writeBack: 0..<0
        }
    }

    /// What it makes of them.
    func bytes(_ cluster: Int, salt: UInt64) -> [UInt8] {
        switch self {
        case .zeroCluster, .zeroPart, .discardClusters: [UInt8](repeating: 0, count: range(cluster).count)
        default: .noise(range(cluster).count, salt: salt)
        }
    }

    func run(_ layer: WritableQCOW2, salt: UInt64) throws(ImageError) {
        let cluster = Int(layer.format.clusterSize)
        let (start, count) = (GuestOffset(UInt64(range(cluster).lowerBound)), UInt64(range(cluster).count))
        switch self {
        case .partOfFirst, .partOfSecond, .acrossClusters:
            try layer.write(bytes(cluster, salt: salt), at: start.rawValue)
        case .zeroCluster: try layer.zero(count, at: start, mayUnmap: true)
        case .zeroPart: try layer.zero(count, at: start, mayUnmap: false)
        case .discardClusters: try layer.discard(count, at: start)
        case .flush: try layer.flush()
        case .writeBack: try layer.writeBack()
        }
    }
}

/// Stops the thread that first uses a file for a certain time.
private final class Stop: Sendable {
    private let uses = Atomic(0)
    private let place: Int
    private let isThere = Atomic(false)
    private let resumed = DispatchSemaphore(value: 0)

    init(at place: Int) {
        self.place = place
    }

    var isReached: Bool { isThere.load(ordering: .acquiring) }

    func pass() {
        guard uses.add(1, ordering: .relaxed).oldValue == place else { return }
        isThere.store(true, ordering: .releasing)
        resumed.wait()
    }

    func resume() { resumed.signal() }
}

/// A request on a thread of its own.
private final class Running: Sendable {
    private let ended = Atomic(false)
    private let failure = Guarded<ImageError?>(nil)

    init(_ work: @escaping @Sendable () throws(ImageError) -> Void) {
        DispatchQueue.global().async { [self] in
            do throws(ImageError) { try work() } catch { failure.withLock { $0 = error } }
            ended.store(true, ordering: .releasing)
        }
    }

    convenience init(_ request: Request, _ layer: WritableQCOW2, salt: UInt64) {
        self.init { () throws(ImageError) in try request.run(layer, salt: salt) }
    }

    var hasEnded: Bool { ended.load(ordering: .acquiring) }
    var error: ImageError? { failure.withLock { $0 } }
}

struct `Two requests of which one stops in the middle` {
    /// What the first two clusters are before.
    private enum Before: CaseIterable {
        case unallocated, data, zeros, flushedData
    }

    private func disk(_ image: NewQCOW2, _ before: Before) throws -> (disk: WrittenDisk, file: HookedFile) {
        let cluster = Int(image.clusterSize)
        var disk = try WrittenDisk(image, below: .noise(cluster * 2, salt: 5), seed: 1)
        let file = HookedFile(disk.file)
        disk.layer = try openWritable(file, below: disk.below)
        switch before {
        case .unallocated: break
        case .data, .flushedData:
            let bytes = [UInt8].noise(cluster * 3, salt: 6)
            try disk.layer.write(bytes, at: 0)
            disk.expected.overwrite(from: 0, with: bytes)
        case .zeros:
            try disk.layer.zero(UInt64(cluster) * 3, at: GuestOffset(0), mayUnmap: false)
            disk.expected.clear(0..<cluster * 3)
        }
        if before == .flushedData { try disk.layer.flush() }
        return (disk, file)
    }

    /// Whether `second`, which began while `first` had stopped, has ended or waits for it.
    private func hasEndedOrWaits(_ second: Running, _ layer: WritableQCOW2) -> Bool {
        second.hasEnded || layer.clusterHolds.count > 1 || layer.flushing.change { $0.begun > $0.ended }
    }

    @Test(arguments: [(4096, false), (16384, true)] as [(UInt64, Bool)])
    func `end as if one had come after the other`(clusterSize: UInt64, isExtended: Bool) async throws {
        var image = NewQCOW2(size: clusterSize * 8)
        image.clusterSize = clusterSize
        image.hasExtendedL2 = isExtended
        let cluster = Int(clusterSize)
        var stops = 0
        for before in Before.allCases {
            for first in Request.allCases {
                for second in Request.allCases {
                    for place in 0..<12 {
                        let text = "\(before): \(first) stops at use \(place), then \(second)"
                        var (disk, file) = try disk(image, before)
                        let stop = Stop(at: place)
                        file.beforeAccess = { stop.pass() }
                        file.beforeSync = { stop.pass() }
                        let one = Running(first, disk.layer, salt: 10)
                        while !stop.isReached, !one.hasEnded { await Task.yield() }
                        guard stop.isReached else { break }
                        stops += 1
                        let two = Running(second, disk.layer, salt: 20)
                        while !hasEndedOrWaits(two, disk.layer) { await Task.yield() }
                        try disk.judgeBytes(file.content.bytes, allowsLeaks: true)
                        stop.resume()
                        while !one.hasEnded || !two.hasEnded { await Task.yield() }
                        try #require(one.error == nil && two.error == nil, "\(text)")
                        try check(&disk, [first, second], cluster, text)
                    }
                }
            }
        }
        #expect(stops > 200, "\(stops)")
    }

    @Test func `leave no leaks where the second closes the image`() async throws {
        var image = NewQCOW2(size: 4096 * 8)
        image.clusterSize = 4096
        var stops = 0
        for place in 0..<12 {
            let (disk, file) = try disk(image, .flushedData)
            let layer = disk.layer
            try layer.discard(4096 * 2, at: GuestOffset(0))
            let stop = Stop(at: place)
            file.beforeAccess = { stop.pass() }
            file.beforeSync = { stop.pass() }
            let one = Running(.flush, layer, salt: 0)
            while !stop.isReached, !one.hasEnded { await Task.yield() }
            guard stop.isReached else { break }
            stops += 1
            let two = Running { () throws(ImageError) in try layer.close() }
            // It must wait for the first, and is given the time to end without that.
            _ = wait(seconds: 0.1) { two.hasEnded }
            stop.resume()
            while !one.hasEnded || !two.hasEnded { await Task.yield() }
            try #require(one.error == nil && two.error == nil)
            try disk.judgeBytes(file.content.bytes, allowsLeaks: false)
        }
        #expect(stops > 2, "\(stops)")
    }

    /// Each sector is as one of the requests has it that change it, and as before where there is none; so after reopening.
    private func check(_ disk: inout WrittenDisk, _ requests: [Request], _ cluster: Int, _ text: String) throws {
        let found = try disk.layer.read(0..<disk.expected.count, below: disk.below)
        let made = zip(requests, [10, 20] as [UInt64]).map { request, salt in
            (request.range(cluster), request.bytes(cluster, salt: salt))
        }
        for start in stride(from: 0, to: disk.expected.count, by: 512) {
            let sector = found[start..<start + 512]
            let wanted = made.filter { $0.0.contains(start) }.map { range, bytes in
                bytes[start - range.lowerBound..<start - range.lowerBound + 512]
            }
            let isRight =
                wanted.isEmpty
                ? areSame(sector, disk.expected[start..<start + 512]) : wanted.contains { areSame($0, sector) }
            try #require(isRight, "\(text): sector at \(start)")
        }
        disk.expected = found
        try disk.reopen()
        try #require(try areSame(disk.layer.read(0..<found.count, below: disk.below), found), "\(text)")
    }
}
