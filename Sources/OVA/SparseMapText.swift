import BlockImage

/// The numbers of a sparse map that stands before the data of a member (pax, GNU.sparse version 1.0): decimal, each with
/// a line end behind it. Read as far as they are asked for.
struct SparseMapText {
    private static let pieceSize: UInt64 = 1 << 16

    private let file: any HostFile
    /// The first byte behind what may be the map.
    private let end: UInt64
    private var piece: ArraySlice<UInt8> = []
    /// The place of the next byte.
    private(set) var position: HostOffset

    /// The text in the `size` bytes of `file` from `start` on, which lie in it.
    init(_ file: any HostFile, at start: HostOffset, size: UInt64) {
        self.file = file
        position = start
        end = start.rawValue + size
    }

    /// The next number; nil where there is none.
    mutating func next() throws(ImageError) -> UInt64? {
        var digits: [UInt8] = []
        // 2^63 has 19 digits.
        while digits.count <= 19, let byte = try nextByte() {
            if byte == UInt8(ascii: "\n") { return decimal(digits[...]) }
            digits.append(byte)
        }
        return nil
    }

    private mutating func nextByte() throws(ImageError) -> UInt8? {
        if piece.isEmpty {
            let count = min(Self.pieceSize, end - min(position.rawValue, end))
            guard count > 0 else { return nil }
            piece = try file.bytes(Int(count), at: position, of: "sparse map")[...]
        }
        position = position.advanced(by: 1)
        return piece.popFirst()
    }
}
