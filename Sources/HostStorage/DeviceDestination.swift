import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A block device that a raw image is written to, from its start to its end: what the device had is lost. Used by one
/// thread at a time.
public final class DeviceDestination: ImageDestination {
    /// The name of the image's own file, for `file(named:)`.
    public let imageName: String
    /// Nil: what is on a device takes no space of its own.
    public var actualSize: UInt64? { nil }
    private let file: NewDeviceFile
    private let isFlushed: Bool

    /// The device at `location`.
    ///
    /// Throws `denied` for a device that is a source, and `system` with EEXIST where its content must not be replaced,
    /// and with EBUSY where it is mounted or else in use.
    public init(at location: FilePath, _ options: DestinationOptions) throws(ImageError) {
        let path = location.text
        imageName = path
        isFlushed = options.isFlushed
        guard case .blockDevice(let number)? = try? FileStatus(at: location).kind else {
            throw ImageError(.denied, path: path, "is no block device any more")
        }
        guard !options.sources.contains(FileIdentity(device: number, inode: 0)) else {
            throw ImageError(.denied, path: path, "is what the new image is made of; name another device")
        }
        guard options.replaces else {
            throw ImageError(
                .system(errno: EEXIST), path: path, "is a device, whose content would be lost",
                hint: "--force overwrites it")
        }
        file = try NewDeviceFile(at: location, isZero: options.isZero)
    }

    /// A new file beside the image: there is but the device.
    public func file(named name: String) throws(ImageError) -> any NewFile {
        guard name == imageName else {
            throw ImageError(.denied, path: name, "no file can lie beside a device")
        }
        return file
    }

    /// All but zeros at the end is in its place already.
    public func place() throws(ImageError) {
        try file.fillToEnd()
        if isFlushed { try file.flush() }
    }
}

/// A block device that is written to from its start to its end. Every method may be called from any thread, but what is
/// written must come in order.
private final class NewDeviceFile: NewFile {
    /// Gaps that are not longer are filled without asking the device, which would take longer.
    private static let shortGap: UInt64 = 1 << 20
    private static let zeros = [UInt8](repeating: 0, count: Int(shortGap))

    let path: String
    private let handle: FileDescriptor
    private let size: UInt64
    private let isZero: Bool
    /// Where what was written so far ends, and where the disk does.
    private let ends = Guarded<(written: UInt64, disk: UInt64)>((0, 0))

    init(at location: FilePath, isZero: Bool) throws(ImageError) {
        path = location.text
        self.isZero = isZero
        do {
            // O_EXCL: not what is mounted, or a part of something.
            handle = try FileDescriptor.open(
                location, .readWrite, options: [.exclusiveCreate, .closeOnExec, .nonBlocking])
        } catch {
            throw ImageError.system(error, path: path, "open the device")
        }
        size = UInt64(clamping: (try? handle.seek(offset: 0, from: .end)) ?? 0)
    }

    deinit {
        try? handle.close()
    }

    func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError) {
        try fill(to: offset.rawValue)
        try handle.write(bytes, at: offset, of: path)
        ends.withLock { $0.written = offset.rawValue + UInt64(bytes.byteCount) }
    }

    /// The device has all its space; what nothing is written to is zeros in any case.
    func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) {}

    /// What the device has behind `size` stays as it is.
    func setSize(_ size: UInt64) throws(ImageError) {
        guard size <= self.size else {
            throw ImageError(
                .system(errno: ENOSPC), path: path,
                "the device has \(counted(self.size, "byte")), and the disk needs \(size)")
        }
        ends.withLock { $0.disk = size }
    }

    /// Makes zeros of what nothing was written to at the end of the disk.
    func fillToEnd() throws(ImageError) {
        try fill(to: ends.withLock { $0.disk })
    }

    func flush() throws(ImageError) {
        guard fsync(handle.rawValue) == 0 else {
            throw ImageError.system(Errno(rawValue: errno), path: path, "flush")
        }
    }

    /// Makes zeros of what lies between the last write and `position`.
    private func fill(to position: UInt64) throws(ImageError) {
        let start = ends.withLock { $0.written }
        guard start < position, !isZero else { return }
        if position - start > Self.shortGap {
            if clinux_zero_device(handle.rawValue, start, position - start) == 0 { return }
        }
        var place = start
        while place < position {
            let count = min(position - place, UInt64(Self.zeros.count))
            // Safe: integers have no bytes that are not set.
            unsafe try handle.write(
                Self.zeros.span.bytes.extracting(first: Int(count)), at: HostOffset(place), of: path)
            place += count
        }
    }
}
