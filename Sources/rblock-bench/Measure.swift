import Foundation
import HostTools

/// A way of reading a flat file. The raw value is its name on the command line and in JSON; the order is that of the
/// table, in which all that stream come before those that do not.
enum Measure: String, CaseIterable {
    case sequential
    case mapped = "mmap"
    case copy
    case loopDevice = "losetup"
    case directLoopDevice = "losetup-direct"
    case random1 = "random-1"
    case random8 = "random-8"
    case random32 = "random-32"

    /// What the table calls it.
    var title: String {
        switch self {
        case .sequential: "sequential, 1 MiB"
        case .mapped: "sequential, mmap"
        case .copy: "cp --sparse=auto"
        case .loopDevice: "losetup, mount, tar"
        case .directLoopDevice: "the same, --direct-io=on"
        case .random1: "random 4 KiB, 1 thread"
        case .random8: "random 4 KiB, 8 threads"
        case .random32: "random 4 KiB, 32 in flight"
        }
    }

    /// What its figures are.
    var unit: String {
        switch self {
        case .random1, .random8, .random32: "reads/s"
        default: "MB/s"
        }
    }

    /// Whether it goes around the page cache: on the bare file it then measures the disk under it.
    var isDirect: Bool { self == .random32 || self == .directLoopDevice }

    /// Whether it reads the disk, or much of it, from one end to the other.
    var isStreaming: Bool { unit == "MB/s" }

    /// What it reads. Measures that read the same have the same check sum.
    var content: Content {
        switch self {
        case .sequential, .mapped: .pages
        case .copy: .disk
        case .loopDevice, .directLoopDevice: .files
        case .random1: .blocks1
        case .random8: .blocks8
        case .random32: .blocks32
        }
    }

    /// Something that has a check sum.
    enum Content: String {
        case disk = "the whole disk"
        case pages = "the start of every page"
        case files = "the guest's files"
        case blocks1 = "the blocks that one thread reads"
        case blocks8 = "the blocks that 8 threads read"
        case blocks32 = "the blocks that are read 32 at once"
    }

    /// Reads `file` in this way, after the kernel has forgotten what it knew of it.
    func run(_ file: ServedFile, _ workload: Workload) throws -> Sample {
        try file.dropCache()
        // What stays would drive the images out of the page cache.
        defer { try? file.dropCache() }
        switch self {
        case .sequential: return try FlatFile(file.path).readInOrder()
        case .mapped: return try FlatFile(file.path).readMapped()
        case .copy: return try GuestFiles.copy(file.path, to: workload.copy)
        case .loopDevice: return try GuestFiles.archive(file.path, direct: false)
        case .directLoopDevice: return try GuestFiles.archive(file.path, direct: true)
        case .random1: return try FlatFile(file.path).readRandomly([workload.offsets1])
        case .random8: return try FlatFile(file.path).readRandomly(workload.offsets8)
        case .random32: return try FlatFile(file.path, direct: true).readInFlight(workload.offsets32)
        }
    }
}

/// What one run of a measure gave.
struct Sample {
    /// MB/s or reads/s.
    var figure: Double
    var checkSum: UInt64

    /// So much `amount` in the time that `body` takes.
    init(_ amount: Double, _ body: () throws -> UInt64) rethrows {
        let start = ContinuousClock.now
        checkSum = try body()
        let time = start.duration(to: .now)
        figure = amount / time.seconds
    }

    init(figure: Double, checkSum: UInt64) {
        (self.figure, self.checkSum) = (figure, checkSum)
    }
}

/// Which blocks are read, and where copies go: the same for all servers.
struct Workload {
    /// The offsets that one thread reads.
    let offsets1: [UInt64]
    /// Those of each of eight threads.
    let offsets8: [[UInt64]]
    /// Those that are read 32 at once.
    let offsets32: [UInt64]
    /// A file that a copy of the disk is written to.
    let copy: String

    /// For disks of `size` bytes. No measure reads a block twice, which would then come out of a cache.
    init(size: Int, copy: String) {
        self.copy = copy
        let pages = size / 4096
        func offsets(_ count: Int, _ seed: UInt64) -> [UInt64] {
            var random = SeededRandom(seed: seed)
            var order = Array(0..<UInt32(pages))
            for index in 0..<count { order.swapAt(index, Int.random(in: index..<pages, using: &random)) }
            return order.prefix(count).map { UInt64($0) * 4096 }
        }
        offsets1 = offsets(min(10_000, pages / 16), 1)
        let each = min(5000, pages / 64)
        let all = offsets(8 * each, 2)
        offsets8 = (0..<8).map { Array(all[$0 * each..<($0 + 1) * each]) }
        offsets32 = offsets(min(40_000, pages / 8), 3)
    }
}
