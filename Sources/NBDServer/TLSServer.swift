import BlockImage
import Encryption
import NIOCore
import NIOSSL
import NIOTLS

/// What encrypts the connections of a server.
struct TLSServer: Sendable {
    let mode: TLSMode
    private let keys: PresharedKeys
    private let asksForCertificates: Bool
    /// What goes for all connections, and has no keys.
    private let configuration: TLSConfiguration?
    private let context: NIOSSLContext?

    /// Throws what is wrong with the files of `options`.
    init(_ options: TLSOptions) throws(ImageError) {
        mode = options.mode
        keys = options.presharedKeys
        asksForCertificates = options.clientAuthority != nil
        let isOn = mode != .off
        configuration = isOn ? try options.configuration() : nil
        context = isOn ? try options.context() : nil
    }

    /// TLS of one more connection. Throws what the library does not like.
    func begin() throws -> TLSConnection {
        guard var configuration, var context else { throw NIOSSLError.failedToLoadCertificate }
        let identity = TLSConnection.Identity()
        if !keys.isEmpty {
            // The library does not say which connection it asks for, so that each has a context of its own.
            configuration.pskServerProvider = { [keys] client in
                identity.note(client.clientIdentity)
                guard let key = keys[client.clientIdentity], key.count <= client.maxPSKLength else {
                    throw UnknownIdentity()
                }
                identity.noteKnown()
                return PSKServerIdentityResponse(key: NIOSSLSecureBytes(key))
            }
            context = try NIOSSLContext(configuration: configuration)
        }
        return TLSConnection(
            handler: NIOSSLServerHandler(context: context), identity: identity,
            asksForCertificates: asksForCertificates)
    }

    /// The client's name goes with no key.
    private struct UnknownIdentity: Error {}
}

/// TLS of one connection, on its event loop.
struct TLSConnection {
    /// What a client calls itself that has a key, which may be wrong. May be used from any thread.
    final class Identity: Sendable {
        private let state = Guarded<(name: String?, isKnown: Bool)>((nil, false))

        func note(_ name: String) { state.withLock { $0.name = name } }
        func noteKnown() { state.withLock { $0.isKnown = true } }
        var name: String? { state.withLock { $0.name } }
        var isKnown: Bool { state.withLock { $0.isKnown } }
    }

    let handler: NIOSSLServerHandler
    let identity: Identity
    let asksForCertificates: Bool

    /// Who the client is, once it is known: the name that goes with its key, or the subject of its certificate.
    var user: String? {
        if let name = identity.name { return name }
        guard asksForCertificates, let bytes = try? handler.peerCertificate?.toDERBytes() else { return nil }
        return certificateSubject(ofDER: bytes)
    }
}
