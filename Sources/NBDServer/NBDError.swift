import BlockImage
import Catalog
import Glibc

/// Why a request was not done: the NBD protocol, "Error values".
struct NBDError: Error, Hashable, Sendable {
    /// The numbers that the protocol has.
    enum Number: UInt32, Sendable {
        /// Writing to what may only be read.
        case notPermitted = 1
        /// Reading or writing failed.
        case io = 5
        /// There is no memory for it.
        case noMemory = 12
        /// The request contradicts the protocol, or goes beyond the export.
        case invalid = 22
        /// Writing past the end, or without space for it.
        case noSpace = 28
        /// More than is sent in one piece.
        case overflow = 75
        /// What is not done here.
        case notSupported = 95
        /// The server is going to stop.
        case shutdown = 108
    }

    /// The most bytes of a message, and of any other string: the NBD protocol, "String values".
    static let stringLimit = 4096

    var number: Number
    /// What is wrong, in one sentence, for people.
    var message: String
    /// The byte of the export that it is about.
    var offset: UInt64?

    init(_ number: Number, _ message: String, at offset: UInt64? = nil) {
        self.number = number
        self.message = message
        self.offset = offset
    }

    /// What a fault of an image means to a client, who knows files by the names of `paths`, and gets no hint.
    init(_ error: ImageError, at offset: UInt64? = nil, paths: HostPaths) {
        number =
            switch error.code {
            case .system(errno: ENOMEM): .noMemory
            case .system(errno: ENOSPC), .system(errno: EDQUOT), .system(errno: EFBIG): .noSpace
            case .system(errno: EROFS), .system(errno: EPERM): .notPermitted
            case .outOfRange: .invalid
            case .unsupported: .notSupported
            case .corrupt, .truncated, .denied, .system: .io
            }
        message = error.detail.text(naming: paths)
        self.offset = offset
    }
}

extension String {
    /// The text as far as `limit` bytes of UTF-8 go.
    func clipped(to limit: Int = NBDError.stringLimit) -> Substring {
        guard utf8.count > limit else { return self[...] }
        var end = utf8.index(startIndex, offsetBy: limit)
        while end > startIndex, end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return self[..<end]
    }
}
