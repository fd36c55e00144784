import BlockImage
import Glibc
import GuestFiles
import GuestProtocol

extension KernelFileSystem {
    /// Makes a file of any kind but a link.
    public func make(
        _ kind: GuestFileKind, called name: [UInt8], permissions: UInt16, in directory: GuestFileID
    ) throws(ImageError) -> GuestFileID {
        try add(name, to: directory, try request(kind, at: try child(name, of: directory), permissions: permissions))
    }

    private func request(
        _ kind: GuestFileKind, at place: GuestPath, permissions: UInt16
    ) throws(ImageError) -> GuestRequest {
        let type: mode_t
        var device: (major: UInt32, minor: UInt32) = (0, 0)
        switch kind {
        case .regular: type = S_IFREG
        case .directory: type = S_IFDIR
        case .fifo: type = S_IFIFO
        case .socket: type = S_IFSOCK
        case .characterDevice(let major, let minor): (type, device) = (S_IFCHR, (major, minor))
        case .blockDevice(let major, let minor): (type, device) = (S_IFBLK, (major, minor))
        case .link:
            throw ImageError(.system(errno: EINVAL), path: path, "a link is made with its target")
        }
        let mode = UInt32(type) | UInt32(permissions & 0o7777)
        return .make(place, mode: mode, major: device.major, minor: device.minor)
    }

    /// Makes a file with all that it has.
    public func make(
        _ file: NewGuestFile, called name: [UInt8], in directory: GuestFileID
    ) throws(ImageError) -> GuestFileID {
        let place = try child(name, of: directory)
        var requests: [GuestRequest] = []
        if file.kind == .link {
            try checkTarget(file.target)
            requests.append(.makeLink(place, target: file.target))
        } else {
            requests.append(try request(file.kind, at: place, permissions: 0o600))
        }
        if !file.content.isEmpty { requests.append(.fill(place, bytes: file.content)) }
        // The owner first: it takes set-user-ID away, and the file capabilities in an attribute.
        if let owner = file.owner { requests.append(.setOwner(place, user: owner.user, group: owner.group)) }
        if let permissions = file.permissions { requests.append(.setMode(place, UInt32(permissions & 0o7777))) }
        for attribute in file.attributes {
            try check(attribute)
            requests.append(.setAttribute(place, name: attribute.name, value: attribute.value))
        }
        if file.accessed != nil || file.modified != nil {
            requests.append(.setTimes(place, accessed: guestTime(file.accessed), modified: guestTime(file.modified)))
        }
        return try add(name, to: directory, .batch(requests))
    }

    /// Makes a symbolic link.
    public func makeLink(
        to target: [UInt8], called name: [UInt8], in directory: GuestFileID
    ) throws(ImageError) -> GuestFileID {
        try checkTarget(target)
        return try add(name, to: directory, .makeLink(try child(name, of: directory), target: target))
    }

    /// Makes a hard link.
    public func addName(
        _ name: [UInt8], to file: GuestFileID, in directory: GuestFileID
    ) throws(ImageError) {
        _ = try add(
            name, to: directory, .makeName(try child(name, of: directory), of: try guestPath(of: file)))
    }

    /// Writes to a regular file.
    public func write(_ bytes: RawSpan, at offset: UInt64, to file: GuestFileID) throws(ImageError) {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(bytes.byteCount))
        guard !overflow, end <= UInt64(Int64.max) else {
            throw ImageError(.system(errno: EFBIG), path: path, "\(bytes.byteCount) bytes at \(offset)")
        }
        let handle = try writing(to: file)
        var position = 0
        while position < bytes.byteCount {
            let count = min(bytes.byteCount - position, GuestProtocol.payloadLimit)
            let piece = bytes.extracting(position..<(position + count))
            // Safe: the bytes are copied while they are borrowed.
            let array = unsafe piece.withUnsafeBytes { unsafe [UInt8]($0) }
            try change(.write(handle, offset: offset + UInt64(position), bytes: array), about: file)
            position += count
        }
    }

    /// The handle of `file`, which is opened for writing where it is not the one that was written to last.
    private func writing(to file: GuestFileID) throws(ImageError) -> GuestHandle {
        if let known = written.withLock({ $0 }), known.file == file { return known.handle }
        try checkWritable()
        let reply = try ask(.open(try guestPath(of: file), isWritable: true), about: file)
        guard case .number(let number) = reply else { throw machine.unexpected(reply) }
        closeWritten()
        written.withLock { $0 = (file, GuestHandle(number)) }
        return GuestHandle(number)
    }

    private func closeWritten() {
        let old = written.withLock { written in
            defer { written = nil }
            return written
        }
        if let old { machine.channel.release(old.handle) }
    }

    /// Has a regular file end at `size`.
    public func setSize(_ size: UInt64, of file: GuestFileID) throws(ImageError) {
        try change(.setSize(try guestPath(of: file), size), about: file)
    }

    /// Changes who may read, write and execute it.
    public func setPermissions(_ permissions: UInt16, of file: GuestFileID) throws(ImageError) {
        try change(.setMode(try guestPath(of: file), UInt32(permissions & 0o7777)), about: file)
    }

    /// Changes whose it is.
    public func setOwner(user: UInt32, group: UInt32, of file: GuestFileID) throws(ImageError) {
        try change(.setOwner(try guestPath(of: file), user: user, group: group), about: file)
    }

    /// Changes its times.
    public func setTimes(accessed: FileTime?, modified: FileTime?, of file: GuestFileID) throws(ImageError) {
        try change(
            .setTimes(try guestPath(of: file), accessed: guestTime(accessed), modified: guestTime(modified)),
            about: file)
    }

    private func guestTime(_ time: FileTime?) -> GuestTime? {
        time.map { GuestTime(seconds: $0.seconds, nanoseconds: UInt32(clamping: $0.nanoseconds)) }
    }

    private func checkTarget(_ target: [UInt8]) throws(ImageError) {
        guard !target.isEmpty, target.count <= GuestProtocol.targetLimit, !target.contains(0) else {
            throw ImageError(.system(errno: EINVAL), path: path, "no link can have a target of \(target.count) bytes")
        }
    }

    /// Sets an extended attribute.
    public func setAttribute(_ attribute: GuestAttribute, of file: GuestFileID) throws(ImageError) {
        try check(attribute)
        try change(
            .setAttribute(try guestPath(of: file), name: attribute.name, value: attribute.value), about: file)
    }

    /// Removes an extended attribute.
    public func removeAttribute(_ name: [UInt8], of file: GuestFileID) throws(ImageError) {
        try checkAttribute(name)
        try change(.removeAttribute(try guestPath(of: file), name: name), about: file)
    }

    private func check(_ attribute: GuestAttribute) throws(ImageError) {
        guard attribute.value.count <= GuestProtocol.attributeLimit else {
            throw ImageError(.system(errno: E2BIG), path: path, "an attribute of \(attribute.value.count) bytes")
        }
        try checkAttribute(attribute.name)
    }

    private func checkAttribute(_ name: [UInt8]) throws(ImageError) {
        guard !name.isEmpty, name.count <= GuestProtocol.nameLimit, !name.contains(0) else {
            throw ImageError(.system(errno: ERANGE), path: path, "no attribute can be called so")
        }
    }

    /// Removes a name.
    public func remove(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) {
        guard let file = try find(name, in: directory) else {
            throw ImageError(.missing, path: path, "\(quoting: nameText(name)) is not there")
        }
        if written.withLock({ $0?.file }) == file { closeWritten() }
        let isDirectory = try record(of: file).isOf(type: UInt32(S_IFDIR))
        try change(.remove(try child(name, of: directory), isDirectory: isDirectory), about: file)
        table.withLock { $0.remove(.init(parent: directory, name: name), of: file) }
    }

    /// Gives a file another name.
    public func rename(
        _ name: [UInt8], in directory: GuestFileID, to newName: [UInt8], in newDirectory: GuestFileID
    ) throws(ImageError) {
        guard let file = try find(name, in: directory) else {
            throw ImageError(.missing, path: path, "\(quoting: nameText(name)) is not there")
        }
        let replaced = try find(newName, in: newDirectory)
        try change(
            .rename(try child(name, of: directory), to: try child(newName, of: newDirectory)), about: file)
        guard replaced != file else { return }
        let place = FileTable.Place(parent: newDirectory, name: newName)
        table.withLock { table in
            if let replaced { table.remove(place, of: replaced) }
            table.move(file, from: .init(parent: directory, name: name), to: place)
        }
    }

    /// Returns when all is on the disk.
    public func synchronize() throws(ImageError) {
        try change(.synchronize(mount), about: root)
    }

    /// Has the agent change something.
    private func change(_ request: GuestRequest, about file: GuestFileID) throws(ImageError) {
        try checkWritable()
        table.withLock { $0.forgetRecords() }
        let reply = try ask(request, about: file)
        guard reply == .done else { throw machine.unexpected(reply) }
    }

    /// Has the agent make what is called `name` in `directory`.
    private func add(
        _ name: [UInt8], to directory: GuestFileID, _ request: GuestRequest
    ) throws(ImageError) -> GuestFileID {
        try checkWritable()
        table.withLock { $0.forgetRecords() }
        let reply = try ask(request, about: directory)
        guard case .record(let record) = reply else { throw machine.unexpected(reply) }
        return table.withLock { table in
            table.add(.init(parent: directory, name: name), inode: record.inode, record: record)
        }
    }

    private func checkWritable() throws(ImageError) {
        guard isWritable else {
            throw ImageError(.system(errno: EROFS), path: path, "its \(info.type) is mounted for reading only")
        }
    }
}
