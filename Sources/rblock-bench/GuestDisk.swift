import Foundation
import HostTools

/// A disk as a guest has it: a partition with an ext4 file system full of real files, which compress as real files do.
struct GuestDisk {
    let path: String
    let size: Int

    private static let partitionStart = 1 << 20

    /// The disk that is, or is to be made, at `path`.
    init(path: String, size: Int) {
        (self.path, self.size) = (path, size)
    }

    /// Makes a disk of `size` bytes, a multiple of 1 MiB and at least 16 of them, in `folder`. `fullness`: how much of it
    /// the files take; the rest is free, and much of that a hole.
    init(size: Int, fullness: Double, in folder: TemporaryFolder) throws {
        self.size = size
        path = folder.file("disk.raw")
        let files = try folder.makeFolder("files")
        try Self.copyFiles(upTo: Int(Double(size) * fullness), to: files, list: folder.file("list"))
        try Shell.check(
            """
            truncate -s "$2" "$1"
            echo "start=$(($3 / 512)), type=83" | sfdisk -q -X dos "$1"
            mkfs.ext4 -q -F -d "$4" -E "offset=$3" "$1" "$((($2 - $3) / 1024))K" >/dev/null
            rm -rf "$4"
            """, path, String(size), String(Self.partitionStart), files, timeout: 1800)
    }

    /// Copies files of /usr and /opt until they take `limit` bytes. The order of their folders is one of chance, so that a
    /// small disk has programs, libraries and texts in it too; and as on a large one, most bytes are those of large
    /// files, and most files are small and have many others beside them.
    static func copyFiles(upTo limit: Int, to folder: String, list: String) throws {
        let found = try Shell.run("find /usr /opt -xdev -type f -readable -size +0 -printf '%s %p\\0'", timeout: 300)
        let candidates: [File] = found.text.split(separator: "\0").compactMap {
            let parts = $0.split(separator: " ", maxSplits: 1)
            // One file must not be all there is.
            guard parts.count == 2, let size = Int(parts[0]), size <= limit / 8 else { return nil }
            return File(size: size, path: String(parts[1]), order: order(of: parts[1]))
        }
        let sorted = candidates.sorted { ($0.order, $0.path) < ($1.order, $1.path) }
        let large = take(limit * 7 / 10, of: sorted.filter { $0.size >= 1 << 20 })
        var left = limit - large.total
        // The same small ones again where there are too few.
        for copy in 0..<64 where left > limit / 100 {
            let small = take(left, of: sorted.filter { $0.size < 1 << 20 })
            left -= small.total
            let paths = (copy == 0 ? large.paths : []) + small.paths
            try Data(paths.map { "\($0.dropFirst())\0" }.joined().utf8).write(to: URL(fileURLWithPath: list))
            try Shell.check(
                "mkdir \"$1/$2\"; tar -C / -cf - --null -T \"$3\" | tar -C \"$1/$2\" -xf -", folder, String(copy), list,
                timeout: 1800)
        }
    }

    private struct File {
        var size: Int
        var path: String
        var order: UInt64
    }

    /// The first of `files` that fit into `limit` bytes, and what they take.
    private static func take(_ limit: Int, of files: [File]) -> (paths: [String], total: Int) {
        var taken: (paths: [String], total: Int) = ([], 0)
        for file in files {
            // A file takes whole blocks, and its inode and name another 512 bytes or so.
            let cost = (file.size + 4095) / 4096 * 4096 + 512
            guard taken.total + cost <= limit else { break }
            taken.paths.append(file.path)
            taken.total += cost
        }
        return taken
    }

    /// The FNV-1a hash of the folder of a path.
    private static func order(of path: Substring) -> UInt64 {
        path.utf8[..<(path.utf8.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex)].reduce(0xcbf2_9ce4_8422_2325) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01b3
        }
    }
}
