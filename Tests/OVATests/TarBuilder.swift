import BlockImage
import HostStorage
import HostTools
import SystemPackage
import TestImages

@testable import OVA

/// Makes archives byte by byte, with any field as wrong as a test wants it.
struct TarBuilder {
    enum Format { case v7, ustar, gnu }

    private(set) var bytes: [UInt8] = []
    var format = Format.ustar

    init(_ format: Format = .ustar) {
        self.format = format
    }

    /// A header block whose checksum is right.
    static func header(
        _ name: [UInt8], size: [UInt8], type: UInt8, format: Format = .ustar, prefix: [UInt8] = [],
        modified: String = "00000000000\0", change: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: some Sequence<UInt8>, at offset: Int) {
            for (index, byte) in bytes.enumerated() { block[offset + index] = byte }
        }
        put(name.prefix(100), at: 0)
        put("0000644\0".utf8, at: 100)
        put(size, at: 124)
        put(modified.utf8, at: 136)
        block[156] = type
        switch format {
        case .v7: break
        case .ustar: put("ustar\u{0}00".utf8, at: 257)
        case .gnu: put("ustar  \0".utf8, at: 257)
        }
        put(prefix.prefix(155), at: 345)
        change(&block)
        return withChecksum(block)
    }

    /// The block with the sum of its bytes in place.
    static func withChecksum(_ block: [UInt8], signed: Bool = false) -> [UInt8] {
        var block = block
        for index in 148..<156 { block[index] = UInt8(ascii: " ") }
        let sum = block.reduce(0) { $0 + (signed ? Int(Int8(bitPattern: $1)) : Int($1)) }
        let digits = Array(String(sum, radix: 8).utf8)
        let field = Array(repeating: UInt8(ascii: "0"), count: 6 - digits.count) + digits + [0, UInt8(ascii: " ")]
        for (index, byte) in field.enumerated() { block[148 + index] = byte }
        return block
    }

    /// Eleven octal digits and a blank.
    static func octal(_ value: Int) -> [UInt8] {
        let digits = Array(String(value, radix: 8).utf8)
        return Array(repeating: UInt8(ascii: "0"), count: 11 - digits.count) + digits + [UInt8(ascii: " ")]
    }

    /// Twelve bytes of base 256.
    static func base256(_ value: UInt64) -> [UInt8] {
        [0x80, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - $0 * 8)) }
    }

    /// Any blocks.
    mutating func append(_ more: [UInt8]) { bytes += more }

    /// A header, and data padded to whole blocks.
    mutating func add(_ name: String, _ data: [UInt8], type: UInt8 = UInt8(ascii: "0")) {
        bytes += Self.header(Array(name.utf8), size: Self.octal(data.count), type: type, format: format)
        bytes += data
        bytes += [UInt8](repeating: 0, count: (512 - data.count % 512) % 512)
    }

    /// A pax header with these records.
    mutating func addRecords(_ records: [(String, String)], type: UInt8 = UInt8(ascii: "x")) {
        add("PaxHeaders/x", records.flatMap { Self.record($0.0, $0.1) }, type: type)
    }

    /// A record with its right length before it.
    static func record(_ key: String, _ value: String) -> [UInt8] {
        let rest = " \(key)=\(value)\n"
        var count = rest.utf8.count
        while String(count).utf8.count + rest.utf8.count != count { count = String(count).utf8.count + rest.utf8.count }
        return Array("\(count)\(rest)".utf8)
    }

    /// The archive with its end mark.
    var finished: [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }
}

/// What a test reads an archive from.
func archive(_ bytes: [UInt8], path: String = "a.ova") throws(ImageError) -> TarArchive {
    try TarArchive(reading: MemoryFile(bytes, path: path))
}

extension HostFile {
    /// All bytes of a small file.
    func wholeFile() throws(ImageError) -> [UInt8] {
        try bytes(Int(size), at: HostOffset(0), of: "file")
    }
}

extension TemporaryFolder {
    /// The file `name` of the folder, opened as the mount does it.
    func open(_ name: String) throws -> any HostFile {
        try ConfinedOpenPolicy(images: FilePath(path)).openImage(at: FilePath(file(name)))
    }
}

extension [UInt8] {
    /// The bytes as text.
    var text: String { String(decoding: self, as: UTF8.self) }
}
