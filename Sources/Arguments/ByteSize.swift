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
        guard let size = try? Self.parse(argument) else { return nil }
        self = size
    }

    /// The same for an option or an argument: throws what it must be.
    @Sendable package static func parse(_ argument: String) throws -> ByteSize {
        do throws(ByteCountFault) {
            return ByteSize(count: Int(clamping: try byteCount(of: argument)))
        } catch {
            throw ValidationError("it must be \(error.wanted)")
        }
    }

    /// As the help shows a default: in MiB where it is a number of them.
    package var defaultValueDescription: String {
        count > 0 && count % (1 << 20) == 0 ? "\(count >> 20)M" : "\(count)"
    }
}
