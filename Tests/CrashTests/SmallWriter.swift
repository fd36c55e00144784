import BlockImage
import CrashReplay
import HostTools

/// A writer of QCOW2 images so small that one sees that its order is right, or wrong where a test wants that: for images
/// of one L2 table and one refcount block of 16 bits, without a backing file and compressed clusters.
// Safe to send: tests of it have one client.
final class SmallWriter: WritableDisk, @unchecked Sendable {
    /// What it does wrong.
    enum Fault: CaseIterable {
        /// Nothing.
        case none
        /// Entries of the L2 table are written before the data, without a sync between.
        case tableBeforeData
        /// Refcounts are written after the entry of the L2 table.
        case countsAfterTable
        /// What is written lies at a new place, and the old one is zeroed before the entry of the L2 table is on the disk.
        case punchBeforeTable
        /// The same, and the old place gets other data at once.
        case reuseAtOnce
        /// A flush does nothing.
        case noSync
    }

    private let file: any WritableFile
    private let fault: Fault
    private let clusterSize: UInt64
    private let tableOffset: UInt64
    private let blockOffset: UInt64
    private var table: [UInt64]
    private var end: UInt64
    private var free: [UInt64] = []

    init(_ file: any WritableFile, _ fault: Fault) throws {
        self.file = file
        self.fault = fault
        func word(at offset: UInt64) throws -> UInt64 {
            try file.bytes(8, at: HostOffset(offset), of: "word").reduce(0) { $0 << 8 | UInt64($1) }
        }
        clusterSize = 1 << (try word(at: 16) & 0xffff_ffff)
        blockOffset = try word(at: try word(at: 48))
        tableOffset = try word(at: try word(at: 40)) & 0xff_ffff_ffff_fe00
        let table = tableOffset
        self.table = try (0..<clusterSize / 8).map { try word(at: table + $0 * 8) }
        end = (file.currentSize + clusterSize - 1) / clusterSize * clusterSize
        try file.setSize(end)
    }

    func write(_ bytes: [UInt8], at offset: UInt64) throws {
        var done = 0
        while done < bytes.count {
            let position = offset + UInt64(done)
            let skip = position % clusterSize
            let count = min(bytes.count - done, Int(clusterSize - skip))
            try write(Array(bytes[done..<done + count]), skip: skip, cluster: Int(position / clusterSize))
            done += count
        }
    }

    func writeZeros(_ count: UInt64, at offset: UInt64) throws {
        try write(Array(repeating: 0, count: Int(count)), at: offset)
    }

    var clusterSectors: Int { Int(clusterSize) / GuestSector.size }

    func discard(_ count: UInt64, at offset: UInt64) throws {
        let first = (offset + clusterSize - 1) / clusterSize
        for cluster in first..<max(first, (offset + count) / clusterSize) { try discard(Int(cluster)) }
    }

    func flush() throws {
        if fault != .noSync { try file.sync() }
    }

    func writeBack() {}

    func close() throws { try flush() }

    private func write(_ bytes: [UInt8], skip: UInt64, cluster: Int) throws {
        let entry = table[cluster]
        let host = entry & 0xff_ffff_ffff_fe00
        let isMoved = fault == .punchBeforeTable || fault == .reuseAtOnce
        if host != 0, !isMoved { return try put(bytes, host + skip) }
        var whole = Array(repeating: 0 as UInt8, count: Int(clusterSize))
        if host != 0 { whole = try read(host) }
        whole.replaceSubrange(Int(skip)..<Int(skip) + bytes.count, with: bytes)
        let new = free.popLast() ?? end
        end = max(end, new + clusterSize)
        switch fault {
        case .tableBeforeData:
            try count(new, 1)
            try file.sync()
            try setEntry(cluster, new | 1 << 63)
            try put(whole, new)
        case .countsAfterTable:
            try put(whole, new)
            try file.sync()
            try setEntry(cluster, new | 1 << 63)
            try count(new, 1)
        case .none, .punchBeforeTable, .reuseAtOnce, .noSync:
            try put(whole, new)
            try count(new, 1)
            try file.sync()
            if host != 0, fault == .punchBeforeTable { try zero(host) }
            try setEntry(cluster, new | 1 << 63)
            if host != 0, fault == .reuseAtOnce { free.append(host) }
        }
    }

    private func read(_ host: UInt64) throws -> [UInt8] {
        let buffer = AlignedBuffer(capacity: Int(clusterSize))
        try buffer.fill(buffer.capacity) { try file.read(Int(clusterSize), at: HostOffset(host), into: &$0) }
        return buffer.array
    }

    private func discard(_ cluster: Int) throws {
        let host = table[cluster] & 0xff_ffff_ffff_fe00
        try setEntry(cluster, 1)
        guard host != 0 else { return }
        try file.sync()
        try count(host, 0)
        try zero(host)
    }

    private func zero(_ host: UInt64) throws {
        try file.zero(clusterSize, at: HostOffset(host), keepingSpace: false)
    }

    private func setEntry(_ cluster: Int, _ entry: UInt64) throws {
        table[cluster] = entry
        try put(withUnsafeBytes(of: entry.bigEndian) { [UInt8]($0) }, tableOffset + UInt64(cluster) * 8)
    }

    private func count(_ host: UInt64, _ refcount: UInt16) throws {
        try put(withUnsafeBytes(of: refcount.bigEndian) { [UInt8]($0) }, blockOffset + host / clusterSize * 2)
    }

    private func put(_ bytes: [UInt8], _ offset: UInt64) throws {
        try bytes.withUnsafeBytes { try file.write($0.bytes, at: HostOffset(offset)) }
    }
}
