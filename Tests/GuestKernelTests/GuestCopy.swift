import BlockImage
import GuestFiles

/// Copies all files of one file system into another.
struct GuestCopy {
    let source: any GuestFileSystem
    let target: any WritableGuestFileSystem
    /// What files with several names were copied to.
    private var copies: [GuestFileID: GuestFileID] = [:]

    init(from source: any GuestFileSystem, to target: any WritableGuestFileSystem) {
        (self.source, self.target) = (source, target)
    }

    /// Copies what is in `directory`, and its owner, permissions, attributes and times.
    mutating func copyDirectory(_ directory: GuestFileID, to other: GuestFileID) throws(ImageError) {
        var entries: [GuestEntry] = []
        try source.list(directory) { entry in
            entries.append(entry)
            return true
        }
        for entry in entries where entry.name != Array("lost+found".utf8) {
            try copy(entry, to: other)
        }
        try copyStatus(of: directory, to: other)
    }

    private mutating func copy(_ entry: GuestEntry, to directory: GuestFileID) throws(ImageError) {
        let status = try source.status(of: entry.file)
        if let copy = copies[entry.file] {
            return try target.addName(entry.name, to: copy, in: directory)
        }
        let file: GuestFileID
        if status.kind == .link {
            file = try target.makeLink(
                to: try source.target(ofLink: entry.file), called: entry.name, in: directory)
        } else {
            file = try target.make(status.kind, called: entry.name, permissions: 0o600, in: directory)
        }
        if status.kind == .regular { try copyContent(try source.open(entry.file), to: file) }
        if status.kind == .directory { return try copyDirectory(entry.file, to: file) }
        if status.linkCount > 1 { copies[entry.file] = file }
        try copyStatus(of: entry.file, to: file)
    }

    private func copyContent(_ content: any GuestFileContent, to file: GuestFileID) throws(ImageError) {
        var position: UInt64 = 0
        let buffer = AlignedBuffer(capacity: 3 << 20)
        while position < content.size {
            let run = try content.run(at: position, limit: UInt64(buffer.capacity))
            if run.isData {
                try buffer.fill(Int(run.count)) { output throws(ImageError) in
                    try content.read(Int(run.count), at: position, into: &output)
                }
                try target.write(buffer.bytes, at: position, to: file)
            }
            position += run.count
        }
        try target.setSize(content.size, of: file)
    }

    private func copyStatus(of file: GuestFileID, to copy: GuestFileID) throws(ImageError) {
        let status = try source.status(of: file)
        try target.setOwner(user: status.userID, group: status.groupID, of: copy)
        if status.kind != .link { try target.setPermissions(status.permissions, of: copy) }
        for attribute in try source.extendedAttributes(of: file) {
            try target.setAttribute(attribute, of: copy)
        }
        try target.setTimes(accessed: status.accessed, modified: status.modified, of: copy)
    }
}
