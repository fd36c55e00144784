import Glibc
import GuestProtocol

/// The port of the console device, by which the other side is reached.
struct Port {
    private let file: CInt

    /// The port, as soon as the device is there; nil where it does not come.
    static func open() -> Port? {
        for _ in 0..<1000 {
            // The machine has one such port.
            for name in ["/dev/vport0p1", "/dev/vport1p1", "/dev/vport2p1"] {
                // Safe: a string of ours.
                let file = unsafe Glibc.open(name, O_RDWR | O_CLOEXEC)
                if file >= 0 { return Port(file: file) }
            }
            usleep(10_000)
        }
        return nil
    }

    /// Sends all of `frame`; false where the other side is gone.
    func send(_ frame: [UInt8]) -> Bool {
        var sent = 0
        while sent < frame.count {
            // Safe: the rest of an array of ours.
            let count = unsafe frame.withUnsafeBytes { bytes in
                unsafe write(file, bytes.baseAddress! + sent, bytes.count - sent)
            }
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    /// The content of the next frame; nil where the other side is gone, or does not keep to the protocol.
    func receive() -> [UInt8]? {
        guard let head = bytes(4), let size = try? GuestProtocol.frameSize(head) else { return nil }
        return bytes(size)
    }

    private func bytes(_ count: Int) -> [UInt8]? {
        var filled = 0
        var result = [UInt8](repeating: 0, count: count)
        while filled < count {
            // Safe: the rest of an array of ours.
            let got = unsafe result.withUnsafeMutableBytes { bytes in
                unsafe read(file, bytes.baseAddress! + filled, count - filled)
            }
            if got < 0, errno == EINTR || errno == EAGAIN { continue }
            guard got > 0 else { return nil }
            filled += got
        }
        return result
    }
}
