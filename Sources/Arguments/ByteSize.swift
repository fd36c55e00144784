import ArgumentParser
import BlockImage

/// A number of bytes as people write it: 1048576, 512K, 48M, 1G, 2T, 0x100000.
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

    /// As the help shows a default: in MiB where it is a number of them.
    package var defaultValueDescription: String {
        count > 0 && count % (1 << 20) == 0 ? "\(count >> 20)M" : "\(count)"
    }
}
