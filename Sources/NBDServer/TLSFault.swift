import BlockImage
import NIOSSL

/// What `error` means where TLS begins with a client that calls itself `identity`, in words; nil for one that is not of TLS.
func tlsHandshakeFault(_ error: any Error, _ identity: TLSConnection.Identity?) -> String? {
    guard let reason = tlsReason(error) else { return nil }
    guard let name = identity?.name else { return "TLS handshake failed: \(reason)" }
    let isKnown = identity?.isKnown ?? false
    return "TLS handshake failed: \(isKnown ? "the key of \"\(name)\" is another one" : "no key for \"\(name)\"")"
}

/// What `error` of the TLS library means, in words; nil for one that is none.
func tlsReason(_ error: any Error) -> String? {
    switch error {
    case NIOSSLError.handshakeFailed(.sslError(let stack)), NIOSSLError.handshakeFailed(.unknownError(let stack)),
        NIOSSLError.shutdownFailed(.sslError(let stack)), BoringSSLError.sslError(let stack),
        BoringSSLError.unknownError(let stack):
        return words(of: stack)
    case NIOSSLError.uncleanShutdown: return "the client closed the connection without an end of TLS"
    case NIOSSLError.failedToLoadCertificate: return "there is no certificate in it"
    case NIOSSLError.failedToLoadPrivateKey: return "there is no private key in it"
    case is NIOSSLError, is BoringSSLError: return "the connection ended"
    case is NIOSSLExtraError: return "the client does not keep to the protocol"
    default: return nil
    }
}

/// The reasons that BoringSSL has names for (ssl.errordata), where those do not say enough.
private let reasons = [
    "CERTIFICATE_VERIFY_FAILED":
        "the client's certificate is not signed by an authority that is trusted, or is not valid now",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate",
    "UNSUPPORTED_PROTOCOL": "the client speaks older versions of TLS only than 1.2",
    "NO_SHARED_CIPHER": "the client and the server have no cipher in common",
    "UNKNOWN_PROTOCOL": "what the client sent is no TLS",
    "WRONG_VERSION_NUMBER": "what the client sent is no TLS",
    "HTTP_REQUEST": "what the client sent is HTTP, and no TLS",
    "HTTPS_PROXY_REQUEST": "what the client sent is HTTP, and no TLS",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not take the server's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not take the server's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server's certificate has expired",
    // TLS 1.3: the client's alert comes unencrypted, where the server awaits what is encrypted.
    "BAD_PACKET_LENGTH": "the client broke it off, as one does that does not trust the server's certificate",
]

private func words(of stack: NIOBoringSSLErrorStack) -> String {
    // "Error: 268435581 error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED at FILE:LINE"
    for text in stack.map({ "\($0)" }) {
        if text.contains(text: "EOF during") { return "the client closed the connection" }
        let name = text.split(separator: ":").last { part in
            part.contains { $0.isLetter }
                && part.prefix { $0 != " " }.allSatisfy { $0.isUppercase || $0.isNumber || $0 == "_" }
        }
        guard let name = name.map({ String($0.prefix { $0 != " " }) }), !name.isEmpty else { continue }
        return reasons[name] ?? name.lowercased().replacing(text: "_", with: " ")
    }
    return "the client does not keep to the protocol"
}
