import BlockImage
import Glibc
import HostStorage
import JSON
import SystemPackage

/// Where what is attached is kept in mind: `/run/rblock`, which has a folder for each attachment, by its name, with its
/// `state.json`, and where it has a server, the mount of that.
///
/// One process at a time changes it. Each that comes first compares what it finds with the kernel, and removes what a process
/// or a server that was killed has left.
package struct AttachmentFolder: Sendable {
    /// The variable that names another folder.
    package static let variable = "RBLOCK_RUN"
    private static let nameLimit = 100

    let path: FilePath
    /// Gets a line about each attachment that was removed because its server or its device was gone.
    let onNote: @Sendable (String) -> Void

    /// The folder of this system, or of the variable `RBLOCK_RUN`; it is made when it is first needed.
    package init(onNote: @escaping @Sendable (String) -> Void) {
        // Safe: getenv answers NULL or a C string, which is copied at once.
        let given = unsafe getenv(Self.variable).map { unsafe FilePath(platformString: $0) }
        path = Self.resolved(given.flatMap { $0.isEmpty ? nil : absolute($0) } ?? "/run/rblock")
        self.onNote = onNote
    }

    /// `path` as the kernel has it, which knows what is mounted and attached by paths without links. The last part of it is no
    /// link: `make` refuses such a one.
    private static func resolved(_ path: FilePath) -> FilePath {
        guard let name = path.lastComponent, let parent = try? canonical(path.removingLastComponent()) else {
            return path
        }
        return parent.appending(name)
    }

    /// Why `name` cannot be that of an attachment; nil: it can.
    package static func fault(inName name: String) -> String? {
        if name.isEmpty { return "is empty" }
        if name.utf8.count > nameLimit { return "has more than \(nameLimit) bytes" }
        if name.contains("/") || name.hasPrefix(".") || name.hasPrefix("-") {
            return "has a slash in it, or begins with a dot or a dash"
        }
        return printable(name) == name && !name.hasRawBytes ? nil : "has characters that cannot be shown"
    }

    /// A name for `image`, as it was named: that of its file, and of the disk in it.
    package static func name(for image: String, place: String) -> String {
        let file = image.split(separator: "/").last.map(String.init) ?? "disk"
        var name = (file + place).replacing(text: "/", with: "-")
        name = String(
            String.UnicodeScalarView(
                printable(name.withoutRawBytes).unicodeScalars.map {
                    $0.value == 0xfffd ? "_" : $0
                }))
        while name.utf8.count > nameLimit - 4 { name.removeLast() }
        return fault(inName: name) == nil ? name : "disk"
    }

    /// What is attached, as far as that can be known at once, and without changing anything: for completions.
    package var known: [AttachmentRecord] {
        ((try? FolderListing(path))?.entries ?? []).compactMap { try? record(nameText($0.name)) }
    }

    /// What a process that has the lock finds.
    struct Content {
        /// What is attached, by name.
        var records: [AttachmentRecord] = []
        /// What was attached, and is not any more: its server or its device was gone.
        var removed: [AttachmentRecord] = []
        /// Of what something is left that is to be removed.
        var leftovers: [AttachmentRecord] = []
        /// What is attached perhaps, by name, and why that cannot be known.
        var faults: [(name: String, error: ImageError)] = []
    }

    /// Does `work` while no other process changes the folder, after what was left by processes that were killed is removed.
    func locked<Result>(
        _ work: (_ content: Content) throws(ImageError) -> Result
    ) throws(ImageError) -> Result {
        var removed: [AttachmentRecord] = []
        while true {
            var leftovers: [AttachmentRecord] = []
            let result = try withLock { () throws(ImageError) -> Result? in
                var content = try content()
                leftovers = content.leftovers
                guard leftovers.isEmpty else {
                    for leftover in leftovers { try save(leftover) }
                    return nil
                }
                content.removed = removed
                return try work(content)
            }
            if let result { return result }
            // Servers may take long to end. Until then others see that this process works at these.
            for leftover in leftovers {
                do throws(ImageError) {
                    try takeDown(leftover)
                    if leftover.isComplete { removed.append(leftover) }
                } catch {
                    onNote("\(leftover.name): \(error.description); the next command tries it again")
                }
            }
        }
    }

    /// Does `work` with the lock.
    func withLock<Result>(_ work: () throws(ImageError) -> Result) throws(ImageError) -> Result {
        try make()
        let lock: FileDescriptor
        do {
            lock = try FileDescriptor.open(
                path.appending(".lock"), .readWrite, options: [.create, .noFollow, .closeOnExec],
                permissions: .ownerReadWrite)
        } catch {
            throw systemError(error, path: path.text)
        }
        defer { try? lock.close() }
        while flock(lock.rawValue, LOCK_EX) != 0 {
            guard errno == EINTR else { throw systemError("lock it", path: path.text) }
        }
        return try work()
    }

    /// Makes it, or throws where another user could have made what is there.
    private func make() throws(ImageError) {
        // Safe: a string of ours; lstat fills a structure of ours.
        _ = unsafe path.withPlatformString { unsafe mkdir($0, 0o700) }
        var status = stat()
        guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0 else {
            throw systemError("make the folder", path: path.text)
        }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw ImageError(
                .denied, path: path.text, "must be a folder of this user that no other may write to")
        }
    }

    /// The folder of the attachment `name`.
    func folder(_ name: String) -> FilePath { path.appending(name) }
    /// Where its server mounts.
    func mountpoint(_ name: String) -> FilePath { folder(name).appending("mnt") }
    /// What its loop devices are known by.
    func mark(of record: AttachmentRecord) -> LoopDevice.Mark {
        LoopDevice.Mark(tag: record.tag, mountpoint: mountpoint(record.name))
    }
    /// The file with the number of its server's process.
    func pidFile(_ name: String) -> FilePath { folder(name).appending("server.pid") }

    /// Writes what is known of one, in one step.
    func save(_ record: AttachmentRecord) throws(ImageError) {
        let folder = folder(record.name)
        // Safe: strings of ours.
        if unsafe folder.withPlatformString({ unsafe mkdir($0, 0o700) }) != 0, errno != EEXIST {
            throw systemError("make the folder", path: folder.text)
        }
        let (new, file) = (folder.appending("state.new"), folder.appending("state.json"))
        do {
            let text = try JSON(encoding: record).text
            let handle = try FileDescriptor.open(
                new, .writeOnly, options: [.create, .truncate, .noFollow, .closeOnExec], permissions: .ownerReadWrite)
            try handle.closeAfter { _ = try handle.writeAll(text.utf8) }
        } catch {
            throw systemError(error, path: new.text)
        }
        let result = unsafe new.withPlatformString { from in
            unsafe file.withPlatformString { unsafe rename(from, $0) }
        }
        guard result == 0 else { throw systemError("write it", path: file.text) }
    }

    /// Changes what is known of `record`, whose owner this process is.
    func update(_ record: inout AttachmentRecord, isOver: Bool = false) throws(ImageError) {
        if isOver { record.owner = nil }
        let current = record
        try locked { _ throws(ImageError) in try save(current) }
    }

    /// Forgets an attachment, of which nothing is left.
    func remove(_ name: String) {
        let folder = folder(name)
        for file in ["state.new", "server.pid"] { unlink(folder.appending(file)) }
        // Safe: strings of ours.
        unsafe _ = mountpoint(name).withPlatformString { unsafe rmdir($0) }
        unlink(folder.appending("state.json"))
        unsafe _ = folder.withPlatformString { unsafe rmdir($0) }
    }

    private func unlink(_ file: FilePath) {
        // Safe: a string of ours.
        unsafe _ = file.withPlatformString { unsafe Glibc.unlink($0) }
    }

    /// What was written of the attachment `name`; nil where nothing was. Throws where it cannot be read, or understood.
    private func record(_ name: String) throws(ImageError) -> AttachmentRecord? {
        let file = folder(name).appending("state.json")
        guard let text = try smallFile(file) else { return nil }
        if let record = try? JSON(parsing: text).decoded(as: AttachmentRecord.self), record.name == name {
            return record
        }
        throw ImageError(
            .unsupported, path: file.text, "is not understood: another version of rblock wrote it, or it is damaged",
            hint: "use that version; or, where 'losetup -l' and 'findmnt' show that nothing of it is left, remove "
                + shellWord(folder(name).text))
    }

    /// What is attached, and what was left by processes that were killed. To be called with the lock.
    private func content() throws(ImageError) -> Content {
        var content = Content()
        for entry in try FolderListing(path).entries where entry.kind == .folder {
            let name = nameText(entry.name)
            do throws(ImageError) {
                switch try record(name).map(checked) {
                case .attached(let record)?: content.records.append(record)
                case .leftover(let record)?: content.leftovers.append(record)
                // Before its state was written nothing but the folder was made.
                case nil: remove(name)
                }
            } catch {
                content.faults.append((name, error))
            }
        }
        content.records.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        return content
    }
}

/// The system's refusal `error`.
func systemError(_ error: any Error, path: String) -> ImageError {
    let number = (error as? Errno) ?? .ioError
    return ImageError(.system(errno: number.rawValue), path: path, "\(number)")
}
