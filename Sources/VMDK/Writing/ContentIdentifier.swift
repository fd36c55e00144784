import ByteFormat
import Compression

/// Makes the content identifier of a new disk (CID) from what is written to it, so that the same disk always gets the
/// same, and another nearly always another: it shows to which of them a delta belongs.
///
/// It is the CRC-32 of the bytes that are stored and of where runs of them begin and end; in how many pieces they come
/// makes no difference.
struct ContentIdentifier {
    /// What a run of the disk is.
    enum Run: UInt64 {
        /// Bytes as they are, or encoded.
        case bytes = 1
        /// Zeros that are stored as such.
        case zeros = 2
    }

    private var checkSum = CRC32()
    private var run: Run?
    private var end: UInt64 = 0

    /// That of a disk of `size` bytes over `parent`.
    init(size: UInt64, parent: NewVMDK.Parent?) {
        update(size)
        update(UInt64(parent?.cid ?? Descriptor.noParent))
    }

    /// Goes on with `count` bytes of the disk at `start`, which are a `kind` of run.
    mutating func add(_ kind: Run, _ count: UInt64, at start: UInt64) {
        if kind != run || start != end {
            update(end)
            update(kind.rawValue)
            update(start)
            run = kind
        }
        end = start + count
    }

    /// Goes on with `bytes` that are stored for the run that was added last.
    mutating func update(_ bytes: RawSpan) {
        checkSum.update(bytes)
    }

    /// The identifier: neither ffffffff, which means "no parent", nor fffffffe, with which VMware's products say that
    /// another, longer one holds.
    var value: UInt32 {
        var last = self
        last.update(end)
        let sum = last.checkSum.value
        return sum >= 0xffff_fffe ? sum ^ 0x8000_0000 : sum
    }

    private mutating func update(_ number: UInt64) {
        var writer = ByteWriter(capacity: 8)
        writer.write(number, .little)
        checkSum.update(writer.bytes)
    }
}
