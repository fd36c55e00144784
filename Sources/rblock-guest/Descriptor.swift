import CGuest
import Glibc
import GuestProtocol

/// A descriptor that is closed when it is no longer used.
final class Descriptor {
    let number: CInt

    /// Takes over `number`, as a call answered it. Throws what errno says where that is -1.
    init(_ number: CInt, _ step: String) throws(GuestFailure) {
        guard number >= 0 else { throw GuestFailure(errno, step) }
        self.number = number
    }

    deinit { close(number) }

    /// A path by which calls reach the file that know no descriptors; also one that is only found, and a link itself.
    var path: String { "/proc/self/fd/\(number)" }
}

/// Throws what errno says where a call answered less than 0.
func check(_ result: some SignedInteger, _ step: String) throws(GuestFailure) {
    guard result >= 0 else { throw GuestFailure(errno, step) }
}

extension [UInt8] {
    /// Gives `body` the bytes with a NUL after them.
    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        var text = self
        text.append(0)
        // Safe: the array has at least the NUL.
        return unsafe text.withUnsafeBufferPointer { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { unsafe body($0.baseAddress!) }
        }
    }
}
