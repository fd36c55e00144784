import BlockImage

/// The content of a file, in sections one after the other.
final class ISOContent: GuestFileContent {
    /// One of them.
    struct Section: Hashable, Sendable {
        /// What of the file comes before it.
        var position: UInt64
        /// Where it lies on the disk.
        var start: UInt64
        var size: UInt64
    }

    private let sections: [Section]
    private let disk: GuestDisk
    let size: UInt64

    /// That in `sections` of `disk`.
    init(_ sections: [Section], of disk: GuestDisk) {
        (self.sections, self.disk) = (sections, disk)
        size = sections.reduce(0) { $0 + $1.size }
    }

    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        guard count >= 0, offset <= size, UInt64(count) <= size - offset else {
            throw ImageError(
                .outOfRange, path: disk.path, "\(count) bytes at \(offset) are no part of a file of \(size)")
        }
        let end = offset + UInt64(count)
        for section in sections where section.position < end && section.position + section.size > offset {
            let from = max(offset, section.position)
            let part = min(end, section.position + section.size) - from
            try disk.read(Int(part), at: section.start + (from - section.position), into: &output)
        }
    }

    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> GuestRun {
        guard offset < size, limit > 0 else {
            throw ImageError(.outOfRange, path: disk.path, "nothing is at \(offset) of a file of \(size) bytes")
        }
        return GuestRun(isData: true, count: min(limit, size - offset))
    }
}
