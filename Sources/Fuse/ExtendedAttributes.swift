internal import CFuse3
import Glibc

/// Answers a question for an extended attribute. Answer once; dropped, it answers EIO.
public struct ExtendedAttributeReply: ~Copyable {
    private let request: Request
    private let capacity: Int

    init(request: consuming Request, capacity: Int) {
        self.request = request
        self.capacity = capacity
    }

    /// The attribute's value, at most 65,536 bytes. A caller that only asks how large it is, or whose buffer is too
    /// small, is answered so.
    public consuming func value(_ bytes: [UInt8]) {
        answer(request, bytes, capacity: capacity)
    }

    /// There is no such attribute (`noData`), or it cannot be read.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers a question for the names of extended attributes. Answer once; dropped, it answers EIO.
public struct ExtendedAttributeNamesReply: ~Copyable {
    private let request: Request
    private let capacity: Int

    init(request: consuming Request, capacity: Int) {
        self.request = request
        self.capacity = capacity
    }

    /// The names, each with its namespace as "user.format" and without NUL, at most 65,536 bytes in all. A caller that
    /// only asks how long the list is, or whose buffer is too small, is answered so.
    public consuming func names(_ names: [[UInt8]]) {
        answer(request, names.flatMap { $0 + [0] }, capacity: capacity)
    }

    /// The names cannot be listed.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// What getxattr(2) and listxattr(2) answer: a buffer of 0 bytes asks for the size.
enum ExtendedAttributeAnswer: Hashable {
    case size
    case content
    case failure(ErrorNumber)

    /// XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux.
    static let limit = 65_536

    /// The answer for `count` bytes, to a caller with space for `capacity`.
    init(count: Int, capacity: Int) {
        if count > Self.limit {
            self = .failure(.tooBig)
        } else if capacity <= 0 {
            self = .size
        } else {
            self = count > capacity ? .failure(.outOfRange) : .content
        }
    }
}

private func answer(_ request: consuming Request, _ bytes: [UInt8], capacity: Int) {
    switch ExtendedAttributeAnswer(count: bytes.count, capacity: capacity) {
    case .size:
        // Safe: a taken request is answered once.
        unsafe _ = fuse_reply_xattr(request.take(), bytes.count)
    case .content:
        let request = unsafe request.take()
        // Safe: libfuse reads the bytes before it returns; the request is answered once.
        unsafe bytes.withUnsafeBytes { buffer in
            let start = unsafe buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
            unsafe _ = fuse_reply_buf(request, start, buffer.count)
        }
    case .failure(let error): request.fail(error)
    }
}
