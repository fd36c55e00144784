import Glibc

/// The disks of the machine, which have their numbers as serial numbers.
enum Disks {
    private static let names = (UInt8(ascii: "a")...UInt8(ascii: "z")).map { "vd\(Character(UnicodeScalar($0)))" }

    /// The device of the disk `number`, as soon as it is there; nil where it does not come.
    static func device(_ number: UInt32) -> String? {
        for _ in 0..<300 {
            if let name = names.first(where: { serial(of: $0) == "rblock-\(number)" }) { return "/dev/\(name)" }
            usleep(10_000)
        }
        return nil
    }

    /// Those of all disks.
    static func all() -> [String] {
        names.filter { serial(of: $0) != nil }.map { "/dev/\($0)" }
    }

    private static func serial(of name: String) -> String? {
        // Safe: a string of ours.
        let file = unsafe open("/sys/block/\(name)/serial", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        // Safe: read writes at most as many bytes as the array has.
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
        return String(decoding: bytes.prefix(max(count, 0)).prefix { $0 > 0x20 }, as: UTF8.self)
    }
}
