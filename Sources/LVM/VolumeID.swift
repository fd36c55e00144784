import ByteFormat

/// LVM's identifier of a physical volume, a group or a volume: 32 characters, written with hyphens.
public struct VolumeID: Hashable, Sendable, CustomStringConvertible {
    /// As people and the metadata write it: `WJpXTu-83vL-xIq6-…`.
    public let description: String

    /// How many characters stand between two hyphens.
    private static let groups = [6, 4, 4, 4, 4, 4, 6]

    /// The identifier whose 32 characters, as a label has them, are `bytes`; nil where they are others than LVM makes.
    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 32, bytes.allSatisfy(Self.isCharacter) else { return nil }
        var text = ""
        var rest = String(decoding: bytes, as: UTF8.self)[...]
        for count in Self.groups {
            if !text.isEmpty { text += "-" }
            text += rest.prefix(count)
            rest = rest.dropFirst(count)
        }
        description = text
    }

    /// The identifier that metadata writes as `text`; nil where it is none.
    init?(_ text: String?) {
        guard let text else { return nil }
        self.init(Array(text.utf8.filter { $0 != UInt8(ascii: "-") }))
    }

    private static func isCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "!"), UInt8(ascii: "#"):
            true
        default: false
        }
    }
}
