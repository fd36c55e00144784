import CLinux
import Glibc

/// Addresses for a file, by which the kernel tells what of it is in the page cache (mincore(2)): to make them for each question
/// would take longer than the answer. Nothing can be read at them, so that a file that shrinks does no harm. May be used from
/// any thread.
// Safe to send: the addresses are only handed to the kernel, and are given back once.
@safe final class PageCacheMap: @unchecked Sendable {
    private let map: UnsafeMutableRawPointer?
    private let size: Int

    /// For the first `size` bytes of the file `descriptor`; where the address space has no place for them, questions take
    /// longer.
    init(of descriptor: CInt, size: UInt64) {
        self.size = Int(exactly: size) ?? 0
        unsafe map = self.size > 0 ? clinux_map_unread(descriptor, self.size) : nil
    }

    deinit {
        // Safe: it was made with this size.
        if let map = unsafe map { unsafe clinux_unmap(map, size) }
    }

    /// Whether all of the `count` bytes at `offset` of the file are there; also false where that is not known.
    func has(_ count: Int, at offset: off_t, of descriptor: CInt) -> Bool {
        let (end, overflow) = Int(offset).addingReportingOverflow(count)
        // Safe: with an address for each byte, which the kernel alone looks at.
        return unsafe clinux_is_cached(descriptor, overflow || end > size ? nil : map, offset, count) == 1
    }
}
