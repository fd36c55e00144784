import CGuest
import Glibc
import GuestProtocol

/// The agent of the kernel helper: the first process of a Linux that `GuestMachine` boots in QEMU. It mounts file systems of
/// the machine's disks and does what it is asked for by a port of the console device, until that asks for the end or is closed.
@main
enum Program {
    static func main() {
        signal(SIGPIPE, SIG_IGN)
        _ = umask(0)
        makeFileSystems()
        Modules.load()
        if let port = Port.open() {
            serve(port)
        } else {
            report("there is no port \(GuestProtocol.portName)")
        }
        sync()
        cguest_power_off()
        // PID 1 that ends is a panic of the kernel, with which QEMU ends as well.
    }

    /// What the kernel itself shows, and a folder for the mounts.
    private static func makeFileSystems() {
        for (type, folder) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/mnt")] {
            // Safe: strings of ours, and no data.
            unsafe mkdir(folder, 0o755)
            // Safe: strings of ours, and no data.
            if unsafe mount(type, folder, type, 0, nil) != 0 { report("\(folder) is not mounted: error \(errno)") }
        }
    }

    private static func serve(_ port: Port) {
        guard port.send(GuestHello(kernel: kernelVersion()).frame()) else { return }
        let agent = Agent()
        while let content = port.receive() {
            let reply: GuestReply
            var isEnd = false
            do {
                let request = try GuestRequest(decoding: content)
                reply = agent.answer(request)
                // Where not all is on the disks, the other side decides.
                if request == .powerOff, reply == .done { isEnd = true }
            } catch {
                reply = .failure(GuestFailure(EBADMSG, "read a request"))
            }
            guard port.send(reply.frame()), !isEnd else { return }
        }
    }

    private static func kernelVersion() -> String {
        var text = [CChar](repeating: 0, count: 128)
        // Safe: the text ends in NUL within the array.
        unsafe text.withUnsafeMutableBufferPointer { unsafe cguest_kernel_version($0.baseAddress, $0.count) }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Writes a line to the console, which the other side keeps.
func report(_ text: String) {
    let line = Array("rblock-guest: \(text)\n".utf8)
    // Safe: an array of ours.
    _ = unsafe line.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
