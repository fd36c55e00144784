import Foundation
import Synchronization

/// A loop device over a file, detached with the last reference.
package final class LoopDevice: Sendable {
    /// Its path, such as /dev/loop3.
    package let path: String
    private let isAttached = Mutex(true)

    /// Attaches `file`, for reading unless `isWritable`; its partitions appear as /dev/loop3p1 and so on. `options` are
    /// further ones of losetup.
    package init(_ file: String, isWritable: Bool = false, options: [String] = []) throws {
        try CleanUp.register("losetup -j \"$1\" -n -O NAME | xargs -r -n 1 losetup -d", file)
        let result = try Tool.run("losetup", ["-f", "--show", "-P"] + (isWritable ? [] : ["-r"]) + options + [file])
        guard result.status == 0 else { throw ToolFailure(description: "losetup \(file): \(result.errors)") }
        path = result.text.trimmingCharacters(in: .whitespacesAndNewlines)
        // A kernel that was built without partition tables gets them from here; any other has found them by now.
        _ = try Tool.run("partx", ["-a", path])
    }

    deinit {
        try? detach()
    }

    /// Detaches it; does nothing the second time.
    package func detach() throws {
        try isAttached.withLock { isAttached in
            guard isAttached else { return }
            isAttached = false
            try Tool.check("losetup", "-d", path)
        }
    }
}

/// A file system of the kernel on a device, mounted for reading and unmounted with the last reference.
package final class DeviceMount: Sendable {
    /// Where it is mounted.
    package let path: String
    private let device: LoopDevice
    private let folder: TemporaryFolder

    /// Mounts `device`, or its partition `partition`.
    package init(_ device: LoopDevice, partition: Int? = nil, options: String = "ro") throws {
        self.device = device
        folder = try TemporaryFolder()
        path = try folder.makeFolder("mnt")
        try CleanUp.register("umount -l \"$1\"; rm -rf --one-file-system \"${1%/*}\"", path)
        let source = device.path + (partition.map { "p\($0)" } ?? "")
        guard wait(seconds: 10, for: { access(source, F_OK) == 0 }) else {
            throw ToolFailure(description: "there is no \(source)")
        }
        try Tool.check("mount", "-o", options, source, path)
    }

    deinit {
        _ = try? Tool.run("umount", ["-l", path])
    }
}
