import BlockImage
import ByteFormat
import CExpat

/// An element's start tag.
struct XMLElement {
    /// An attribute, its name without the prefix.
    struct Attribute {
        var name: String
        /// The URI of its namespace; nil where it has no prefix, or one that is not declared.
        var namespace: String?
        var value: String
    }

    /// The name without the prefix.
    var name: String
    /// The attributes, in their order.
    var attributes: [Attribute]

    /// The value of OVF's own attribute `name`. With and without a prefix it is the same; one of another vendor's
    /// namespace is not.
    subscript(name: String) -> String? {
        attributes.first { $0.name == name && ($0.namespace?.contains(text: "envelope") ?? true) }?.value
    }

    /// The value of `xsi:type`; empty where there is none.
    var schemaType: String {
        attributes.first { $0.name == "type" && $0.namespace?.hasSuffix("XMLSchema-instance") == true }?.value ?? ""
    }
}

/// What receives the parts of an XML document while it is read, in its order. A fault that is thrown ends the reading.
protocol XMLReader: AnyObject {
    /// An element begins.
    func begin(_ element: XMLElement) throws(ParseFault)
    /// Text in UTF-8, a piece of what the innermost open element has; valid in this call only.
    func add(_ characters: UnsafeBufferPointer<UInt8>)
    /// The innermost open element ends.
    func end() throws(ParseFault)
}

/// Reads XML with expat, as a stream of events: no tree is built, so that memory does not grow with the document.
///
/// Nothing is declared, substituted, or loaded for a document: it has no document type declaration (`OVFText`), and no
/// handler that would take one.
enum XMLEvents {
    /// The deepest that elements may stand in each other.
    static let depthLimit = 256

    /// Gives `reader` what `text` holds. May be called from any thread.
    ///
    /// Throws what the reader throws, and where the text is no well-formed XML.
    static func read(_ text: OVFText, into reader: any XMLReader) throws(ParseFault) {
        guard let parser = unsafe XML_ParserCreate("UTF-8"), let size = CInt(exactly: text.bytes.count) else {
            throw ParseFault(at: 0, "OVF descriptor: no memory to read it")
        }
        defer { unsafe XML_ParserFree(parser) }
        let state = unsafe EventState(reader: reader, parser: parser)
        unsafe XML_SetUserData(parser, Unmanaged.passUnretained(state).toOpaque())
        unsafe XML_SetElementHandler(
            parser, { state, name, attributes in unsafe EventState.of(state)?.begin(name, attributes) },
            { state, _ in unsafe EventState.of(state)?.end() })
        unsafe XML_SetCharacterDataHandler(parser) { state, text, count in
            unsafe EventState.of(state)?.add(text, Int(count))
        }
        // Safe: the pointer is good for the call, and the size is that of the array; `state` lives until after it.
        let status = withExtendedLifetime(state) {
            unsafe text.bytes.withUnsafeBytes { bytes in
                unsafe XML_Parse(parser, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), size, 1)
            }
        }
        if let fault = state.fault { throw fault }
        guard status != XML_STATUS_OK else { return }
        let message = unsafe XML_ErrorString(XML_GetErrorCode(parser)).map { unsafe String(cString: $0) }
        throw ParseFault(
            at: max(Int(unsafe XML_GetCurrentByteIndex(parser)), 0),
            "OVF descriptor: line \(unsafe XML_GetCurrentLineNumber(parser)): is no well-formed XML: \(message ?? "")")
    }
}

/// What the handlers of one reading share.
@safe
private final class EventState {
    let reader: any XMLReader
    private let parser: XML_Parser
    private(set) var fault: ParseFault?
    /// The namespaces that the open elements declare, by their prefixes: those in force are the last ones.
    private var namespaces: [(depth: Int, prefix: Substring, uri: String)] = []
    private var depth = 0

    init(reader: any XMLReader, parser: XML_Parser) {
        self.reader = reader
        // Safe: the parser outlives this object's use.
        unsafe self.parser = parser
    }

    /// The state that a handler was given.
    static func of(_ pointer: UnsafeMutableRawPointer?) -> EventState? {
        // Safe: the only pointer that handlers are given is that of the state, which outlives the reading.
        unsafe pointer.map { unsafe Unmanaged<EventState>.fromOpaque($0).takeUnretainedValue() }
    }

    /// An element begins; `list` has the names and values of its attributes in turn, and ends with a null pointer.
    func begin(_ name: UnsafePointer<XML_Char>?, _ list: UnsafeMutablePointer<UnsafePointer<XML_Char>?>?) {
        guard fault == nil, let name = unsafe name else { return }
        depth += 1
        guard depth <= XMLEvents.depthLimit else {
            return stop(
                ParseFault(
                    at: max(Int(unsafe XML_GetCurrentByteIndex(parser)), 0),
                    "OVF descriptor: has elements more than \(XMLEvents.depthLimit) deep, which is the limit"))
        }
        var attributes: [(name: String, value: String)] = []
        var index = 0
        // Safe: the list ends with a null pointer, and has a value for each name.
        while let list = unsafe list, let name = unsafe list[index], let value = unsafe list[index + 1] {
            attributes.append((unsafe String(cString: name), unsafe String(cString: value)))
            index += 2
        }
        let element = element(named: unsafe String(cString: name), attributes)
        perform { () throws(ParseFault) in try reader.begin(element) }
    }

    func end() {
        guard fault == nil else { return }
        while let last = namespaces.last, last.depth == depth { namespaces.removeLast() }
        depth -= 1
        perform { () throws(ParseFault) in try reader.end() }
    }

    func add(_ text: UnsafePointer<XML_Char>?, _ count: Int) {
        guard fault == nil, count > 0, let text = unsafe text else { return }
        // Safe: the parser gives the length of what is there.
        unsafe text.withMemoryRebound(to: UInt8.self, capacity: count) { bytes in
            unsafe reader.add(UnsafeBufferPointer(start: bytes, count: count))
        }
    }

    /// The element of a name and attributes as they are written. expat's own way with namespaces is of no use here: it
    /// refuses documents whose prefixes are not declared, which other readers of OVF take.
    private func element(named written: String, _ attributes: [(name: String, value: String)]) -> XMLElement {
        func parts(_ name: String) -> (prefix: Substring?, name: Substring) {
            guard let colon = name.unicodeScalars.firstIndex(of: ":") else { return (nil, name[...]) }
            return (name[..<colon], name[name.index(after: colon)...])
        }
        for attribute in attributes {
            let (prefix, name) = parts(attribute.name)
            if prefix == "xmlns" { namespaces.append((depth, name, attribute.value)) }
        }
        var element = XMLElement(name: String(parts(written).name), attributes: [])
        for attribute in attributes where attribute.name != "xmlns" {
            let (prefix, name) = parts(attribute.name)
            guard prefix != "xmlns" else { continue }
            let namespace = prefix.flatMap { prefix in namespaces.last { $0.prefix == prefix }?.uri }
            element.attributes.append(.init(name: String(name), namespace: namespace, value: attribute.value))
        }
        return element
    }

    private func perform(_ body: () throws(ParseFault) -> Void) {
        do throws(ParseFault) {
            try body()
        } catch {
            stop(error)
        }
    }

    private func stop(_ error: ParseFault) {
        fault = error
        // Safe: called by the parser itself, as it asks for.
        unsafe XML_StopParser(parser, XML_Bool(XML_FALSE))
    }
}
