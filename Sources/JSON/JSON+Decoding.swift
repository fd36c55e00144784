extension JSON {
    /// The value of `type` that this is. Throws `DecodingError` where it is none. May be called from any thread.
    package func decoded<Value: Decodable>(as type: Value.Type) throws -> Value {
        try TreeDecoder(json: self, codingPath: []).value(type)
    }
}

/// Decodes one value.
private struct TreeDecoder: Decoder {
    let json: JSON
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard let members = json.members else { throw mismatch("an object") }
        return KeyedDecodingContainer(DecodedMembers(members: members, decoder: self))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard let elements = json.elements else { throw mismatch("an array") }
        return DecodedElements(elements: elements, decoder: self)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer { DecodedSingle(decoder: self) }

    /// The value of `type`. Those that JSON has itself do not go through their `init(from:)`.
    func value<Value: Decodable>(_ type: Value.Type) throws -> Value {
        let found: Any? =
            switch (type, json) {
            case (is String.Type, .string(let text)): text
            case (is Bool.Type, .bool(let flag)): flag
            case (is Double.Type, .number(let digits)): finite(Double(digits))
            case (is Float.Type, .number(let digits)): finite(Float(digits))
            case (let number as any FixedWidthInteger.Type, .number(let digits)): integer(number, digits)
            case (is String.Type, _), (is Bool.Type, _), (is Double.Type, _), (is Float.Type, _),
                (is any FixedWidthInteger.Type, _):
                nil
            default: try type.init(from: self)
            }
        guard let value = found as? Value else { throw mismatch("\(type)") }
        return value
    }

    private func finite<Number: FloatingPoint>(_ number: Number?) -> Number? {
        number.flatMap { $0.isFinite ? $0 : nil }
    }

    private func integer<Number: FixedWidthInteger>(_ type: Number.Type, _ digits: String) -> Number? { Number(digits) }

    private func mismatch(_ wanted: String) -> DecodingError {
        .dataCorrupted(DecodingError.Context(codingPath: codingPath, debugDescription: "it is not \(wanted)"))
    }

    /// A decoder of `json`, which lies at `key` in this value.
    func nested(_ json: JSON, _ key: (any CodingKey)? = nil) -> TreeDecoder {
        TreeDecoder(json: json, codingPath: key.map { codingPath + [$0] } ?? codingPath)
    }
}

private struct DecodedMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let members: [String: JSON]
    let decoder: TreeDecoder
    var codingPath: [any CodingKey] { decoder.codingPath }
    var allKeys: [Key] { members.keys.compactMap { Key(stringValue: $0) } }

    func contains(_ key: Key) -> Bool { members[key.stringValue] != nil }

    func decodeNil(forKey key: Key) throws -> Bool { try member(key).json == .null }

    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value { try member(key).value(type) }

    func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
        try member(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try member(key).unkeyedContainer()
    }

    func superDecoder() -> any Decoder { decoder.nested(members["super"] ?? .null) }

    func superDecoder(forKey key: Key) throws -> any Decoder { try member(key) }

    private func member(_ key: Key) throws -> TreeDecoder {
        guard let json = members[key.stringValue] else {
            let context = DecodingError.Context(codingPath: codingPath, debugDescription: "it is missing")
            throw DecodingError.keyNotFound(key, context)
        }
        return decoder.nested(json, key)
    }
}

private struct DecodedElements: UnkeyedDecodingContainer {
    let elements: [JSON]
    let decoder: TreeDecoder
    var currentIndex = 0
    var codingPath: [any CodingKey] { decoder.codingPath }
    var count: Int? { elements.count }
    var isAtEnd: Bool { currentIndex == elements.count }

    mutating func decodeNil() throws -> Bool {
        guard !isAtEnd, elements[currentIndex] == .null else { return false }
        currentIndex += 1
        return true
    }

    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try next().value(type) }

    mutating func nestedContainer<Nested>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
        try next().container(keyedBy: type)
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { try next().unkeyedContainer() }

    mutating func superDecoder() throws -> any Decoder { try next() }

    private mutating func next() throws -> TreeDecoder {
        guard !isAtEnd else {
            let context = DecodingError.Context(codingPath: codingPath, debugDescription: "the array ends before")
            throw DecodingError.valueNotFound(JSON.self, context)
        }
        defer { currentIndex += 1 }
        return decoder.nested(elements[currentIndex])
    }
}

private struct DecodedSingle: SingleValueDecodingContainer {
    let decoder: TreeDecoder
    var codingPath: [any CodingKey] { decoder.codingPath }

    func decodeNil() -> Bool { decoder.json == .null }

    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try decoder.value(type) }
}
