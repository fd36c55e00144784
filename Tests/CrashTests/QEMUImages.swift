import CrashReplay
import Foundation
import HostTools
import TestImages

/// An image for qemu-io, whose sectors describe themselves.
final class QEMUImage {
    /// What the sectors are marked with.
    let run: UInt64 = 77
    let path: String
    private let folder: TemporaryFolder
    private var generation: UInt64 = 100
    private(set) var lines: [String] = []
    private(set) var requests: [TracedProgram.Request] = []

    /// An image of so many sectors, in clusters of 4 KiB: those of `data` are of generation 1, the others zeros.
    init(sectors: Int, data: Range<Int>, compressed: Bool = false, options: [String] = []) throws {
        folder = try TemporaryFolder()
        path = folder.file("image.qcow2")
        let generations = (0..<sectors).map { data.contains($0) ? 1 : 0 as UInt64 }
        try Data(GuestSector.bytes(from: 0, generations: generations, run: run))
            .write(to: URL(fileURLWithPath: folder.file("raw")))
        try QemuImg.convert(
            folder.file("raw"), to: path, options: ["cluster_size=4096"] + options, compressed: compressed)
    }

    /// The command that has qemu-io write the sectors with a new generation.
    func write(_ sectors: Range<Int>) throws {
        generation += 1
        let generations = Array(repeating: generation, count: sectors.count)
        let source = folder.file("source-\(generation)")
        try Data(GuestSector.bytes(from: sectors.lowerBound, generations: generations, run: run))
            .write(to: URL(fileURLWithPath: source))
        lines.append("write -s \(source) \(sectors.lowerBound * 512) \(sectors.count * 512)")
        requests.append(.init(.write(generations), sectors))
    }

    /// The command that has it write zeros.
    func zero(_ sectors: Range<Int>) {
        lines.append("write -z \(sectors.lowerBound * 512) \(sectors.count * 512)")
        requests.append(.init(.zero(mayKeep: false), sectors))
    }

    /// The command that has it flush.
    func flush() {
        lines.append("flush")
        requests.append(.init(.flush))
    }

    /// Runs the commands that were given and not run yet, untraced.
    func perform() throws {
        try QemuImg.io(path, lines)
        (lines, requests) = ([], [])
    }

    /// Runs them, traced.
    func record() throws -> Recording {
        defer { (lines, requests) = ([], []) }
        return try TracedProgram.record(
            path, ["qemu-io", "-t", "writeback", "-f", "qcow2", "-d", "unmap", path], lines: lines + ["quit"],
            requests: requests)
    }

    /// Has qemu-io go on from `state` with the commands that `body` gives, and a flush: what is left then, and how many
    /// corruptions `qemu-img check` finds in it.
    func writeOn(
        from state: CrashState, _ body: () throws -> Void
    ) throws -> (content: HostContent, requests: [ClientRequest], corruptions: Int) {
        try body()
        flush()
        defer { (lines, requests) = ([], []) }
        let copy = folder.file("state.qcow2")
        try Data(state.files[0].bytes).write(to: URL(fileURLWithPath: copy))
        try QemuImg.io(copy, lines)
        var recording = Recording(state.files)
        for request in requests { recording.acknowledge(recording.issue(request.kind, request.sectors)) }
        let check = try QemuImg.check(copy, format: "qcow2")
        let content = HostContent([UInt8](try Data(contentsOf: URL(fileURLWithPath: copy))))
        // The key is left out where there is none.
        return (content, recording.requests, check.object["corruptions"] as? Int ?? 0)
    }
}
