import BlockImage
import Foundation
import TestImages

/// A VHDX file of few bytes: its structures lie at multiples of 1 MiB, and a fuzzer gets nowhere with megabytes. The bytes are
/// those of the structures, one after the other; check sums are made here.
enum VHDXShape {
    /// How many bytes each structure has, and where in the file they lie. The log takes what is left.
    private static let parts: [(size: Int, offsets: [UInt64])] = [
        (80, [64 << 10, 128 << 10]), (176, [192 << 10, 256 << 10]), (416, [2 << 20]), (512, [2 << 20 | 64 << 10]),
        (512, [3 << 20]), (16, [3 << 20 | 4096 * 8]), (256, [6 << 20]),
    ]
    private static let logOffset: UInt64 = 1 << 20

    /// The file that `bytes` make.
    static func file(of bytes: [UInt8]) -> PagedFile {
        var pages = Pages(size: 8 << 20)
        pages.write(Array("vhdxfile".utf8), at: 0)
        var rest = bytes[...]
        for part in parts {
            for offset in part.offsets { pages.write(Array(rest.prefix(part.size)), at: offset) }
            rest = rest.dropFirst(part.size)
        }
        pages.write(Array(rest.prefix(64 << 10)), at: logOffset)
        for offset in parts[0].offsets { pages.write(VHDXBuilder.summed(pages.bytes(4096, at: offset)), at: offset) }
        let table = VHDXBuilder.summed(pages.bytes(65536, at: parts[1].offsets[0]))
        for offset in parts[1].offsets { pages.write(table, at: offset) }
        for sector in 0..<16 as Range<UInt64> {
            let offset = logOffset + sector << 12
            let start = pages.bytes(12, at: offset)
            guard start.starts(with: "loge".utf8) else { continue }
            let length = start[8...].reversed().reduce(0) { $0 << 8 | Int($1) }
            guard (4096...65536).contains(length) else { continue }
            pages.write(VHDXBuilder.summed(pages.bytes(length, at: offset)), at: offset)
        }
        return PagedFile(pages)
    }

    /// Sound ones: dynamic, differencing, and with a log that is to be replayed.
    static func seeds() -> [[UInt8]] {
        var dynamic = VHDXBuilder(virtualSize: 3 << 20)
        dynamic.blocks = [0: .present(salt: 1), 1: .state(2)]
        var child = dynamic
        child.blocks[1] = .partial(salt: 1, sectors: [true, false, true, true])
        child.parent = [("parent_linkage", "{\(dynamic.dataWriteID.uuidString)}"), ("relative_path", ".\\parent.vmdk")]
        var dirty = dynamic
        dirty.logID = UUID(uuidString: "40000000-0000-4000-8000-000000000004")
        var pages = dirty.build()
        let writes: [VHDXBuilder.LogWrite] = [
            .data(pages.bytes(4096, at: dirty.tableOffset), at: dirty.tableOffset), .zeros(8192, at: 7 << 20),
        ]
        dirty.put(dirty.logEntry(writes, sequenceNumber: 3, tail: 0, last: 8 << 20), at: 0, of: &pages)
        return [dynamic.build(), child.build()].map { bytes(of: $0, logSize: 0) } + [bytes(of: pages, logSize: 8192)]
    }

    private static func bytes(of pages: Pages, logSize: Int) -> [UInt8] {
        parts.flatMap { pages.bytes($0.size, at: $0.offsets[0]) } + pages.bytes(logSize, at: logOffset)
    }
}
