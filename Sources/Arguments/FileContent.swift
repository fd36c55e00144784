import SystemPackage

extension FilePath {
    /// All bytes of the file, for what is read whole, as keys are. Throws the system's error, and `fileTooLarge` where it has
    /// more than `limit` bytes.
    package func content(limit: Int) throws -> [UInt8] {
        let file = try FileDescriptor.open(self, .readOnly, options: .closeOnExec)
        return try file.closeAfter {
            var bytes: [UInt8] = []
            var piece = [UInt8](repeating: 0, count: min(limit + 1, 1 << 16))
            while true {
                // Safe: read writes at most as many bytes as the array has.
                let count = unsafe try piece.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
                guard count > 0 else { return bytes }
                bytes += piece.prefix(count)
                guard bytes.count <= limit else { throw Errno.fileTooLarge }
            }
        }
    }
}
