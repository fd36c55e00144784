import Fuse
import Glibc
import HostStorage
import SystemPackage

/// Where to mount: a directory that nothing of FUSE is mounted on, or the device that mount.fuse3 hands over.
struct Mountpoint {
    private static let subtype = "rblockfs"

    /// As the mount table will show it; "/dev/fd/N" for a device.
    let path: FilePath
    /// Whether another program has mounted, somewhere.
    let isPassed: Bool

    /// Takes away what a server that was killed left at `given`, and hands a line that says so to `notice`. Throws where
    /// nothing can be mounted, or something of FUSE is.
    init(_ text: String, notice: (String) -> Void) throws(MountFailure) {
        let given = FilePath(text: text)
        if let device = PassedDevice(mountpoint: text) {
            guard device.isFuse else {
                throw MountFailure(.cannotMount, "mountpoint \(text): is no open descriptor of /dev/fuse")
            }
            path = given
            isPassed = true
            return
        }
        // Safe: a string of ours.
        guard unsafe access("/dev/fuse", F_OK) == 0 else {
            throw MountFailure(.unavailable, "there is no /dev/fuse: load the kernel module with 'modprobe fuse'")
        }
        // They may lie upon each other.
        for _ in 0..<16 {
            guard let dead = DeadMount(at: given, subtype: Self.subtype), dead.remove() else { break }
            notice("mountpoint \(dead.mountpoint.text): the server of the mount there was gone; removed the mount")
        }
        do throws(SessionError) {
            path = try Session.canonicalMountpoint(given)
        } catch {
            let hint =
                error.errorNumber.rawValue == ENOTCONN
                ? ": the server of the mount there is gone; 'fusermount3 -u \(text)' cleans it up" : ""
            throw MountFailure(.cannotMount, "mountpoint \(error.message)\(hint)")
        }
        if let type = MountedFileSystem(at: path)?.type, type.hasPrefix("fuse") {
            throw MountFailure(
                .cannotMount, "mountpoint \(text): busy, a \(type) is mounted there; 'fusermount3 -u \(text)' ends it"
            )
        }
        isPassed = false
    }

    /// Throws where a folder that is to be read lies, going by its name, on a mount of rblockfs that may be the one
    /// that was handed over: this process would wait for itself.
    func checkNotBelowPassed(_ folders: [String]) throws(MountFailure) {
        guard isPassed else { return }
        let mounts = MountedFileSystem.mountpoints(ofType: "fuse.\(Self.subtype)")
        for folder in folders {
            let path = FilePath.workingDirectory.pushing(FilePath(text: folder)).lexicallyNormalized()
            for mount in mounts where path.starts(with: mount) {
                throw MountFailure(
                    .cannotMount,
                    "mountpoint \(self.path.text): a mount at \(mount.text) hides \(folder), which images are read from"
                )
            }
        }
    }

    /// A mount over a folder that images are read from would have this process wait for itself.
    func checkApart(from policy: ConfinedOpenPolicy, given: String) throws(MountFailure) {
        guard !isPassed else { return }
        for folder in policy.locations where folder.starts(with: path) {
            throw MountFailure(
                .cannotMount,
                "mountpoint \(given): would hide \(folder.text), which images are read from")
        }
    }
}

extension FilePath {
    /// Where relative paths begin now; the root where that is unknown.
    static var workingDirectory: FilePath {
        // Safe: getcwd returns a C string that is ours to free, or nil.
        guard let name = unsafe getcwd(nil, 0) else { return "/" }
        defer { unsafe free(name) }
        return unsafe FilePath(platformString: name)
    }
}
