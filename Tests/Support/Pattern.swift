import Foundation
import HostTools

/// Contents of disks in which every sector tells where it belongs: bytes read from a wrong place never look right.
package enum Pattern {
    /// The 512 bytes of the sector `index`: its index and `salt`, then bytes that follow from both. Half of it repeats,
    /// so that it can be compressed.
    package static func sector(_ index: UInt64, salt: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: index &* 0x1000_0001 ^ salt)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512)
        for word in [index, salt] { withUnsafeBytes(of: word.littleEndian) { bytes += $0 } }
        while bytes.count < 256 { withUnsafeBytes(of: random.next()) { bytes += $0 } }
        return bytes + Array(repeating: UInt8(truncatingIfNeeded: index), count: 256)
    }

    /// Writes a raw disk of `size` bytes: runs of patterned sectors, of zeros and of holes, as `seed` has it.
    package static func writeDisk(_ path: String, size: UInt64, seed: UInt64) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let file = FileHandle(forWritingAtPath: path)
        else { throw ToolFailure(description: "cannot create \(path)") }
        defer { try? file.close() }
        try file.truncate(atOffset: size)
        var random = SeededRandom(seed: seed)
        var position: UInt64 = 0
        while position < size {
            // From a sector to half a megabyte, so that runs begin and end inside clusters of every size.
            let run = min(size - position, 512 << UInt64.random(in: 0...10, using: &random))
            switch Int.random(in: 0..<4, using: &random) {
            case 0: break
            case 1:
                try file.seek(toOffset: position)
                try file.write(contentsOf: Data(count: Int(run)))
            default:
                try file.seek(toOffset: position)
                var bytes = Data()
                for sector in position / 512..<(position + run + 511) / 512 { bytes += Self.sector(sector, salt: seed) }
                try file.write(contentsOf: bytes.prefix(Int(run)))
            }
            position += run
        }
    }
}
