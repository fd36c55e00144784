import Foundation
import HostTools

/// A flat file that is there until it is let go of: a server's, or the disk itself.
final class ServedFile {
    /// The flat file.
    let path: String
    /// Where the server has mounted it; nil: there is none, and its page cache is that of the disk.
    let mountpoint: String?
    private let server: BackgroundServer?

    /// The disk itself, without any server: the limit.
    init(bare path: String) {
        self.path = path
        (mountpoint, server) = (nil, nil)
    }

    /// Runs `command` in the background, and waits for it to show the file `shown` of `mountpoint` with `size` bytes.
    /// Where `shown` is empty, the mountpoint is the file. Throws what the command said when it does not.
    init(_ command: [String], mountpoint: String, shown: String, size: Int) throws {
        let path = shown.isEmpty ? mountpoint : "\(mountpoint)/\(shown)"
        self.path = path
        self.mountpoint = mountpoint
        try CleanUp.register("fusermount3 -u -z \"$1\" || umount -l \"$1\"", mountpoint)
        try Shell.check(shown.isEmpty ? ": >\"$1\"" : "mkdir \"$1\"", mountpoint)
        let server = try BackgroundServer(command, place: mountpoint)
        self.server = server
        try server.awaitReadiness { (try? Status(path)).map { Int($0.size) == size } ?? false }
    }

    deinit {
        end()
    }

    /// Ends the server and its mount; does nothing the second time.
    func end() {
        server?.end()
        guard let mountpoint, Mount.isMounted(mountpoint) else { return }
        _ = try? Tool.run("fusermount3", ["-u", "-z", mountpoint])
    }

    /// Has the kernel forget what it keeps of the file, but not of the image.
    func dropCache() throws {
        guard mountpoint != nil else { return }
        let file = try OpenedFile(path)
        posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
        // What the kernel reads by a map it keeps under the file of the map, in the root of a mount that is in no folder.
        guard let process = server?.process else { return }
        let folder = "/proc/\(process)/fd"
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
            guard (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)")) == "/disk.raw"
            else {
                continue
            }
            let map = try OpenedFile("\(folder)/\(name)")
            posix_fadvise(map.descriptor, 0, 0, POSIX_FADV_DONTNEED)
        }
    }
}
