import Dispatch
import Glibc
import Synchronization
import SystemPackage

/// The threads that close files of network file systems and the like, one for each: closing may wait for a server that
/// does not answer, and must not hold up whoever was the last to use a file.
private let closers = Mutex<[UInt64: DispatchQueue]>([:])

extension FileDescriptor {
    /// Closes the file, which lies on `device`; later, and on another thread, where that is no disk of this host.
    func close(on device: UInt64?) {
        // File systems without a block device have the major number 0 (Linux, get_anon_bdev).
        guard let device, device & 0xfffff_000_000f_ff00 == 0 else {
            try? close()
            return
        }
        let closer = closers.withLock { closers in
            let closer = closers[device] ?? DispatchQueue(label: "close")
            closers[device] = closer
            return closer
        }
        closer.async { try? close() }
    }
}
