import BlockImage
import NIOSSL

/// How connections are encrypted, and who may make them.
package struct TLSOptions: Sendable {
    /// Whether they are.
    package var mode = TLSMode.off
    /// A file of the server's certificate and those that sign it, in PEM.
    package var certificate: String?
    /// A file of the certificate's private key, in PEM.
    package var key: String?
    /// A file of the certificates that must have signed those of clients, in PEM. Nil: clients need none.
    package var clientAuthority: String?
    /// What clients show instead of certificates.
    package var presharedKeys = PresharedKeys()
    /// The file that these are from, and a folder of what a client may trust: for clients of this host.
    package var presharedKeyFile: String?
    package var clientFolder: String?

    /// No encryption.
    package init() {}

    /// What NIOSSL needs; nil where nothing is encrypted. Throws what is wrong with the files.
    func context() throws(ImageError) -> NIOSSLContext? {
        guard mode != .off else { return nil }
        var configuration = TLSConfiguration.makePreSharedKeyConfiguration()
        if let certificate, let key {
            let chain = try Self.read(certificate, as: "a certificate in PEM") {
                try NIOSSLCertificate.fromPEMFile(certificate)
            }
            let key = try Self.read(key, as: "a private key in PEM") { try NIOSSLPrivateKey(file: key, format: .pem) }
            configuration = .makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        }
        if let clientAuthority {
            let trusted = try Self.read(clientAuthority, as: "certificates in PEM") {
                try NIOSSLCertificate.fromPEMFile(clientAuthority)
            }
            configuration.trustRoots = .certificates(trusted)
            // A client has an address that its certificate need not name.
            configuration.certificateVerification = .noHostnameVerification
        }
        configuration.minimumTLSVersion = .tlsv12
        if !presharedKeys.isEmpty {
            // TLS 1.3 has these keys in another way, which the library does not do.
            configuration.maximumTLSVersion = .tlsv12
            let keys = presharedKeys
            configuration.pskServerProvider = { client in
                guard let key = keys[client.clientIdentity], key.count <= client.maxPSKLength else {
                    throw UnknownIdentity()
                }
                return PSKServerIdentityResponse(key: NIOSSLSecureBytes(key))
            }
        }
        let settings = configuration
        return try Self.read(certificate ?? "TLS", as: "a certificate that goes with the key") {
            try NIOSSLContext(configuration: settings)
        }
    }

    private static func read<Value>(
        _ path: String, as what: String, _ body: () throws -> Value
    ) throws(ImageError) -> Value {
        do { return try body() } catch { throw ImageError(.denied, path: path, "cannot be used as \(what): \(error)") }
    }

    /// The client's name goes with no key.
    private struct UnknownIdentity: Error {}
}
