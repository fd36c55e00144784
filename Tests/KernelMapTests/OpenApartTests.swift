import CLinux
import Foundation
import HostTools
import Synchronization
import Testing

@Suite struct `What is opened on a thread with descriptors of its own` {
    /// What `clinux_open_apart` returns for `body`, and the errno; nil where it does not return.
    private func open(_ body: @escaping @convention(c) (UnsafeMutableRawPointer?) -> CInt) -> (CInt, CInt)? {
        let shared = Shared()
        Thread.detachNewThread {
            let descriptor = clinux_open_apart([], 0, body, nil)
            let number = errno
            shared.result.withLock { $0 = (descriptor, number) }
        }
        _ = wait(seconds: 60) { shared.result.withLock { $0 != nil } }
        return shared.result.withLock { $0 }
    }

    /// The thread may outlive the test that fails.
    private final class Shared: Sendable {
        let result = Mutex<(CInt, CInt)?>(nil)
    }

    @Test func `a failure without a failed system call is an error, and does not hang`() throws {
        let (descriptor, number) = try #require(open { _ in -1 })
        #expect(descriptor == -1 && number == EIO)
    }

    @Test func `a failed system call is an error with its number`() throws {
        let (descriptor, number) = try #require(open { _ in Glibc.open("/nowhere/at/all", O_RDONLY | O_CLOEXEC) })
        #expect(descriptor == -1 && number == ENOENT)
    }

    @Test func `what is opened is open here`() throws {
        let (descriptor, _) = try #require(open { _ in Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) })
        defer { close(descriptor) }
        #expect(
            descriptor >= 0
                && (try? FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/self/fd/\(descriptor)")) == "/dev/null"
        )
    }
}
