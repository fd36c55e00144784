import ArgumentParser
import BlockImage

/// A number of bytes as people write it (`byteCount`).
package struct ByteSize: ExpressibleByArgument, Hashable, Sendable {
    /// How many bytes.
    package var count: Int

    /// `count` bytes.
    package init(count: Int) {
        self.count = count
    }

    /// The number of bytes that `argument` says, if it is a size that fits.
    package init?(argument: String) {
        guard let count = byteCount(of: argument).flatMap({ Int(exactly: $0) }) else { return nil }
        self.count = count
    }

    /// The same for an option or an argument: throws which forms there are.
    @Sendable package static func parse(_ argument: String) throws -> ByteSize {
        guard let size = ByteSize(argument: argument) else {
            throw ValidationError("a size is \(byteCountForms)")
        }
        return size
    }

    /// As the help shows a default: in MiB where it is a number of them.
    package var defaultValueDescription: String {
        count > 0 && count % (1 << 20) == 0 ? "\(count >> 20)M" : "\(count)"
    }
}
