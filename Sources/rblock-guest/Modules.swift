import CGuest
import Glibc

/// The modules of the initial RAM disk, which stand in the order in which each finds what it needs.
enum Modules {
    /// Loads what the list names: one a line. What cannot be loaded is reported: the kernel may have it in itself.
    static func load() {
        for line in lines(of: "/modules/list") {
            // Safe: a string of ours.
            let file = unsafe open("/modules/\(line)", O_RDONLY | O_CLOEXEC)
            guard file >= 0 else {
                report("module \(line): error \(errno)")
                continue
            }
            defer { close(file) }
            let isCompressed = !line.hasSuffix(".ko")
            if cguest_load_module(file, isCompressed ? 1 : 0) != 0, errno != EEXIST {
                report("module \(line): error \(errno)")
            }
            unsafe unlink("/modules/\(line)")
        }
    }

    private static func lines(of path: String) -> [String] {
        // Safe: a string of ours.
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while true {
            // Safe: read writes at most as many bytes as the array has.
            let count = unsafe piece.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return bytes.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
    }
}
