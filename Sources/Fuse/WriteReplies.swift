internal import CFuse3
import Glibc

/// Answers a write. Answer once; dropped, it answers EIO.
public struct WriteReply: ~Copyable {
    let request: Request

    /// All of the `count` bytes were written.
    public consuming func written(_ count: Int) {
        // Safe: the request is answered once.
        unsafe _ = fuse_reply_write(request.take(), count)
    }

    /// They could not be written, or not all.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers what has no other answer than that it was done. Answer once; dropped, it answers EIO.
public struct DoneReply: ~Copyable {
    let request: Request

    /// It was done.
    public consuming func done() {
        // Safe: the request is answered once.
        unsafe _ = fuse_reply_err(request.take(), 0)
    }

    /// It could not be done.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}
