import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A block device of this host, open for reading. Every method may be called from any thread.
///
/// Only for devices that a person names: what an image names is opened by an `OpenPolicy`, never as a device.
public final class DeviceFile: HostFile {
    /// The number of this opening.
    public let id = HostFileID()
    /// The path it was opened by, for messages and for resolving names beside it; of a part of a file, the path of the
    /// whole and the part's name. Made once: it is asked for by each read.
    public let path: String
    /// The path that it was opened by.
    public let location: FilePath
    /// Its size in bytes when it was opened: the size of the device when it was opened.
    public let size: UInt64
    /// All of it, since a device does not report what it keeps.
    public var allocatedSize: UInt64 { size }
    /// The number of the device, whatever node it was opened by. No file has the inode 0.
    public let identity: FileIdentity?
    /// When it was opened. Nothing dates what is written to a device, so that no two openings are taken for one state.
    public let modified = FileTime.now
    /// When its node was last written to, as of opening: what file systems write that are mounted from it does not count.
    public let nodeModified: FileTime
    private let handle: FileDescriptor

    /// Opens the block device that `location` leads to.
    ///
    /// Throws `denied` for anything else, which is not read from, and `system` when it cannot be opened.
    public init(at location: FilePath) throws(ImageError) {
        path = location.text
        do {
            // A FIFO that took the place of the device meanwhile must not block.
            let handle = try FileDescriptor.open(location, .readOnly, options: [.closeOnExec, .nonBlocking])
            do {
                let status = try FileStatus(handle)
                guard case .blockDevice(let number) = status.kind else {
                    throw ImageError(.denied, path: path, "is \(status.kind.text), and must be a block device")
                }
                (identity, nodeModified) = (FileIdentity(device: number, inode: 0), status.modified)
                size = UInt64(clamping: try handle.seek(offset: 0, from: .end))
            } catch {
                try? handle.close()
                throw error
            }
            self.handle = handle
        } catch let error as ImageError {
            throw error
        } catch {
            throw ImageError.system(error, path: path, "open the device")
        }
        self.location = location
    }

    deinit {
        try? handle.close()
    }

    /// The open descriptor, for what only the kernel can do with it: offset 0 of both is the same byte.
    public var descriptor: CInt? { handle.rawValue }
    /// Whether the host can be asked for bytes without waiting for a disk, as `ReadScope.withoutBlocking` does, and can
    /// be asked about the file at once.
    public var isPrompt: Bool { clinux_is_prompt(handle.rawValue) == 1 }
    /// How another program has locked it, by QEMU's convention; nil where none has.
    public var imageLock: ImageLock? { handle.imageLock }

    /// Keeps other programs from writing to it for as long as it is open.
    public func lockAgainstWriters() throws(ImageError) { try ImageLocks.base.take(handle.rawValue, path: path) }

    /// Whether the path leads to this device, and it has its size still.
    public var isCurrent: Bool {
        guard case .blockDevice(let number)? = try? FileStatus(at: location).kind else { return false }
        return number == identity?.device && isUnchanged
    }

    /// Whether the device has its size still. What was written to it is not known.
    public var isUnchanged: Bool {
        let end = try? handle.seek(offset: 0, from: .end)
        return end.map { UInt64(clamping: $0) } == size
    }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try handle.read(count, at: offset, of: path, into: &output)
    }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so: all is data, since a device does not report holes.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        (false, limit)
    }
}
