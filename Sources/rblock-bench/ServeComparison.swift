import Foundation
import HostTools

/// One image, served over NBD by several servers.
struct ServeComparison {
    let image: DiskImage
    let workload: NBDWorkload
    let measures: [NBDMeasure]
    let folder: TemporaryFolder
    let rblock: String
    let progress: Progress

    /// Measures the servers in alternation, and answers a row for each of them and each measure.
    func run(_ kinds: [NBDServerKind], rounds: Int) throws -> [PeerRow] {
        var rows: [NBDServerKind: [NBDMeasure: PeerRow]] = [:]
        var servers: [(kind: NBDServerKind, socket: String, server: BackgroundServer)] = []
        defer { for (_, _, server) in servers { server.end() } }
        for kind in kinds {
            Ending.holdIfRequested()
            progress.show("\(image.kind.rawValue): \(kind.rawValue) is checked")
            var problem: String?
            do {
                let (socket, server) = try start(kind)
                servers.append((kind, socket, server))
                try workload.check(socket)
            } catch {
                problem = "\(error)"
            }
            for measure in measures {
                var row = PeerRow(
                    image: image.kind.rawValue, measure: measure.rawValue, server: kind.rawValue, unit: measure.unit,
                    size: workload.disk.size)
                if kind == .rblock { row.aims = [PeerRow.Aim(times: NBDServerKind.qemu.rawValue, atLeast: 1.5)] }
                row.problem = problem
                rows[kind, default: [:]][measure] = row
            }
        }
        for round in 0..<rounds {
            // The order is turned round every time, so that drift of the machine's speed falls on all alike.
            for (kind, socket, _) in round.isMultiple(of: 2) ? servers : servers.reversed() {
                try image.warm()
                for measure in measures where rows[kind]?[measure]?.problem == nil {
                    Ending.holdIfRequested()
                    progress.show(
                        "\(image.kind.rawValue): round \(round + 1) of \(rounds): \(kind.rawValue): \(measure.title)")
                    do {
                        rows[kind]?[measure]?.rounds.append(try measure.run(socket, workload))
                    } catch {
                        rows[kind]?[measure]?.problem = "\(error)"
                    }
                }
            }
        }
        return measures.flatMap { measure in
            let beside = kinds.compactMap { rows[$0]?[measure] }
            return beside.map { $0.compared(with: beside) }
        }
    }

    private func start(_ kind: NBDServerKind) throws -> (socket: String, server: BackgroundServer) {
        // The path of a socket is short.
        let place = folder.file("\(image.kind.rawValue)-\(kind.rawValue)")
        let socket = "\(place).socket"
        let server = try BackgroundServer(kind.command(image, at: socket, rblock: rblock), place: place)
        try server.awaitReadiness { NBDWorkload.isListening(socket) }
        return (socket, server)
    }
}
