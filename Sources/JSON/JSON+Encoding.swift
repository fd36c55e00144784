/// What cannot be written as JSON.
package struct JSONEncodingFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// One line that says what it is.
    package var description: String
}

extension JSON {
    /// What `value` encodes itself as. `userInfo` is what its `encode` finds in the encoder's. Throws what `encode` throws,
    /// and `JSONEncodingFault` for numbers that JSON has no digits for. May be called from any thread.
    package init(
        encoding value: some Encodable, userInfo: [CodingUserInfoKey: Any] = [:]
    ) throws {
        self = try TreeEncoder(userInfo: userInfo, codingPath: []).value(of: value)
    }

    /// A number that is written as it is printed.
    fileprivate static func number(of value: some FloatingPoint & LosslessStringConvertible) throws -> JSON {
        guard value.isFinite else { throw JSONEncodingFault(description: "JSON has no number for \(value)") }
        return .number("\(value)")
    }
}

/// A value that is being encoded: what was encoded last is kept, and members and elements are added.
private final class Slot {
    enum Content {
        case value(JSON)
        case members([String: Slot])
        case elements([Slot])
    }

    var content: Content?

    init(_ value: JSON? = nil) {
        content = value.map(Content.value)
    }

    /// What was encoded; an empty object where nothing was, as Foundation's encoder has it for a type without members.
    var json: JSON {
        switch content {
        case .value(let value): value
        case .members(let members): .object(members.mapValues(\.json))
        case .elements(let elements): .array(elements.map(\.json))
        case nil: .object([:])
        }
    }

    func set(_ slot: Slot, for name: String) {
        var members: [String: Slot] = [:]
        if case .members(let present) = content { members = present }
        content = nil  // so that the dictionary is changed in its place
        members[name] = slot
        content = .members(members)
    }

    func append(_ slot: Slot) {
        var elements: [Slot] = []
        if case .elements(let present) = content { elements = present }
        content = nil
        elements.append(slot)
        content = .elements(elements)
    }

    var count: Int { if case .elements(let elements) = content { elements.count } else { 0 } }
}

/// Encodes one value into a slot.
private struct TreeEncoder: Encoder {
    let userInfo: [CodingUserInfoKey: Any]
    let codingPath: [any CodingKey]
    let slot = Slot()

    func container<Key>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        if slot.content == nil { slot.content = .members([:]) }
        return KeyedEncodingContainer(Members<Key>(encoder: self))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        if slot.content == nil { slot.content = .elements([]) }
        return Elements(encoder: self)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { Single(encoder: self) }

    /// An encoder of what lies at `key` in this value.
    func nested(_ key: any CodingKey) -> TreeEncoder {
        TreeEncoder(userInfo: userInfo, codingPath: codingPath + [key])
    }

    /// What `value` is encoded as. Those that JSON has itself do not go through their `encode`.
    func value(of value: some Encodable, at key: (any CodingKey)? = nil) throws -> JSON {
        switch value {
        case let text as String: return .string(text)
        case let number as UInt64: return .count(number)
        case let number as Int: return .count(number)
        case let flag as Bool: return .bool(flag)
        case let number as Double: return try .number(of: number)
        case let number as Float: return try .number(of: number)
        case let number as any FixedWidthInteger: return .count(number)
        default: break
        }
        let encoder = TreeEncoder(userInfo: userInfo, codingPath: key.map { codingPath + [$0] } ?? codingPath)
        try value.encode(to: encoder)
        return encoder.slot.json
    }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let encoder: TreeEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }

    func encodeNil(forKey key: Key) { encoder.slot.set(Slot(.null), for: key.stringValue) }

    func encode(_ value: some Encodable, forKey key: Key) throws {
        encoder.slot.set(Slot(try encoder.value(of: value, at: key)), for: key.stringValue)
    }

    func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<Nested> {
        member(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer { member(key).unkeyedContainer() }

    func superEncoder() -> any Encoder { member(SuperKey()) }

    func superEncoder(forKey key: Key) -> any Encoder { member(key) }

    private func member(_ key: any CodingKey) -> TreeEncoder {
        let nested = encoder.nested(key)
        encoder.slot.set(nested.slot, for: key.stringValue)
        return nested
    }
}

private struct Elements: UnkeyedEncodingContainer {
    let encoder: TreeEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }
    var count: Int { encoder.slot.count }

    func encodeNil() { encoder.slot.append(Slot(.null)) }

    func encode(_ value: some Encodable) throws {
        encoder.slot.append(Slot(try encoder.value(of: value, at: SuperKey())))
    }

    func nestedContainer<Nested>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        element().container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { element().unkeyedContainer() }

    func superEncoder() -> any Encoder { element() }

    private func element() -> TreeEncoder {
        let nested = encoder.nested(SuperKey())
        encoder.slot.append(nested.slot)
        return nested
    }
}

private struct Single: SingleValueEncodingContainer {
    let encoder: TreeEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }

    func encodeNil() { encoder.slot.content = .value(.null) }

    func encode(_ value: some Encodable) throws {
        encoder.slot.content = .value(try encoder.value(of: value))
    }
}

/// The key of what `superEncoder` encodes, and of elements.
private struct SuperKey: CodingKey {
    var stringValue: String { "super" }
    var intValue: Int? { nil }

    init() {}

    init?(stringValue: String) { nil }

    init?(intValue: Int) { nil }
}
