import Foundation
import Synchronization
import TestImages

/// A way of reading a flat file.
enum Measure: String, CaseIterable {
    case sequential = "sequential 1 MiB, MB/s"
    case random1 = "random 4 KiB, reads/s"
    case random8 = "random 4 KiB x 8, reads/s"

    /// Reads what the server shows, and answers the figure that the name says.
    func run(_ server: any Server) throws -> Double {
        let path = server.path
        let file = try ReadFile(path)
        if server.hasOwnCache { file.dropCache() }
        let start = ContinuousClock.now
        let amount: Double
        switch self {
        case .sequential:
            try file.readAll(chunk: 1 << 20)
            amount = Double(file.size) / 1e6
        case .random1:
            try file.readRandomly(count: 10_000, seed: 1)
            amount = 10_000
        case .random8:
            let failed = Atomic(false)
            DispatchQueue.concurrentPerform(iterations: 8) { thread in
                do {
                    try file.readRandomly(count: 5_000, seed: UInt64(thread))
                } catch {
                    failed.store(true, ordering: .relaxed)
                }
            }
            guard !failed.load(ordering: .relaxed) else { throw ToolFailure(description: "cannot read \(path)") }
            amount = 40_000
        }
        let time = start.duration(to: .now)
        return amount / (Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18)
    }
}

/// A file that is read, and not kept.
private final class ReadFile: Sendable {
    let size: Int
    private let path: String
    private let descriptor: CInt

    init(_ path: String) throws {
        descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { throw ToolFailure(description: "cannot open \(path): errno \(errno)") }
        self.path = path
        size = Int(lseek(descriptor, 0, SEEK_END))
    }

    deinit {
        close(descriptor)
    }

    func dropCache() {
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }

    func readAll(chunk: Int) throws {
        try withBuffer(chunk) { buffer in
            var offset = 0
            while offset < size { offset += try read(min(chunk, size - offset), at: offset, into: buffer) }
        }
    }

    func readRandomly(count: Int, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        try withBuffer(4096) { buffer in
            for _ in 0..<count {
                _ = try read(4096, at: Int.random(in: 0..<size / 4096, using: &random) * 4096, into: buffer)
            }
        }
    }

    private func read(_ count: Int, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let got = pread(descriptor, buffer.baseAddress, count, off_t(offset))
        guard got == count else { throw ToolFailure(description: "\(path): \(got) of \(count) bytes at \(offset)") }
        return got
    }

    private func withBuffer(_ size: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { buffer.deallocate() }
        try body(buffer)
    }
}
