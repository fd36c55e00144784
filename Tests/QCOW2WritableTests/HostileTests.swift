import BlockImage
import FormatCore
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `A damaged image that is written to` {
    /// An image with data, zeros and holes in several tables, and where its metadata lies.
    private func image(_ clusterSize: UInt64, isExtended: Bool) throws -> (bytes: [UInt8], metadata: [UInt64]) {
        var image = NewQCOW2(size: clusterSize * 90)
        image.clusterSize = clusterSize
        image.hasExtendedL2 = isExtended
        var disk = try WrittenDisk(image, seed: clusterSize)
        for _ in 0..<40 { _ = try disk.step(most: Int(clusterSize) * 4) }
        try disk.layer.close()
        return (disk.file.bytes, disk.layer.metadata.withLock { Array($0.roles.keys) }.sorted())
    }

    @Test(arguments: [(512, false), (4096, false), (16384, true)] as [(UInt64, Bool)])
    func `ends in errors, never in a trap`(clusterSize: UInt64, isExtended: Bool) throws {
        let (bytes, metadata) = try image(clusterSize, isExtended: isExtended)
        var random = SeededRandom(seed: clusterSize)
        var (opened, failed) = (0, 0)
        for _ in 0..<250 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                // Where the fields and the first entries are, mostly.
                let most = Bool.random(using: &random) ? 112 : Int(clusterSize)
                let cluster = metadata.randomElement(using: &random) ?? 0
                let place = Int(cluster * clusterSize) + Int.random(in: 0..<most, using: &random)
                guard place < damaged.count else { continue }
                damaged[place] = UInt8.random(in: 0...255, using: &random)
            }
            let file = MemoryWritableFile(damaged)
            guard let layer = try? openWritable(file) else { continue }
            opened += 1
            let units = max(layer.virtualSize / 512, 1)
            for step in 0..<30 {
                let start = GuestOffset(min(UInt64.random(in: 0..<units, using: &random), 1 << 20) * 512)
                let count = UInt64.random(in: 0...40, using: &random) * 512
                do {
                    switch step % 6 {
                    case 0: try layer.zero(count, at: start, mayUnmap: step % 4 == 0)
                    case 1: try layer.discard(count, at: start)
                    case 2: try layer.flush()
                    case 3: try layer.writeBack()
                    default: try layer.write([UInt8].noise(Int(count), salt: 1), at: start.rawValue)
                    }
                } catch {
                    failed += 1
                }
            }
            try? layer.close()
        }
        #expect(opened > 20 && failed > 20, "\(opened) were opened, \(failed) requests failed")
    }
}
