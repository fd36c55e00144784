import Foundation
import HostTools
import Testing

@testable import GuestFiles

@Suite(.enabled(if: Tool.areThere("debugfs")))
struct `The hash of a name` {
    @Test(arguments: ["legacy", "half_md4", "tea"]) func `is that of debugfs`(kind: String) throws {
        let versions: [String: UInt8] = ["legacy": 0, "half_md4": 1, "tea": 2]
        let version = try #require(versions[kind])
        let names = [
            "a", "hosts", "a name with some more letters in it", String(repeating: "0123456789", count: 25), "größe",
        ]
        for name in names {
            let seed = "12345678-9abc-def0-1122-334455667788"
            let text = try Shell.check("debugfs -R \"dx_hash -h $1 -s $2 \\\"$3\\\"\" 2>/dev/null", kind, seed, name)
            let bytes = seed.replacing("-", with: "").chunked
            let words = (0..<4).map { word in
                (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[word * 4 + $1]) << UInt32($1 * 8) }
            }
            let hash = try #require(extNameHash(of: Array(name.utf8), version: version, seed: words, isUnsigned: false))
            #expect(text.contains("is 0x" + String(hash, radix: 16) + " "), "\(text) \(String(hash, radix: 16))")
        }
    }
}

extension String {
    /// The bytes that pairs of hexadecimal digits stand for.
    fileprivate var chunked: [UInt8] {
        let digits = Array(utf8)
        return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
    }
}
