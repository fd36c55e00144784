import BlockImage
import ByteFormat

/// An entry of the block allocation table (MS-VHDX 2.5.1).
///
///     BIT   FIELD
///      0-2  state
///      3-19 reserved
///     20-63 offset of the block in the file, in MiB
public struct BlockEntry: RawRepresentable, Hashable, Sendable {
    /// The entry as stored.
    public let rawValue: UInt64
    /// The entry stored as `rawValue`.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    static let state = BitField<UInt64>(0...2)
    static let reserved = BitField<UInt64>(3...19)
    static let offset = BitField<UInt64>(20...63)

    /// What a block of the disk is.
    enum State: Hashable {
        /// The file says nothing of it: the parent has it, and where there is none it is zeros.
        case notPresent
        /// What the file has of it is of no interest, and the parent must not be asked: read as zeros.
        case zeros
        /// All of it lies in the file.
        case present
        /// The sector bitmap says which of its sectors lie in the file.
        case partial
        /// A state that has no meaning.
        case invalid
    }

    /// The entry of a block that lies at `offset`.
    init(presentAt offset: UInt64) { rawValue = Self.offset.masked(in: offset) | 6 }

    /// The state as stored.
    var stateNumber: UInt64 { Self.state.value(in: rawValue) }
    /// Where the block lies.
    var blockOffset: UInt64 { Self.offset.masked(in: rawValue) }
    /// Whether the state is one with which something lies in the file.
    var hasPlace: Bool { stateNumber == 6 || stateNumber == 7 }
    /// Whether bits are set that have no meaning.
    var hasReservedBits: Bool { Self.reserved.isSet(in: rawValue) }

    /// What the entry of a payload block says. 5 is the state 3 of files from before version 1.0 (QEMU reads it so).
    var block: State {
        switch stateNumber {
        case 0: .notPresent
        case 1, 2, 3, 5: .zeros
        case 6: .present
        case 7: .partial
        default: .invalid
        }
    }

    /// What the specification calls the state of a payload block.
    var blockStateName: String {
        ["not present", "undefined", "zero", "unmapped", "4", "unmapped (0.95)", "fully present", "partially present"][
            Int(stateNumber)]
    }

    /// Whether the entry of a sector bitmap block says that there is one; nil for a state that has no meaning.
    var isBitmapPresent: Bool? {
        switch stateNumber {
        case 0: false
        case 6: true
        default: nil
        }
    }
}
