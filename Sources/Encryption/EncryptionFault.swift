/// Why something encrypted cannot be read. Never holds a byte of a passphrase or a key.
public struct EncryptionFault: Error, Hashable, Sendable {
    /// The few kinds of faults that callers distinguish.
    public enum Code: Hashable, Sendable {
        /// The bytes contradict the format.
        case corrupt
        /// The header is sound as far as we know, but asks for something that is not done here.
        case unsupported
        /// Finding out whether the passphrase fits would take more than is allowed.
        case tooSlow
        /// The passphrase fits none of the key slots.
        case wrongKey
    }

    /// What kind of trouble it is.
    public var code: Code
    /// The byte of the header that it is about, where there is one.
    public var position: Int?
    /// What is wrong and what it must be.
    public var message: String

    /// A fault about the byte at `position` of the header, if any.
    public init(_ code: Code, at position: Int? = nil, _ message: String) {
        self.code = code
        self.position = position
        self.message = message
    }

    /// libcrypto did not do what it is documented to do: for want of memory, or by the host's policy.
    static func refused(_ what: String) -> EncryptionFault {
        EncryptionFault(.unsupported, "libcrypto refuses \(what)")
    }
}

/// Why a header was not unlocked.
public enum UnlockFailure<Failure: Error>: Error {
    /// The header, its key slots or the passphrase.
    case encryption(EncryptionFault)
    /// The key material could not be read.
    case reading(Failure)
}

extension UnlockFailure: Equatable where Failure: Equatable {}
