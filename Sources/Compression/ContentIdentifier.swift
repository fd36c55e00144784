import BlockImage

/// Makes the identifier of a new image from what is written to it, so that the same disk always gets the same, and another
/// nearly always another: images that are made over it name it so.
///
/// It is the CRC-32 of the bytes that are stored and of where runs of them begin and end; in how many pieces they come
/// makes no difference.
public struct ContentIdentifier: Sendable {
    /// What a run of the disk is.
    public enum Run: UInt64, Sendable {
        /// Bytes as they are, or encoded.
        case bytes = 1
        /// Zeros that are stored as such.
        case zeros = 2
    }

    private var checkSum = CRC32()
    private var run: Run?
    private var end: UInt64 = 0

    /// That of a disk of which `facts` are known: its size, what it lies over.
    public init(_ facts: UInt64...) {
        for fact in facts { update(fact) }
    }

    /// Goes on with `count` bytes of the disk at `start`, which are a `kind` of run.
    public mutating func add(_ kind: Run, _ count: UInt64, at start: UInt64) {
        if kind != run || start != end {
            update(end)
            update(kind.rawValue)
            update(start)
            run = kind
        }
        end = start + count
    }

    /// Goes on with `bytes` that are stored for the run that was added last.
    public mutating func update(_ bytes: RawSpan) {
        checkSum.update(bytes)
    }

    /// The identifier, as 32 bits.
    public var value: UInt32 {
        var last = self
        last.update(end)
        return last.checkSum.value
    }

    /// The identifier as a UUID (RFC 9562, version 8) for the purpose `name`: an image can have several.
    public func uuid(_ name: String) -> ImageIdentity {
        var state = UInt64(value)
        for byte in name.utf8 { state = Self.mixed(state ^ UInt64(byte)) }
        var bytes = [state, Self.mixed(state)].flatMap { half in
            (0..<8).map { UInt8(truncatingIfNeeded: half >> (8 * UInt64($0))) }
        }
        bytes[6] = bytes[6] & 0x0f | 0x80
        bytes[8] = bytes[8] & 0x3f | 0x80
        return ImageIdentity(bytes)
    }

    /// A number that each bit of `number` changes half of the bits of (the finalizer of splitmix64).
    private static func mixed(_ number: UInt64) -> UInt64 {
        var mixed = number &+ 0x9e37_79b9_7f4a_7c15
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    private mutating func update(_ number: UInt64) {
        checkSum.update((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) })
    }
}
