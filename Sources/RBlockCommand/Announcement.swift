import BlockImage
import Catalog
import NBDServer
import Reports
import Sockets

/// What a server says at its start: where clients can connect by now, in words that they take.
struct Announcement {
    /// The most images whose addresses people are shown one by one.
    private static let listLimit = 16

    private let nbd: [ListeningSocket]
    private let rpc: [ListeningSocket]
    private let catalog: ExportCatalog
    private let tls: TLSOptions

    /// Of the sockets of NBD and of JSON-RPC, at which the exports of `catalog` are served.
    init(_ nbd: [ListeningSocket], _ rpc: [ListeningSocket], of catalog: ExportCatalog, _ tls: TLSOptions) {
        (self.nbd, self.rpc, self.catalog, self.tls) = (nbd, rpc, catalog, tls)
    }

    /// Says it on standard error, or as JSON in one line on standard output.
    func make(_ output: OutputForm) throws {
        switch output {
        case .human:
            for socket in nbd { say(socket) }
            for socket in rpc {
                let client = ClientAddress(socket)
                Failure.say("JSON-RPC at \(shellWord("\(client.address)"))\(client.others)")
            }
        case .json:
            let printer = StandardOutput()
            try printer.write(try jsonLine(report) + "\n")
            try printer.flush()
        }
    }

    private func say(_ socket: ListeningSocket) {
        let client = ClientAddress(socket)
        let uris = client.nbdURIs(tls)
        guard !uris.isEmpty else { return Failure.say("NBD at \(socket.address)") }
        let names = catalog.imageNames
        // The name of the only disk may be left out.
        if names.count == 1, !catalog.hasFurtherExports {
            return Failure.say("NBD at \(uris.map(shellWord).joined(separator: " and "))\(client.others)")
        }
        for name in names.prefix(Self.listLimit) {
            let uris = client.nbdURIs(of: name, tls).map(shellWord)
            Failure.say("NBD at \(uris.joined(separator: " and "))\(client.others)")
        }
        guard catalog.hasFurtherExports || names.count > Self.listLimit else { return }
        for uri in uris { Failure.say("NBD\(client.others): nbdinfo --list \(shellWord(uri)) lists the exports") }
    }

    private var report: AddressReport {
        var report = AddressReport(nbd: nbd.map { "\($0.address)" }, rpc: rpc.map { "\($0.address)" })
        let clients = nbd.map(ClientAddress.init)
        report.nbdURIs = clients.flatMap { $0.nbdURIs(tls) }
        report.rpcAddresses = rpc.map { "\(ClientAddress($0).address)" }
        report.exports = catalog.imageNames.map { name in
            AddressReport.Export(name, uris: clients.flatMap { $0.nbdURIs(of: name, tls) })
        }
        return report
    }
}

extension ClientAddress {
    /// What people should know besides: that this is one of several addresses.
    fileprivate var others: String {
        guard isWildcard, case .tcp(_, let port) = address else { return "" }
        return " (and at port \(port) of all addresses of this host)"
    }
}
