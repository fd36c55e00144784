import AccessLog
import BlockImage
import Glibc
import NIOCore
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

    /// What NIOSSL needs, but for preshared keys. Throws what is wrong with the files.
    func configuration() throws(ImageError) -> TLSConfiguration {
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
        }
        return configuration
    }

    /// The same for all connections that have certificates.
    func context() throws(ImageError) -> NIOSSLContext {
        let configuration = try configuration()
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw ImageError(.denied, path: certificate ?? "TLS", "the key \(key ?? "") is that of another certificate")
        } catch {
            let reason = tlsReason(error) ?? "the library for TLS refuses it"
            throw ImageError(.denied, path: certificate ?? "TLS", "cannot be used as a certificate: \(reason)")
        }
    }

    private static func read<Value>(
        _ path: String, as what: String, _ body: () throws -> Value
    ) throws(ImageError) -> Value {
        // The library does not say so.
        // Safe: a string of ours.
        if unsafe access(path, R_OK) != 0 {
            throw ImageError(.system(errno: errno), path: path, "cannot be used as \(what): \(systemText(errno))")
        }
        do {
            return try body()
        } catch {
            let reason = (error as? IOError).map { systemText($0.errnoCode) } ?? tlsReason(error) ?? "it is none"
            throw ImageError(.denied, path: path, "cannot be used as \(what): \(reason)")
        }
    }
}
