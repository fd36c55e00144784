/// Big-endian bytes, put together as a structure lies on disk.
package struct Record: Sendable {
    /// What was put together so far.
    package var bytes: [UInt8]

    /// Nothing, or what `bytes` are.
    package init(bytes: [UInt8] = []) {
        self.bytes = bytes
    }

    /// The same with these integers behind it.
    package func with(_ values: any FixedWidthInteger...) -> Record {
        var result = self
        for value in values { result.add(value) }
        return result
    }

    /// The same with this text behind it.
    package func with(_ text: String) -> Record {
        Record(bytes: bytes + Array(text.utf8))
    }

    /// The same with zeros up to the next multiple of 8 bytes.
    package var padded: Record { Record(bytes: bytes + Array(repeating: 0, count: -bytes.count & 7)) }

    private mutating func add(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.bigEndian) { bytes += $0 }
    }
}
