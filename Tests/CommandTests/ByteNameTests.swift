import Foundation
import HostTools
import TestImages
import Testing

/// File names of any bytes: those of a disk from a time before UTF-8 are often Latin-1.
@Suite(.enabled(if: Tool.areThere("qemu-img", "cmp", "sha256sum")))
struct `File names that are not UTF-8` {
    /// Runs `script` in a folder with `a.qcow2`, `disk` (what is in it) and `other.raw`; $name is a name that is not UTF-8.
    private func run(_ script: String) throws -> String {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("disk"), size: 1 << 20, seed: 5)
        try Pattern.writeDisk(folder.file("other.raw"), size: 1 << 20, seed: 6)
        return try Shell.check(
            """
            cd "$1"; rblock=$2; name=$'n\\374'
            qemu-img convert -f raw -O qcow2 disk a.qcow2
            \(script)
            """, folder.path, Tool.rblock)
    }

    @Test func `are those of the files that are read and made`() throws {
        let listed = try run(
            """
            "$rblock" convert a.qcow2 "$name.qcow2" >/dev/null
            for format in qcow2 vmdk raw; do
              "$rblock" convert -O $format "$name.qcow2" "$name.2.$format" >/dev/null
              qemu-img convert -O raw "$name.2.$format" copy; cmp copy disk
              "$rblock" read "$name.2.$format" | cmp - disk
              "$rblock" diff "$name.2.$format" a.qcow2 >/dev/null
            done
            "$rblock" convert -O vmdk -o subformat=twoGbMaxExtentFlat "$name.2.raw" "$name.flat.vmdk" >/dev/null
            "$rblock" read "$name.flat.vmdk" | cmp - disk; qemu-img convert -O raw "$name.flat.vmdk" copy; cmp copy disk
            "$rblock" create -f qcow2 -b "$name.qcow2" -F qcow2 "$name.top.qcow2" >/dev/null
            "$rblock" read "$name.top.qcow2" | cmp - disk; qemu-img convert -O raw "$name.top.qcow2" copy; cmp copy disk
            "$rblock" delta "$name.qcow2" other.raw "$name.delta.qcow2" >/dev/null
            "$rblock" read "$name.delta.qcow2" | cmp - other.raw
            "$rblock" check "$name.qcow2" >/dev/null; "$rblock" map "$name.qcow2" >/dev/null
            "$rblock" inspect --svg "$name.svg" "$name.qcow2" >/dev/null; grep -q 'n\\\\xfc' "$name.svg"
            rm copy; ls -b
            """)
        #expect(
            listed.split(separator: "\n").map(String.init) == [
                "a.qcow2", "disk", "n\\374.2.qcow2", "n\\374.2.raw", "n\\374.2.vmdk", "n\\374.delta.qcow2",
                "n\\374.flat-f001.vmdk", "n\\374.flat.vmdk", "n\\374.qcow2", "n\\374.svg", "n\\374.top.qcow2",
                "other.raw",
            ])
    }

    @Test func `are written as bytes in lists of hashes, escaped for people, and in Base64 in JSON`() throws {
        let text = try run(
            """
            "$rblock" convert a.qcow2 "$name.qcow2" >/dev/null
            "$rblock" read "$name.qcow2" >"$name.raw"
            "$rblock" hash --algorithm sha256 "$name.raw" >sums; sha256sum --quiet -c sums
            "$rblock" info "$name.qcow2" | grep -qF 'n\\xfc.qcow2'
            "$rblock" info --output json "$name.qcow2" >info.json; iconv -f utf-8 -t utf-8 info.json >/dev/null
            grep -o '"filename-bytes": "[^"]*"' info.json
            "$rblock" check --output json "$name.qcow2" | grep -o '"filename-bytes": "[^"]*"'
            "$rblock" info "$name.none" 2>&1 | grep -oF 'n\\xfc.none' | head -n 1
            """)
        let bytes = Data([0x6e, 0xfc] + Array(".qcow2".utf8)).base64EncodedString()
        let member = "\"filename-bytes\": \"\(bytes)\""
        #expect(text == "\(member)\n\(member)\nn\\xfc.none")
    }

    @Test func `may be those of snapshots and bitmaps, too`() throws {
        _ = try run(
            """
            qemu-img snapshot -c "$name" a.qcow2; qemu-img bitmap --add a.qcow2 "$name"
            "$rblock" hash --snapshot "$name" a.qcow2 >/dev/null
            qemu-img convert -f raw -O qcow2 disk base.qcow2
            "$rblock" delta --from-bitmap "$name" base.qcow2 a.qcow2 d.qcow2 >/dev/null
            ! "$rblock" hash --snapshot $'n\\344' a.qcow2 2>errors; grep -qF 'has no snapshot "n\\xe4"' errors
            """)
    }

    @Test func `are not mixed up with what they look like`() throws {
        _ = try run(
            """
            cp disk "$name.raw"; cp other.raw 'n\\xfc.raw'; cp other.raw "n$(printf '\\364\\217\\277\\274').raw"
            "$rblock" read "$name.raw" | cmp - disk
            "$rblock" read 'n\\xfc.raw' | cmp - other.raw
            "$rblock" read "n$(printf '\\364\\217\\277\\274').raw" | cmp - other.raw
            """)
    }
}
