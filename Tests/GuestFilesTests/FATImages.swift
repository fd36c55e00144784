import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import GuestFiles

/// File systems that Linux has filled, and what it shows of them: made once, for all tests.
final class FATImages: Sendable {
    /// How one of them is made.
    struct Kind: Sendable, CustomTestStringConvertible {
        var name: String
        /// In MiB.
        var size: Int
        /// What makes it, before the path.
        var command: String
        /// The bytes that the largest file may have.
        var largest: Int
        /// How many files the largest directory gets.
        var files: Int

        var isExFAT: Bool { command.hasPrefix("mkfs.exfat") }
        var testDescription: String { name }
    }

    static let kinds = [
        Kind(name: "fat12", size: 1, command: "mkfs.vfat -F 12 -s 1 -n FLOPPY", largest: 30000, files: 60),
        Kind(name: "fat12-large", size: 15, command: "mkfs.vfat -F 12 -s 8", largest: 400_000, files: 300),
        Kind(name: "fat12-4096", size: 8, command: "mkfs.vfat -F 12 -S 4096 -s 1", largest: 400_000, files: 100),
        Kind(name: "fat16", size: 16, command: "mkfs.vfat -F 16 -s 1 -n 'A LABEL'", largest: 400_000, files: 600),
        Kind(name: "fat16-large", size: 64, command: "mkfs.vfat -F 16 -s 4", largest: 3_000_000, files: 300),
        Kind(name: "fat16-4096", size: 64, command: "mkfs.vfat -F 16 -S 4096 -s 1", largest: 3_000_000, files: 300),
        Kind(name: "fat32", size: 48, command: "mkfs.vfat -F 32 -s 1 -n GROSS", largest: 3_000_000, files: 1200),
        Kind(name: "fat32-few", size: 64, command: "mkfs.vfat -F 32 -s 32", largest: 3_000_000, files: 200),
        Kind(name: "fat32-4096", size: 300, command: "mkfs.vfat -F 32 -S 4096 -s 1", largest: 3_000_000, files: 300),
        Kind(name: "exfat", size: 16, command: "mkfs.exfat -c 4K -L 'ex größe'", largest: 400_000, files: 600),
        Kind(name: "exfat-512", size: 16, command: "mkfs.exfat -c 512", largest: 400_000, files: 300),
        Kind(name: "exfat-large", size: 64, command: "mkfs.exfat -c 128K", largest: 3_000_000, files: 100),
    ]

    /// A folder with those of an earlier run, and in `out` what Linux shows of them: making them takes a minute.
    private static let kept = ProcessInfo.processInfo.environment["RBLOCK_FAT_IMAGES"]

    /// A folder of its own.
    let folder: TemporaryFolder
    /// The folder with what Linux shows of each.
    private let out: String

    /// All of them, or why there are none.
    static let all = Result { try FATImages() }

    private init() throws {
        folder = try TemporaryFolder()
        if let kept = Self.kept {
            out = "\(kept)/out"
            return
        }
        // What a static property keeps is not let go of when the process ends.
        try CleanUp.register("rm -rf --one-file-system \"$1\"", folder.path)
        var disks: [String] = []
        var script = Self.start
        for (index, kind) in Self.kinds.enumerated() {
            let path = folder.file(kind.name)
            try Shell.check("truncate -s \(kind.size)M \"$1\"; \(kind.command) \"$1\" >/dev/null", path)
            disks.append(path)
            let device = Character(Unicode.Scalar(UInt8(ascii: "a") + UInt8(index)))
            script += "fill \(device) \(kind.isExFAT ? "exfat" : "vfat") \(kind.name) \(kind.largest) \(kind.files)\n"
        }
        out = try GuestLinux.run(script, disks: disks, in: folder)
    }

    /// The path of the image of `kind`.
    func path(_ kind: Kind) -> String { Self.kept.map { "\($0)/\(kind.name)" } ?? folder.file(kind.name) }

    /// What Linux shows of the files of `kind`, by path; the root is ".".
    func shown(_ kind: Kind) throws -> [String: ShownFile] {
        var files: [String: ShownFile] = [:]
        for line in try lines("\(kind.name).files") {
            let fields = line.components(separatedBy: "\t")
            files[fields[0]] = try ShownFile(fields)
        }
        for line in try lines("\(kind.name).sums") {
            files[String(line.dropFirst(66))]?.digest = String(line.prefix(64))
        }
        return files
    }

    /// What Linux says of its size: the bytes of a block, how many blocks there are, and how many are free.
    func usage(_ kind: Kind) throws -> [UInt64] {
        try lines("\(kind.name).usage")[0].split(separator: " ").map { UInt64($0) ?? 0 }
    }

    private func lines(_ name: String) throws -> [String] {
        try String(contentsOfFile: "\(out)/\(name)", encoding: .utf8).components(separatedBy: "\n").filter {
            !$0.isEmpty
        }
    }

    /// What fills a file system: `fill LETTER TYPE NAME LARGEST FILES`. Files of vfat are made both with `shortname=mixed` and
    /// with `shortname=winnt`, which keeps small letters in flags of short names.
    private static let start = #"""
        connect() {
          if [ $2 = vfat ]; then mount -t vfat -o utf8,tz=UTC,$3 /dev/vd$1 /m; else mount -t exfat -o $3 /dev/vd$1 /m; fi
          cd /m
        }
        disconnect() { cd /; umount /m; }
        names() {
          for name in lower.txt UPPER.TXT Mixed.Txt noext .hidden two..dots many.dots.in.it.tar.gz 'with space' '+,;=[] x' \
            'a long name with more than thirteen characters.extension' größe.txt ÄÖÜ.TXT 日本語のファイル名.txt \
            'emoji 😀 and 𝄞.txt' ΩМЖ.dat é é a~1.txt abcdefghijklm abcdefghijklmnopqrstuvwxyz "$(printf %0200d 7).long"
          do echo "$name" >"$name"; done
          # The same but for its letters is another file nowhere here: this writes to the one that is there.
          echo again >>LOWER.TXT
        }
        sizes() {
          for size in 0 1 31 511 512 513 2047 2048 4095 4096 4097 12345 32768 65537 131072 300000 1234567 2999999; do
            [ $size -gt $1 ] || head -c $size /dev/urandom >size-$size.bin
          done
        }
        moments() {
          i=0
          for time in 198001010000.00 198503040506.08 200002292359.58 203801190314.08 209912312359.58 210002282359.00 \
            210003010000.00 210712312359.58; do
            i=$((i + 1)); echo $time >time$i; touch -t $time time$i
          done
        }
        fragments() {
          for i in $(seq 1 12); do for file in a b c; do head -c $(($1 / 40)) /dev/urandom >>fragments-$file; done; done
          rm fragments-b
          head -c $(($1 / 2)) /dev/urandom >in-gaps
          head -c 5000 /dev/urandom >shorter; truncate -s 700 shorter
          truncate -s 9000 longer; echo end >>longer
        }
        many() {
          mkdir many; i=0
          while [ $i -lt $1 ]; do i=$((i + 1)); echo $i >"many/file number $i of them"; done
          i=0
          while [ $i -lt $1 ]; do i=$((i + 3)); echo "many/file number $i of them"; done | tr '\n' '\0' | xargs -0 rm -f
          for i in $(seq 1 40); do echo $i >many/SHORT$i; done
        }
        fill() {
          connect $1 $2 rw
          mkdir names sizes times fragments deep empty read-only
          (cd names; names); (cd sizes; sizes $4); (cd times; moments); (cd fragments; fragments $4)
          path=deep
          for i in $(seq 1 20); do path="$path/level $i"; mkdir "$path"; echo $i >"$path/file"; done
          many $5
          echo x >read-only/file; chmod 444 read-only/file; chmod 555 read-only
          mkdir 'moved away'; echo y >'moved away/z'; mv 'moved away' 'deep/moved here'
          echo root >'in the root.txt'; echo root >IN.TXT
          disconnect
          if [ $2 = vfat ]; then
            connect $1 $2 shortname=winnt
            mkdir winnt; cd winnt; names; cd /m
            disconnect
          fi
          connect $1 $2 ro
          gnustat -f -c '%S %b %f' . >/out/$3.usage
          find . -exec gnustat --printf '%n\t%F\t%a\t%s\t%b\t%h\t%.9Y\t%.9X\t%.9Z\t%.9W\t%u\t%g\n' {} + >/out/$3.files
          find . -type f -exec sha256sum {} + >/out/$3.sums
          disconnect
        }

        """#
}

/// What Linux shows of a file.
struct ShownFile: Hashable {
    var isDirectory: Bool
    var permissions: UInt16
    var size: UInt64
    /// In 512 bytes.
    var blocks: UInt64
    var linkCount: UInt32
    /// The times when it was changed, read and changed in its status, and made; 0 where that is not known.
    var times: [String]
    var digest: String?

    /// The fields of a line of stat.
    init(_ fields: [String]) throws {
        guard fields.count == 12, fields[10] == "0", fields[11] == "0", let permissions = UInt16(fields[2], radix: 8),
            let size = UInt64(fields[3]), let blocks = UInt64(fields[4]), let links = UInt32(fields[5])
        else { throw ToolFailure(description: "stat says \(fields)") }
        isDirectory = fields[1] == "directory"
        (self.permissions, self.size, self.blocks, linkCount) = (permissions, size, blocks, links)
        times = Array(fields[6..<10])
    }

    /// What this program says.
    init(_ status: GuestStatus) {
        isDirectory = status.kind == .directory
        (permissions, size) = (status.permissions, status.size)
        (blocks, linkCount) = (status.allocatedSize / 512, status.linkCount)
        times = [status.modified, status.accessed, status.changed, status.born].map { time in
            guard let time else { return "0.000000000" }
            return "\(time.seconds).\(String(String(1_000_000_000 + time.nanoseconds).dropFirst()))"
        }
    }
}
