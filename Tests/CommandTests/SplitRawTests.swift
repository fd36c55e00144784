import HostTools
import TestImages
import Testing

struct `A raw disk in several files` {
    @Test func `is one disk by its first part, and no disk without one of the others`() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("disk.raw"), size: 3 << 20 | 512, seed: 6)
        let text = try Shell.check(
            """
            cd "$2"
            split -b 1M -a 3 --numeric-suffixes=1 disk.raw one.; split -b 1M -a 3 --numeric-suffixes=0 disk.raw null.
            for name in one.001 null.000; do "$1" read $name | cmp - disk.raw && echo same; done
            "$1" info --output json one.001 | jq -c '[.format, ."virtual-size", ."format-specific".data.parts]'
            "$1" map --output json one.001 | jq -c '[.[] | select(.data) | .start / 1048576 | floor] | unique'
            "$1" read null.001 2>&1 >/dev/null || true
            for verb in read hash; do "$1" $verb one.003 2>&1 >/dev/null || echo $verb; done
            "$1" inspect one.003 | head -n 2
            "$1" hash --format raw one.003 | cut -d ' ' -f 1; sha256sum one.003 | cut -d ' ' -f 1
            mkdir many; for i in {1..1001}; do printf '%0512d' $i >many/w.$(printf %03d $i); done
            cat $(ls -v many/*) >many.raw; "$1" read many/w.001 | cmp - many.raw && echo many
            "$1" read many/w.1000 2>&1 >/dev/null || true
            truncate -s 1000K one.002; "$1" read one.001 2>&1 >/dev/null || true
            rm one.002; "$1" read one.001 2>&1 >/dev/null || true
            seq 1000 >log.001; "$1" read log.001 2>&1 >/dev/null || true
            """, Tool.rblock, folder.path)
        #expect(text.hasPrefix("same\nsame\n[\"split-raw\",\(3 << 20 | 512),4]"), "\(text)")
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.filter { $0.contains("begins in one.001") }.count == 3 && lines.contains("many"), "\(text)")
        #expect(["read", "hash"].allSatisfy(lines.contains), "\(text)")
        #expect(Set(lines.filter { $0.count == 64 }).count == 1, "\(text)")
        for words in [
            "begins in w.001", "begins in null.000", "each part must have 1048576", "one.002 is missing", "a text",
        ] {
            #expect(text.contains(words), "\(words): \(text)")
        }
    }
}
