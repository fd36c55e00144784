import BlockImage
import ByteFormat
import CLinux
import Glibc

/// Serves the fallback of one map, a file that is the disk byte for byte, over a FUSE connection of its own: a file system
/// in no folder, which has this one file. It ends by itself when the map is gone, and is not what the mount is served by,
/// so that no disk waits for another one here, and the mount can be unmounted.
///
/// The kernel's protocol, of which it needs little, is in linux/fuse.h.
// Safe to send: the descriptor does not change, and is closed with the last thread that uses it.
final class FallbackServer: Sendable {
    /// Reads exactly so many bytes of the disk at an offset.
    typealias Reading =
        @Sendable (_ count: Int, _ offset: UInt64, _ output: inout OutputRawSpan) throws(ImageError) -> Void

    /// The name of the file.
    static let name = "disk"
    /// The most bytes of one read that the kernel may ask for: 256 pages.
    private static let readLimit = 1 << 20
    /// What a request is read into: the kernel wants space for 8 KiB at least.
    private static let requestLimit = 8192

    private let device: CInt
    private let size: UInt64
    private let read: Reading
    private let buffers = BufferPool(capacity: FallbackServer.readLimit + FallbackReply.headerSize)

    private init(device: CInt, size: UInt64, read: @escaping Reading) {
        self.device = device
        self.size = size
        self.read = read
    }

    deinit {
        close(device)
    }

    /// Mounts the file system for a disk of `size` bytes, which `read` reads, and starts to serve it. Answers the descriptor
    /// of its root, to be closed by the caller.
    static func start(size: UInt64, read: @escaping Reading) throws(MapFault) -> CInt {
        // Safe: a string of ours.
        let device = unsafe open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard device >= 0 else { throw MapOpening.fault(errno, "open /dev/fuse") }
        let server = FallbackServer(device: device, size: size, read: read)
        var message = [CChar](repeating: 0, count: 256)
        // Safe: the call writes a string within the array.
        let root = unsafe clinux_mount_fuse(device, "rblockfs", &message, message.count)
        guard root >= 0 else { throw MapOpening.fault(errno, "mount a FUSE file system", message) }
        // One that waits for a disk does not delay one that inflates.
        let count = max(2, min(8, sysconf(CInt(_SC_NPROCESSORS_ONLN))))
        for index in 0..<count {
            var thread = pthread_t()
            // Safe: the thread takes over the reference, and calls nothing that needs its own.
            let error = unsafe pthread_create(
                &thread, nil,
                { argument in
                    if let argument = unsafe argument {
                        unsafe Unmanaged<FallbackServer>.fromOpaque(argument).takeRetainedValue().serve()
                    }
                    return nil
                }, Unmanaged.passRetained(server).toOpaque())
            guard error != 0 else {
                pthread_detach(thread)
                continue
            }
            // Safe: the thread that would have taken it over is not there.
            unsafe Unmanaged.passUnretained(server).release()
            // Fewer will do, but not none.
            guard index > 0 else {
                close(root)
                throw MapOpening.fault(error, "start a thread")
            }
            break
        }
        return root
    }

    /// Answers requests until the file system is gone.
    private func serve() {
        var request = [UInt8](repeating: 0, count: Self.requestLimit)
        while true {
            // Safe: at most as many bytes are read as the array has.
            let count = unsafe request.withUnsafeMutableBytes { unsafe Glibc.read(device, $0.baseAddress, $0.count) }
            guard count >= 0 else {
                // ENOENT: the request was interrupted before it was read. ENODEV: it is unmounted.
                guard errno == EINTR || errno == EAGAIN || errno == ENOENT else { return }
                continue
            }
            guard count > 0, let parsed = try? FallbackRequest(Array(request[..<count])) else { return }
            answer(parsed)
        }
    }

    private func answer(_ request: FallbackRequest) {
        switch request.operation {
        case .initialize(let minor):
            send(.initialized(minor: minor, readLimit: Self.readLimit), to: request)
        case .lookUp(let name):
            send(name.elementsEqual(Self.name.utf8) ? .entry(size: padded) : .failure(ENOENT), to: request)
        case .attributes: send(.attributes(ofRoot: request.node == FallbackReply.rootNode, size: padded), to: request)
        case .open: send(.opened, to: request)
        case .read(let offset, let count): answerRead(request, count: count, at: offset)
        case .release: send(.done, to: request)
        case .needsNoAnswer: break
        case .unknown: send(.failure(ENOSYS), to: request)
        }
    }

    /// The kernel reads whole blocks.
    private var padded: UInt64 { (size + 4095) & ~4095 }

    private func answerRead(_ request: FallbackRequest, count: Int, at offset: UInt64) {
        let start = min(offset, padded)
        let count = Int(min(UInt64(clamping: count), padded - start, UInt64(Self.readLimit)))
        let held = Int(min(UInt64(count), size - min(start, size)))
        let buffer = buffers.take(FallbackReply.headerSize + count)
        defer { buffers.giveBack(buffer) }
        do throws(ImageError) {
            try buffer.fill(FallbackReply.headerSize + count) { output throws(ImageError) in
                for byte in FallbackReply.header(of: request.number, count: count) { output.append(byte) }
                if held > 0 { try read(held, start, &output) }
                output.appendZeros(count - held)
            }
            // Safe: the span is alive while it is written.
            unsafe buffer.bytes.withUnsafeBytes { unsafe _ = write(device, $0.baseAddress, $0.count) }
        } catch {
            // Never a short answer, which would be taken for the end of the file.
            send(.failure(EIO), to: request)
        }
    }

    private func send(_ reply: FallbackReply, to request: FallbackRequest) {
        let bytes = reply.bytes(for: request.number)
        // Safe: the array is alive while it is written. Who waits for an answer that cannot be given has gone.
        unsafe bytes.withUnsafeBytes { unsafe _ = write(device, $0.baseAddress, $0.count) }
    }
}
