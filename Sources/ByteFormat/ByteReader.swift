/// How the bytes of an integer are ordered on disk.
public enum ByteOrder: Sendable {
    /// Most significant byte first, as in QCOW2.
    case big
    /// Least significant byte first, as in VMDK.
    case little
}

/// What is wrong with a structure, at which byte of it. Knows no file: the loader makes an error of the image from it.
public struct ParseFault: Error, Hashable, Sendable {
    /// Where in the structure, in bytes from its start.
    public var position: Int
    /// What is wrong and what it must be, in the parts before and after `quote`.
    public let parts: (String, String)
    /// A text of the image that the message quotes, where that may have names of files in it.
    public let quote: String?

    /// What is wrong and what it must be.
    public var message: String { quote.map { "\(parts.0)\"\($0)\"\(parts.1)" } ?? parts.0 }

    /// A fault at `position`, with a message that says what it is and what it must be.
    public init(at position: Int, _ message: String) {
        self.position = position
        parts = (message, "")
        quote = nil
    }

    /// The same, with a message that quotes a text of the image.
    public init(at position: Int, _ start: String = "", quoting quote: String, _ end: String) {
        self.position = position
        parts = (start, end)
        self.quote = quote
    }

    /// Whether both say the same of the same place.
    public static func == (left: Self, right: Self) -> Bool {
        left.position == right.position && left.message == right.message
    }

    /// See `Hashable`.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(position)
        hasher.combine(message)
    }
}

/// A bounds-checked cursor over the bytes of one on-disk structure. Byte order is part of every read.
///
/// Apple's swift-binary-parsing does the same; up to version 0.0.4 it is experimental, and throws without a type.
public struct ByteReader: Sendable {
    /// The whole structure.
    public let bytes: [UInt8]
    /// The next byte to read, counted from the structure's start; never beyond `bytes.count`.
    @inlinable public var position: Int { next }
    @usableFromInline var next: Int

    /// A reader that begins at the first of `bytes`.
    @inlinable
    public init(_ bytes: [UInt8]) {
        self.init(bytes, at: 0)
    }

    /// A reader that begins at `position`, which is held to the end of `bytes`.
    @inlinable public init(_ bytes: [UInt8], at position: Int) {
        self.bytes = bytes
        next = min(max(position, 0), bytes.count)
    }

    /// How many bytes are left.
    @inlinable public var remaining: Int { bytes.count - position }

    /// Reads one integer of the caller's type in `order`; throws when the structure ends first.
    @inlinable public mutating func read<Value: FixedWidthInteger>(
        _ order: ByteOrder, as type: Value.Type = Value.self
    ) throws(ParseFault) -> Value {
        let size = Value.bitWidth / 8
        guard remaining >= size else { throw ended(wanting: size) }
        var value: Value = 0
        for index in 0..<size {
            let byte = bytes[position + (order == .big ? index : size - 1 - index)]
            value = (value &<< 8) | Value(truncatingIfNeeded: byte)
        }
        next += size
        return value
    }

    /// Reads the next `count` bytes as they are; throws when the structure ends first.
    @inlinable public mutating func read(bytes count: Int) throws(ParseFault) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw ended(wanting: count) }
        defer { next += count }
        return Array(bytes[position..<position + count])
    }

    /// Passes over `count` bytes; throws when the structure ends first.
    public mutating func skip(_ count: Int) throws(ParseFault) {
        guard count >= 0, remaining >= count else { throw ended(wanting: count) }
        next += count
    }

    /// Passes over the bytes up to the next multiple of `alignment` from the structure's start; stops at its end.
    public mutating func align(to alignment: Int) {
        let over = position % alignment
        if over != 0 { next = min(position + alignment - over, bytes.count) }
    }

    @usableFromInline func ended(wanting count: Int) -> ParseFault {
        ParseFault(at: position, "the structure ends \(remaining) bytes on, but \(count) more are needed")
    }
}
