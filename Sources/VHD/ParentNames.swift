import BlockImage
import ByteFormat

extension VHDDescription {
    /// The names that the `header` of a differencing disk in `file` has for its parent: relative ones of Windows first, then
    /// URLs, then absolute ones, and last the name in the header itself. What cannot be read of them is passed over.
    static func parentNames(_ header: DynamicHeader, in file: any HostFile) -> [String] {
        let kinds: [(code: String, decode: ([UInt8]) -> String?)] = [
            ("W2ru", { utf16($0, .little) }), ("MacX", pathOfURL), ("W2ku", { utf16($0, .little) }),
        ]
        var names: [String] = []
        for kind in kinds {
            for locator in header.locators where locator.code.elementsEqual(kind.code.utf8) {
                guard let bytes = Self.bytes(of: locator, in: file), let name = kind.decode(bytes) else { continue }
                if !names.contains(name) { names.append(name) }
            }
        }
        if let name = utf16(header.parentName, .big), !names.contains(name) { names.append(name) }
        return names
    }

    /// The bytes that `locator` leads to; nil where they do not lie in the file, or are too many for a name.
    static func bytes(of locator: ParentLocator, in file: any HostFile) -> [UInt8]? {
        guard (1...ParentLocator.lengthLimit).contains(locator.length) else { return nil }
        return try? file.bytes(Int(locator.length), at: HostOffset(locator.offset), of: "parent locator")
    }

    /// The text of `bytes` in UTF-16, up to the first NUL; nil for none.
    static func utf16(_ bytes: [UInt8], _ order: ByteOrder) -> String? {
        var units: [UInt16] = []
        for index in stride(from: 0, to: bytes.count - bytes.count % 2, by: 2) {
            let (low, high) = order == .little ? (bytes[index], bytes[index + 1]) : (bytes[index + 1], bytes[index])
            units.append(UInt16(high) << 8 | UInt16(low))
        }
        let text = String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
        return text.isEmpty ? nil : text
    }

    /// The path of a `file:` URL, as XenServer writes it: `file://./base.vhd`. Nil for another.
    private static func pathOfURL(_ bytes: [UInt8]) -> String? {
        let start = Array("file://".utf8)
        let url = bytes.prefix { $0 != 0 }
        guard url.starts(with: start), url.count > start.count else { return nil }
        var path: [UInt8] = []
        var rest = url.dropFirst(start.count)
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            {
                path.append(value)
                rest = rest.dropFirst(2)
            } else {
                path.append(byte)
            }
        }
        return nameText(path)
    }

    /// The parent of a differencing disk; nil for other disks.
    var parent: ParentLink? { kind == .differencing ? header.map { ParentLink($0, names: parentNames) } : nil }
}

/// What a differencing disk says of its parent.
struct ParentLink {
    /// Its unique id; nil over a raw disk, as XenServer has it.
    let identity: ImageIdentity?
    /// What it is looked for by.
    let sought: SoughtName
    /// The first of its names, as bytes; none where it has none.
    let bytes: [UInt8]

    init(_ header: DynamicHeader, names: [String]) {
        identity = header.parentIdentity.isZero ? nil : header.parentIdentity
        let place = "parent locator"
        sought =
            names.isEmpty
            ? SoughtName(
                text: identity?.description ?? "", place: place, candidates: [], lastComponent: nil, ignoresCase: true)
            : SoughtName(windowsPaths: names, in: place)
        bytes = names.first?.nameBytes ?? []
    }
}
