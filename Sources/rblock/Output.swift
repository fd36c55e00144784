import SystemPackage

/// Standard output, written in large pieces; what is left is written by `flush`.
struct Output {
    private var text: [UInt8] = []

    /// Writes `text`, now or later.
    mutating func write(_ text: String) throws {
        self.text += Array(text.utf8)
        if self.text.count >= 1 << 16 { try flush() }
    }

    /// Writes what is left.
    mutating func flush() throws {
        _ = try FileDescriptor.standardOutput.writeAll(text)
        text.removeAll(keepingCapacity: true)
    }
}
