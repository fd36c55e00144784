import BlockImage
import NIOSSL

/// How connections are encrypted, and who may make them.
public struct TLSOptions: Sendable {
    /// Whether they are.
    public var mode = TLSMode.off
    /// A file of the server's certificate and those that sign it, in PEM.
    public var certificate: String?
    /// A file of the certificate's private key, in PEM.
    public var key: String?
    /// A file of the certificates that must have signed those of clients, in PEM. Nil: clients need none.
    public var clientAuthority: String?
    /// Secrets that clients may show instead of certificates, by the name that goes with each.
    public var presharedKeys: [String: [UInt8]] = [:]

    /// No encryption.
    public init() {}

    /// What NIOSSL needs; nil where nothing is encrypted. Throws what is wrong with the files.
    func context() throws -> NIOSSLContext? {
        guard mode != .off else { return nil }
        var configuration = TLSConfiguration.makePreSharedKeyConfiguration()
        if let certificate, let key {
            configuration = .makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
            if let clientAuthority {
                configuration.trustRoots = .file(clientAuthority)
                // A client has an address that its certificate need not name.
                configuration.certificateVerification = .noHostnameVerification
            }
        }
        configuration.minimumTLSVersion = .tlsv12
        guard !presharedKeys.isEmpty else { return try NIOSSLContext(configuration: configuration) }
        // TLS 1.3 has these keys in another way, which the library does not do.
        configuration.maximumTLSVersion = .tlsv12
        let keys = presharedKeys
        configuration.pskServerProvider = { client in
            guard let key = keys[client.clientIdentity], key.count <= client.maxPSKLength else {
                throw UnknownIdentity()
            }
            return PSKServerIdentityResponse(key: NIOSSLSecureBytes(key))
        }
        return try NIOSSLContext(configuration: configuration)
    }

    /// The client's name goes with no key.
    private struct UnknownIdentity: Error {}
}
