import CBench
import Foundation
import HostTools

/// A way of writing to a disk, over an image of which nothing is written yet. The raw value is its name on the command line
/// and in JSON.
enum WriteMeasure: String, CaseIterable {
    case sequential
    case random1 = "random-1"
    case random32 = "random-32"
    case synced
    case syncedInOrder = "synced-in-order"
    case files

    /// What the table calls it.
    var title: String {
        switch self {
        case .sequential: "sequential, 1 MiB"
        case .random1: "random 4 KiB, 1 in flight"
        case .random32: "random 4 KiB, 32 in flight"
        case .synced: "random 4 KiB, each synced"
        case .syncedInOrder: "4 KiB in order, each synced"
        case .files: "mkfs.ext4, mount, untar"
        }
    }

    /// What its figures are.
    var unit: String {
        switch self {
        case .sequential, .files: "MB/s"
        case .random1, .random32, .synced, .syncedInOrder: "writes/s"
        }
    }

    /// Whether two programs that were written to have the same disk then: file systems have IDs and times.
    var isRepeatable: Bool { self != .files }

    /// What the figure is to be in terms of those of `peers`, at least. nbdkit's cow filter keeps nothing, and syncs nothing.
    func aims(of kind: WriteServerKind) -> [PeerRow.Aim] {
        let atLeast =
            switch self {
            case .sequential, .random32: 2.0
            case .random1, .files: 1.5
            case .synced, .syncedInOrder: 1.2
            }
        return kind.peers.filter { !isSynced || $0 != .nbdkit }.map {
            PeerRow.Aim(times: $0.rawValue, atLeast: atLeast)
        }
    }

    /// Whether each write is followed by a flush.
    private var isSynced: Bool { self == .synced || self == .syncedInOrder }

    /// Whether it can be done with what `kind` shows.
    func fits(_ kind: WriteServerKind) -> Bool { self != .files || kind.isMounted }

    /// Writes to `server` in this way, and answers how quickly. All of it is on stable storage then, which counts as a part of
    /// it where each write is synced, or a file system is unmounted.
    func run(_ server: WriteServer, _ workload: WriteWorkload) throws -> Double {
        let seconds = try server.kind.isMounted ? write(server.place, workload) : serve(server.place, workload)
        return workload.amount(of: self) / seconds
    }

    private func write(_ path: String, _ workload: WriteWorkload) throws -> Double {
        if self == .files { return try workload.archive.unpack(onto: path) }
        let file = try WrittenFile(path, direct: self == .random32)
        let (size, offsets) = workload.writes(of: self)
        let seconds =
            if self == .random32 {
                try file.writeInFlight(offsets)
            } else {
                try file.write(size, at: offsets, syncs: isSynced)
            }
        try file.sync()
        return seconds
    }

    private func serve(_ path: String, _ workload: WriteWorkload) throws -> Double {
        let socket = try NBDWorkload.enter(path)
        defer { close(socket) }
        let (size, offsets) = workload.writes(of: self)
        let depth: UInt32 = self == .random32 ? 32 : self == .sequential ? 4 : 1
        let start = ContinuousClock.now
        let result = cbench_write_nbd(socket, offsets, offsets.count, UInt32(size), depth, isSynced ? 1 : 0)
        let seconds = start.duration(to: .now).seconds
        guard result == 0 else { throw PosixFailure(number: -result, call: "writing to \(path)") }
        let flushed = cbench_flush_nbd(socket)
        guard flushed == 0 else { throw PosixFailure(number: -flushed, call: "flushing \(path)") }
        return seconds
    }
}

/// What is written: the same for all servers.
struct WriteWorkload {
    /// The bytes of a large write.
    static let pieceSize = 1 << 20

    /// Where large writes go, in order: a half of the disk.
    let pieces: [UInt64]
    /// Where small ones go, one at a time and 32 at once.
    let offsets1: [UInt64]
    let offsets32: [UInt64]
    /// Where those go that are synced one by one.
    let syncedOffsets: [UInt64]
    let orderedOffsets: [UInt64]
    let archive: FileArchive

    /// For a disk of `size` bytes.
    init(size: Int, archive: FileArchive) {
        self.archive = archive
        let reads = Workload(size: size, copy: "")
        pieces = (0..<size / 2 / Self.pieceSize).map { UInt64($0 * Self.pieceSize) }
        (offsets1, offsets32) = (reads.offsets1, reads.offsets32)
        syncedOffsets = Array(reads.offsets8[0].prefix(300))
        let middle = UInt64(size / 2 / 4096 * 4096)
        orderedOffsets = (0..<300).map { middle + $0 * 4096 }
    }

    /// The bytes of each write of `measure`, and where they go.
    func writes(of measure: WriteMeasure) -> (size: Int, offsets: [UInt64]) {
        switch measure {
        case .sequential: (Self.pieceSize, pieces)
        case .random1: (4096, offsets1)
        case .random32: (4096, offsets32)
        case .synced: (4096, syncedOffsets)
        case .syncedInOrder: (4096, orderedOffsets)
        case .files: (0, [])
        }
    }

    /// How many MB, or writes, `measure` takes to the disk.
    func amount(of measure: WriteMeasure) -> Double {
        switch measure {
        case .sequential: Double(pieces.count * Self.pieceSize) / 1e6
        case .files: Double(archive.size) / 1e6
        default: Double(writes(of: measure).offsets.count)
        }
    }
}

/// An archive of real files.
struct FileArchive {
    let path: String
    /// The bytes of the files.
    let size: Int

    /// Archives about `size` bytes of files of this machine in `folder`.
    init(size: Int, in folder: TemporaryFolder) throws {
        self.size = size
        path = folder.file("files.tar")
        let files = try folder.makeFolder("archived")
        try GuestDisk.copyFiles(upTo: size, to: files, list: folder.file("archived-list"))
        try Shell.check("tar -cf \"$1\" -C \"$2\" . && rm -rf \"$2\"", path, files, timeout: 600)
    }

    /// Makes a file system on the disk `disk` and unpacks the archive there, up to unmounting it, and answers the seconds.
    /// Throws where `fsck` finds a fault in it then.
    func unpack(onto disk: String) throws -> Double {
        guard Tool.isRoot else { throw ToolFailure(description: "needs root") }
        try Shell.check("cat \"$1\" >/dev/null", path)
        let device = try LoopDevice(disk, isWritable: true)
        let start = ContinuousClock.now
        try Tool.check("mkfs.ext4", "-q", "-F", device.path)
        do {
            let mount = try DeviceMount(device, options: "rw")
            try Tool.check("tar", "-xf", path, "-C", mount.path, timeout: 600)
            try Tool.check("umount", mount.path, timeout: 600)
        }
        let seconds = start.duration(to: .now).seconds
        try Tool.check("e2fsck", "-f", "-n", device.path, timeout: 600)
        try device.detach()
        return seconds
    }
}
