import Foundation

/// What a sector of a disk holds, as its bytes tell: sectors describe themselves, so that what is at a wrong place, too
/// old, torn or of another disk has a name.
///
///     OFFSET SIZE FIELD      (32 bytes, sixteen times: a tear anywhere shows, and it can be compressed)
///          0    8 the number of the sector
///          8    8 the generation: which write it comes from, 1 or more
///         16    8 the run: which script
///         24    8 a check sum of these
package enum GuestSector: Hashable, Sendable, CustomStringConvertible {
    /// The bytes of a sector.
    package static let size = 512

    /// Zeros.
    case zeros
    /// What the write with this generation wrote at this place.
    case generation(UInt64)
    /// What is neither.
    case foreign(String)

    /// The words of a block.
    private static func block(_ sector: UInt64, _ generation: UInt64, _ run: UInt64) -> (UInt64, UInt64, UInt64, UInt64)
    {
        var sum = (sector &* 0x9e37_79b9_7f4a_7c15) ^ (generation &* 0xbf58_476d_1ce4_e5b9) ^ run
        sum = (sum ^ (sum >> 31)) &* 0x94d0_49bb_1331_11eb
        return (sector, generation, run, sum ^ (sum >> 29))
    }

    /// The bytes of sectors from `first` on, of these generations; 0: zeros.
    package static func bytes(from first: Int, generations: [UInt64], run: UInt64) -> [UInt8] {
        Array(unsafeUninitializedCapacity: generations.count * size) { buffer, count in
            let words = UnsafeMutableRawBufferPointer(buffer).bindMemory(to: UInt64.self)
            for (index, generation) in generations.enumerated() {
                let block = generation == 0 ? (0, 0, 0, 0) : block(UInt64(first + index), generation, run)
                for word in stride(from: index * 64, to: index * 64 + 64, by: 4) {
                    (words[word], words[word + 1], words[word + 2], words[word + 3]) = block
                }
            }
            count = buffer.count
        }
    }

    /// What the 64 words at `start` are as sector `sector` of the run.
    package init(_ start: UnsafePointer<UInt64>, sector: Int, run: UInt64) {
        let generation = start[1]
        let block = Self.block(UInt64(sector), generation, run)
        var difference: UInt64 = 0
        var any: UInt64 = 0
        for index in stride(from: 0, to: 64, by: 4) {
            difference |= (start[index] ^ block.0) | (start[index + 1] ^ block.1)
            difference |= (start[index + 2] ^ block.2) | (start[index + 3] ^ block.3)
            any |= start[index] | start[index + 1] | start[index + 2] | start[index + 3]
        }
        if any == 0 {
            self = .zeros
        } else if difference == 0, generation != 0 {
            self = .generation(generation)
        } else {
            self = .foreign(Self.name(UnsafeBufferPointer(start: start, count: 64)))
        }
    }

    /// The contents of the sectors of a disk from the first on.
    package static func all(in bytes: UnsafeRawBufferPointer, run: UInt64) -> [GuestSector] {
        bytes.withMemoryRebound(to: UInt64.self) { words in
            (0..<bytes.count / size).map { GuestSector(words.baseAddress! + $0 * 64, sector: $0, run: run) }
        }
    }

    /// What foreign bytes are.
    private static func name(_ words: UnsafeBufferPointer<UInt64>) -> String {
        var kinds: [String] = []
        for index in stride(from: 0, to: 64, by: 4) {
            let (sector, generation, run) = (words[index], words[index + 1], words[index + 2])
            let kind =
                if words[index..<index + 4].allSatisfy({ $0 == 0 }) {
                    "zeros"
                } else if words[index + 3] == block(sector, generation, run).3 {
                    "generation \(generation) of sector \(sector) of run \(run)"
                } else {
                    "bytes of no sector"
                }
            if kinds.last != kind { kinds.append(kind) }
        }
        return kinds.count == 1 ? kinds[0] : "torn: " + kinds.prefix(3).joined(separator: ", then ")
    }

    package var description: String {
        switch self {
        case .zeros: "zeros"
        case .generation(let generation): "generation \(generation)"
        case .foreign(let name): name
        }
    }
}
