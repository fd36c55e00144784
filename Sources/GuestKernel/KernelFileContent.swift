import BlockImage
import GuestFiles
import GuestProtocol

/// A regular file that is open in a machine.
final class KernelFileContent: GuestFileContent {
    /// In files of so many bytes it is asked where holes are.
    private static let sparseSize: UInt64 = 1 << 20

    private let system: KernelFileSystem
    private let file: GuestFileID
    private let handle: GuestHandle
    let size: UInt64
    /// The runs that were answered last, and where they begin.
    private let runs = Guarded<(start: UInt64, runs: GuestRuns)?>(nil)

    init(_ system: KernelFileSystem, _ file: GuestFileID, _ handle: GuestHandle, size: UInt64) {
        (self.system, self.file, self.handle, self.size) = (system, file, handle, size)
    }

    deinit { system.machine.channel.release(handle) }

    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        guard offset <= size, UInt64(count) <= size - offset else {
            throw ImageError(
                .outOfRange, path: system.path, "\(count) bytes at \(offset) are past the end of a file of \(size)")
        }
        var (position, left) = (offset, count)
        while left > 0 {
            var step = min(left, GuestProtocol.payloadLimit)
            // Zeros need not come from the machine; of what may be written to, holes are not known.
            if size >= Self.sparseSize, !system.isWritable {
                let run = try run(at: position, limit: UInt64(left))
                if !run.isData {
                    output.appendZeros(Int(run.count))
                    position += run.count
                    left -= Int(run.count)
                    continue
                }
                step = Int(min(UInt64(step), run.count))
            }
            let reply = try system.ask(.read(handle, count: UInt32(step), offset: position), about: file)
            guard case .bytes(let bytes) = reply, bytes.count <= step else { throw system.machine.unexpected(reply) }
            guard bytes.count == step else {
                throw ImageError(
                    .corrupt, path: system.path, "a file of \(size) bytes ends at \(position + UInt64(bytes.count))")
            }
            // Safe: the bytes of an array of ours.
            unsafe output.append(copying: bytes.span.bytes)
            position += UInt64(step)
            left -= step
        }
    }

    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> GuestRun {
        guard offset < size, limit > 0 else {
            throw ImageError(.outOfRange, path: system.path, "\(offset) is past the end of a file of \(size)")
        }
        let known = runs.withLock { $0 }
        if let known, let run = Self.run(at: offset, known) { return bounded(run, at: offset, limit) }
        let reply = try system.ask(.runs(handle, offset: offset), about: file)
        guard case .runs(let found) = reply, let run = Self.run(at: offset, (offset, found)) else {
            throw system.machine.unexpected(reply)
        }
        runs.withLock { $0 = (offset, found) }
        return bounded(run, at: offset, limit)
    }

    private func bounded(_ run: GuestRun, at offset: UInt64, _ limit: UInt64) -> GuestRun {
        GuestRun(isData: run.isData, count: min(run.count, limit, size - offset))
    }

    /// What of `known` is at `offset`; nil where it does not reach there.
    private static func run(at offset: UInt64, _ known: (start: UInt64, runs: GuestRuns)) -> GuestRun? {
        guard offset >= known.start else { return nil }
        var (skipped, isData) = (offset - known.start, known.runs.beginsWithData)
        for count in known.runs.counts {
            if skipped < count { return GuestRun(isData: isData, count: count - skipped) }
            skipped -= count
            isData.toggle()
        }
        return nil
    }
}
