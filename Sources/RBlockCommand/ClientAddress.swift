import BlockImage
import HostStorage
import NBDServer
import Sockets
import SystemPackage

/// How clients of this host reach a socket, as they write it.
struct ClientAddress {
    /// What they connect to: never all addresses of a host, which are none to connect to.
    let address: ListenAddress
    /// Whether the socket is bound to all addresses of this host.
    let isWildcard: Bool
    /// Whether clients have a word for it at all.
    private let isNamed: Bool

    /// Of `socket`, which is bound.
    init(_ socket: ListeningSocket) {
        isNamed = socket.isNamed
        switch socket.address {
        case .tcp(let host, let port) where ["0.0.0.0", "::"].contains(host):
            (address, isWildcard) = (.tcp(host: host == "::" ? "::1" : "127.0.0.1", port: port), true)
        case .tcp: (address, isWildcard) = (socket.address, false)
        case .unix(let path):
            // Clients may run in another folder.
            let whole = socket.isNamed ? try? canonical(FilePath(text: path)).text : nil
            (address, isWildcard) = (.unix(path: whole ?? path), false)
        }
    }

    /// The NBD URIs of `export`, nil for none, with what `tls` has clients say: NetworkBlockDevice/nbd, doc/uri.md. Several
    /// where TLS is the client's choice.
    func nbdURIs(of export: String? = nil, _ tls: TLSOptions) -> [String] {
        guard isNamed else { return [] }
        return switch tls.mode {
        case .off: [uri(of: export, nil)]
        case .allow: [uri(of: export, nil), uri(of: export, tls)]
        case .require: [uri(of: export, tls)]
        }
    }

    private func uri(of export: String?, _ tls: TLSOptions?) -> String {
        let scheme = tls == nil ? "nbd" : "nbds"
        let user = tls?.presharedKeys.names.first.map { percentEncoded($0, but: "") + "@" } ?? ""
        var query = tls?.clientFiles.map { "\($0.name)=\(percentEncoded($0.path))" } ?? []
        let place: String
        switch address {
        case .unix(let path):
            query.insert("socket=\(percentEncoded(path))", at: 0)
            place = "\(scheme)+unix://\(user)/"
        case .tcp(let host, let port):
            // Certificates name hosts, and seldom addresses. Not every host calls ::1 so.
            let isLocalhost = tls?.certificate != nil && (isWildcard || host == "127.0.0.1")
            let name = isLocalhost ? "localhost" : host.contains(":") ? "[\(host)]" : host
            place = "\(scheme)://\(user)\(name):\(port)" + (export == nil && query.isEmpty ? "" : "/")
        }
        return place + percentEncoded(export ?? "") + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
    }
}

extension TLSOptions {
    /// What the files of the server say to a client that runs as its user.
    fileprivate var clientFiles: [(name: String, path: String)] {
        func absolute(_ path: String) -> String { (try? canonical(FilePath(text: path)).text) ?? path }
        if let presharedKeyFile { return [("tls-psk-file", absolute(presharedKeyFile))] }
        guard let clientFolder else { return [] }
        return [("tls-certificates", absolute(clientFolder))]
    }
}

private let unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

/// `text` in a URI: RFC 3986, section 2. Of the other characters those in `plain` stay as they are, which have no meaning of
/// their own in paths and queries.
private func percentEncoded(_ text: String, but plain: String = "/@:,") -> String {
    let plain = Set((unreserved + plain).utf8)
    return text.nameBytes.map { byte in
        if plain.contains(byte) { return String(UnicodeScalar(byte)) }
        let digits = String(byte, radix: 16, uppercase: true)
        return "%" + (digits.count < 2 ? "0" : "") + digits
    }.joined()
}
