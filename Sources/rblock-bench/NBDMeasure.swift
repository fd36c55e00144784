import CBench
import Foundation
import HostTools

/// A way of reading an NBD export. The raw value is its name on the command line and in JSON.
enum NBDMeasure: String, CaseIterable {
    case copy1 = "copy-1"
    case copy4 = "copy-4"
    case random1 = "random-1"
    case random16 = "random-16"

    /// What the table calls it.
    var title: String {
        switch self {
        case .copy1: "nbdcopy, 1 connection"
        case .copy4: "nbdcopy, 4 connections"
        case .random1: "random 4 KiB, 1 in flight"
        case .random16: "random 4 KiB, 16 in flight"
        }
    }

    /// What its figures are; MB are those of the disk, holes and all.
    var unit: String {
        switch self {
        case .copy1, .copy4: "MB/s"
        case .random1, .random16: "reads/s"
        }
    }

    /// Reads the default export at the Unix socket `socket`, and answers how quickly. Throws where it does not have the
    /// content of `workload`'s disk; nbdcopy reads into nowhere, and `NBDWorkload.check` is for that.
    func run(_ socket: String, _ workload: NBDWorkload) throws -> Double {
        switch self {
        case .copy1: try workload.copy(socket, connections: 1)
        case .copy4: try workload.copy(socket, connections: 4)
        case .random1: try workload.read(workload.offsets1, from: socket, inFlight: 1)
        case .random16: try workload.read(workload.offsets16, from: socket, inFlight: 16)
        }
    }
}

/// What is read of a disk, and what must come of it.
struct NBDWorkload {
    /// Offsets of blocks, and the check sum of what is there.
    typealias Blocks = (offsets: [UInt64], checkSum: UInt64)

    let disk: GuestDisk
    /// What is read one after the other.
    let offsets1: Blocks
    /// What is read 16 at once.
    let offsets16: Blocks

    /// Of `disk`; nothing is read twice, which would then come out of a cache.
    init(_ disk: GuestDisk) throws {
        self.disk = disk
        let pages = Workload(size: disk.size, copy: "")
        let file = try FlatFile(disk.path)
        func blocks(_ offsets: [UInt64]) throws -> Blocks { (offsets, try file.readRandomly([offsets]).checkSum) }
        offsets1 = try blocks(pages.offsets1)
        offsets16 = try blocks(pages.offsets32)
    }

    /// Throws where the export at `socket` is something else than the disk.
    func check(_ socket: String) throws {
        let script = "set -o pipefail; nbdcopy \"$1\" - | cmp - \"$2\""
        let result = try Shell.run(script, Self.uri(socket), disk.path, timeout: 1800)
        guard result.status == 0 else {
            throw ToolFailure(description: "\(Comparison.wrongContent): \(result.text)\(result.errors)")
        }
    }

    fileprivate func copy(_ socket: String, connections: Int) throws -> Double {
        let start = ContinuousClock.now
        try Tool.check("nbdcopy", "--connections=\(connections)", Self.uri(socket), "null:", timeout: 1800)
        return Double(disk.size) / 1e6 / start.duration(to: .now).seconds
    }

    fileprivate func read(_ blocks: Blocks, from path: String, inFlight depth: UInt32) throws -> Double {
        let socket = try Self.enter(path)
        defer { close(socket) }
        let sample = try Sample(Double(blocks.offsets.count)) {
            var sum: UInt64 = 0
            let result = cbench_read_nbd(socket, blocks.offsets, blocks.offsets.count, depth, &sum)
            guard result == 0 else { throw PosixFailure(number: -result, call: "reading from \(path)") }
            return sum
        }
        guard sample.checkSum == blocks.checkSum else { throw ToolFailure(description: Comparison.wrongContent) }
        return sample.figure
    }

    /// Whether a process listens at the Unix socket `path`.
    static func isListening(_ path: String) -> Bool {
        guard let socket = try? connect(to: path) else { return false }
        close(socket)
        return true
    }

    /// A connection to the Unix socket `path` that has entered the default export. The caller closes it.
    static func enter(_ path: String) throws -> CInt {
        // On a busy machine nbdkit 1.32 resets a connection now and then that comes just after another has gone.
        var tries = 5
        while true {
            let socket = try connect(to: path)
            var limit = timeval(tv_sec: 60, tv_usec: 0)
            setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            let entered = cbench_enter_nbd(socket)
            if entered == 0 { return socket }
            close(socket)
            tries -= 1
            guard entered == -ECONNRESET, tries > 0 else {
                throw PosixFailure(number: -entered, call: "handshake with \(path)")
            }
            usleep(100_000)
        }
    }

    private static func connect(to path: String) throws -> CInt {
        let socket = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            close(socket)
            throw PosixFailure(number: errno, call: "connect to \(path)")
        }
        return socket
    }

    private static func uri(_ socket: String) -> String { "nbd+unix:///?socket=\(socket)" }
}
