import ByteFormat

/// What is known of a file, as statx(2) has it, and whether it has extended attributes.
public struct GuestRecord: Hashable, Sendable {
    /// Its type and permissions.
    public var mode: UInt32
    public var user: UInt32
    public var group: UInt32
    public var links: UInt32
    public var size: UInt64
    /// Units of 512 bytes.
    public var blocks: UInt64
    public var inode: UInt64
    /// The number of the file system, or of the part of it, whose inode that is.
    public var device: UInt64
    /// The numbers of a device that the file is.
    public var major: UInt32
    public var minor: UInt32
    public var modified: GuestTime
    public var accessed: GuestTime
    public var changed: GuestTime
    public var born: GuestTime?
    /// False only where it surely has none.
    public var hasAttributes: Bool
    /// Of a link.
    public var target: [UInt8]

    /// A file with these.
    public init(
        mode: UInt32, user: UInt32, group: UInt32, links: UInt32, size: UInt64, blocks: UInt64, inode: UInt64,
        device: UInt64, major: UInt32, minor: UInt32, modified: GuestTime, accessed: GuestTime, changed: GuestTime,
        born: GuestTime?, hasAttributes: Bool, target: [UInt8]
    ) {
        (self.mode, self.user, self.group, self.links, self.size) = (mode, user, group, links, size)
        (self.blocks, self.inode, self.device, self.major, self.minor) = (blocks, inode, device, major, minor)
        (self.modified, self.accessed, self.changed, self.born) = (modified, accessed, changed, born)
        (self.hasAttributes, self.target) = (hasAttributes, target)
    }

    /// Whether it is of the type that S_IFDIR and its like say.
    public func isOf(type: UInt32) -> Bool { mode & 0o170000 == type }

    func write(to writer: inout ByteWriter) {
        for value in [mode, user, group, links, major, minor] { writer.write(value, .little) }
        for value in [size, blocks, inode, device] { writer.write(value, .little) }
        for time in [modified, accessed, changed] { writer.write(time) }
        writer.write(born != nil)
        if let born { writer.write(born) }
        writer.write(hasAttributes)
        writer.write(counted: target)
    }

    init(parsing reader: inout ByteReader) throws(ParseFault) {
        (mode, user, group) = (try reader.read(.little), try reader.read(.little), try reader.read(.little))
        (links, major, minor) = (try reader.read(.little), try reader.read(.little), try reader.read(.little))
        (size, blocks) = (try reader.read(.little), try reader.read(.little))
        (inode, device) = (try reader.read(.little), try reader.read(.little))
        (modified, accessed, changed) = (try reader.readTime(), try reader.readTime(), try reader.readTime())
        born = try reader.readFlag() ? try reader.readTime() : nil
        hasAttributes = try reader.readFlag()
        target = try reader.readCounted(GuestProtocol.targetLimit)
    }
}

/// One name in a directory.
public struct GuestListedEntry: Hashable, Sendable {
    public var name: [UInt8]
    /// What the directory says of the file.
    public var inode: UInt64
    /// The file; nil: its status cannot be read.
    public var record: GuestRecord?

    /// The file `record`, called `name`.
    public init(name: [UInt8], inode: UInt64, record: GuestRecord?) {
        (self.name, self.inode, self.record) = (name, inode, record)
    }

    func write(to writer: inout ByteWriter) {
        writer.write(counted: name)
        writer.write(inode, .little)
        writer.write(record != nil)
        record?.write(to: &writer)
    }

    init(parsing reader: inout ByteReader) throws(ParseFault) {
        let place = reader.position
        name = try reader.readCounted(GuestProtocol.nameLimit)
        guard GuestPath.isName(name) else { throw ParseFault(at: place, "a file has a name that is none") }
        inode = try reader.read(.little)
        record = try reader.readFlag() ? try GuestRecord(parsing: &reader) : nil
    }
}
