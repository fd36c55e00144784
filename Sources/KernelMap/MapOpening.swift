import BlockImage
import CLinux
import Glibc
import SystemPackage

/// The mounting of a map: what happens on a thread with descriptors of its own, so that this process can be ended while the
/// kernel reads a file that it serves.
// Safe to send: the thread is the only user of it while it runs, and the caller waits for its end.
@safe final class MapOpening: @unchecked Sendable {
    private let metadata: CInt
    private let devices: [CInt]
    private let fallback: MapFallback?
    private let samples: [MapSample]
    private let blockSize: Int
    private var fault: MapFault?

    init(
        metadata: CInt, devices: [CInt], fallback: MapFallback?, samples: [MapSample], blockSize: Int
    ) {
        self.metadata = metadata
        self.devices = devices
        self.fallback = fallback
        self.samples = samples
        self.blockSize = blockSize
    }

    /// The disk, open for reading.
    func open() throws(MapFault) -> FileDescriptor {
        let kept = Array(Set([metadata] + devices + [fallback?.folder].compactMap { $0 })).sorted()
        // Safe: this object and the array live until the call returns, which is after the thread's end.
        let descriptor = withExtendedLifetime(self) {
            unsafe clinux_open_apart(
                kept, kept.count,
                { unsafe Unmanaged<MapOpening>.fromOpaque($0!).takeUnretainedValue().openHere() },
                Unmanaged.passUnretained(self).toOpaque())
        }
        let number = errno
        guard descriptor >= 0 else {
            throw fault ?? Self.fault(number, "open the map")
        }
        return FileDescriptor(rawValue: descriptor)
    }

    /// On the thread: the descriptor of the disk, or -1, and `fault` says why.
    private func openHere() -> CInt {
        do throws(MapFault) {
            var devices = devices
            if let fallback { devices.append(try Self.open(fallback.name, in: fallback.folder)) }
            let mount = try mount(devices)
            try checkPastEnd(of: mount)
            let disk = try Self.open(ErofsImage.diskName, in: mount)
            try compare(disk)
            return disk
        } catch {
            fault = error
            return -1
        }
    }

    private func mount(_ devices: [CInt]) throws(MapFault) -> CInt {
        var message = [CChar](repeating: 0, count: 256)
        // Safe: the arrays have so many elements, and the call writes a string within the second.
        let mount = unsafe clinux_mount_erofs(metadata, devices, devices.count, &message, message.count)
        guard mount < 0 else { return mount }
        let number = errno
        var fault = Self.fault(number, "mount the map", message)
        fault.concernsFolder = number == ENOTBLK
        throw fault
    }

    /// Throws where the kernel takes a file that ends early for zeros.
    private func checkPastEnd(of mount: CInt) throws(MapFault) {
        let file = try Self.open(ErofsImage.pastEndName, in: mount)
        for block in 0..<2 where (try? read(blockSize, at: UInt64(block * blockSize), of: file)) != nil {
            throw MapFault(
                error: ImageError(
                    .unsupported, about: .named("extent map"), "this kernel takes the end of a file for zeros"))
        }
        close(file)
    }

    /// Throws where the disk is not what the samples are.
    private func compare(_ disk: CInt) throws(MapFault) {
        for sample in samples {
            let found = try read(sample.bytes.count, at: sample.offset, of: disk)
            guard found == sample.bytes else {
                throw MapFault(
                    error: ImageError(
                        .corrupt, about: .named("extent map"), offset: HostOffset(sample.offset),
                        "the kernel reads other bytes than the image has"))
            }
        }
    }

    private func read(_ count: Int, at offset: UInt64, of file: CInt) throws(MapFault) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        // Safe: at most as many bytes are read as the array has.
        let got = unsafe bytes.withUnsafeMutableBytes { unsafe pread(file, $0.baseAddress, count, off_t(offset)) }
        guard got == count else {
            throw Self.fault(got < 0 ? errno : EIO, "read the map at \(HostOffset(offset))")
        }
        return bytes
    }

    private static func open(_ name: String, in folder: CInt) throws(MapFault) -> CInt {
        // Safe: a string of ours.
        let descriptor = unsafe openat(folder, name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw fault(errno, "open \(name)") }
        return descriptor
    }

    /// The kernel's refusal of `action`, with what it says about it, if anything: a string that ends in NUL.
    static func fault(_ number: CInt, _ action: ErrorText, _ message: [CChar] = []) -> MapFault {
        let said = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let reason = Errno(rawValue: number).description + (said.isEmpty ? "" : ": \(said)")
        return MapFault(
            error: ImageError(.system(errno: number), about: .named("extent map"), "\(action): \(reason)"))
    }
}
