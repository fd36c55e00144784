import ArgumentParser
import Arguments
import BlockImage
import Glibc
import HostStorage
import NBDServer
import SystemPackage

extension TLSMode: ExpressibleByArgument {}

/// What is said to a server of NBD of encryption.
struct EncryptionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "TLS for NBD: off, allow or require; by default require where there are certificates or keys.",
            valueName: "mode"))
    var tls: TLSMode?
    @Option(
        help: ArgumentHelp(
            "A folder of server-cert.pem, server-key.pem and perhaps ca-cert.pem, as other NBD programs have it.",
            valueName: "dir"),
        completion: .directory)
    var tlsCertificates: String?
    @Option(help: ArgumentHelp("The server's certificate, in PEM.", valueName: "file"), completion: .file())
    var tlsCert: String?
    @Option(help: ArgumentHelp("The certificate's private key, in PEM.", valueName: "file"), completion: .file())
    var tlsKey: String?
    @Option(
        help: ArgumentHelp(
            "Certificates that must have signed a client's: others are refused.", valueName: "file"),
        completion: .file())
    var tlsCa: String?
    @Flag(help: "Refuse clients without a certificate that ca-cert.pem of --tls-certificates has signed.")
    var tlsVerifyPeer = false
    @Option(
        help: ArgumentHelp(
            "A file of names and their keys, as psktool makes it: NAME:HEXADECIMAL lines.", valueName: "file"),
        completion: .file())
    var tlsPsk: String?

    func validate() throws {
        if tlsCertificates != nil, tlsCert != nil || tlsKey != nil {
            throw ValidationError("--tls-certificates names the files that --tls-cert and --tls-key name: choose")
        }
        if (tlsCert == nil) != (tlsKey == nil) { throw ValidationError("--tls-cert and --tls-key go together") }
        if tlsVerifyPeer, tlsCertificates == nil {
            throw ValidationError("--tls-verify-peer goes with --tls-certificates; elsewhere --tls-ca does it")
        }
        let hasCertificate = tlsCertificates != nil || tlsCert != nil
        if tlsCa != nil, !hasCertificate { throw ValidationError("--tls-ca goes with a certificate of the server") }
        let hasKeys = hasCertificate || tlsPsk != nil
        if let tls, (tls != .off) != hasKeys {
            throw ValidationError(
                tls == .off
                    ? "--tls off goes without certificates and keys"
                    : "--tls \(tls.rawValue) needs --tls-certificates, --tls-cert and --tls-key, or --tls-psk")
        }
        if hasCertificate, tlsPsk != nil { throw ValidationError("clients show keys or certificates: choose") }
    }

    /// What the options say, with the keys that they name. Throws where a file cannot be read, or has no keys.
    func read() throws -> TLSOptions {
        var options = TLSOptions()
        guard tlsCertificates != nil || tlsCert != nil || tlsPsk != nil else { return options }
        options.mode = tls ?? .require
        options.certificate = tlsCertificates.map { "\($0)/server-cert.pem" } ?? tlsCert
        options.key = tlsCertificates.map { "\($0)/server-key.pem" } ?? tlsKey
        options.clientAuthority = tlsCa ?? (tlsVerifyPeer ? tlsCertificates.map { "\($0)/ca-cert.pem" } : nil)
        options.clientFolder = tlsCertificates.flatMap { folder in
            let needed = options.clientAuthority == nil ? ["ca-cert.pem"] : ["ca-cert.pem", "client-cert.pem"]
            // Safe: a string of ours.
            return needed.allSatisfy { unsafe access("\(folder)/\($0)", R_OK) == 0 } ? folder : nil
        }
        if let tlsPsk {
            let bytes: [UInt8]
            do {
                bytes = try FilePath(text: tlsPsk).content(limit: 1 << 20)
            } catch {
                throw Failure("\(tlsPsk): cannot be read: \(error)")
            }
            guard let text = String(validating: bytes, as: UTF8.self), let keys = PresharedKeys(parsing: text) else {
                throw Failure("\(tlsPsk): has lines that are not NAME:HEXADECIMAL, as psktool writes them")
            }
            (options.presharedKeys, options.presharedKeyFile) = (keys, tlsPsk)
        }
        return options
    }
}
