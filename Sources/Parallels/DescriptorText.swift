import BlockImage
import ByteFormat

/// An element of a disk descriptor, which is XML without a document type, and in which attributes mean nothing.
struct DescriptorElement: Sendable {
    /// The most bytes of a descriptor.
    static let sizeLimit: UInt64 = 1 << 20
    private static let depthLimit = 32

    var name: String
    /// The text in it, without that of its children.
    var text: [UInt8] = []
    var children: [DescriptorElement] = []

    /// The children called `name`.
    func all(_ name: String) -> [DescriptorElement] { children.filter { $0.name == name } }

    /// The first child called `name`.
    subscript(_ name: String) -> DescriptorElement? { children.first { $0.name == name } }

    /// The text without the blanks around it.
    var value: [UInt8] {
        let isBlank = { (byte: UInt8) in byte == 0x20 || (9...13).contains(byte) }
        return Array(text.drop(while: isBlank).reversed().drop(while: isBlank).reversed())
    }

    /// The text as a number; nil where it is none.
    var number: UInt64? { UInt64(String(decoding: value, as: UTF8.self)) }

    /// The outermost element of `bytes`. Throws where they are no such XML.
    static func parse(_ bytes: [UInt8]) throws(ParseFault) -> DescriptorElement {
        var open: [DescriptorElement] = []
        var position = 0
        func end(of mark: String, from start: Int) throws(ParseFault) -> Int {
            guard let place = bytes[start...].place(of: mark.utf8)?.lowerBound else {
                throw ParseFault(at: start, "disk descriptor: what begins here has no \"\(mark)\" at its end")
            }
            return place
        }
        while let next = bytes[position...].firstIndex(of: UInt8(ascii: "<")) {
            if let last = open.indices.last { open[last].text += decoded(bytes[position..<next]) }
            let rest = bytes[next...]
            if rest.starts(with: "<?".utf8) {
                position = try end(of: "?>", from: next) + 2
            } else if rest.starts(with: "<!--".utf8) {
                position = try end(of: "-->", from: next) + 3
            } else if rest.starts(with: "<![CDATA[".utf8) {
                let close = try end(of: "]]>", from: next)
                if let last = open.indices.last { open[last].text += bytes[min(next + 9, close)..<close] }
                position = close + 3
            } else if rest.starts(with: "<!".utf8) {
                throw ParseFault(at: next, "disk descriptor: has a document type, which none has")
            } else {
                let close = try end(of: ">", from: next)
                let tag = bytes[(next + 1)..<close]
                let isEmpty = tag.last == UInt8(ascii: "/")
                let name = String(
                    decoding: tag.drop { $0 == UInt8(ascii: "/") }.prefix { $0 > 0x20 && $0 != UInt8(ascii: "/") },
                    as: UTF8.self)
                if tag.first != UInt8(ascii: "/") {
                    guard open.count < depthLimit else {
                        throw ParseFault(at: next, "disk descriptor: has elements more than \(depthLimit) deep")
                    }
                    open.append(DescriptorElement(name: name))
                }
                if isEmpty || tag.first == UInt8(ascii: "/") {
                    guard let ended = open.popLast(), ended.name == name else {
                        throw ParseFault(at: next, "disk descriptor: ends an element that is not open")
                    }
                    guard let last = open.indices.last else { return ended }
                    open[last].children.append(ended)
                }
                position = close + 1
            }
        }
        throw ParseFault(at: bytes.count, "disk descriptor: ends within an element")
    }

    /// `text` with the five entities of XML replaced.
    private static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8] {
        guard text.contains(UInt8(ascii: "&")) else { return Array(text) }
        let entities: [(String, UInt8)] = [
            ("&lt;", UInt8(ascii: "<")), ("&gt;", UInt8(ascii: ">")), ("&amp;", UInt8(ascii: "&")),
            ("&quot;", UInt8(ascii: "\"")), ("&apos;", UInt8(ascii: "'")),
        ]
        var (bytes, rest): ([UInt8], ArraySlice<UInt8>) = ([], text)
        while let byte = rest.first {
            if byte == UInt8(ascii: "&"), let entity = entities.first(where: { rest.starts(with: $0.0.utf8) }) {
                bytes.append(entity.1)
                rest = rest.dropFirst(entity.0.utf8.count)
            } else {
                bytes.append(byte)
                rest = rest.dropFirst()
            }
        }
        return bytes
    }
}
