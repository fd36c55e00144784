import BlockImage
import FormatCore
import HostTools
import TestImages
import Testing

@testable import QCOW2

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `A disk that is written to` {
    /// One image to write to.
    struct Case: CustomTestStringConvertible, Sendable {
        var clusterSize: UInt64
        var refcountBits: UInt32
        var isExtended: Bool
        /// How much of the disk the image below has: none, less, more.
        var belowSize: Double?
        var seed: UInt64

        var testDescription: String {
            "seed \(seed): clusters of \(clusterSize), refcounts of \(refcountBits) bits, "
                + "\(isExtended ? "extended, " : "")below \(belowSize.map { "\($0)" } ?? "nothing")"
        }

        var image: NewQCOW2 {
            var image = NewQCOW2(size: size)
            image.clusterSize = clusterSize
            image.refcountBits = refcountBits
            image.hasExtendedL2 = isExtended
            return image
        }

        /// More than what one L2 table is for where that is small, and seldom whole clusters.
        var size: UInt64 { min(max(clusterSize * 40, 200 << 10), 8 << 20) + seed % 3 * 512 + seed % 2 * 4096 }
    }

    static let cases: [Case] = {
        var cases: [Case] = []
        var seed: UInt64 = 1
        for bits in 9...21 {
            for isExtended in bits >= 14 ? [false, true] : [false] {
                let belows: [Double?] = [nil, 0.6, 1.5]
                for (index, below) in belows.enumerated() {
                    // Every width with every size of clusters would be too many.
                    let order = (UInt64(bits) + seed + UInt64(index)) % 7
                    cases.append(
                        Case(
                            clusterSize: 1 << UInt64(bits), refcountBits: 1 << UInt32(order), isExtended: isExtended,
                            belowSize: below, seed: seed))
                    seed += 1
                }
            }
        }
        return cases
    }()

    @Test(arguments: cases)
    func `reads as an array of bytes to which the same was done`(testCase: Case) throws {
        let below = testCase.belowSize.map { [UInt8].noise(Int(Double(testCase.size) * $0) / 512 * 512, salt: 77) }
        var disk = try WrittenDisk(testCase.image, below: below, seed: testCase.seed)
        let most = Int(max(testCase.clusterSize * 3, 20000))
        var steps: [String] = []
        do {
            for _ in 0..<120 { steps.append(try disk.step(most: most)) }
            try disk.finish()
        } catch {
            Issue.record("\(testCase.testDescription): after \(steps.suffix(12)): \(error)")
        }
    }
}
