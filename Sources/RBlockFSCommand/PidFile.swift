import CFuse3
import Glibc
import HostStorage
import SystemPackage

/// The file of `--pid-file`: it has this process's number for as long as the mount answers.
///
/// It is written beside its place before anything is mounted, when failing costs nothing, and moved there in one step:
/// who finds the file finds a whole number in it. It takes the place of nothing but what such a file was.
final class PidFile: Sendable {
    /// The most bytes of a file that may be one of another server: a number, and the white space around it.
    private static let sizeLimit = 64

    private let given: String
    private let path: FilePath
    private let beside: FilePath
    private let file: FileDescriptor
    private let content: [UInt8]

    /// Throws where there is something else than an empty regular file or one with a number in it, or none can be
    /// written.
    init(_ given: String) throws(MountFailure) {
        self.given = given
        content = Array("\(getpid())\n".utf8)
        // The server changes its working directory later.
        path = FilePath.workingDirectory.pushing(FilePath(text: given))
        let number = String(UInt64.random(in: .min ... .max), radix: 36)
        beside = path.removingLastComponent().appending(".rblockfs-\(number)")
        try Self.checkReplaceable(path, given)
        do {
            file = try FileDescriptor.open(
                beside, .readWrite, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        } catch {
            throw Self.failure(given, "\(error)")
        }
        do {
            try file.writeAll(content)
        } catch {
            Self.unlink(beside)
            throw Self.failure(given, "\(error)")
        }
    }

    /// The mount answers: the file takes its place.
    func publish() throws(MountFailure) {
        // Something may have come there since.
        try Self.checkReplaceable(path, given)
        // Safe: both strings end in NUL.
        let result = unsafe beside.withPlatformString { from in
            unsafe path.withPlatformString { unsafe rename(from, $0) }
        }
        guard result == 0 else { throw Self.failure(given, "\(Errno(rawValue: errno))") }
    }

    /// The server ends: removes the file, unless it is another one by now, or it was written to. Who may no
    /// longer do that empties it.
    func remove() {
        if Self.content(of: file) == content {
            for place in [beside, path] where isHere(place) {
                if !Self.unlink(place) { ftruncate(file.rawValue, 0) }
            }
        }
        try? file.close()
    }

    private func isHere(_ place: FilePath) -> Bool {
        var here = stat()
        // Safe: fstat fills a structure of ours.
        guard let there = Self.status(of: place), unsafe fstat(file.rawValue, &here) == 0 else { return false }
        return there.st_dev == here.st_dev && there.st_ino == here.st_ino
    }

    /// Throws where something is at `path` that no server has put there.
    private static func checkReplaceable(_ path: FilePath, _ given: String) throws(MountFailure) {
        guard let found = status(of: path) else { return }
        guard found.st_mode & S_IFMT == S_IFREG else { throw failure(given, "is no regular file") }
        guard found.st_size > 0 else { return }
        do {
            let options: FileDescriptor.OpenOptions = [.noFollow, .nonBlocking, .closeOnExec]
            let old = try FileDescriptor.open(path, .readOnly, options: options)
            defer { try? old.close() }
            guard content(of: old).map(isNumber) == true else {
                throw failure(given, "has something else in it than the number of a process, and is not replaced")
            }
        } catch let failure as MountFailure {
            throw failure
        } catch {
            throw failure(given, "is there, and cannot be read: \(error)")
        }
    }

    private static func isNumber(_ bytes: [UInt8]) -> Bool {
        let text = String(decoding: bytes, as: UTF8.self)
        let words = text.split { $0.isWhitespace }
        return words.isEmpty ? bytes.isEmpty : words.count == 1 && words[0].utf8.allSatisfy { (48...57).contains($0) }
    }

    /// All that the file has; nil where that is more than a number, or cannot be read.
    private static func content(of file: FileDescriptor) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: sizeLimit + 1)
        // Safe: read writes at most as many bytes as the array has.
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe try? file.read(fromAbsoluteOffset: 0, into: $0) }
        guard let count, count <= sizeLimit else { return nil }
        return Array(bytes[..<count])
    }

    private static func status(of path: FilePath) -> stat? {
        var attributes = stat()
        // Safe: a string that ends in NUL, and a structure of ours.
        let result = unsafe path.withPlatformString { unsafe lstat($0, &attributes) }
        return result == 0 ? attributes : nil
    }

    @discardableResult
    private static func unlink(_ path: FilePath) -> Bool {
        // Safe: the string ends in NUL.
        unsafe path.withPlatformString { unsafe Glibc.unlink($0) } == 0
    }

    private static func failure(_ path: String, _ reason: String) -> MountFailure {
        MountFailure(.cannotMount, "--pid-file \(path): \(reason)")
    }
}
