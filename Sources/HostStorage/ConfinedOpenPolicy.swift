import BlockImage
import CLinux
import Glibc
import SystemPackage

/// Opens regular files, for reading, inside the images folder and the folders that the user allowed, and nothing else.
///
/// A name that, as it is written, leads out of these folders is refused without being opened. Whether something is there
/// is looked up link by link only, as it could lead into the very mount that this process serves, where the look-up would
/// wait for itself. The links of others are followed one by
/// one, never into that mount, and where they end is found with openat2(2), which holds it below its folder. What is
/// found is looked at before it is opened: a FIFO never blocks, and a device is never touched.
public final class ConfinedOpenPolicy: OpenPolicy {
    private struct Folder {
        var location: FilePath
        /// The path that was given, absolute: images may call the folder so, and it may have links in it.
        var given: FilePath
        var handle: FolderHandle
    }

    /// The folder of images, canonical.
    public let images: FilePath
    /// All the folders that files are opened in, canonical.
    public var locations: [FilePath] { folders.map(\.location) }
    private let folders: [Folder]

    /// Where files are served from and never opened.
    private let mountpoint: FilePath?
    /// Whether what is refused is looked at, so that what messages advise is true. Only for who opens images that a person
    /// names, and serves no mount: the name may lead anywhere.
    private let checksAdvice: Bool

    /// Confines images to the folder `images` and the folders `allowed`, which must exist, without what lies under
    /// `mountpoint`, a canonical path. `checksAdvice`: whether what is refused may be looked at to advise people.
    ///
    /// Throws `system` naming the folder that cannot be opened. A folder stays the one that it was now,
    /// whatever is renamed later, until its path leads to another folder (see `FolderHandle`).
    public init(
        images: FilePath, allowed: [FilePath] = [], excluding mountpoint: FilePath? = nil, checksAdvice: Bool = false
    ) throws(ImageError) {
        self.mountpoint = mountpoint
        self.checksAdvice = checksAdvice
        var folders: [Folder] = []
        for path in [images] + allowed {
            let name = path.text
            do {
                let location = try resolve(path)
                folders.append(
                    Folder(location: location, given: absolute(path), handle: try FolderHandle(location)))
            } catch {
                throw ImageError.system(error, path: name, "open the folder")
            }
        }
        self.folders = folders
        self.images = folders[0].location
    }

    /// Opens an image of the images folder.
    ///
    /// Throws `denied` for what is no regular file or a link that leads out of the confines, and `system` when it cannot
    /// be opened.
    public func openImage(at location: FilePath) throws(ImageError) -> LocalFile {
        try open(location, subject: "this image", about: location.text)
    }

    /// What `path`, absolute, leads to: its kind, and where it is, without links. Nil where there is nothing, and where
    /// it leads out of the confines or into the mount.
    public func place(of path: FilePath) -> (kind: FileStatus.Kind, location: FilePath)? {
        guard case .inside(let found)? = try? find(path) else { return nil }
        defer { try? found.close() }
        guard let status = try? FileStatus(found), let location = try? Self.location(of: found) else { return nil }
        return (status.kind, location)
    }

    /// What is in the folder that `path`, absolute, leads to; nil where that is no folder of the confines, or cannot be
    /// listed.
    public func list(_ path: FilePath) -> FolderListing? {
        guard case .inside(let found)? = try? find(path) else { return nil }
        defer { try? found.close() }
        // The folder that was found, and no other, whatever its name leads to by now.
        return try? FolderListing(Self.link(to: found))
    }

    /// Opens the file that the image in `file` names; a relative name is looked for in the reference's folder.
    public func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        let subject: ErrorText = "\(reference.role.rawValue) \"\(path: reference.text)\""
        return try open(try path(of: reference, subject, namedBy: file), subject: subject, about: file.path)
    }

    /// Whether there is something that `reference`, which may be one that `open` denies, leads to. False for what leads
    /// into the mount, where nothing is looked at.
    public func isThere(_ reference: FileReference, namedBy file: any HostFile) -> Bool {
        guard let path = try? path(of: reference, "", namedBy: file), let end = (try? follow(path)) ?? nil else {
            return false
        }
        return (try? FileStatus(at: end, followingLinks: false)) != nil
    }

    /// The absolute path that `reference`, the `subject` of messages, stands for; throws where it can be none.
    private func path(
        of reference: FileReference, _ subject: ErrorText, namedBy file: any HostFile
    ) throws(ImageError) -> FilePath {
        var name = reference.name[...]
        if reference.role == .backing { name = try Self.plainName(name, subject: subject, about: file.path) }
        guard !name.isEmpty, !name.contains(0) else {
            throw ImageError(.corrupt, path: file.path, "\(subject): an empty name, or one with a NUL byte")
        }
        // `pushing` an absolute name answers that name alone.
        return (folder(of: file, reference.folder) ?? images).pushing(FilePath(bytes: name))
    }

    /// Where the relative names of the image in `file` begin; nil for an image that is no file of its own.
    private func folder(of file: any HostFile, _ folder: FileReference.Folder) -> FilePath? {
        guard let file = file as? LocalFile else { return nil }
        switch folder {
        case .ofName: return (file.link?.path ?? file.location).removingLastComponent()
        case .ofFile: return file.location.removingLastComponent()
        }
    }

    /// The names in the folder of `file`, for images whose writers did not tell `a` from `A` in a name.
    public func names(besides file: any HostFile) -> [[UInt8]] {
        names(in: FileReference([], role: .extent), besides: file)
    }

    /// The same of the folder that `reference`, as the image in `file` would name it, leads to; an empty name is its
    /// own.
    public func names(in reference: FileReference, besides file: any HostFile) -> [[UInt8]] {
        path(ofFolder: reference, besides: file).flatMap { list($0)?.entries.map(\.name) } ?? []
    }

    /// The state of that folder; nil where it was changed in the last two seconds: the clock of a file system may stand still
    /// as long (FAT), so that a second change could have the same time.
    public func stamp(ofFolder reference: FileReference, besides file: any HostFile) -> FolderStamp? {
        guard let path = path(ofFolder: reference, besides: file), case .inside(let found)? = try? find(path) else {
            return nil
        }
        defer { try? found.close() }
        guard let status = try? FileStatus(found), status.kind == .folder else { return nil }
        let (age, overflow) = FileTime.now.seconds.subtractingReportingOverflow(status.modified.seconds)
        return !overflow && age > 2 ? FolderStamp(status.identity, modified: status.modified) : nil
    }

    /// The path of the folder that `reference`, as the image in `file` would name it, leads to; an empty name is its own.
    private func path(ofFolder reference: FileReference, besides file: any HostFile) -> FilePath? {
        guard let folder = folder(of: file, reference.folder), !reference.name.contains(0) else { return nil }
        var name = reference.name[...]
        if reference.role == .backing { name = (try? Self.plainName(name, subject: "", about: "")) ?? [] }
        return name.isEmpty ? folder : folder.pushing(FilePath(bytes: name))
    }

    /// The file name in a QCOW2 backing file name, which QEMU reads as `protocol:rest` where a colon comes before the
    /// first slash (block.c, path_has_protocol). Of the protocols, only `file:` names a file.
    private static func plainName(
        _ name: ArraySlice<UInt8>, subject: ErrorText, about path: String
    ) throws(ImageError) -> ArraySlice<UInt8> {
        let colon = UInt8(ascii: ":")
        guard let end = name.firstIndex(where: { $0 == colon || $0 == UInt8(ascii: "/") }), name[end] == colon else {
            return name
        }
        let scheme = String(decoding: name[..<end], as: UTF8.self)
        guard scheme == "file" else {
            throw ImageError(
                .denied, path: path,
                "\(subject): \"\(scheme):\" is no plain file name, and nothing else is opened for an image; "
                    + "a file whose name has a colon is written with ./ in front")
        }
        return name[(end + 1)...]
    }

    /// A file that is replaced by another between being found and being opened has no path by then: the one that has
    /// the name now is looked for.
    private func open(_ path: FilePath, subject: ErrorText, about image: String) throws(ImageError) -> LocalFile {
        let missing = ImageError.Code.system(errno: Errno.noSuchFileOrDirectory.rawValue)
        for _ in 0..<8 {
            do throws(ImageError) {
                return try openOnce(path, subject: subject, about: image)
            } catch {
                guard error.code == missing else { throw error }
            }
        }
        return try openOnce(path, subject: subject, about: image)
    }

    private func openOnce(_ path: FilePath, subject: ErrorText, about image: String) throws(ImageError) -> LocalFile {
        do {
            let found: FileDescriptor
            switch try find(path) {
            case .inside(let descriptor): found = descriptor
            case .outside(let end):
                throw ImageError(
                    .denied, path: image,
                    "\(subject): leads to \(path: end.text), out of the images folder", hint: advice(for: end))
            case .mount:
                throw ImageError(.denied, path: image, "\(subject): leads into the mount that is served from here")
            }
            defer { try? found.close() }
            let status = try FileStatus(found)
            guard status.kind == .regular else {
                throw ImageError(
                    .denied, path: image,
                    "\(subject): \(path: path.text) is \(status.kind.text), and only regular files are opened")
            }
            // The file that was looked at, and no other, whatever its name leads to by now.
            let handle = try FileDescriptor.openUnnoticed(Self.link(to: found))
            let location = try Self.location(of: found)
            return LocalFile(
                handle, location: location, link: link(path, to: location), status: try FileStatus(handle))
        } catch let error as ImageError {
            throw error
        } catch {
            let isOwn = path.text == image
            throw ImageError.system(error, path: image, isOwn ? "open" : "\(subject): \(path: path.text)")
        }
    }

    /// The link, if it is one, that `path` is for the file at `location`.
    private func link(_ path: FilePath, to location: FilePath) -> LocalFile.Link? {
        guard path != location, let name = path.lastComponent, name.kind == .regular,
            let folder = try? follow(path.removingLastComponent())
        else { return nil }
        let link = folder.appending(name)
        return link == location ? nil : LocalFile.Link(at: link)
    }

    /// A name for what an O_PATH descriptor stands for.
    private static func link(to found: FileDescriptor) -> FilePath {
        FilePath("/proc/self/fd/\(found.rawValue)")
    }

    private static func location(of found: FileDescriptor) throws(Errno) -> FilePath {
        try resolve(link(to: found))
    }

    /// Where a name leads.
    private enum Place {
        /// To this, which lies in one of the folders: an O_PATH descriptor.
        case inside(FileDescriptor)
        /// To this path, which does not.
        case outside(FilePath)
        /// To what this process serves itself.
        case mount
    }

    /// Where the absolute `path` leads. Its links may lead anywhere on the way, if it ends in a folder, but never
    /// through the mount.
    private func find(_ path: FilePath) throws(Errno) -> Place {
        let plain = path.lexicallyNormalized()
        if let mountpoint, plain.starts(with: mountpoint) { return .mount }
        guard folders.contains(where: { plain.starts(with: $0.location) || plain.starts(with: $0.given) }) else {
            return .outside(plain)
        }
        guard var end = try follow(path) else { return .mount }
        guard let folder = folders.first(where: { end.starts(with: $0.location) }) else { return .outside(end) }
        _ = end.removePrefix(folder.location)
        return .inside(try folder.handle.find(end))
    }

    /// What can be done about `path`, absolute, which lies outside of the confines.
    private func advice(for path: FilePath) -> String {
        let folder = path.removingLastComponent()
        guard checksAdvice else { return "files there are opened only with --allow-path \(folder.text)" }
        do throws(Errno) {
            guard let end = try follow(path) else { throw .noSuchFileOrDirectory }
            let kind = try FileStatus(at: end).kind
            guard kind == .regular else { return "that is \(kind.text), and only regular files are opened" }
            // What the folder leads to is allowed with it, and a link that leads out of that is not.
            let needed = try follow(folder)
            let real = end.removingLastComponent()
            let more = needed.map { end.starts(with: $0) } ?? true ? "" : " --allow-path \(real.text)"
            return "--allow-path \(folder.text)\(more) would allow it"
        } catch {
            return "it cannot be found there: \(error)"
        }
    }

    /// Where the absolute `path` leads with every link followed, as realpath(3) does it; nil where the way comes to the
    /// mountpoint. Nothing behind that is looked at: this process would have to answer, and holds the image's lock.
    private func follow(_ path: FilePath) throws(Errno) -> FilePath? {
        // A folder is the one that was given, whatever leads to its path by now.
        var place = folders.first { path.starts(with: $0.location) }?.location ?? "/"
        var rest = Array(path.components.dropFirst(place.components.count).reversed())
        var links = 0
        while let component = rest.popLast() {
            switch component.kind {
            case .currentDirectory: continue
            case .parentDirectory: place.removeLastComponent()
            case .regular:
                let next = place.appending(component)
                guard next != mountpoint else { return nil }
                guard let target = try readLink(next) else {
                    place = next
                    continue
                }
                links += 1
                // The kernel's own limit (path_resolution(7)).
                guard links <= 40 else { throw .tooManySymbolicLinkLevels }
                if target.isAbsolute { place = "/" }
                rest += target.components.reversed()
            }
        }
        return place
    }
}

/// What the link at `path` says; nil where there is something that is no link.
private func readLink(_ path: FilePath) throws(Errno) -> FilePath? {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    // Safe: readlink reads a NUL-terminated string, and writes at most as many bytes as the array has.
    let count = unsafe path.withPlatformString { name in
        unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe readlink(name, buffer.baseAddress!.assumingMemoryBound(to: CChar.self), buffer.count)
        }
    }
    guard count < 0 else { return FilePath(bytes: bytes[..<count]) }
    guard errno == EINVAL else { throw Errno(rawValue: errno) }
    return nil
}

/// The path with every link followed and every `.` and `..` resolved, as realpath(3) does it.
///
/// Throws `system` when it leads nowhere, and `denied` when it leads to what only this process has, as a pipe.
public func canonical(_ path: FilePath) throws(ImageError) -> FilePath {
    do {
        return try resolve(path)
    } catch {
        // The kernel follows such a link, though its text is no path.
        if error == .noSuchFileOrDirectory, let kind = try? FileStatus(at: path).kind, case .other = kind {
            throw kind.refusal(at: path)
        }
        throw ImageError(
            .system(errno: error.rawValue), path: path.text, "\(error)",
            hint: error == .noSuchFileOrDirectory ? reason(thatThereIsNo: path) : nil)
    }
}

/// Why there is no file at `path`, where more can be said than that.
private func reason(thatThereIsNo path: FilePath) -> String? {
    if path == "-" { return "standard input is no image: \(FileStatus.Kind.adviceForStreams)" }
    if let scheme = path.components.first, path.isRelative, scheme.string.count > 2, scheme.string.hasSuffix(":") {
        return "a URL is not opened; nbdfuse(1) makes a file of a disk that is served, and curl(1) of a download"
    }
    var end = path
    while let folder = end.parent, (try? FileStatus(at: folder)) == nil { end = folder }
    if let target = try? readLink(end) {
        return "\"\(end.text)\" is a link to \"\(target.text)\", which is not there"
    }
    return end == path ? nil : "there is no folder \"\(end.text)\""
}

extension FilePath {
    /// The folder that it is in, in the form that it has; nil for a root and for a name alone, which is in the current one.
    fileprivate var parent: FilePath? {
        let parent = removingLastComponent()
        return parent.isEmpty || parent == self ? nil : parent
    }
}

/// `path` from the root on, without `.` and `..`, its links as they are.
public func absolute(_ path: FilePath) -> FilePath {
    guard path.isRelative else { return path.lexicallyNormalized() }
    // Safe: getcwd answers a NUL-terminated string that is ours to free, or NULL.
    guard let folder = unsafe getcwd(nil, 0) else { return path }
    defer { unsafe free(folder) }
    return unsafe FilePath(platformString: folder).pushing(path).lexicallyNormalized()
}

/// The same, for callers that have more to say about it.
private func resolve(_ path: FilePath) throws(Errno) -> FilePath {
    // Safe: realpath answers a NUL-terminated string that is ours to free, or NULL.
    let resolved = unsafe path.withPlatformString { unsafe realpath($0, nil) }
    guard let resolved = unsafe resolved else { throw Errno(rawValue: errno) }
    defer { unsafe free(resolved) }
    return unsafe FilePath(platformString: resolved)
}

extension FilePath {
    /// The path that has exactly these bytes, which hold no NUL.
    public init(bytes: some Sequence<UInt8>) {
        let terminated = bytes.map { CChar(bitPattern: $0) } + [0]
        // Safe: the array ends in NUL.
        self = unsafe terminated.withUnsafeBufferPointer { unsafe FilePath(platformString: $0.baseAddress!) }
    }

    /// The path of `text`, as `text` has it.
    public init(text: String) {
        self.init(bytes: text.nameBytes)
    }

    /// Its text, from which `init(text:)` makes the same path, whether it is UTF-8 or not: see `nameText`.
    public var text: String { nameText(bytes) }

    /// The path's bytes, without the NUL.
    public var bytes: [UInt8] {
        // Safe: a platform string ends in NUL, and `length` does not count it.
        unsafe withPlatformString { text in
            (0..<length).map { unsafe UInt8(bitPattern: text[$0]) }
        }
    }
}
