import Foundation
import HostTools
import TestImages
import Testing

/// What the fuzzer (`make fuzz`) runs for hours, for a moment: its seeds, what it found, and some mutants of both.
struct `Inputs of the fuzzer` {
    private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Fixtures/fuzz")

    private static func kept(for target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
        let folder = fixtures.appendingPathComponent(target.rawValue)
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map { name in
            (name, Array(try Data(contentsOf: folder.appendingPathComponent(name))))
        }
    }

    private static func inputs(for target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
        try target.seeds().enumerated().map { ("seed \($0)", $1) } + kept(for: target)
    }

    @Test(arguments: FuzzTarget.allCases)
    func `are understood where they are good ones`(target: FuzzTarget) throws {
        let good = try Self.inputs(for: target).filter { !$0.name.hasPrefix("found-") }
        #expect(!good.isEmpty)
        for input in good { #expect(target.run(input.bytes) > 0, "\(target.rawValue): \(input.name)") }
    }

    @Test(arguments: FuzzTarget.allCases)
    func `end in an error at the worst`(target: FuzzTarget) throws {
        for input in try Self.inputs(for: target) { target.run(input.bytes) }
    }

    @Test(arguments: FuzzTarget.allCases, [UInt64(1), 2])
    func `end in an error at the worst where integers in them were changed`(target: FuzzTarget, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let inputs = try Self.inputs(for: target)
        for _ in 0..<100 {
            let input = try #require(inputs.randomElement(using: &random))
            var bytes = input.bytes
            for _ in 0..<Int.random(in: 1...3, using: &random) { Mutation.poke(&bytes, using: &random) }
            target.run(bytes)
        }
    }
}
