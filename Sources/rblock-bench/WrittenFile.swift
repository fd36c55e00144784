import CBench
import Foundation
import HostTools

/// A flat file that is written to as programs do it. What is written is the same for the same offsets.
struct WrittenFile {
    private let file: OpenedFile

    /// Opens `path`; `direct`: with O_DIRECT.
    init(_ path: String, direct: Bool = false) throws {
        file = try OpenedFile(path, flags: O_RDWR | (direct ? cbench_O_DIRECT : 0))
    }

    /// Writes `size` bytes at each offset, one after the other, and answers the seconds; `syncs`: each with fdatasync(2).
    func write(_ size: Int, at offsets: [UInt64], syncs: Bool = false) throws -> Double {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { buffer.deallocate() }
        cbench_fill(buffer.baseAddress, size, 0)
        let start = ContinuousClock.now
        for offset in offsets {
            for block in stride(from: 0, to: size, by: 4096) {
                buffer.storeBytes(of: offset + UInt64(block), toByteOffset: block, as: UInt64.self)
            }
            let count = pwrite(file.descriptor, buffer.baseAddress, size, off_t(offset))
            guard count == size else { throw PosixFailure(number: errno, call: "pwrite \(file.path) at \(offset)") }
            if syncs { try sync() }
        }
        return start.duration(to: .now).seconds
    }

    /// Writes 4 KiB at each offset, with 32 writes in flight all the time, and answers the seconds.
    func writeInFlight(_ offsets: [UInt64]) throws -> Double {
        let start = ContinuousClock.now
        let result = cbench_write_directly(file.descriptor, offsets, offsets.count, 32)
        guard result == 0 else { throw PosixFailure(number: -result, call: "io_submit \(file.path)") }
        return start.duration(to: .now).seconds
    }

    /// Waits for all of it to be on stable storage.
    func sync() throws {
        guard fdatasync(file.descriptor) == 0 else { throw PosixFailure(number: errno, call: "fdatasync \(file.path)") }
    }
}
