import ByteFormat

extension GuestRequest {
    /// The request in the frame `content`, without its length. Throws where it is none.
    public init(decoding content: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(content)
        let number = try reader.read(.little, as: UInt8.self)
        guard let kind = Number(rawValue: number) else {
            throw ParseFault(at: 0, "a request of the unknown kind \(number)")
        }
        if let request = try Self.reading(kind, &reader) {
            self = request
        } else if let request = try Self.writing(kind, &reader) {
            self = request
        } else {
            self = .powerOff
        }
        try reader.checkEnd()
    }

    private static func reading(_ kind: Number, _ reader: inout ByteReader) throws(ParseFault) -> Self? {
        switch kind {
        case .mount:
            let disk = try reader.read(.little, as: UInt32.self)
            let type = try reader.readCounted(32)
            let options = try reader.readCounted(1024)
            return .mount(
                disk: disk, type: String(decoding: type, as: UTF8.self),
                options: String(decoding: options, as: UTF8.self), isWritable: try reader.readFlag())
        case .unmount: return .unmount(try reader.readMount())
        case .usage: return .usage(try reader.readMount())
        case .status: return .status(try reader.readPath())
        case .list: return .list(try reader.readPath())
        case .entries: return .entries(try reader.readHandle())
        case .target: return .target(try reader.readPath())
        case .attributeNames: return .attributeNames(try reader.readPath())
        case .attribute: return .attribute(try reader.readPath(), name: try reader.readAttributeName())
        case .open: return .open(try reader.readPath(), isWritable: try reader.readFlag())
        case .read:
            let handle = try reader.readHandle()
            let place = reader.position
            let count = try reader.read(.little, as: UInt32.self)
            guard count <= UInt32(GuestProtocol.payloadLimit) else {
                throw ParseFault(at: place, "\(count) bytes, and the limit is \(GuestProtocol.payloadLimit)")
            }
            return .read(handle, count: count, offset: try reader.read(.little))
        case .runs: return .runs(try reader.readHandle(), offset: try reader.read(.little))
        case .close:
            let count = try reader.read(.little, as: UInt32.self)
            var handles: [GuestHandle] = []
            for _ in 0..<count { handles.append(try reader.readHandle()) }
            return .close(handles)
        default: return nil
        }
    }

    private static func batch(_ reader: inout ByteReader) throws(ParseFault) -> [GuestRequest] {
        let place = reader.position
        let count = try reader.read(.little, as: UInt32.self)
        guard count > 0, count <= UInt32(GuestProtocol.batchLimit) else {
            throw ParseFault(at: place, "\(count) requests, and the limit is \(GuestProtocol.batchLimit)")
        }
        var requests: [GuestRequest] = []
        for _ in 0..<count {
            let place = reader.position
            let content = try reader.readCounted(GuestProtocol.frameLimit)
            guard let kind = content.first, kind != Number.batch.rawValue, kind != Number.powerOff.rawValue else {
                throw ParseFault(at: place, "a request that no batch may have")
            }
            requests.append(try GuestRequest(decoding: content))
        }
        return requests
    }

    private static func writing(_ kind: Number, _ reader: inout ByteReader) throws(ParseFault) -> Self? {
        switch kind {
        case .make:
            return .make(
                try reader.readPath(), mode: try reader.read(.little), major: try reader.read(.little),
                minor: try reader.read(.little))
        case .makeLink:
            return .makeLink(try reader.readPath(), target: try reader.readCounted(GuestProtocol.targetLimit))
        case .makeName: return .makeName(try reader.readPath(), of: try reader.readPath())
        case .write:
            return .write(
                try reader.readHandle(), offset: try reader.read(.little),
                bytes: try reader.readCounted(GuestProtocol.payloadLimit))
        case .setSize: return .setSize(try reader.readPath(), try reader.read(.little))
        case .setMode: return .setMode(try reader.readPath(), try reader.read(.little))
        case .setOwner:
            return .setOwner(try reader.readPath(), user: try reader.read(.little), group: try reader.read(.little))
        case .setTimes:
            let path = try reader.readPath()
            let accessed = try reader.readFlag() ? try reader.readTime() : nil
            return .setTimes(path, accessed: accessed, modified: try reader.readFlag() ? try reader.readTime() : nil)
        case .setAttribute:
            return .setAttribute(
                try reader.readPath(), name: try reader.readAttributeName(),
                value: try reader.readCounted(GuestProtocol.attributeLimit))
        case .removeAttribute: return .removeAttribute(try reader.readPath(), name: try reader.readAttributeName())
        case .remove: return .remove(try reader.readPath(), isDirectory: try reader.readFlag())
        case .rename: return .rename(try reader.readPath(), to: try reader.readPath())
        case .synchronize: return .synchronize(try reader.readMount())
        case .fill: return .fill(try reader.readPath(), bytes: try reader.readCounted(GuestProtocol.payloadLimit))
        case .batch: return .batch(try batch(&reader))
        default: return nil
        }
    }
}

extension ByteReader {
    fileprivate mutating func readPath() throws(ParseFault) -> GuestPath {
        let place = position
        let path = GuestPath(try readMount(), try readCounted(GuestProtocol.pathLimit))
        guard path.isValid else { throw ParseFault(at: place, "a path has a name that is none") }
        return path
    }

    fileprivate mutating func readMount() throws(ParseFault) -> GuestMountID {
        GuestMountID(try read(.little))
    }

    /// Reads a handle.
    mutating func readHandle() throws(ParseFault) -> GuestHandle { GuestHandle(try read(.little)) }

    /// Reads the name of an extended attribute.
    mutating func readAttributeName() throws(ParseFault) -> [UInt8] {
        let place = position
        let name = try readCounted(GuestProtocol.nameLimit)
        guard !name.isEmpty, !name.contains(0) else { throw ParseFault(at: place, "an attribute has no name") }
        return name
    }

    /// Reads a time.
    mutating func readTime() throws(ParseFault) -> GuestTime {
        let seconds = try read(.little, as: Int64.self)
        let place = position
        let nanoseconds = try read(.little, as: UInt32.self)
        guard nanoseconds < 1_000_000_000 else {
            throw ParseFault(at: place, "\(nanoseconds) nanoseconds, which must be less than 1000000000")
        }
        return GuestTime(seconds: seconds, nanoseconds: nanoseconds)
    }
}
