import BlockImage
import CLinux
import Glibc
import SystemPackage

/// One end of a connection to a machine. What waits does so on one thread at a time; `shutDown` may come from any.
final class MachineSocket: Sendable {
    private let descriptor: Guarded<CInt>
    private let number: CInt

    private init(_ number: CInt) {
        self.number = number
        descriptor = Guarded(number)
    }

    deinit { close() }

    /// Two connected ends, of which the second is for a program that is started.
    static func pair() throws(ImageError) -> (MachineSocket, FileDescriptor) {
        var ends: [CInt] = [-1, -1]
        // Safe: the array has two numbers.
        guard unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | closeOnExec, 0, &ends) == 0 else {
            throw systemError("make a socket")
        }
        return (MachineSocket(ends[0]), FileDescriptor(rawValue: ends[1]))
    }

    /// SOCK_CLOEXEC.
    private static let closeOnExec: CInt = 0o2000000

    /// Closes it, once.
    func close() {
        let number = descriptor.withLock { number in
            defer { number = -1 }
            return number
        }
        if number >= 0 { Glibc.close(number) }
    }

    /// Has whatever waits for it end.
    func shutDown() {
        descriptor.withLock { number in if number >= 0 { _ = shutdown(number, CInt(SHUT_RDWR)) } }
    }

    /// Sends all of `bytes`; throws where the other end is gone, or `deadline` passes.
    func send(_ bytes: [UInt8], until deadline: ContinuousClock.Instant? = nil) throws(ImageError) {
        // Safe: the bytes of an array that stays.
        try unsafe bytes.span.bytes.sendAll(by: self, deadline)
    }

    /// The same of bytes elsewhere.
    func send(_ bytes: RawSpan) throws(ImageError) { try bytes.sendAll(by: self, nil) }

    /// The next `count` bytes. Throws at the end, and where `deadline` passes.
    func receive(_ count: Int, until deadline: ContinuousClock.Instant? = nil) throws(ImageError) -> [UInt8] {
        guard let bytes = try receiveUnlessEnd(count, until: deadline) else { throw Self.end }
        return bytes
    }

    /// The next `count` bytes; nil where the other end sent no more before the first of them.
    func receiveUnlessEnd(
        _ count: Int, until deadline: ContinuousClock.Instant? = nil
    ) throws(ImageError) -> [UInt8]? {
        var failure: ImageError?
        // Safe: the array has space for `count` bytes, of which those are said to be there that came.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { space, filled in
            do throws(ImageError) {
                filled = unsafe try fill(UnsafeMutableRawBufferPointer(space), until: deadline)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        if bytes.isEmpty, count > 0 { return nil }
        guard bytes.count == count else { throw Self.end }
        return bytes
    }

    /// Appends the next `count` bytes, for which there must be space.
    func receive(_ count: Int, into output: inout OutputRawSpan) throws(ImageError) {
        let got = try unsafe output.withUnsafeMutableBytes { space, filled throws(ImageError) in
            // Safe: the slice is bounds-checked.
            let got = unsafe try fill(
                UnsafeMutableRawBufferPointer(rebasing: space[filled..<(filled + count)]), until: nil)
            filled += got
            return got
        }
        guard got == count else { throw Self.end }
    }

    /// Fills `space`; answers how much of it, which is less at the end only.
    private func fill(
        _ space: UnsafeMutableRawBufferPointer, until deadline: ContinuousClock.Instant?
    ) throws(ImageError) -> Int {
        var filled = 0
        while filled < space.count {
            try wait(for: POLLIN, until: deadline)
            // Safe: the rest of the space.
            let got = unsafe recv(number, space.baseAddress! + filled, space.count - filled, 0)
            if got < 0, errno == EINTR || errno == EAGAIN { continue }
            if got < 0, errno != ECONNRESET { throw systemError("read from a machine") }
            guard got > 0 else { break }
            filled += got
        }
        return filled
    }

    /// Sends what there is space for of `bytes`.
    fileprivate func sendSome(
        _ bytes: UnsafeRawBufferPointer, until deadline: ContinuousClock.Instant?
    ) throws(ImageError) -> Int {
        try wait(for: POLLOUT, until: deadline)
        let flags = CInt(MSG_NOSIGNAL) | (deadline == nil ? 0 : CInt(MSG_DONTWAIT))
        let count = unsafe Glibc.send(number, bytes.baseAddress, bytes.count, flags)
        if count < 0, errno == EINTR || errno == EAGAIN { return 0 }
        guard count >= 0 else { throw errno == EPIPE ? Self.end : systemError("write to a machine") }
        return count
    }

    /// Waits until it can be read or written, where there is a deadline.
    private func wait(for event: CInt, until deadline: ContinuousClock.Instant?) throws(ImageError) {
        guard let deadline else { return }
        while true {
            let left = deadline - .now
            guard left > .zero else {
                throw ImageError(.system(errno: ETIMEDOUT), about: .named("QEMU"), "the machine does not answer")
            }
            var entry = pollfd(fd: number, events: Int16(event), revents: 0)
            // Safe: poll fills a structure of ours.
            let count = unsafe poll(&entry, 1, CInt(clamping: left.components.seconds * 1000 + 1000))
            if count > 0 { return }
            if count < 0, errno != EINTR { throw systemError("wait for a machine") }
        }
    }

    static let end = ImageError(.system(errno: EPIPE), about: .named("QEMU"), "the machine has ended")
}

extension RawSpan {
    fileprivate func sendAll(by socket: MachineSocket, _ deadline: ContinuousClock.Instant?) throws(ImageError) {
        var sent = 0
        while sent < byteCount {
            // Safe: the rest of the bytes, while they are borrowed.
            sent += try unsafe withUnsafeBytes { bytes throws(ImageError) in
                unsafe try socket.sendSome(UnsafeRawBufferPointer(rebasing: bytes[sent...]), until: deadline)
            }
        }
    }
}

/// What errno says of `action`.
func systemError(_ action: ErrorText) -> ImageError {
    let number = errno
    return ImageError(.system(errno: number), about: .named("QEMU"), "\(action): \(Errno(rawValue: number))")
}

/// A file without a name for what need not outlive this process, in the folder that TMPDIR names, or else one of the
/// system's; -1 with errno set.
func unnamedFile() -> CInt {
    for folder in [environment("TMPDIR"), "/var/tmp", "/tmp"] {
        guard let folder else { continue }
        // Safe: a string of ours.
        let file = unsafe clinux_open_unnamed(folder, 0o600)
        if file >= 0 { return file }
    }
    return -1
}
