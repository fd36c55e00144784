import CrashReplay
import HostTools
import Testing

/// The instrument itself: it must find what is wrong, and nothing else.
struct `The instrument of power cuts` {
    /// What it finds of the scripts of `seeds`, done by a writer with `fault`.
    private func figures(_ fault: SmallWriter.Fault, seeds: ClosedRange<UInt64>) throws -> CrashFigures {
        var figures = CrashFigures()
        for seed in seeds {
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
        let figures = try figures(.none, seeds: 1...4)
        #expect(figures.violations == 0, "\(figures.examples.joined(separator: "\n"))")
        #expect(figures.distinct > 1000 && figures.continued > 100)
    }

    @Test(arguments: SmallWriter.Fault.allCases.filter { $0 != .none })
    func `finds every wrong order`(_ fault: SmallWriter.Fault) throws {
        let figures = try figures(fault, seeds: 1...2)
        #expect(figures.violations > 0)
    }
}
