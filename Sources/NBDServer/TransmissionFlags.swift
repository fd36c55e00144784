/// What a server says of an export: the NBD protocol, "Transmission flags".
public struct TransmissionFlags: OptionSet, Hashable, Sendable {
    /// The bits as they are sent.
    public var rawValue: UInt16

    /// The flags that `rawValue` has.
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Set in every answer that has flags (NBD_FLAG_HAS_FLAGS).
    public static let hasFlags = Self(rawValue: 1 << 0)
    /// Writing is refused (NBD_FLAG_READ_ONLY).
    public static let readOnly = Self(rawValue: 1 << 1)
    /// Several connections see one disk (NBD_FLAG_CAN_MULTI_CONN).
    public static let canMultiConn = Self(rawValue: 1 << 8)
    /// NBD_CMD_CACHE is understood (NBD_FLAG_SEND_CACHE).
    public static let sendCache = Self(rawValue: 1 << 10)
}
