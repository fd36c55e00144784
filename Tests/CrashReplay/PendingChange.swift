/// A change that is not on stable storage yet, as the page cache has it: whole sectors, with what other changes left in
/// them. A power cut leaves any of its sectors and not the others, and its size without its bytes or the reverse.
struct PendingChange {
    /// What of a change a power cut leaves.
    enum Part: Hashable {
        /// All of it.
        case whole
        /// Nothing.
        case missing
        /// These of its sectors, which are counted from its first, and the size.
        case sectors(Set<Int>)
        /// The size without the bytes: zeros.
        case size
        /// The bytes as far as the file reached before.
        case withoutGrowth
    }

    private enum Kind {
        /// Bytes from the start of a sector on; nil: as many zeros, that do not make the file grow.
        case bytes([UInt8]?, count: Int)
        case size
        /// Whether the file has its name then.
        case name(Bool)
    }

    /// The index of the operation.
    let index: Int
    let file: Int
    private let kind: Kind
    /// Where its first sector begins.
    private let start: UInt64
    /// The least size of the file after it.
    private let end: UInt64

    /// The change, which was done to `before` and left `after`.
    init(_ change: HostChange, index: Int, file: Int, before: HostContent, after: HostContent) {
        self.index = index
        self.file = file
        switch change {
        case .write(let bytes, let offset):
            start = offset & ~511
            end = offset + UInt64(bytes.count)
            let count = Int((end + 511) & ~511 - start)
            kind = .bytes(after.bytes(count, at: start), count: count)
        case .zero(let count, let offset):
            let last = min(offset + count, before.size)
            start = min(offset, last) & ~511
            end = 0
            let isAligned = offset % 512 == 0 && last % 512 == 0
            let size = Int((last + 511) & ~511 - start)
            kind = .bytes(isAligned ? nil : after.bytes(size, at: start), count: size)
        case .setSize(let size): (start, end, kind) = (0, size, .size)
        case .link: (start, end, kind) = (0, 0, .name(true))
        case .unlink: (start, end, kind) = (0, 0, .name(false))
        }
    }

    /// Whether it gives the file its name, or takes it.
    var isName: Bool {
        if case .name = kind { true } else { false }
    }

    /// Whether it makes a file of `size` bytes longer by writing to it.
    func grows(_ size: UInt64) -> Bool {
        if case .bytes = kind { end > size } else { false }
    }

    /// Which of its sectors `content` has otherwise.
    func changedSectors(of content: HostContent) -> [Int] {
        guard case .bytes(let bytes, let count) = kind else { return [] }
        let old = content.bytes(count, at: start)
        return (0..<count / 512).filter { sector in
            let place = sector * 512..<(sector + 1) * 512
            guard let bytes else { return old[place].contains { $0 != 0 } }
            return bytes[place] != old[place]
        }
    }

    /// Does that part of it.
    func apply(_ part: Part, to content: inout HostContent, _ isNamed: inout Bool) {
        switch (kind, part) {
        case (_, .missing): break
        case (.name(let isThere), _): isNamed = isThere
        case (.size, _): content.setSize(end)
        case (.bytes(let bytes, let count), .whole):
            put(bytes, 0..<count / 512, limit: max(content.size, end), &content)
        case (.bytes(let bytes, _), .sectors(let sectors)):
            let limit = max(content.size, end)
            if end > content.size { content.setSize(end) }
            for sector in sectors { put(bytes, sector..<sector + 1, limit: limit, &content) }
        case (.bytes, .size): if end > content.size { content.setSize(end) }
        case (.bytes(let bytes, let count), .withoutGrowth): put(bytes, 0..<count / 512, limit: content.size, &content)
        }
    }

    /// Writes some of the sectors, as far as they lie before `limit`.
    private func put(_ bytes: [UInt8]?, _ sectors: Range<Int>, limit: UInt64, _ content: inout HostContent) {
        let offset = start + UInt64(sectors.lowerBound) * 512
        guard offset < limit else { return }
        let count = Int(min(UInt64(sectors.count * 512), limit - offset))
        guard let bytes else { return content.zero(UInt64(count), at: offset) }
        bytes.withUnsafeBytes { bytes in
            let first = sectors.lowerBound * 512
            content.write(UnsafeRawBufferPointer(rebasing: bytes[first..<first + count]), at: offset)
        }
    }
}
