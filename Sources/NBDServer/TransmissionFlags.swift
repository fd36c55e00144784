/// What a server says of an export: the NBD protocol, "Transmission flags".
struct TransmissionFlags: OptionSet, Hashable, Sendable {
    /// The bits as they are sent.
    var rawValue: UInt16

    /// Set in every answer that has flags (NBD_FLAG_HAS_FLAGS).
    static let hasFlags = Self(rawValue: 1 << 0)
    /// Writing is refused (NBD_FLAG_READ_ONLY).
    static let readOnly = Self(rawValue: 1 << 1)
    /// NBD_CMD_FLUSH is understood (NBD_FLAG_SEND_FLUSH).
    static let sendFlush = Self(rawValue: 1 << 2)
    /// So is NBD_CMD_FLAG_FUA (NBD_FLAG_SEND_FUA).
    static let sendFUA = Self(rawValue: 1 << 3)
    /// NBD_CMD_TRIM is understood (NBD_FLAG_SEND_TRIM).
    static let sendTrim = Self(rawValue: 1 << 5)
    /// NBD_CMD_WRITE_ZEROES is understood (NBD_FLAG_SEND_WRITE_ZEROES).
    static let sendWriteZeroes = Self(rawValue: 1 << 6)
    /// A read may ask for one piece (NBD_FLAG_SEND_DF): only where replies are structured.
    static let sendDF = Self(rawValue: 1 << 7)
    /// Several connections see one disk, and a flush on one is for what was written on all (NBD_FLAG_CAN_MULTI_CONN).
    static let canMultiConn = Self(rawValue: 1 << 8)
    /// NBD_CMD_CACHE is understood (NBD_FLAG_SEND_CACHE).
    static let sendCache = Self(rawValue: 1 << 10)

    /// NBD_CMD_FLAG_FAST_ZERO is understood (NBD_FLAG_SEND_FAST_ZERO).
    static let sendFastZero = Self(rawValue: 1 << 11)

    /// Those of an export, where replies have the form `form`.
    static func ofExport(_ form: ReplyForm, isWritable: Bool) -> Self {
        var flags: Self = [.hasFlags, .canMultiConn, .sendCache]
        flags.formUnion(
            isWritable ? [.sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .sendFastZero] : .readOnly)
        return form == .simple ? flags : flags.union(.sendDF)
    }
}
