import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import GuestFiles

/// ISO 9660 file systems of two programs, and what Linux shows of them: made once, for all tests.
final class ISOImages: Sendable {
    /// How one of them is made. genisoimage does not end where a link has a target that is too long for one entry.
    struct Kind: Sendable, CustomTestStringConvertible {
        var name: String
        /// What makes it: of the folder "$1", into the file "$2".
        var command: String
        var testDescription: String { name }
    }

    private static let gen = "genisoimage -quiet"
    private static let xorriso = "xorriso -as mkisofs -quiet"

    static let kinds = [
        Kind(name: "rock-ridge", command: "\(xorriso) -R -V 'A LABEL' -o \"$2\" \"$1\""),
        Kind(name: "zone", command: "TZ=XXX-05:45 \(xorriso) -R -J -o \"$2\" \"$1\""),
        Kind(
            name: "moved",
            command: "xorriso -compliance deep_paths_off -rr_reloc_dir moved -outdev \"stdio:$2\" -map \"$1\" /"),
        Kind(name: "genisoimage", command: "\(gen) -R -m 'long*' -o \"$2\" \"$1\""),
        Kind(
            name: "both",
            command:
                "\(gen) -R -input-charset utf-8 -J -joliet-long -m 'long*' -m '0*' -m '6*' -V 'Größe der Schrift' -o \"$2\" \"$1\""
        ),
        Kind(
            name: "joliet",
            command: "\(gen) -input-charset utf-8 -J -joliet-long -D -m '0*' -V 'Größe' -o \"$2\" \"$1\""),
        Kind(name: "plain", command: "\(gen) -iso-level 3 -D -V PLAIN -o \"$2\" \"$1\""),
        Kind(name: "udf", command: "\(gen) -udf -iso-level 4 -D -o \"$2\" \"$1\""),
        Kind(
            name: "zisofs",
            command: "xorriso -outdev \"stdio:$2\" -zisofs by_magic=off -map \"$1\" / -set_filter_r --zisofs / --"),
        Kind(
            name: "large",
            command: "\(xorriso) -iso-level 3 -R -o - \"$1/../sections\" | dd of=\"$2\" conv=sparse bs=1M"),
    ]

    /// A folder of its own.
    let folder: TemporaryFolder
    private let out: String

    /// All of them, or why there are none.
    static let all = Result { try ISOImages() }
    /// Whether they can be made.
    static var canBeMade: Bool {
        GuestLinux.isThere && Tool.isRoot && Tool.areThere("xorriso", "genisoimage", "python3")
    }

    private init() throws {
        folder = try TemporaryFolder()
        // What a static property keeps is not let go of when the process ends.
        try CleanUp.register("rm -rf --one-file-system \"$1\"", folder.path)
        try Shell.check("exec 2>&1; cd \"$1\"\n\(Self.tree)", folder.path)
        var (script, disks): (String, [String]) = (Self.start, [])
        for (index, kind) in Self.kinds.enumerated() {
            try Shell.check(
                "set -o pipefail; (\(kind.command)) >/dev/null 2>\"$2.log\" || { tail -n 5 \"$2.log\" >&2; exit 1; }",
                folder.file("tree"), folder.file(kind.name))
            // A drive has whole sectors of 512 bytes.
            try Shell.check("truncate -s %512 \"$1\"", folder.file(kind.name))
            disks.append(folder.file(kind.name))
            script += "show \(Character(Unicode.Scalar(UInt8(ascii: "a") + UInt8(index)))) \(kind.name)\n"
        }
        out = try GuestLinux.run(script, disks: disks, in: folder)
    }

    /// The path of the image of `kind`.
    func path(_ kind: Kind) -> String { folder.file(kind.name) }

    /// Opens that of `kind`.
    func open(_ kind: Kind) throws -> any GuestFileSystem {
        let image = Image(layer: RawLayer(file: try PatchedFile(path(kind))))
        return try #require(try GuestFileSystems.open(image, path: path(kind)))
    }

    /// The lines that Linux has written of `kind` to the file `name`.
    func lines(_ kind: Kind, _ name: String) throws -> [String] {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: "\(out)/\(kind.name).\(name)"))
        return String(decoding: bytes, as: UTF8.self).components(separatedBy: "\n").filter { !$0.isEmpty }
    }

    /// Files of all kinds, in `tree`, and one of more than 4 GiB in `sections`.
    private static let tree = #"""
        set -e; umask 022; mkdir tree sections; cd tree
        mkdir -p deep/b/c/d/e/f/g/h/i/j/k empty 'two..dots.' many sticky
        echo deep >deep/b/c/d/e/f/g/h/i/j/k/file; echo seven >deep/b/c/d/e/f/seven
        for name in Lower.txt UPPER.TXT noext .hidden many.dots.in.it.tar.gz 'with space' '+,=[] x' größe.txt ÄÖÜ.TXT \
          日本語のファイル名.txt 'emoji 😀 and 𝄞.txt' dot.; do echo "$name" >"$name"; done
        echo long >"$(printf %0253d 7)"; echo other >"6$(printf %0200d 7)"
        ln -s noext short; ln -s /etc/../././x//y absolute; ln -s .. up; ln -s / top; ln -s "$(printf '%0200d/' 1 2 3)x/" long
        ln -s "$(printf %0240d 7)/$(printf %0240d 8 | tr 0 z)" 'long parts'
        mknod console c 5 1; mknod large-number b 259 70000; mkfifo fifo
        python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
        touch none; head -c 300000 /dev/urandom >data; head -c 2048 /dev/urandom >block; head -c 2049 /dev/urandom >more
        yes 'what can be compressed' | head -c 200000 >text
        ln data hard; chown 1000:70000 data; chmod 4751 UPPER.TXT; chmod 1777 sticky; chmod 600 noext
        for i in $(seq 300); do echo $i >"many/file number $i"; done
        i=0
        for time in 1970-01-01T00:00:01 1999-12-31T23:59:59 2000-02-29T12:00:00 2024-02-29T00:00:00 2037-12-31T23:59:59; do
          i=$((i + 1)); echo $time >time$i; touch -m -d ${time}Z time$i; touch -a -d 2001-02-03T04:05:06Z time$i
        done
        cd ../sections
        truncate -s 4299161600 file
        for place in 0 4294965240 4294967290 4299161590; do
          echo "at $place" | dd of=file bs=1 seek=$place conv=notrunc status=none
        done
        echo small >small; echo x >"$(printf %0255d 9)"
        """#

    private static let start = #"""
        show() {
          mount -t iso9660 -o ro,iocharset=utf8 /dev/vd$1 /m; cd /m
          gnustat -f -c '%S %b %f' . >/out/$2.usage
          find . -exec gnustat --printf '%n\t%f\t%s\t%b\t%h\t%Y\t%X\t%Z\t%u\t%g\t%t\t%T\n' {} + >/out/$2.files
          find . -type f -size -9999k -exec sha256sum {} + >/out/$2.sums
          find . -type l | while read -r name; do echo "$(readlink "$name" | sha256sum | head -c 64)  $name"; done >>/out/$2.sums
          for name in lower.txt LOWER.TXT Lower.txt Lower.txt. upper.txt UPPER.TXT upper.txt.. dot dot. DOT. nothing empty. \
            größe.TXT GRÖßE.TXT äöü.txt many/ MANY; do
            if [ -e $name ]; then echo $name; fi
          done >/out/$2.found
          if [ -e file ]; then
            for place in 1048575 1049600; do dd if=file bs=4096 skip=$place count=3 2>/dev/null | sha256sum; done >/out/$2.border
          fi
          cd /; umount /m
        }

        """#
}
