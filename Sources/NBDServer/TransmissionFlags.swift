/// What a server says of an export: the NBD protocol, "Transmission flags".
struct TransmissionFlags: OptionSet, Hashable, Sendable {
    /// The bits as they are sent.
    var rawValue: UInt16

    /// Set in every answer that has flags (NBD_FLAG_HAS_FLAGS).
    static let hasFlags = Self(rawValue: 1 << 0)
    /// Writing is refused (NBD_FLAG_READ_ONLY).
    static let readOnly = Self(rawValue: 1 << 1)
    /// A read may ask for one piece (NBD_FLAG_SEND_DF): only where replies are structured.
    static let sendDF = Self(rawValue: 1 << 7)
    /// Several connections see one disk (NBD_FLAG_CAN_MULTI_CONN).
    static let canMultiConn = Self(rawValue: 1 << 8)
    /// NBD_CMD_CACHE is understood (NBD_FLAG_SEND_CACHE).
    static let sendCache = Self(rawValue: 1 << 10)

    /// Those of every export, where replies have the form `form`.
    static func ofExport(_ form: ReplyForm) -> Self {
        let flags: Self = [.hasFlags, .readOnly, .canMultiConn, .sendCache]
        return form == .simple ? flags : flags.union(.sendDF)
    }
}
