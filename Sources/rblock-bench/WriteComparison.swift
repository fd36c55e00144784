import Foundation
import HostTools

/// Writing over one image, server beside server.
struct WriteComparison {
    let image: DiskImage
    let disk: GuestDisk
    let workload: WriteWorkload
    let measures: [WriteMeasure]
    let folder: TemporaryFolder
    let programs: WritePrograms
    let progress: Progress

    /// Measures the servers in alternation, each time with a new overlay, and answers a row for each of them and each measure.
    func run(_ kinds: [WriteServerKind], rounds: Int) throws -> [PeerRow] {
        try measures.filter { $0 != .files || Tool.isRoot }.flatMap { measure in
            let kinds = kinds.filter(measure.fits)
            var rows = kinds.map { kind in
                var row = PeerRow(
                    image: image.kind.rawValue, measure: measure.rawValue, server: kind.rawValue, unit: measure.unit,
                    size: disk.size)
                row.aims = measure.aims(of: kind)
                return row
            }
            let expected = try measure.isRepeatable ? writtenDisk(measure) : nil
            defer { if let expected { unlink(expected) } }
            for round in 0..<rounds {
                let own = try folder.makeFolder("round")
                defer { try? FileManager.default.removeItem(atPath: own) }
                // The order is turned round every time, so that drift of the machine's speed falls on all alike.
                let order = round.isMultiple(of: 2) ? Array(rows.indices) : rows.indices.reversed()
                for index in order where rows[index].problem == nil {
                    Ending.holdIfRequested()
                    progress.show(
                        "\(image.kind.rawValue): \(measure.title): round \(round + 1) of \(rounds): \(kinds[index].title)"
                    )
                    do {
                        let overlay = try write(measure, kinds[index], in: "\(own)/\(index)", &rows[index])
                        if let expected, let overlay { try compare(overlay, with: expected) }
                    } catch {
                        rows[index].problem = "\(error)"
                    }
                }
            }
            return rows.map { $0.compared(with: rows) }
        }
    }

    /// Has `kind` written to once, and answers the overlay, if there is one.
    private func write(
        _ measure: WriteMeasure, _ kind: WriteServerKind, in own: String, _ row: inout PeerRow
    ) throws -> String? {
        let server = try measured(measure, kind, in: own, &row)
        guard kind.hasOverlay else { return nil }
        row.overlaySize = Int(try Status(server.overlay).blocks) * 512
        try Tool.check("qemu-img", "check", "-q", "-f", "qcow2", server.overlay, timeout: 600)
        return server.overlay
    }

    /// Has `kind` written to once, and ends it.
    private func measured(
        _ measure: WriteMeasure, _ kind: WriteServerKind, in own: String, _ row: inout PeerRow
    ) throws -> WriteServer {
        // On a busy machine nbdkit 1.32 ends now and then before it has answered anything.
        var tries = kind.peers.isEmpty ? 3 : 1
        while true {
            try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: false)
            try image.warm()
            do {
                let server = try WriteServer(kind, image, of: disk, in: own, programs)
                defer { server.end() }
                row.rounds.append(try measure.run(server, workload))
                return server
            } catch {
                tries -= 1
                guard tries > 0 else { throw error }
                try FileManager.default.removeItem(atPath: own)
            }
        }
    }

    /// A copy of the disk to which the same is written.
    private func writtenDisk(_ measure: WriteMeasure) throws -> String {
        let path = folder.file("expected")
        try Tool.check("cp", "--sparse=always", disk.path, path, timeout: 1800)
        let (size, offsets) = workload.writes(of: measure)
        _ = try WrittenFile(path).write(size, at: offsets)
        return path
    }

    /// Throws where an overlay is not the disk `expected`.
    private func compare(_ overlay: String, with expected: String) throws {
        let result = try Tool.run(
            "qemu-img", ["compare", "-f", "qcow2", "-F", "raw", overlay, expected], timeout: 1800)
        guard result.status == 0 else {
            let text = result.text.split(separator: "\n").first ?? ""
            throw ToolFailure(description: "\(Comparison.wrongContent): \(text)")
        }
    }
}
