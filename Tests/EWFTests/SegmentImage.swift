import BlockImage
import Compression
import FormatCore
import ImageFormats
import TestImages

@testable import EWF

/// Writes segments of EWF images in memory, section by section.
struct SegmentImage {
    private(set) var bytes: [UInt8]

    /// The segment `number`, without a section.
    init(_ number: UInt16 = 1) {
        bytes = SegmentHeader.signature + [1] + Self.little(UInt64(number), 2) + [0, 0]
    }

    static func little(_ number: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> UInt64($0 * 8)) }
    }

    /// `content` with its check sum.
    static func summed(_ content: [UInt8]) -> [UInt8] { content + little(UInt64(Adler32.value(of: content)), 4) }

    /// Adds the section `type` with `content`; answers where the content begins.
    @discardableResult
    mutating func add(_ type: String, _ content: [UInt8] = []) -> Int {
        let (start, size) = (UInt64(bytes.count), UInt64(Section.length + content.count))
        let isLast = type == "next" || type == "done"
        let name = Array(type.utf8) + [UInt8](repeating: 0, count: 16 - type.utf8.count)
        bytes += Self.summed(
            name + Self.little(isLast ? start : start + size, 8) + Self.little(size, 8)
                + [UInt8](repeating: 0, count: 40))
        bytes += content
        return bytes.count - content.count
    }

    /// Adds a section "volume", or "data", of a disk of `count` chunks of 512 bytes.
    @discardableResult
    mutating func addVolume(_ type: String, chunks count: UInt64) -> Int {
        var content = Self.little(1, 4) + Self.little(count, 4) + Self.little(1, 4) + Self.little(512, 4)
        content += Self.little(count, 8)
        content += [UInt8](repeating: 7, count: Volume.length - 4 - content.count)
        return add(type, Self.summed(content))
    }

    /// Adds `chunks`, and the header and entries of the table that leads to them, and of a copy with `copied` entries.
    mutating func add(chunks: [[UInt8]], copied: Int? = nil) -> (table: Int, copy: Int?) {
        let base = UInt64(bytes.count + Section.length)
        add("sectors", chunks.flatMap(Self.summed))
        func table(_ count: Int) -> [UInt8] {
            Self.summed(Self.little(UInt64(count), 8) + Self.little(base, 8) + [0, 0, 0, 0])
                + Self.summed((0..<count).flatMap { Self.little(UInt64($0 * 516), 4) })
        }
        let place = add("table", table(chunks.count))
        return (place, copied.map { add("table2", table($0)) })
    }

    /// Changes the byte at `offset`.
    mutating func damage(_ offset: Int) { bytes[offset] ^= 0x10 }

    /// What opening `segments`, the first of which is disk.E01, gives.
    static func open(_ segments: [SegmentImage]) -> OpenedImage {
        let files = segments.enumerated().map { MemoryFile($0.element.bytes, path: "disk.E0\($0.offset + 1)") }
        return ImageOpener(policy: Files(files: files), resources: LayerResources(cacheSize: 1 << 20))
            .open(files[0], as: .ewf, counters: ReadCounters())
    }
}

/// Opens segments by their names.
private struct Files: OpenPolicy {
    let files: [MemoryFile]

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        guard let found = files.first(where: { reference.text == $0.path }) else {
            throw ImageError(.denied, path: file.path, "\(reference.text) is not there")
        }
        return found
    }
}
