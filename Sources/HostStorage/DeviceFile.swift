import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A block device of this host, open for reading. Every method may be called from any thread.
///
/// Only for devices that a person names: what an image names is opened by an `OpenPolicy`, never as a device.
public final class DeviceFile: HostFile {
    /// See `HostFile`.
    public let id = HostFileID()
    /// See `HostFile`. Made once: it is asked for by each read.
    public let path: String
    /// The path that it was opened by.
    public let location: FilePath
    /// See `HostFile`: the size of the device when it was opened.
    public let size: UInt64
    /// See `HostFile`: all of it, since a device does not tell what it keeps.
    public var allocatedSize: UInt64 { size }
    /// See `HostFile`: the number of the device, whatever node it was opened by. No file has the inode 0.
    public let identity: FileIdentity?
    /// See `HostFile`: when it was opened. Nothing dates what is written to a device, so that no two openings are taken
    /// for one state.
    public let modified = FileTime.now
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
                let kind = try FileStatus(handle).kind
                guard case .blockDevice(let number) = kind else {
                    throw ImageError(.denied, path: path, "is \(kind.text), and must be a block device")
                }
                identity = FileIdentity(device: number, inode: 0)
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

    /// See `HostFile`.
    public var descriptor: CInt? { handle.rawValue }
    /// See `HostFile`.
    public var isPrompt: Bool { clinux_is_prompt(handle.rawValue) == 1 }
    /// See `HostFile`.
    public var imageLock: ImageLock? { handle.imageLock }

    /// See `HostFile`: whether the path leads to this device, and it has its size still.
    public var isCurrent: Bool {
        guard case .blockDevice(let number)? = try? FileStatus(at: location).kind else { return false }
        return number == identity?.device && isUnchanged
    }

    /// See `HostFile`: whether the device has its size still. What was written to it, nobody can tell.
    public var isUnchanged: Bool {
        let end = try? handle.seek(offset: 0, from: .end)
        return end.map { UInt64(clamping: $0) } == size
    }

    /// See `HostFile`.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try handle.read(count, at: offset, of: path, into: &output)
    }

    /// See `HostFile`: all is data, since a device does not tell.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        (false, limit)
    }
}
