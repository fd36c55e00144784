import BlockImage

/// Which parts of a file a tar archive stores, one after another; what lies between them are holes (GNU tar manual,
/// "Storing Sparse Files").
package struct SparseMap: Hashable, Sendable {
    /// A part that is stored.
    package struct Segment: Hashable, Sendable {
        /// Where in the file it begins.
        package var start: UInt64
        /// How many bytes it has, at least one.
        package var count: UInt64
        /// Where in the archive it begins.
        package var place: HostOffset

        /// The first byte of the file after it.
        var end: UInt64 { start + count }
    }

    /// The size of the file; less than 2^63.
    package let size: UInt64
    /// The parts, in the order of the file, none of which overlaps another.
    package let segments: [Segment]

    /// How many bytes are stored.
    var storedSize: UInt64 { segments.reduce(0) { $0 + $1.count } }
}

/// What is wrong with a sparse map, and where in the archive that stands.
struct SparseMapFault: Error {
    var code = ImageError.Code.corrupt
    var offset: HostOffset
    var message: String
}

/// A sparse map while its entries are read. Once something is wrong, what follows is passed over.
struct SparseMapReading {
    private let size: UInt64?
    private let sizeOffset: HostOffset
    private let limit: Int
    private var parts: [(start: UInt64, count: UInt64)] = []
    private var end: UInt64 = 0
    private var storedSize: UInt64 = 0
    /// The first part that is no multiple of a block, after which no other may come.
    private var hasOddPart = false
    private var entries = 0
    private(set) var fault: SparseMapFault?

    /// The map of a file of `size` bytes, nil where that is no number, which is said at `offset`; it may have at most
    /// `limit` parts.
    init(size: UInt64?, at offset: HostOffset, limit: Int) {
        self.size = size.flatMap { $0 <= UInt64(Int64.max) ? $0 : nil }
        sizeOffset = offset
        self.limit = limit
    }

    /// Takes in the next entry, which stands at `offset`: a part from `start` on, of `count` bytes; nil: no number.
    mutating func add(_ start: UInt64?, _ count: UInt64?, at offset: HostOffset) {
        guard fault == nil, let size else { return }
        let entry = "entry \(entries)"
        entries += 1
        guard let start, let count else { return fail(at: offset, "\(entry): is no pair of numbers below 2^63") }
        guard start <= size, count <= size - start else {
            return fail(
                at: offset, "\(entry): \(counted(count, "byte")) from \(start) on, but the file has \(size)")
        }
        // GNU tar ends the map of a file that ends in a hole with an empty part.
        if count == 0 { return }
        guard start >= end else {
            return fail(
                at: offset, "\(entry): begins at \(start), but must not begin before \(end), where the last one ends")
        }
        guard !hasOddPart else {
            return fail(
                .unsupported, at: offset,
                "\(entry): follows one whose size is no multiple of 512, and readers of tar disagree where its bytes "
                    + "begin")
        }
        guard parts.count < limit else {
            return fail(.unsupported, at: offset, "\(entry): there are more than \(limit) entries, which is the limit")
        }
        parts.append((start, count))
        end = start + count
        storedSize += count
        hasOddPart = count % UInt64(TarHeader.blockSize) != 0
    }

    /// Something is wrong at `offset`; only the first fault counts.
    mutating func fail(_ code: ImageError.Code = .corrupt, at offset: HostOffset, _ message: String) {
        if fault == nil { fault = SparseMapFault(code: code, offset: offset, message: message) }
    }

    /// The map, whose parts have the `stored` bytes of the archive from `place` on.
    func finish(stored: UInt64, at place: HostOffset) throws(SparseMapFault) -> SparseMap {
        if let fault { throw fault }
        guard let size else {
            throw SparseMapFault(offset: sizeOffset, message: "the size of the file: is no number below 2^63")
        }
        guard storedSize == stored else {
            throw SparseMapFault(
                offset: place,
                message:
                    "its \(counted(UInt64(parts.count), "part")): have \(storedSize) bytes together, but \(stored) "
                    + "are stored")
        }
        var next = place
        let segments = parts.map { part in
            defer { next = next.advanced(by: part.count) }
            return SparseMap.Segment(start: part.start, count: part.count, place: next)
        }
        return SparseMap(size: size, segments: segments)
    }
}

extension SparseMapReading {
    /// The entries of a sparse header of GNU tar, or of a block that continues one: `bytes`, which stand at `offset`, are
    /// pairs of twelve bytes each, of which the first that is empty ends the map.
    ///
    /// Answers whether the map goes on.
    mutating func addEntries(_ bytes: ArraySlice<UInt8>, at offset: HostOffset) -> Bool {
        var index = bytes.startIndex
        while bytes.endIndex - index >= 24 {
            guard bytes[index + 12] != 0 else { return false }
            add(
                tarNumber(bytes[index..<(index + 12)]).flatMap(UInt64.init(exactly:)),
                tarNumber(bytes[(index + 12)..<(index + 24)]).flatMap(UInt64.init(exactly:)),
                at: offset.advanced(by: UInt64(index - bytes.startIndex)))
            index += 24
        }
        return true
    }

    /// The numbers before the data of `member` (version 1.0): how many entries there are, then the offset and count of
    /// each. The data begins with the next block, to which `data` is moved.
    mutating func addText(
        of member: TarMember, in archive: any HostFile, data: inout HostOffset
    ) throws(ImageError) {
        var text = SparseMapText(archive, at: member.dataOffset, size: member.size)
        guard fault == nil, let expected = try text.next() else {
            return fail(at: member.dataOffset, "must begin with the number of its entries")
        }
        var left = expected
        while left > 0, fault == nil {
            let offset = text.position
            add(try text.next(), try text.next(), at: offset)
            left -= 1
        }
        let size = text.position.rawValue - member.dataOffset.rawValue
        let blockSize = UInt64(TarHeader.blockSize)
        // The whole member lies in the archive.
        data = member.dataOffset.advanced(by: (size + blockSize - 1) / blockSize * blockSize)
    }

    /// The numbers of pax records, `offset, count, offset, count…`, whose header stands at `offset`. `expected`: how many
    /// pairs there are to be; nil where that is not said.
    mutating func add(_ numbers: [ArraySlice<UInt8>], expected: [UInt8]?, at offset: HostOffset) {
        guard numbers.count % 2 == 0 else {
            return fail(at: offset, "has \(numbers.count) numbers, which are no pairs")
        }
        for index in stride(from: 0, to: numbers.count, by: 2) {
            add(decimal(numbers[index]), decimal(numbers[index + 1]), at: offset)
        }
        if let expected, decimal(expected[...]) != UInt64(numbers.count / 2) {
            fail(
                at: offset,
                "has \(numbers.count / 2) entries, but GNU.sparse.numblocks is "
                    + "\"\(String(decoding: expected.prefix(20), as: UTF8.self))\"")
        }
    }
}

/// The numbers of a sparse map that stands before the data of a member (pax, GNU.sparse version 1.0): decimal, each with
/// a line end after it. Read as far as they are asked for.
struct SparseMapText {
    private static let pieceSize: UInt64 = 1 << 16

    private let file: any HostFile
    /// The first byte after what may be the map.
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
