import BlockImage
import Compression
import Foundation
import GuestFiles

extension GuestTree {
    /// Prints what `guestLines` has.
    package static let walk = """
        import os, stat, struct, sys, zlib
        top = os.fsencode(sys.argv[1])
        def T(time): return '%d.%d' % (time // 10**9, time % 10**9)
        def line(path, name):
            s = os.lstat(path)
            kind = stat.S_IFMT(s.st_mode)
            content = '-'
            if stat.S_ISREG(s.st_mode):
                sum, count = 0, 0
                with open(path, 'rb') as f:
                    while piece := f.read(1 << 20):
                        sum, count = zlib.crc32(piece, sum), count + len(piece)
                content = '%d:%08x' % (count, sum)
            if stat.S_ISLNK(s.st_mode): content = os.readlink(path).hex()
            if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
                content = '%d:%d' % (os.major(s.st_rdev), os.minor(s.st_rdev))
            names = sorted(os.fsencode(n) for n in os.listxattr(path, follow_symlinks=False))
            attributes = ['%s=%08x' % (n.hex(), zlib.crc32(os.getxattr(path, n, follow_symlinks=False))) for n in names]
            size = 0 if stat.S_ISDIR(s.st_mode) and s.st_size < 1 else s.st_size
            words = (name.hex(), '%o' % s.st_mode, s.st_uid, s.st_gid, size, s.st_blocks * 512, s.st_nlink, T(s.st_mtime_ns),
                  T(s.st_ctime_ns), T(s.st_atime_ns), content, ','.join(attributes))
            print(' '.join(map(str, words)).rstrip())
        line(top, b'/')
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(folder, name)
                line(path, path[len(top):])
        """
}

extension GuestFileSystem {
    /// Every file in a line: its path, mode, owner, size, links, times, content and attributes.
    package func guestLines() throws -> [String] {
        var lines = [try line(root, [UInt8(ascii: "/")])]
        var waiting: [(GuestFileID, [UInt8])] = [(root, [])]
        while let (folder, path) = waiting.popLast() {
            var entries: [GuestEntry] = []
            try list(folder) { entry in
                entries.append(entry)
                return true
            }
            for entry in entries {
                let name = path + [UInt8(ascii: "/")] + entry.name
                lines.append(try line(entry.file, name))
                let isDirectory = try status(of: entry.file).kind == .directory
                if entry.isDirectory != nil, entry.isDirectory != isDirectory { lines.append("type of \(name)") }
                if isDirectory { waiting.append((entry.file, name)) }
            }
        }
        return lines.sorted()
    }

    private func line(_ file: GuestFileID, _ name: [UInt8]) throws -> String {
        let status = try status(of: file)
        let (type, content): (Int, String)
        switch status.kind {
        case .regular: (type, content) = (0o100000, try digest(of: try open(file)))
        case .directory: (type, content) = (0o40000, "-")
        case .link: (type, content) = (0o120000, hex(try target(ofLink: file)))
        case .fifo: (type, content) = (0o10000, "-")
        case .socket: (type, content) = (0o140000, "-")
        case .characterDevice(let major, let minor): (type, content) = (0o20000, "\(major):\(minor)")
        case .blockDevice(let major, let minor): (type, content) = (0o60000, "\(major):\(minor)")
        }
        let attributes = try extendedAttributes(of: file).sorted { hex($0.name) < hex($1.name) }.map {
            "\(hex($0.name))=\(hex(of: CRC32(of: $0.value).value))"
        }
        let words: [String] = [
            hex(name), String(type | Int(status.permissions), radix: 8), "\(status.userID)", "\(status.groupID)",
            "\(status.size)", "\(status.allocatedSize)", "\(status.linkCount)", text(status.modified),
            text(status.changed), text(status.accessed), content, attributes.joined(separator: ","),
        ]
        return words.joined(separator: " ").trimmingCharacters(in: .whitespaces)
    }

    private func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }
    private func hex(of sum: UInt32) -> String { String(format: "%08x", sum) }

    private func text(_ time: FileTime?) -> String {
        time.map { "\($0.seconds).\($0.nanoseconds)" } ?? "-"
    }

    /// The bytes of `content` and their check sum; read in pieces of many sizes.
    private func digest(of content: any GuestFileContent) throws -> String {
        var sum = CRC32()
        var (position, step): (UInt64, UInt64) = (0, 3000)
        while position < content.size {
            let count = Int(min(step, content.size - position))
            let buffer = AlignedBuffer(capacity: count)
            try buffer.fill(count) { output throws(ImageError) in
                try content.read(count, at: position, into: &output)
            }
            sum.update(buffer.bytes)
            position += UInt64(count)
            step = min(step * 3, 1 << 20)
        }
        return "\(position):\(hex(of: sum.value))"
    }
}

/// What the lines of both have that the other has not, of which a few are enough.
package func differences(_ found: [String], _ expected: [String]) -> [String] {
    let (found, expected) = (Set(found), Set(expected))
    return found.subtracting(expected).sorted().prefix(3).map { "found    \($0)" }
        + expected.subtracting(found).sorted().prefix(3).map { "expected \($0)" }
}
