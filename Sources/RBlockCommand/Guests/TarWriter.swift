import BlockImage
import Catalog
import GuestFiles

/// Writes files of a guest as an archive of tar: ustar with extended headers of pax for what that has no place for, which are long
/// names, fractions of seconds, large numbers, extended attributes, and holes (as GNU tar 1.28 and libarchive read them). Source:
/// POSIX pax "pax Interchange Format", GNU tar "Storing Sparse Files, PAX Format 1.0".
struct TarWriter {
    private static let blockSize = 512
    /// The most bytes of content that are read at once.
    private static let pieceSize = 1 << 20
    /// The most pieces that a file with holes may have.
    private static let pieceLimit = 1 << 20

    private let tree: GuestTree
    private let write: (RawSpan) throws -> Void
    private let buffer = AlignedBuffer(capacity: Self.pieceSize)
    /// Whether an error came in the middle of a file, so that the archive is of no use from there on.
    private(set) var isBroken = false
    /// The names of files with several, once they were written.
    private var names: [[UInt64]: [UInt8]] = [:]

    /// Of files of `tree`; `write` gets the bytes.
    init(of tree: GuestTree, _ write: @escaping (RawSpan) throws -> Void) {
        (self.tree, self.write) = (tree, write)
    }

    /// Adds `node` as `name`. Throws before anything of it is written where it cannot be read, as far as its first bytes go.
    mutating func add(_ node: GuestTree.Node, _ status: GuestStatus, as name: [UInt8]) throws {
        var header = TarHeader(name: status.kind == .directory ? name + [UInt8(ascii: "/")] : name, status)
        for attribute in try tree.extendedAttributes(of: node) {
            // As GNU tar does it: a key ends at the first "=".
            let name = attribute.name.flatMap { byte -> [UInt8] in
                switch byte {
                case UInt8(ascii: "%"): Array("%25".utf8)
                case UInt8(ascii: "="): Array("%3D".utf8)
                default: [byte]
                }
            }
            header.add("SCHILY.xattr.\(nameText(name))", attribute.value)
        }
        if status.kind == .link { header.target = try tree.target(of: node) }
        if status.linkCount > 1, status.kind != .directory {
            let identity = tree.identity(of: node)
            if let first = names[identity] {
                header.becomeHardLink(to: first)
                return try emit(header.bytes)
            }
            if status.kind != .regular { names[identity] = name }
        }
        guard status.kind == .regular else { return try emit(header.bytes) }
        let content = try tree.open(node)
        let pieces = try pieces(of: content)
        // One that cannot be read is no name for others.
        if status.linkCount > 1 { names[tree.identity(of: node)] = name }
        let isSparse = pieces != [0..<content.size] && content.size > 0
        var map: [UInt8] = []
        if isSparse {
            map = Self.map(pieces, size: content.size)
            header.becomeSparse(size: content.size)
        }
        let count = pieces.reduce(UInt64(map.count)) { $0 + ($1.upperBound - $1.lowerBound) }
        header.size = count
        isBroken = true
        try emit(header.bytes)
        try emit(map)
        for piece in pieces { try copy(piece, of: content) }
        try pad(count)
        isBroken = false
    }

    /// The end of the archive.
    func end() throws { try emit([UInt8](repeating: 0, count: 2 * Self.blockSize)) }

    /// The bytes of it that are stored.
    private func pieces(of content: any GuestFileContent) throws(ImageError) -> [Range<UInt64>] {
        var pieces: [Range<UInt64>] = []
        var position: UInt64 = 0
        while position < content.size {
            let run = try content.run(at: position, limit: content.size - position)
            let end = position + run.count
            if run.isData {
                if let last = pieces.last, last.upperBound == position {
                    pieces[pieces.count - 1] = last.lowerBound..<end
                } else {
                    pieces.append(position..<end)
                }
            }
            guard pieces.count <= Self.pieceLimit else { return [0..<content.size] }
            position = end
        }
        return pieces
    }

    private static func map(_ pieces: [Range<UInt64>], size: UInt64) -> [UInt8] {
        // The end of the file is said by an empty piece there.
        let all = pieces.last?.upperBound == size ? pieces : pieces + [size..<size]
        var map = Array("\(all.count)\n".utf8)
        for piece in all { map += Array("\(piece.lowerBound)\n\(piece.upperBound - piece.lowerBound)\n".utf8) }
        return map + [UInt8](repeating: 0, count: (blockSize - map.count % blockSize) % blockSize)
    }

    private func copy(_ piece: Range<UInt64>, of content: any GuestFileContent) throws {
        var position = piece.lowerBound
        while position < piece.upperBound {
            let count = Int(min(UInt64(Self.pieceSize), piece.upperBound - position))
            try buffer.fill(count) { output throws(ImageError) in
                try content.read(count, at: position, into: &output)
            }
            try write(buffer.bytes)
            position += UInt64(count)
        }
    }

    private func pad(_ count: UInt64) throws {
        let rest = Int(count % UInt64(Self.blockSize))
        if rest > 0 { try emit([UInt8](repeating: 0, count: Self.blockSize - rest)) }
    }

    private func emit(_ bytes: [UInt8]) throws {
        guard !bytes.isEmpty else { return }
        // Safe: integers have no bytes that are not set.
        try write(unsafe bytes.span.bytes)
    }
}

/// The header of one file in an archive of tar.
struct TarHeader {
    /// The path that a link has.
    var target: [UInt8] = []
    /// The bytes of content that follow.
    var size: UInt64 = 0
    private var name: [UInt8]
    private var type: UInt8
    private let status: GuestStatus
    private var records: [UInt8] = []

    /// Of a file called `name`.
    init(name: [UInt8], _ status: GuestStatus) {
        (self.name, self.status) = (name, status)
        let letter: Unicode.Scalar =
            switch status.kind {
            case .regular, .socket: "0"
            case .link: "2"
            case .characterDevice: "3"
            case .blockDevice: "4"
            case .directory: "5"
            case .fifo: "6"
            }
        type = UInt8(ascii: letter)
    }

    /// Adds a record to the extended header.
    mutating func add(_ key: String, _ value: [UInt8]) {
        // Its length has the digits of the length in it.
        let rest = key.utf8.count + value.count + 3
        var length = rest + "\(rest)".utf8.count
        length = rest + "\(length)".utf8.count
        records += Array("\(length) \(key)=".utf8) + value + [UInt8(ascii: "\n")]
    }

    /// Another name of the file that was written as `first`.
    mutating func becomeHardLink(to first: [UInt8]) {
        type = UInt8(ascii: "1")
        target = first
    }

    /// A file of `size` bytes with holes: its content begins with a list of what is none.
    mutating func becomeSparse(size: UInt64) {
        add("GNU.sparse.major", Array("1".utf8))
        add("GNU.sparse.minor", Array("0".utf8))
        add("GNU.sparse.name", name)
        add("GNU.sparse.realsize", Array("\(size)".utf8))
        name = Array("GNUSparseFile.0/".utf8) + (name.split(separator: UInt8(ascii: "/")).last.map(Array.init) ?? name)
    }

    /// It, with the extended header before it where it takes one.
    var bytes: [UInt8] {
        var extended = TarHeader(name: Array("PaxHeaders/file".utf8), status)
        extended.records = records
        if name.count > 100 || !name.allSatisfy({ $0 < 0x80 }) { extended.add("path", name) }
        if target.count > 100 || !target.allSatisfy({ $0 < 0x80 }) { extended.add("linkpath", target) }
        if size > 0o777_7777_7777 { extended.add("size", Array("\(size)".utf8)) }
        if status.userID > 0o777_7777 { extended.add("uid", Array("\(status.userID)".utf8)) }
        if status.groupID > 0o777_7777 { extended.add("gid", Array("\(status.groupID)".utf8)) }
        let (seconds, nanoseconds) = (status.modified.seconds, status.modified.nanoseconds)
        if seconds < 0 || seconds > 0o777_7777_7777 || nanoseconds != 0 {
            extended.add("mtime", Array(Self.decimal(seconds, nanoseconds).utf8))
        }
        guard !extended.records.isEmpty else { return block }
        let isText = [name, target].allSatisfy { String(validating: $0, as: UTF8.self) != nil }
        if !isText {
            let rest = extended.records
            extended.records = []
            extended.add("hdrcharset", Array("BINARY".utf8))
            extended.records += rest
        }
        extended.type = UInt8(ascii: "x")
        extended.size = UInt64(extended.records.count)
        let padding = (512 - extended.records.count % 512) % 512
        return extended.block + extended.records + [UInt8](repeating: 0, count: padding) + block
    }

    /// Seconds with a fraction, as a decimal number.
    private static func decimal(_ seconds: Int64, _ nanoseconds: Int) -> String {
        let (whole, part) =
            seconds < 0 && nanoseconds > 0 ? (seconds + 1, 1_000_000_000 - nanoseconds) : (seconds, nanoseconds)
        let sign = seconds < 0 && whole == 0 ? "-" : ""
        return "\(sign)\(whole).\("\(1_000_000_000 + part)".dropFirst())"
    }

    private var block: [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: some Collection<UInt8>, at start: Int, _ count: Int) {
            for (index, byte) in bytes.prefix(count).enumerated() { block[start + index] = byte }
        }
        func put(octal number: UInt64, at start: Int, _ digits: Int) {
            let text = String(number, radix: 8)
            // What is too large stands in the extended header.
            let fitting = text.utf8.count > digits ? String(repeating: "7", count: digits) : text
            put(
                Array(repeating: UInt8(ascii: "0"), count: digits - fitting.utf8.count) + Array(fitting.utf8),
                at: start, digits)
        }
        put(name, at: 0, 100)
        put(octal: UInt64(status.permissions), at: 100, 7)
        put(octal: UInt64(status.userID), at: 108, 7)
        put(octal: UInt64(status.groupID), at: 116, 7)
        put(octal: type == UInt8(ascii: "1") ? 0 : size, at: 124, 11)
        put(octal: UInt64(max(0, status.modified.seconds)), at: 136, 11)
        block[156] = type
        put(target, at: 157, 100)
        put(Array("ustar\u{0}00".utf8), at: 257, 8)
        let (major, minor): (UInt32, UInt32) =
            switch status.kind {
            case .characterDevice(let major, let minor), .blockDevice(let major, let minor): (major, minor)
            default: (0, 0)
            }
        put(octal: UInt64(major), at: 329, 7)
        put(octal: UInt64(minor), at: 337, 7)
        put([UInt8](repeating: UInt8(ascii: " "), count: 8), at: 148, 8)
        put(octal: block.reduce(0) { $0 + UInt64($1) }, at: 148, 6)
        block[154] = 0
        return block
    }
}
