import CrashReplay
import HostTools
import Testing

/// The instrument itself: it must find what is wrong, and nothing else.
struct `The instrument of power cuts` {
    /// What it finds of this many scripts, written by a writer with `fault`.
    private func figures(_ fault: SmallWriter.Fault) throws -> CrashFigures {
        var figures = CrashFigures()
        for seed in 1...6 as ClosedRange<UInt64> {
            var shape = CrashImage.Shape()
            shape.clusters = [.unallocated, .data, .zero]
            let image = try CrashImage(shape, run: seed)
            let opener: DiskOpener = { file, _ in try SmallWriter(file, fault) }
            let recording = try image.record(opener, operations: 12, seed: seed)
            let judge = try QCOW2Judge(recording, image.subject(opener))
            var run = CrashRun()
            run.options.seed = seed
            run.options.limit = 24
            run.continuedEvery = 4
            figures += run.look(at: recording, judge, name: "seed \(seed): ")
        }
        return figures
    }

    @Test func `finds nothing where the order is right`() throws {
        let figures = try figures(.none)
        #expect(figures.violations == 0, "\(figures.examples.joined(separator: "\n"))")
        #expect(figures.distinct > 1000 && figures.continued > 100)
    }

    @Test(arguments: SmallWriter.Fault.allCases.filter { $0 != .none })
    func `finds every wrong order`(_ fault: SmallWriter.Fault) throws {
        let figures = try figures(fault)
        #expect(figures.violations > 0)
    }
}
