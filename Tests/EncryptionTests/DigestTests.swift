import Encryption
import Foundation
import TestImages
import Testing

struct `The digest of a content` {
    // Of "abc": RFC 1321, FIPS 180-4, and the page of RIPEMD-160's authors.
    @Test(
        arguments: [
            (.md5, "900150983cd24fb0d6963f7d28e17f72"), (.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (.sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                .sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
            ),
            (
                .sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                    + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
            (.ripemd160, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        ] as [(HashAlgorithm, String)])
    func `is the same in pieces and at once, and the known one`(algorithm: HashAlgorithm, expected: String) throws {
        for pieces in [["abc"], ["a", "", "bc"], ["a", "b", "c"]] {
            var digest = try ContentDigest(algorithm)
            for piece in pieces {
                let bytes = Array(piece.utf8)
                try digest.update(bytes.span.bytes)
            }
            let found = try digest.finish()
            #expect(found.map { String(format: "%02x", $0) }.joined() == expected)
            #expect(found.count == algorithm.size)
        }
    }
}
