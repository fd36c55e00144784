import BlockImage
import Glibc
import HostStorage
import JSON
import SystemPackage

/// A mount of rblockfs, and the process that serves it.
package struct ServedMount {
    /// How long that process is waited for: it has a minute for what was written to an overlay whose disk does not answer.
    private static let patience = Duration.seconds(120)

    /// Where it is, without links.
    package let mountpoint: FilePath
    /// The folder of images, or the image, that is mounted.
    package let images: String
    private let isReadOnly: Bool
    private let server: ProcessIdentity?

    /// The number of that process; nil where it could not be found.
    package var serverPID: Int32? { server?.pid }

    /// The mount at `path`; nil where there is none of rblockfs. Throws where that cannot be known.
    ///
    /// `isLazy`: its server is not to be waited for, and is not looked for either, since it may not answer.
    package init?(at path: String, isLazy: Bool) throws(ImageError) {
        guard let place = try? canonical(FilePath(text: path)), let entry = try MountTable().uppermost(at: place),
            entry.type == "fuse.rblockfs"
        else { return nil }
        (mountpoint, images, isReadOnly) = (place, entry.source, entry.isReadOnly)
        server = isLazy ? nil : Self.said(at: place) ?? Self.found(at: place)
    }

    /// The process that the mount itself says to be its server. Only its user, and those that it lets in, can ask.
    private static func said(at mountpoint: FilePath) -> ProcessIdentity? {
        guard let text = try? smallFile(mountpoint.appending("stats.json")),
            let document = try? JSON(parsing: text),
            case .number(let number)? = document["rblock"]?["server-pid"], let pid = Int32(number)
        else { return nil }
        // In another namespace of processes it is called otherwise.
        return words(of: pid) == nil ? nil : ProcessIdentity(running: pid)
    }

    /// The arguments of the process `pid`; nil where it is no rblockfs.
    private static func words(of pid: Int32) -> [String]? {
        // In the background it is started as /proc/self/exe, and is not called so by the kernel.
        let line = try? smallFile(FilePath("/proc/\(pid)/cmdline"))
        let words = line?.split(separator: 0).map { nameText($0) } ?? []
        return words.first?.hasSuffix("rblockfs") == true ? words : nil
    }

    /// The process that was started to serve it, by its arguments.
    private static func found(at mountpoint: FilePath) -> ProcessIdentity? {
        let pid = ProcessIdentity.numbers.first { pid in
            guard let words = words(of: pid) else { return false }
            return ["--foreground", "-f"].contains(where: words.contains) && words.last == mountpoint.text
        }
        return pid.flatMap { ProcessIdentity(running: $0) }
    }

    /// Unmounts it, and returns when its server has ended: then the overlays have all that was written. `isLazy`: it goes out of
    /// sight at once, and nothing is waited for.
    ///
    /// Answers why it is not known whether they have, nil where it is. Throws `system` with EBUSY where something of it is in use,
    /// with what the server says where the overlays cannot have all of it, for which it stays mounted, and with ETIMEDOUT where it
    /// is unmounted, and the server goes on.
    package func unmount(isLazy: Bool) throws(ImageError) -> ErrorText? {
        let doubt = isLazy ? nil : try flush()
        try unmountNow(isLazy: isLazy)
        guard !isLazy else { return nil }
        guard let server else { return doubt ?? "its server was not found, and may go on for a moment" }
        guard server.waitForEnd(Self.patience) else {
            throw ImageError(
                .system(errno: ETIMEDOUT), path: mountpoint.text,
                "is unmounted, and its server, process \(server.pid), goes on: what was written may not be in the overlays yet"
            )
        }
        return doubt
    }

    /// Has the overlays have all that was written. Answers why the server could not be asked; nil where they have. Throws what the
    /// server says where they cannot.
    private func flush() throws(ImageError) -> ErrorText? {
        guard !isReadOnly else { return nil }
        let directory: FileDescriptor
        do {
            directory = try FileDescriptor.open(mountpoint, .readOnly, options: [.directory, .closeOnExec])
        } catch {
            guard error as? Errno == .permissionDenied else {
                return "its server has died, and what it had not stored is lost"
            }
            return
                "its server, which answers none but its user, was not asked whether the overlays have all that was written: "
                + "its log says so where they have not"
        }
        let result = fsync(directory.rawValue)
        let error = Errno(rawValue: errno)
        try? directory.close()
        guard result != 0 else { return nil }
        throw ImageError(
            .system(errno: error.rawValue), path: mountpoint.text,
            "stays mounted: what was written cannot be stored in its overlay, as the server's log says: \(error)",
            hint: (error == .noSpace || error == .diskQuotaExceeded
                ? "make space where the overlays are, and do this again, or copy " : "copy ")
                + "the disk from the mount; --lazy unmounts it without what is not stored")
    }

    private func unmountNow(isLazy: Bool) throws(ImageError) {
        if geteuid() == 0 {
            do throws(ImageError) {
                try MountTable.unmount(mountpoint, isLazy: isLazy)
            } catch {
                guard error.code == .system(errno: EBUSY) else { throw error }
                throw inUse
            }
        } else {
            let program = try ChildProgram("fusermount3", package: "fuse3")
            let result = try program.run(["-u"] + (isLazy ? ["-z"] : []) + ["--", mountpoint.text])
            guard result.status == 0 else {
                guard !result.message.contains(text: "busy") else { throw inUse }
                throw ImageError(.denied, path: mountpoint.text, "fusermount3(1): \(quoting: result.message)")
            }
        }
    }

    private var inUse: ImageError {
        ImageError(
            .system(errno: EBUSY), path: mountpoint.text, "a file or a directory of it is in use",
            hint: "'fuser -vm \(shellWord(mountpoint.text))' shows by what")
    }
}
