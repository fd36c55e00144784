import BlockImage
import Catalog
import Glibc
import GuestFiles
import Reports

/// A file of a guest, as `rblock ls` and `rblock find` have it.
struct GuestReport: Encodable {
    var path: PathText
    /// Of a name that is no UTF-8, in Base64.
    var pathBytes: String?
    var type: String
    var mode: String
    var uid: UInt32
    var gid: UInt32
    var size: UInt64
    var actualSize: UInt64
    var links: UInt32
    var modified: String
    var accessed: String?
    var changed: String?
    var born: String?
    var target: PathText?
    var targetBytes: String?
    /// The numbers of a device.
    var device: [UInt32]?

    private enum CodingKeys: String, CodingKey {
        case path, type, mode, uid, gid, size, links, modified, accessed, changed, born, target, device
        case actualSize = "actual-size"
        case pathBytes = "path-bytes"
        case targetBytes = "target-bytes"
    }

    init(_ node: GuestTree.Node, _ status: GuestStatus, in tree: GuestTree) throws(ImageError) {
        (path, pathBytes) = (PathText(node.text), bytesInJSON(ofName: node.text))
        (type, device) =
            switch status.kind {
            case .regular: ("file", nil)
            case .directory: ("directory", nil)
            case .link: ("link", nil)
            case .fifo: ("fifo", nil)
            case .socket: ("socket", nil)
            case .characterDevice(let major, let minor): ("character-device", [major, minor])
            case .blockDevice(let major, let minor): ("block-device", [major, minor])
            }
        let octal = String(status.permissions, radix: 8)
        mode = String(repeating: "0", count: max(0, 4 - octal.count)) + octal
        (uid, gid, size, actualSize) = (status.userID, status.groupID, status.size, status.allocatedSize)
        links = status.linkCount
        modified = status.modified.dateText
        (accessed, changed, born) = (status.accessed?.dateText, status.changed?.dateText, status.born?.dateText)
        let target = status.kind == .link ? nameText(try tree.target(of: node)) : nil
        (self.target, targetBytes) = (target.map { PathText($0) }, target.flatMap { bytesInJSON(ofName: $0) })
    }
}

extension GuestStatus {
    /// As `ls -l` begins a line: `-rw-r--r--`.
    var modeText: String {
        let letter: Character =
            switch kind {
            case .regular: "-"
            case .directory: "d"
            case .link: "l"
            case .fifo: "p"
            case .socket: "s"
            case .characterDevice: "c"
            case .blockDevice: "b"
            }
        var text = "\(letter)"
        for (shift, special, set, only) in [(6, 0o4000, "s", "S"), (3, 0o2000, "s", "S"), (0, 0o1000, "t", "T")] {
            let bits = permissions >> UInt16(shift) & 7
            text += bits & 4 != 0 ? "r" : "-"
            text += bits & 2 != 0 ? "w" : "-"
            let isSpecial = Int(permissions) & special != 0
            text += bits & 1 != 0 ? (isSpecial ? set : "x") : (isSpecial ? only : "-")
        }
        return text
    }

    /// When it was changed last, in UTC: `2026-11-30 21:05`.
    var timeText: String { modified.date.map { "\($0.day) \($0.minute)" } ?? "\(modified.seconds)" }
}

extension FileTime {
    /// In UTC, with all that is known of it, as RFC 3339 writes it: `2026-11-30T21:05:09.000000001Z`.
    fileprivate var dateText: String {
        let fraction = nanoseconds == 0 ? "" : ".\("\(1_000_000_000 + nanoseconds)".dropFirst())"
        return date.map { "\($0.day)T\($0.minute):\($0.second)\(fraction)Z" } ?? "@\(seconds)\(fraction)"
    }

    /// Its parts in UTC; nil for a year that has none.
    fileprivate var date: (day: String, minute: String, second: String)? {
        var time = time_t(seconds)
        // Safe: a value of numbers, and a pointer to a name of the time zone that is not looked at.
        var parts = unsafe tm()
        // Safe: both are there during the call.
        guard unsafe gmtime_r(&time, &parts) != nil else { return nil }
        func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let day = unsafe "\(1900 + Int(parts.tm_year))-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        return unsafe (day, "\(two(parts.tm_hour)):\(two(parts.tm_min))", two(parts.tm_sec))
    }
}
