import Glibc

/// Aligned memory for one borrower at a time: filled through an `OutputRawSpan`, read through a `RawSpan`.
@safe
public final class AlignedBuffer: @unchecked Sendable {
    // Safe to send: a buffer has one user at a time; a pool hands it on only after it was given back.
    private let memory: UnsafeMutableRawBufferPointer
    /// How many bytes, from the first, were filled last.
    public private(set) var count = 0

    /// A buffer of `capacity` bytes, not initialized, whose first lies at a multiple of `alignment`: a page, unless it is
    /// one of many that are kept, each of which would waste most of a page.
    public init(capacity: Int, alignment: Int = 4096) {
        // Safe: freed in deinit only, and reachable only through the spans below, which borrow this object.
        unsafe memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(capacity, 1), alignment: alignment)
    }

    /// A buffer that is filled with `bytes`.
    public convenience init(copying bytes: RawSpan) {
        self.init(capacity: bytes.byteCount)
        // Safe: the memory has space for all of them, and is no part of them.
        unsafe bytes.withUnsafeBytes { unsafe memory.copyMemory(from: $0) }
        count = bytes.byteCount
    }

    deinit {
        unsafe memory.deallocate()
    }

    /// How many bytes it can hold.
    public var capacity: Int { unsafe memory.count }

    /// Lets `body` write up to `limit` bytes from the start; what it appended becomes `bytes`, also when it throws.
    public func fill<Failure: Error, Result>(
        _ limit: Int, _ body: (inout OutputRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let window = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[0..<limit])
        // Safe: the span lives in this call only, and the slice above is bounds-checked.
        var output = unsafe OutputRawSpan(buffer: window, initializedCount: 0)
        do throws(Failure) {
            let result = try body(&output)
            count = unsafe output.finalize(for: window)
            return result
        } catch {
            count = unsafe output.finalize(for: window)
            throw error
        }
    }

    /// What was filled last.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            // Safe: the first `count` bytes are initialized, and the span borrows this object.
            let filled = unsafe UnsafeRawBufferPointer(rebasing: memory[0..<count])
            return unsafe _overrideLifetime(filled.bytes, borrowing: self)
        }
    }

    /// A copy of what was filled last.
    public var array: [UInt8] {
        unsafe [UInt8](memory[0..<count])
    }
}

extension OutputRawSpan {
    /// Appends `count` zero bytes, for which there must be room.
    @_lifetime(self: copy self)
    public mutating func appendZeros(_ count: Int) {
        unsafe withUnsafeMutableBytes { room, initializedCount in
            let zeros = unsafe UnsafeMutableRawBufferPointer(
                rebasing: room[initializedCount..<initializedCount + count])
            // Safe: the slice is bounds-checked against the span's capacity. A call, since the library's own loop is
            // slow without optimization, and tests read through zeros by the gigabyte.
            if let start = zeros.baseAddress { unsafe _ = memset(start, 0, count) }
            initializedCount += count
        }
    }

    /// Appends a copy of `bytes`, for which there must be room.
    @_lifetime(self: copy self)
    public mutating func append(copying bytes: RawSpan) {
        guard bytes.byteCount > 0 else { return }
        unsafe withUnsafeMutableBytes { room, initializedCount in
            let end = initializedCount + bytes.byteCount
            // Safe: the slice is bounds-checked against the span's capacity, and source and target are distinct.
            unsafe bytes.withUnsafeBytes { source in
                unsafe UnsafeMutableRawBufferPointer(rebasing: room[initializedCount..<end]).copyMemory(from: source)
            }
            initializedCount = end
        }
    }
}
