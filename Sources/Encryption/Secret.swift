import CCrypto

/// A passphrase; its bytes are wiped when the last reference goes, and never printed.
public final class Secret: Sendable, CustomStringConvertible, CustomReflectable {
    let bytes: WipedBytes

    /// Takes over `bytes`: where nothing else holds the array, it is wiped too.
    public init(_ bytes: consuming [UInt8]) {
        var own = WipedBytes(zeros: bytes.count)
        for index in bytes.indices { own[index] = bytes[index] }
        self.bytes = own
        // Safe: the buffer is the array's own, and is given with its length.
        unsafe bytes.withUnsafeMutableBytes { unsafe OPENSSL_cleanse($0.baseAddress, $0.count) }
    }

    /// A fixed text: a secret that is printed by mistake does not show.
    public var description: String { "<secret>" }

    /// Shows nothing of what is inside, for `dump` and debuggers.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Memory for keys, wiped when its owner goes.
@safe
struct WipedBytes: ~Copyable, @unchecked Sendable {
    // Safe to send: it has one owner, and is reached only through it.
    private let memory: UnsafeMutableRawBufferPointer

    /// `count` zero bytes.
    init(zeros count: Int) {
        // Safe: freed in deinit only, and every byte is initialized here. Never empty, so that it has an address.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 16)
        unsafe _ = memory.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe self.memory = UnsafeMutableRawBufferPointer(rebasing: memory[0..<count])
    }

    /// A copy of `bytes`.
    init(copying bytes: [UInt8]) {
        self.init(zeros: bytes.count)
        unsafe memory.copyBytes(from: bytes)
    }

    deinit {
        // Safe: the memory is this value's alone, and the length is its own.
        unsafe OPENSSL_cleanse(memory.baseAddress, memory.count)
        unsafe memory.deallocate()
    }

    var count: Int { unsafe memory.count }

    /// The byte at `index`.
    subscript(index: Int) -> UInt8 {
        get {
            precondition(index >= 0 && index < count)
            return unsafe memory[index]
        }
        set {
            precondition(index >= 0 && index < count)
            unsafe memory[index] = newValue
        }
    }

    /// All bytes, to read.
    var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            // Safe: every byte is initialized, and the span borrows their owner.
            unsafe _overrideLifetime(UnsafeRawBufferPointer(memory).bytes, borrowing: self)
        }
    }

    /// Whether these are `others`, in a time that does not depend on how many of them are the same.
    func equals(_ others: [UInt8]) -> Bool {
        // Safe: the lengths are the same where the memory is compared.
        unsafe count == others.count && CRYPTO_memcmp(memory.baseAddress, others, count) == 0
    }

    /// All bytes, to change.
    var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // Safe: every byte is initialized, and the span borrows their owner.
            unsafe _overrideLifetime(memory.mutableBytes, mutating: &self)
        }
    }

    /// Lets `body` pass the bytes to C, which may write to them.
    mutating func withUnsafeMutableBytes<Failure: Error, Result: ~Copyable>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        unsafe try body(memory)
    }
}
