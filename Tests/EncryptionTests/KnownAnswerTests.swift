import ByteFormat
import Dispatch
import Synchronization
import TestImages
import Testing

@testable import Encryption

/// Answers computed with Python's hashlib and cryptography, and from public test vectors.
@Suite struct KnownAnswerTests {
    /// Four sectors, no two alike.
    static let data = (0..<2048).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 >> 8) }

    static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    static func sha256(_ bytes: [UInt8]) throws -> String {
        var digest = WipedBytes(zeros: 32)
        var context = try DigestContext(.sha256)
        try context.hash([], WipedBytes(copying: bytes).bytes, into: &digest)
        return hex(digest.array)
    }

    @Test func `the known answers' own hash is right`() throws {
        #expect(
            try Self.sha256(Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test(arguments: [
        ("md5", "4cabf0cde3c2f8823f654dc8a4a60d355d04c93c9ee873b0cf25aa36b4cdbec1e9e04d046e4bbcaf"),
        ("sha1", "77f0b11b4c5e69cc339132a0c972d6cfb98373355362eaf3c38830c793f2d3e523254bc16245c6df"),
        ("sha224", "e519bd8be3421dd7bfa39e002bf9a3c538223055cb6c99dd493f909a2bec1a3d0d799ffef3cb1702"),
        ("sha256", "8328027e28604cd0dee2f6af9b823d5f234656fba4e197639dd861142e66d4ed7430230c0323f2f5"),
        ("sha384", "1bde1a00bddd64f089e65ce13f83dcd92f4ec11f88b6bf918f73c754965c6d738e7ecd97c88796dc"),
        ("sha512", "fb8b39634707e8974099f945ccd768ca835fe31e960882c1fe2e3254000bb7ce75b0e1008777535a"),
        ("ripemd160", "42bdb67abdc8feb516c2c141ec67b0df56f7b2968acf79b9c7c8d225019839e6169db25cfe51ee27"),
    ])
    func `PBKDF2 derives what hashlib derives`(name: String, key: String) throws {
        let hash = try #require(HashAlgorithm(rawValue: name))
        let derived = try hash.derive(
            40, from: WipedBytes(copying: Array("pass".utf8)), salt: Array(0..<32), iterations: 1000)
        #expect(Self.hex(derived.array) == key)
    }

    @Test(
        arguments: [
            ("password", "salt", 1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
            ("password", "salt", 4096, "4b007901b765489abead49d926f721d065a429c1"),
            ("pass\0word", "sa\0lt", 4096, "56fa6aa75548099dcc37d7f03425e0c3"),
        ] as [(String, String, UInt32, String)])
    func `PBKDF2 derives what RFC 6070 says`(secret: String, salt: String, iterations: UInt32, key: String) throws {
        let derived = try HashAlgorithm.sha1.derive(
            key.count / 2, from: WipedBytes(copying: Array(secret.utf8)), salt: Array(salt.utf8),
            iterations: iterations)
        #expect(Self.hex(derived.array) == key)
    }

    @Test func `a passphrase may be empty`() throws {
        let derived = try HashAlgorithm.sha256.derive(
            16, from: WipedBytes(zeros: 0), salt: Array("salt".utf8), iterations: 1)
        #expect(Self.hex(derived.array) == "f135c27993baf98773c5cdb40a5706ce")
    }

    @Test(arguments: [
        ("md5", 16, "b5fd29f5a23294d88657b00134ab5548"),
        ("md5", 32, "281de14cec7a523de4f76d393c5cad4b16e3522a7d602afec64e9f764a8e7d96"),
        (
            "md5", 64,
            "1dcbafdca6aed1ff7d4dbfbe6709aa36e4480fad064c96b605d0060a10034ab479cbc05ba9d81df2da13d1868f6cb5ab591c98ec93de6ae917fae5e3ba8282f0"
        ),
        ("sha1", 16, "1e4f353f01e0b9a187bd33ba12968aae"),
        ("sha1", 32, "d0fa4d082dddfa10a5bcf9ac7b88a4dd9b79bc5e7205e07b1e1c7599415a4de7"),
        (
            "sha1", 64,
            "c29fe9d08fd18d4387bfe2cab1655fe850f54350bfc651d19ccec237d8776138f0d6d9a7248e78826f56278bcfb17852b2792618b75fb699b6f77f51518aa647"
        ),
        ("sha224", 16, "2cc44965ac741609bfbb45a2cab82fb2"),
        ("sha224", 32, "e47d63dc7fd4d9c25d9071efd36a9cbfd9717fa2a21658eec91f7ec08bd7f3af"),
        (
            "sha224", 64,
            "94cf064dbcf104aa9acbf603426aaca5d84c0bd058547817cdfb3ae2334f2c92371cf0be8c50b4b735e14e554a1fa383a98114b9bcddd09776e46a4d2db4d4d6"
        ),
        ("sha256", 16, "4af753b799cdf01f203045dfc7a44f93"),
        ("sha256", 32, "96f1f78ab29c24c5fbe62bd7352a1d24c38fdf4c187cd3e8b8313f6ff638e54b"),
        (
            "sha256", 64,
            "c9a277f3463e14333ca60c4c1b77bf8748ac1996f9488fdd5d3ae8df0d5c2b7ce1ed758385495e9c70f96e9c98c0644dc5ea63161b0f36071af334320ea5c9d8"
        ),
        ("sha384", 16, "65a69a7c7af27ccaf7207be49dd4d545"),
        ("sha384", 32, "4be18e6c20bee7d35559c7fe7e659a08f8acc38e4c6dab8742f9bebff32c14e4"),
        (
            "sha384", 64,
            "19178d5e881e2176741c52160a56678d60dc331888a70e59e2a95bebf2a2205c58f5ffb5b32d067422c3c414ff9e558d33889f72b4ece1d9907e2b209679f92a"
        ),
        ("sha512", 16, "ad81f1cd264dadc52e144ab93682021e"),
        ("sha512", 32, "a4372fafd222f39a683331922abea181826bd9ddde3ba14d2159f3074037079d"),
        (
            "sha512", 64,
            "d10de50a2146cb42d47939fa1c7074604850f7ae3b9c564256dfe0414d39196b1543bdf983ceab64dd44b9a0513cb2c861743bb1d4a3e1e436b702218028de27"
        ),
        ("ripemd160", 16, "fe30d86ccee7b4a433543aec3624020c"),
        ("ripemd160", 32, "5ed6a9ab99f7a7347d865483e5a98ad9af7f307817bdff738a360cb15466a37f"),
        (
            "ripemd160", 64,
            "501d81337e9012fc9e2d68631ef0a1308b4eda6be0ecd1da1840f4aa756f475f6767cf96b65bdd67d5d94c464ab6860df4dbaeea98f22f01a0e91cc81102da26"
        ),
    ])
    func `nine stripes merge to the key`(name: String, size: Int, key: String) throws {
        let hash = try #require(HashAlgorithm(rawValue: name))
        let split = WipedBytes(copying: (0..<64 * 9).map { UInt8(truncatingIfNeeded: $0 * 13 + $0 >> 5) })
        let merged = try AntiForensic.merge(split, keySize: size, stripes: 9, hash: hash)
        #expect(Self.hex(merged.array) == key)
    }

    @Test(arguments: [
        ("ecb-plain64", 16, "44c6ddcc43008547f2bb5bda33c0483c48c0ecf7c052afa833a9dd44e6542f0b"),
        ("ecb-essiv:sha256", 16, "44c6ddcc43008547f2bb5bda33c0483c48c0ecf7c052afa833a9dd44e6542f0b"),
        ("ecb-plain64", 24, "0697ed21d2b804a82bce8a644e84e1c9e2e35f7617fe910accdf5e9d6ac27ad4"),
        ("ecb-essiv:sha256", 24, "0697ed21d2b804a82bce8a644e84e1c9e2e35f7617fe910accdf5e9d6ac27ad4"),
        ("ecb-plain64", 32, "42f9fe3a1874f5a903cac4f1843ad6387023fcda73ec91ad41032cf8012af258"),
        ("ecb-essiv:sha256", 32, "42f9fe3a1874f5a903cac4f1843ad6387023fcda73ec91ad41032cf8012af258"),
        ("cbc-plain", 16, "cdcaf9fee71cde6d7543fcfa3f046be91eda05729d94544ddca664d716304d86"),
        ("cbc-plain64", 16, "f2b84ae06e330bf690ba754a6771d536ba81a7b28e2d4af5ec8baca35bd5946a"),
        ("cbc-essiv:sha256", 16, "73bf7a4ba5cf8cfd8c3e58adebce389d341af20461c8d5db55a4631ab883d491"),
        ("cbc-essiv:md5", 16, "0b4c061b41a13275003325feb19326811c9f5f440911b491042672003e2c44de"),
        ("cbc-plain", 24, "6e2b3a5b517c404b4705785bc18eec1c3b664b278ea516db9f16d886e6cea1b1"),
        ("cbc-plain64", 24, "2f71b622ad7c0d16c65baf760e049ae5f338ded9410b22ea673cf2330d6571e7"),
        ("cbc-essiv:sha256", 24, "23ada23ece51eea531696648b1ff7437d45f8f46e6cc25b5f4e4c7bd2f2d14dc"),
        ("cbc-essiv:md5", 24, "71bb8c791f5fc130fa9745d77716acf24340b6e92f1ff54296a8f0ae28f3011d"),
        ("cbc-plain", 32, "22b1f81333d403478df4bf107595441f1b10b1952ca4f4e86f08dda1187f89bd"),
        ("cbc-plain64", 32, "9fb185a68b83370c8698caf452da73fadd5264f545f059cc5b906ca0ea48eb48"),
        ("cbc-essiv:sha256", 32, "b5ac6b3f3b157ed64a6b8a0d3371e452e231b4b2c3a7d867d6751c2deda2e443"),
        ("cbc-essiv:md5", 32, "84bb4b22358d2b00c578f3d9cd5a9a894cebe259dc40b83476d79197c9b7dad0"),
        ("ctr-plain", 16, "9dd4c0e471815fc4160bf2e55cfc7be62fa7c8b9f3f42fce4f81450ed279a681"),
        ("ctr-plain64", 16, "9dae731ab2736f0ee5723337bfa692feb6ee04ded24b8839e9eca056f9679871"),
        ("ctr-essiv:sha256", 16, "63f1ed43973f1ca4146e351cf455f5e4c79446ae9cc4430227949c98b6311c10"),
        ("ctr-essiv:md5", 16, "a590fcb453b940cdbec71c64fac95456e00fc165ad13b64137e81319fc0bb2ff"),
        ("ctr-plain", 24, "150021f7b438069785ea881c856d22aa62fb029f1bbf28a7cb67ca3b6f6068c8"),
        ("ctr-plain64", 24, "074fcde80831736b10c1b760162e54fb580cc45481e2d61ea4e698d3e0e0b01d"),
        ("ctr-essiv:sha256", 24, "8ee55f2649fe52c21155ff45819731528b275886e3f04f95fbfaee8600bfd684"),
        ("ctr-essiv:md5", 24, "a6d0f63068a478ffed218fbd0769ce01add2f73716b43cc299b03b62fbb4f5a3"),
        ("ctr-plain", 32, "a7433341457744bb9acb7ed52d6daedd2d96c382aa1ea53a77427e749d1682b0"),
        ("ctr-plain64", 32, "6bbeb7321bd23a9d71238b6bc4d73d6d31609f09a536c9c82a29ff5c5e0b7a1a"),
        ("ctr-essiv:sha256", 32, "c255cbd2aa64632b2b2b7a02de53d88462e399ce7274a340a256f328fdcce44a"),
        ("ctr-essiv:md5", 32, "5167a0e653131e15019ed3ea8beff9c5e7d41a8eb6958204d7eb3d1f600de02e"),
        ("xts-plain", 32, "5f255ff6996a5ef872895f0b763863c0b4ee8d792ffe10e56b32750e5932e61b"),
        ("xts-plain64", 32, "60198654321d1044ac2db561e8b50ed6fc04957bffc0b4d1b854198de0b44d43"),
        ("xts-essiv:sha256", 32, "455ef0eca099764f6356f4812a62e68e82e7d8d6e053d96f5246cccac0538682"),
        ("xts-essiv:md5", 32, "2be491628f9d232d84d7cfcab12b4d7cda71599120fa5d049d813abe66395893"),
        ("xts-plain", 48, "300a6a3552b0fda5fc5968c3cb59d594ffe9fc89a6ecea5ea040723173a3e9ef"),
        ("xts-plain64", 48, "3d565f2e552c0d802799e013e5a29cc27571fa6a2644b5885f7e3753f9eb15c9"),
        ("xts-essiv:sha256", 48, "5cc6debb2ac6d55b322cbd8e02c9033f2bcbfa652ca0a7053125d397575b5c4b"),
        ("xts-essiv:md5", 48, "c380bffa1d521750d38b7e81ef7ad4bb2a4e9a96c94434145b942bb552d92fd5"),
        ("xts-plain", 64, "c351ecc6de2611ce55c0689b54bbc1a4cfcb3a25256860598a8b6804778d2c62"),
        ("xts-plain64", 64, "50a085c9f6d9a54f70230f3a64ea12deb91864b6ad4c0bcd1af7c8c2cb96bf7e"),
        ("xts-essiv:sha256", 64, "9e44d9cb7be92d26f2b8de07f2548d55370ddb05ce39a01225c92c7ef12179a7"),
        ("xts-essiv:md5", 64, "0959b8a1a86576b6ee32305eccf93ecfe1e215a3bfbe693bffd7a8447072e749"),
    ])
    func `sectors from 2^32 - 2 on decrypt to what they are`(mode: String, keyBytes: Int, digest: String) throws {
        let specification = try CipherSpecification(name: "aes", mode: mode, keyBytes: UInt32(keyBytes))
        let key = (0..<keyBytes).map { UInt8(truncatingIfNeeded: $0 * 11 + 3) }
        let cipher = try SectorCipher(specification, key: WipedBytes(copying: key))
        let first: UInt64 = 0xffff_fffe
        #expect(try Self.sha256(cipher.decrypted(Self.data, firstSector: first)) == digest)
        // And each by itself, with the context of the one before.
        for sector in 0..<4 {
            let bytes = Array(Self.data[sector * 512..<sector * 512 + 512])
            let all = try cipher.decrypted(Self.data, firstSector: first)
            #expect(
                try cipher.decrypted(bytes, firstSector: first + UInt64(sector))
                    == Array(all[sector * 512..<sector * 512 + 512]))
        }
    }

    @Test func `AES-128-XTS decrypts vector 4 of IEEE 1619`() throws {
        let key: [UInt8] = [
            0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60, 0x28, 0x74, 0x71, 0x35, 0x26,
            0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93, 0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95,
        ]
        let plain = (0..<512).map { UInt8(truncatingIfNeeded: $0) }
        let specification = CipherSpecification(mode: .xts, keyBits: 128, initialVector: .plain64)
        let encrypted = try encrypt(plain, specification, key)
        #expect(Self.hex(Array(encrypted[..<16])) == "27a7479befa1d476489f308cd4cfa6e2")
        #expect(try SectorCipher(specification, key: WipedBytes(copying: key)).decrypted(encrypted) == plain)
    }

    @Test(arguments: [
        ("", "41420aeda18fc975f982e4d114956efcbb5b39f22826ddcb974a886384b0652b"),
        ("abc", "bc253ee7ae564f64610a4b8219800245ba1a626111af66fd6e517db3fe8bec36"),
        ("0123456789abcdef", "49591c179a95e7309bfe499e0a3c854264fc00b847e08fa96fda20e58572dc1f"),
        ("0123456789abcdefXYZ", "49591c179a95e7309bfe499e0a3c854264fc00b847e08fa96fda20e58572dc1f"),
    ])
    func `the legacy AES takes 16 bytes of the passphrase for its key`(passphrase: String, digest: String) throws {
        let cipher = try LegacyAES.cipher(for: Secret(Array(passphrase.utf8)))
        #expect(try Self.sha256(cipher.decrypted(Self.data, firstSector: 7)) == digest)
    }

    @Test(arguments: [0, 1, 511, 513, 1000])
    func `only whole sectors are decrypted`(count: Int) throws {
        let cipher = try LegacyAES.cipher(for: Secret(Array("abc".utf8)))
        guard count > 0 else {
            #expect(try cipher.decrypted([]) == [])
            return
        }
        #expect(throws: EncryptionFault.self) { try cipher.decrypted(Array(repeating: 1, count: count)) }
    }

    @Test func `sector numbers go on at zero behind the last`() throws {
        let cipher = try LegacyAES.cipher(for: Secret(Array("abc".utf8)))
        let both = try cipher.decrypted(Array(Self.data[..<1024]), firstSector: .max)
        #expect(try Array(both[512...]) == cipher.decrypted(Array(Self.data[512..<1024]), firstSector: 0))
    }

    @Test(arguments: ["xts-plain64", "cbc-essiv:sha256"])
    func `many threads share a cipher`(mode: String) throws {
        let specification = try CipherSpecification(name: "aes", mode: mode, keyBytes: 32)
        let cipher = try SectorCipher(specification, key: WipedBytes(copying: Array(1...32)))
        let expected = try (0..<64).map { try cipher.decrypted(Self.data, firstSector: UInt64($0)) }
        let wrong = Atomic(0)
        DispatchQueue.concurrentPerform(iterations: 2048) { index in
            let got = try? cipher.decrypted(Self.data, firstSector: UInt64(index % 64))
            if got != expected[index % 64] { wrong.add(1, ordering: .relaxed) }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }

    @Test func `a secret does not show`() {
        let secret = Secret(Array("hunter2".utf8))
        var dumped = ""
        dump(secret, to: &dumped)
        #expect("\(secret)" == "<secret>")
        #expect(String(reflecting: secret) == "<secret>")
        #expect(!dumped.contains("hunter2") && !dumped.contains("104"))
    }
}
