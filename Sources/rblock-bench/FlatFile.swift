import CBench
import Foundation
import HostTools
import Synchronization

/// A flat file that is read as programs do it. Reading costs this one as little as can be: what it measures are others.
final class FlatFile: Sendable {
    private let file: OpenedFile
    private let size: Int

    /// Opens `path`; `direct`: with O_DIRECT.
    init(_ path: String, direct: Bool = false) throws {
        file = try OpenedFile(path, flags: O_RDONLY | (direct ? cbench_O_DIRECT : 0))
        size = Int(try file.size())
    }

    /// Reads 1 MiB after the other.
    func readInOrder() throws -> Sample {
        try withBuffer(1 << 20) { buffer in
            try Sample(Double(size) / 1e6) {
                var sum: UInt64 = 0
                for offset in stride(from: 0, to: size, by: buffer.count) {
                    let count = try read(min(buffer.count, size - offset), at: offset, into: buffer)
                    sum &+= cbench_touch(buffer.baseAddress, count)
                }
                return sum
            }
        }
    }

    /// Reads the whole file, and answers the check sum of every byte.
    func sum() throws -> UInt64 {
        try withBuffer(1 << 20) { buffer in
            var sum = cbench_sum()
            for offset in stride(from: 0, to: size, by: buffer.count) {
                let count = try read(min(buffer.count, size - offset), at: offset, into: buffer)
                cbench_add(&sum, buffer.baseAddress, count)
            }
            return sum.value
        }
    }

    /// Reads all of it through a mapping into memory.
    func readMapped() throws -> Sample {
        guard let start = mmap(nil, size, PROT_READ, MAP_SHARED, file.descriptor, 0), start != MAP_FAILED else {
            throw PosixFailure(number: errno, call: "mmap \(file.path)")
        }
        defer { munmap(start, size) }
        return Sample(Double(size) / 1e6) { cbench_touch(start, size) }
    }

    /// Reads 4 KiB at each offset, with a thread for each list of them.
    func readRandomly(_ offsets: [[UInt64]]) throws -> Sample {
        let result = Mutex<(sum: UInt64, failure: (any Error)?)>((0, nil))
        let sample = Sample(Double(offsets.reduce(0) { $0 + $1.count })) {
            let group = DispatchGroup()
            for list in offsets {
                group.enter()
                // Not with concurrentPerform, which starts no more threads than there are processors.
                Thread.detachNewThread {
                    defer { group.leave() }
                    do {
                        let sum = try self.readBlocks(list)
                        result.withLock { $0.sum &+= sum }
                    } catch {
                        result.withLock { $0.failure = error }
                    }
                }
            }
            group.wait()
            return result.withLock { $0.sum }
        }
        if let failure = result.withLock({ $0.failure }) { throw failure }
        return sample
    }

    private func readBlocks(_ offsets: [UInt64]) throws -> UInt64 {
        try withBuffer(4096) { buffer in
            var sum: UInt64 = 0
            for offset in offsets {
                _ = try read(4096, at: Int(offset), into: buffer)
                sum &+= cbench_sum_of_block(buffer.baseAddress, 4096, offset)
            }
            return sum
        }
    }

    /// Reads 4 KiB at each offset, with 32 reads in flight all the time.
    func readInFlight(_ offsets: [UInt64]) throws -> Sample {
        try Sample(Double(offsets.count)) {
            var sum: UInt64 = 0
            let result = cbench_read_directly(file.descriptor, offsets, offsets.count, 32, &sum)
            guard result == 0 else { throw PosixFailure(number: -result, call: "io_submit \(file.path)") }
            return sum
        }
    }

    private func read(_ count: Int, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let got = pread(file.descriptor, buffer.baseAddress, count, off_t(offset))
        guard got >= 0 else { throw PosixFailure(number: errno, call: "pread \(file.path) at \(offset)") }
        guard got == count else {
            throw ToolFailure(description: "\(file.path): \(got) of \(count) bytes at \(offset)")
        }
        return got
    }

    private func withBuffer<Result>(_ size: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Result) rethrows
        -> Result
    {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        // Its pages are there before they are needed.
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        defer { buffer.deallocate() }
        return try body(buffer)
    }
}

extension cbench_sum {
    /// Both halves in one.
    var value: UInt64 { first ^ second }
}
