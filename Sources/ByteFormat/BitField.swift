/// A run of bits in a stored integer, named once by its lowest bit and its width, so that masks are derived.
public struct BitField<Storage: FixedWidthInteger & UnsignedInteger & Sendable>: Hashable, Sendable {
    /// The lowest bit of the field.
    public let lowestBit: Int
    /// How many bits the field has.
    public let width: Int

    /// The field that takes the bits of `bits`; both bounds must lie in the stored integer.
    @inlinable
    public init(_ bits: ClosedRange<Int>) {
        precondition(bits.lowerBound >= 0 && bits.upperBound < Storage.bitWidth)
        lowestBit = bits.lowerBound
        width = bits.count
    }

    /// The field of the single bit `bit`.
    @inlinable
    public init(_ bit: Int) {
        self.init(bit...bit)
    }

    /// All bits of the field set, in place.
    @inlinable
    public var mask: Storage {
        (Storage.max >> Storage(Storage.bitWidth - width)) << Storage(lowestBit)
    }

    /// The field's value, shifted down to bit 0.
    @inlinable
    public func value(in storage: Storage) -> Storage {
        (storage & mask) >> Storage(lowestBit)
    }

    /// The field's bits where they stand: for offsets whose low bits are implied zeros.
    @inlinable
    public func masked(in storage: Storage) -> Storage {
        storage & mask
    }

    /// Whether any bit of the field is set.
    @inlinable
    public func isSet(in storage: Storage) -> Bool {
        storage & mask != 0
    }
}
