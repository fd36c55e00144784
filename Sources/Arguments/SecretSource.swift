import ArgumentParser
import BlockImage
import Encryption
import Glibc
import HostStorage
import SystemPackage

/// Where the passphrase of an image is found: never on the command line, which everybody on the host can read.
package struct SecretSource: ExpressibleByArgument {
    private enum Place {
        case file(FilePath)
        case environment(String)
    }

    /// The most bytes that the file of a passphrase may have.
    private static let sizeLimit = (1 << 16) - 1

    /// The image's file name or path.
    package let image: String
    /// As it was given: it names where the passphrase is, and does not have it.
    package let argument: String
    private let place: Place

    /// `IMAGE=file:PATH` or `IMAGE=env:VARIABLE`.
    package init?(argument: String) {
        // The first mark counts: a path may have anything in it.
        let marks = ["=file:", "=env:"].compactMap { argument.utf8.place(of: $0.utf8) }
        guard let mark = marks.min(by: { $0.lowerBound < $1.lowerBound }), mark.lowerBound > argument.startIndex,
            mark.upperBound < argument.endIndex
        else { return nil }
        self.argument = argument
        image = String(argument[..<mark.lowerBound])
        let value = String(argument[mark.upperBound...])
        place = argument[mark] == "=file:" ? .file(FilePath(text: value)) : .environment(value)
    }

    /// Reads the passphrase: all bytes of the file, also a newline at its end, as QEMU's secrets do.
    ///
    /// Throws `system` where there is no such file or variable, or more than a passphrase.
    package func read() throws(ImageError) -> Secret {
        switch place {
        case .file(let path):
            do {
                return Secret(try path.content(limit: Self.sizeLimit))
            } catch {
                let code = (error as? Errno)?.rawValue ?? EIO
                throw ImageError(.system(errno: code), path: path.text, "the key of \(image): \(error)")
            }
        case .environment(let name):
            // Safe: getenv answers NULL or a NUL-terminated string, which is copied at once.
            guard let value = unsafe getenv(name) else {
                throw ImageError(
                    .system(errno: ENOENT), about: .named(name), "the key of \(image): there is no such variable")
            }
            return unsafe Secret(Array(UnsafeRawBufferPointer(start: value, count: strlen(value))))
        }
    }
}
