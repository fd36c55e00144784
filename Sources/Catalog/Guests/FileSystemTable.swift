/// What a guest mounts where, by its /etc/fstab. Source: fstab(5).
struct FileSystemTable {
    /// One line.
    struct Entry: Hashable {
        /// What is mounted: a device, or LABEL=, UUID=, PARTUUID=, PARTLABEL=.
        var device: String
        /// Where, by the names of the directories from the root on.
        var directory: [[UInt8]]
        var type: String
        /// What is set apart by commas, as `noauto`.
        var options: [String]
    }

    /// Its lines that mount something in a directory, in their order.
    let entries: [Entry]

    /// What `bytes` say. A line that says nothing is left out, as mount(8) does.
    init(_ bytes: [UInt8]) {
        var entries: [Entry] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let words = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
            guard words.count >= 3, words[0].first != UInt8(ascii: "#") else { continue }
            let directory = Self.unescaped(words[1])
            guard directory.first == UInt8(ascii: "/") else { continue }
            entries.append(
                Entry(
                    device: String(decoding: Self.unescaped(words[0]), as: UTF8.self),
                    directory: directory.split(separator: UInt8(ascii: "/")).map(Array.init),
                    type: String(decoding: words[2], as: UTF8.self),
                    options: words.count < 4
                        ? [] : words[3].split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) })
            )
        }
        self.entries = entries
    }

    /// Spaces and the like are written as a backslash and three octal digits.
    private static func unescaped(_ word: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = word
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}
