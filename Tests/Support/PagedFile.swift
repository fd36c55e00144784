import BlockImage
import Foundation

/// The content of a large file of which little is not zeros, for tests.
package struct Pages: Sendable {
    /// The bytes of a page.
    package static let pageSize: UInt64 = 4096

    /// Its size in bytes.
    package var size: UInt64
    private(set) var pages: [UInt64: [UInt8]] = [:]

    /// `size` zeros.
    package init(size: UInt64) {
        self.size = size
    }

    /// Writes `bytes` at `offset`, and makes the file longer where it ends before.
    package mutating func write(_ bytes: [UInt8], at offset: UInt64) {
        var done = 0
        while done < bytes.count {
            let position = offset + UInt64(done)
            let (page, start) = (position / Self.pageSize, Int(position % Self.pageSize))
            let count = min(bytes.count - done, Int(Self.pageSize) - start)
            pages[page, default: Array(repeating: 0, count: Int(Self.pageSize))]
                .replaceSubrange(start..<start + count, with: bytes[done..<done + count])
            done += count
        }
        size = max(size, offset + UInt64(bytes.count))
    }

    /// The `count` bytes at `offset`.
    package func bytes(_ count: Int, at offset: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            let position = offset + UInt64(bytes.count)
            let (page, start) = (position / Self.pageSize, Int(position % Self.pageSize))
            let rest = min(count - bytes.count, Int(Self.pageSize) - start)
            if let page = pages[page] {
                bytes += page[start..<start + rest]
            } else {
                bytes += repeatElement(0, count: rest)
            }
        }
        return bytes
    }

    /// Writes it to a file at `path`, with holes.
    package func save(to path: String) throws {
        try Data().write(to: URL(fileURLWithPath: path))
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        defer { try? file.close() }
        try file.truncate(atOffset: size)
        for (page, bytes) in pages.sorted(by: { $0.key < $1.key }) {
            try file.seek(toOffset: page * Self.pageSize)
            try file.write(contentsOf: Data(bytes.prefix(Int(min(Self.pageSize, size - page * Self.pageSize)))))
        }
    }
}

/// Such a file. What has no page is a hole.
package final class PagedFile: HostFile {
    package let id = HostFileID()
    package let path: String
    package let identity: FileIdentity? = nil
    package let modified = FileTime(seconds: 0, nanoseconds: 0)
    private let pages: Pages

    /// The file `pages`.
    package init(_ pages: Pages, path: String = "memory.vhdx") {
        self.pages = pages
        self.path = path
    }

    package var size: UInt64 { pages.size }
    package var allocatedSize: UInt64 { UInt64(pages.pages.count) * Pages.pageSize }
    package var isCurrent: Bool { true }
    package var descriptor: CInt? { nil }

    package func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(count) <= size - offset.rawValue else {
            throw ImageError(.truncated, path: path, offset: offset, "the file ends \(size) bytes from its start")
        }
        pages.bytes(count, at: offset.rawValue).withUnsafeBytes { output.append(copying: $0.bytes) }
    }

    package func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        guard offset.rawValue < size else { return (true, limit) }
        let end = min(size, offset.advanced(by: limit).rawValue)
        let page = offset.rawValue / Pages.pageSize
        if pages.pages[page] != nil { return (false, min(end, (page + 1) * Pages.pageSize) - offset.rawValue) }
        let next = pages.pages.keys.filter { $0 > page }.min() ?? .max
        return (
            true,
            min(end, next.multipliedReportingOverflow(by: Pages.pageSize).overflow ? .max : next * Pages.pageSize)
                - offset.rawValue
        )
    }
}
