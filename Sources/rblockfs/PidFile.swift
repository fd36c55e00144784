import Glibc
import SystemPackage

/// The file of `--pid-file`: it has this process's number for as long as the mount answers.
///
/// It is written beside its place before anything is mounted, when failing costs nothing, and moved there in one step:
/// who finds the file finds a whole number in it.
final class PidFile: Sendable {
    private let path: FilePath
    private let beside: FilePath
    private let file: FileDescriptor

    /// Throws where there is something else than a regular file, or none can be written.
    init(_ given: String) throws(MountFailure) {
        let number = getpid()
        // The server changes its working directory later.
        path = FilePath.workingDirectory.pushing(FilePath(given))
        beside = FilePath("\(path).\(number)")
        var attributes = stat()
        // Safe: a string of ours, and a structure of ours.
        if unsafe lstat(path.string, &attributes) == 0, attributes.st_mode & S_IFMT != S_IFREG {
            throw Self.failure(given, "is no regular file")
        }
        // Safe: a string of ours. It is there only if it was left behind by a server of the same number.
        unsafe _ = unlink(beside.string)
        do {
            file = try FileDescriptor.open(
                beside, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        } catch {
            throw Self.failure(given, "\(error)")
        }
        do {
            try file.writeAll("\(number)\n".utf8)
        } catch {
            throw Self.failure(given, "\(error)")
        }
    }

    /// The mount answers: whatever was there goes.
    func publish() throws(MountFailure) {
        // Safe: strings of ours.
        guard unsafe rename(beside.string, path.string) == 0 else {
            throw Self.failure(path.string, "\(Errno(rawValue: errno))")
        }
    }

    /// The server ends: removes the file, unless it is another one by now. Who may no longer do that empties it.
    func remove() {
        for place in [beside, path] where isHere(place) {
            // Safe: a string of ours.
            if unsafe unlink(place.string) != 0 { ftruncate(file.rawValue, 0) }
        }
        try? file.close()
    }

    private func isHere(_ place: FilePath) -> Bool {
        var there = stat()
        var here = stat()
        // Safe: a string of ours, and structures of ours.
        return unsafe lstat(place.string, &there) == 0 && fstat(file.rawValue, &here) == 0
            && there.st_dev == here.st_dev && there.st_ino == here.st_ino
    }

    private static func failure(_ path: String, _ reason: String) -> MountFailure {
        MountFailure(.cannotMount, "--pid-file \(path): \(reason)")
    }
}
