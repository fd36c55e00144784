import ByteFormat
import FormatCore

/// The manifest of a package: digests of its files (DMTF DSP0243, "OVF Package Structure"), as lines like
/// `SHA256(disk1.vmdk)= 0f3a…`. Nothing is checked against them here.
package struct OVFManifest: Hashable, Sendable {
    /// The entries, in the order of the lines.
    package let entries: [FileDigest]
    /// The lines that are no entries, counted from 1, at most `noteLimit` of them.
    package let unreadLines: [Int]

    /// The most bytes that a manifest may have.
    package static let sizeLimit = 4 << 20
    /// The most entries: one for each member that an archive may have.
    package static let entryLimit = TarArchive.memberLimit
    /// The most lines that are reported as unread.
    package static let noteLimit = 16

    /// The algorithms, and how many bytes their digests have.
    private static let algorithms = ["MD5": 16, "SHA1": 20, "SHA224": 28, "SHA256": 32, "SHA384": 48, "SHA512": 64]

    /// The name in `algorithms` of what a manifest calls `name`: "SHA2-256", "SHA-256" and "sha256" are SHA256.
    private static func algorithm(_ name: String) -> String {
        let name = name.uppercased().filter { $0 != " " }
        for prefix in ["SHA2-", "SHA-"] where name.hasPrefix(prefix) { return "SHA" + name.dropFirst(prefix.count) }
        return name
    }

    /// Reads the manifest in `bytes`. Throws where it is beyond a limit; lines that are none are passed over.
    package init(parsing bytes: [UInt8]) throws(ParseFault) {
        guard bytes.count <= Self.sizeLimit else {
            throw ParseFault(
                at: 0, "manifest: has \(bytes.count) bytes, and must have no more than \(Self.sizeLimit)")
        }
        var entries: [FileDigest] = []
        var unread: [Int] = []
        let text = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? bytes.dropFirst(3) : bytes[...]
        var number = 0
        for line in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let line = trimmed(line)
            if line.isEmpty { continue }
            guard let entry = Self.entry(in: line) else {
                if unread.count < Self.noteLimit { unread.append(number) }
                continue
            }
            guard entries.count < Self.entryLimit else {
                throw ParseFault(
                    at: line.startIndex, "manifest: has more than \(Self.entryLimit) entries, which is the limit")
            }
            entries.append(entry)
        }
        self.entries = entries
        unreadLines = unread
    }

    /// The entry in a line without blanks around it: an algorithm, a name in parentheses, `=`, and a digest. A name may
    /// have parentheses and equals signs itself, but a digest has none.
    private static func entry(in line: ArraySlice<UInt8>) -> FileDigest? {
        guard let open = line.firstIndex(of: UInt8(ascii: "(")),
            let equals = line.lastIndex(of: UInt8(ascii: "=")), open < equals
        else { return nil }
        let algorithm = algorithm(String(decoding: trimmed(line[..<open]), as: UTF8.self))
        let name = trimmed(line[(open + 1)..<equals])
        guard let count = algorithms[algorithm], name.last == UInt8(ascii: ")"), name.count > 1,
            let digest = hexadecimal(trimmed(line[(equals + 1)...])), digest.count == count
        else { return nil }
        return FileDigest(algorithm: algorithm, name: Array(trimmed(name.dropLast())), digest: digest)
    }

    private static func hexadecimal(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var high: UInt8?
        for digit in digits {
            guard let value = hexadecimalDigit(digit) else { return nil }
            if let first = high {
                result.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return high == nil ? result : nil
    }
}

/// The value of a hexadecimal digit; nil where it is none.
func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    Character(Unicode.Scalar(byte)).hexDigitValue.map(UInt8.init)
}

/// The bytes without blanks, and carriage returns, around them.
func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
    }
    let start = bytes.drop(while: isBlank)
    guard let last = start.lastIndex(where: { !isBlank($0) }) else { return start.prefix(0) }
    return start[...last]
}
