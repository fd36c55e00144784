import HostTools

/// What a disk, or one extent of it, holds: grain by grain, as the builders of VMDK files store it.
///
/// Every sector tells where it belongs, by `Pattern`; `salt` tells it from the same sector of other models.
package struct GrainModel: Sendable {
    /// What a grain is.
    package enum Grain: CaseIterable, Sendable {
        /// Not stored: the parent's bytes show, or zeros.
        case absent
        /// Zeros, whatever the parent has.
        case zero
        /// Bytes of its own.
        case data
    }

    /// The bytes of the disk: whole sectors, not always whole grains.
    package var size: Int
    /// The bytes of a grain: whole sectors.
    package var grainSize: Int
    /// The grains in the disk's order; those that are missing at the end are absent.
    package var grains: [Grain]
    /// What tells the content from that of other models.
    package var salt: UInt64

    /// A disk of `size` bytes.
    package init(size: Int, grainSize: Int = 65536, grains: [Grain] = [], salt: UInt64 = 1) {
        precondition(size % 512 == 0 && grainSize % 512 == 0 && grainSize > 0)
        self.size = size
        self.grainSize = grainSize
        self.grains = grains
        self.salt = salt
    }

    /// A disk of `size` bytes whose grains are drawn from `kinds`, in runs of some grains each; `seed` decides.
    package init(
        size: Int, grainSize: Int = 65536, seed: UInt64, of kinds: [Grain] = Grain.allCases, longestRun: Int = 4
    ) {
        self.init(size: size, grainSize: grainSize, salt: seed)
        var random = SeededRandom(seed: seed)
        while grains.count < grainCount {
            let kind = kinds[Int.random(in: 0..<kinds.count, using: &random)]
            let run = Int.random(in: 1...longestRun, using: &random)
            grains += Array(repeating: kind, count: min(run, grainCount - grains.count))
        }
    }

    /// How many grains the disk has, the last one perhaps cut.
    package var grainCount: Int { (size + grainSize - 1) / grainSize }
    /// The size in sectors.
    package var sectors: Int { size / 512 }
    /// The sectors of a grain.
    package var grainSectors: Int { grainSize / 512 }

    /// What the grain `index` is.
    package func grain(_ index: Int) -> Grain { index < grains.count ? grains[index] : .absent }

    /// The indices of the grains that are `kind`.
    package func indices(of kind: Grain) -> [Int] { (0..<grainCount).filter { grain($0) == kind } }

    /// The bytes of the grain `index`, which is not absent, as they are stored: zeros behind the end of the disk.
    package func bytes(of index: Int) -> [UInt8] {
        guard grain(index) == .data else { return Array(repeating: 0, count: grainSize) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(grainSize)
        let first = index * grainSectors
        for sector in first..<min(first + grainSectors, sectors) { bytes += Pattern.sector(UInt64(sector), salt: salt) }
        return bytes + Array(repeating: 0, count: grainSize - bytes.count)
    }

    /// The disk over `parent`, which goes on with zeros where it ends first.
    package func disk(over parent: [UInt8] = []) -> [UInt8] {
        var disk = Array(parent.prefix(size))
        disk += Array(repeating: 0, count: size - disk.count)
        for index in 0..<grainCount where grain(index) != .absent {
            let start = index * grainSize
            let count = min(grainSize, size - start)
            disk.replaceSubrange(start..<start + count, with: bytes(of: index).prefix(count))
        }
        return disk
    }
}
