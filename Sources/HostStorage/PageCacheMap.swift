import CLinux
import Glibc
import Synchronization

/// Addresses for a file, by which the kernel tells what of it is in the page cache (mincore(2)): to make them for each question
/// would take longer than the answer. Nothing can be read at them, so that a file that shrinks does no harm. May be used from
/// any thread.
// Safe to send: the addresses are only handed to the kernel, and are given back once.
@safe final class PageCacheMap: @unchecked Sendable {
    /// The most bytes that have addresses at a time: a part of the 128 TiB that a process has.
    private static let limit = 16 << 40
    /// How many have some.
    private static let used = Atomic(0)

    private let map: UnsafeMutableRawPointer?
    private let size: Int

    /// For the first `size` bytes of the file `descriptor`; where there are no addresses for them, questions take longer.
    init(of descriptor: CInt, size: UInt64) {
        let size = Int(exactly: size).flatMap { $0 <= Self.limit ? $0 : nil } ?? 0
        let isLeft = size > 0 && Self.used.add(size, ordering: .relaxed).newValue <= Self.limit
        unsafe map = isLeft ? clinux_map_unread(descriptor, size) : nil
        if size > 0, unsafe map == nil { Self.used.subtract(size, ordering: .relaxed) }
        self.size = unsafe map == nil ? 0 : size
    }

    deinit {
        guard let map = unsafe map else { return }
        // Safe: it was made with this size.
        unsafe clinux_unmap(map, size)
        Self.used.subtract(size, ordering: .relaxed)
    }

    /// Whether all of the `count` bytes at `offset` of the file are there; also false where that is not known.
    func has(_ count: Int, at offset: off_t, of descriptor: CInt) -> Bool {
        let (end, overflow) = Int(offset).addingReportingOverflow(count)
        // Safe: with an address for each byte, which the kernel alone looks at.
        return unsafe clinux_is_cached(descriptor, overflow || end > size ? nil : map, offset, count) == 1
    }
}
