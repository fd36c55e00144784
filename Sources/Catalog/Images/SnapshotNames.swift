import BlockImage

/// The names of an image's snapshots, as folders of a mount and exports have them: reversible, and each once.
///
/// A name stands for itself, but that `/`, `%` and NUL are written as `%2F`, `%25` and `%00`, and a leading dot as `%2E`
/// where the name would be `.` or `..`. Where that is empty, longer than a file name may be, or the name of another
/// snapshot as well, `%@` and the snapshot's id, written the same way, tell it apart: `daily%@3`, or `%@3` alone where
/// the name is too long or empty.
package enum SnapshotNames {
    /// The most bytes of a file name on Linux (NAME_MAX).
    private static let sizeLimit = 255

    /// The names of snapshots with these names and ids, in their order.
    package static func unique(of snapshots: [(name: [UInt8], id: [UInt8])]) -> [[UInt8]] {
        var counts: [[UInt8]: Int] = [:]
        for snapshot in snapshots { counts[snapshot.name, default: 0] += 1 }
        var taken: Set<[UInt8]> = []
        return snapshots.enumerated().map { index, snapshot in
            let name = escaped(snapshot.name)
            let mark = Array("%@".utf8) + escaped(snapshot.id)
            // The id is unique in a sound image; in a damaged one, the place in the table is.
            let choices = [
                counts[snapshot.name] == 1 && !name.isEmpty ? name : name + mark, mark,
                Array("%@\(index)".utf8), Array("%@\(index)%".utf8),
            ]
            let choice = choices.first { $0.count <= sizeLimit && !taken.contains($0) } ?? Array("%%\(index)".utf8)
            taken.insert(choice)
            return choice
        }
    }

    /// `name`, one of these, in UTF-8: bytes that are none are written as `%FC`, which no other of the names can be.
    package static func text(of name: [UInt8]) -> String {
        guard nameText(name).hasRawBytes else { return String(decoding: name, as: UTF8.self) }
        return nameText(name).unicodeScalars.map { scalar in
            // One that is no character is a byte from 0x80 on.
            let bytes = String(scalar).nameBytes
            return String(validating: bytes, as: UTF8.self)
                ?? bytes.map { "%" + String($0, radix: 16, uppercase: true) }.joined()
        }.joined()
    }

    private static func escaped(_ name: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        for byte in name {
            switch byte {
            case 0: bytes += Array("%00".utf8)
            case UInt8(ascii: "%"): bytes += Array("%25".utf8)
            case UInt8(ascii: "/"): bytes += Array("%2F".utf8)
            default: bytes.append(byte)
            }
        }
        guard name.elementsEqual(".".utf8) || name.elementsEqual("..".utf8) else { return bytes }
        return Array("%2E".utf8) + bytes.dropFirst()
    }
}
