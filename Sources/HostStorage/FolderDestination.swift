import BlockImage
import CLinux
import Glibc
import SystemPackage

/// The files of a new image in the folder of the one that a person named.
///
/// They have no names while they are written, where the file system has such files, and hidden ones elsewhere: whatever
/// ends the process leaves nothing behind, even SIGKILL, but where names are hidden. Used by one thread at a time.
public final class FolderDestination: ImageDestination {
    /// The name of the image's own file; bytes that are not UTF-8 are replaced.
    public let imageName: String
    /// The bytes that what was put in its place takes on the host; nil before that.
    public private(set) var actualSize: UInt64?
    private let name: FilePath.Component
    private let location: FilePath
    private let folder: FileDescriptor
    private let options: DestinationOptions
    private var files: [(name: FilePath.Component, file: NewLocalFile)] = []

    /// The place for the image at `path`.
    ///
    /// Throws `denied` where something is there that is no regular file, or is a source, and `system` for a file that
    /// must not be replaced, or a folder that is not there.
    public init(at path: FilePath, _ options: DestinationOptions) throws(ImageError) {
        let text = path.text
        guard let last = path.lastComponent, last.kind == .regular else {
            throw ImageError(.denied, path: text, "names a folder, and must name a file")
        }
        if let found = try? canonical(path), let name = found.lastComponent {
            location = found.removingLastComponent()
            self.name = name
        } else {
            guard (try? FileStatus(at: path, followingLinks: false)) == nil else {
                throw ImageError(.denied, path: text, "is a link that leads nowhere; remove it, or name another file")
            }
            location = try canonical(path.removingLastComponent().isEmpty ? "." : path.removingLastComponent())
            name = last
        }
        imageName = FilePath(root: nil, [name]).text
        self.options = options
        do {
            folder = try FileDescriptor.open(location, .readOnly, options: [.directory, .closeOnExec])
        } catch {
            throw ImageError.system(error, path: location.text, "open the folder")
        }
        _ = try checkIsFree(name)
    }

    deinit {
        // Not when the files are closed: what writes them back may still have.
        for (_, file) in files { file.discard() }
        try? folder.close()
    }

    /// A new file beside the image; `name` has no folder.
    public func file(named name: String) throws(ImageError) -> any NewFile {
        guard name == imageName || !name.contains("/"), let component = FilePath(text: name).lastComponent else {
            throw ImageError(.denied, path: name, "is no name of a file")
        }
        let own = name == imageName ? self.name : component
        let replaces = try !checkIsFree(own)
        let file = try NewLocalFile(
            for: location.appending(own), startsWriteBack: options.isFlushed, replaces: replaces)
        files.append((own, file))
        return file
    }

    /// Whether there is nothing at `name`, and not a file that is to be replaced. Throws why no file can be made there.
    private func checkIsFree(_ name: FilePath.Component) throws(ImageError) -> Bool {
        let place = location.appending(name)
        let text = place.text
        guard let status = try? FileStatus(at: place) else { return true }
        guard status.kind == .regular else {
            throw ImageError(.denied, path: text, "is \(status.kind.text), which a new file does not replace")
        }
        guard !options.sources.contains(status.identity) else {
            throw ImageError(
                .denied, path: text,
                "is a file that the new \(options.what) is made of, and would be lost; name another file")
        }
        guard options.replaces else {
            throw ImageError(.system(errno: EEXIST), path: text, "exists already", hint: "--force replaces it")
        }
        if let handle = try? FileDescriptor.open(place, .readOnly, options: [.closeOnExec, .nonBlocking]) {
            defer { try? handle.close() }
            guard handle.imageLock != .writing else {
                throw ImageError(
                    .system(errno: EBUSY), path: text, "another program, a virtual machine perhaps, has it in use")
            }
        }
        return false
    }

    /// Puts what was written in its place: the image's own file comes last.
    public func place() throws(ImageError) {
        files.sort { ($0.name == name ? 1 : 0) < ($1.name == name ? 1 : 0) }
        if options.replaces {
            for (name, file) in files { try file.keepAttributes(of: name, in: folder) }
        }
        if options.isFlushed {
            for (_, file) in files { try file.flush() }
        }
        // What can fail comes before the first of them is seen.
        for (_, file) in files { try file.giveHiddenName(in: folder) }
        var placed: [FilePath.Component] = []
        do throws(ImageError) {
            for (name, file) in files {
                try file.rename(to: name, in: folder, replaces: options.replaces)
                placed.append(name)
            }
            if options.isFlushed { try flushFolder() }
        } catch {
            // What was replaced is lost already, and what has replaced it is a part of nothing.
            for name in placed { location.appending(name).unlink() }
            for (_, file) in files { file.discard() }
            throw error
        }
        actualSize = files.reduce(0) { $0 + $1.file.allocatedSize }
        files = []
    }

    private func flushFolder() throws(ImageError) {
        // Some file systems have no such thing, and need none.
        guard fsync(folder.rawValue) != 0, errno != EINVAL, errno != EROFS else { return }
        throw ImageError.system(Errno(rawValue: errno), path: location.text, "flush the folder")
    }
}
