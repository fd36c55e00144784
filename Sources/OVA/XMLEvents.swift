import ByteFormat
import CXML2

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
        attributes.first { $0.name == name && ($0.namespace?.contains("envelope") ?? true) }?.value
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

/// Reads XML with libxml2, as a stream of events: no tree is built, so that memory does not grow with the document.
///
/// Nothing is declared, substituted, or loaded for a document: it has no document type declaration (`OVFText`), and no
/// handler that would take one. libxml2's own limits hold elements to a depth of 256, and values to 10,000,000 bytes.
enum XMLEvents {
    /// The library's own start, once and before any other use, as it asks for.
    private static let library: Void = xmlInitParser()

    /// Tells `reader` what `text` holds. May be called from any thread.
    ///
    /// Throws what the reader throws, and where the text is no well-formed XML; the position is that of the line. Nothing
    /// is printed.
    static func read(_ text: OVFText, into reader: any XMLReader) throws(ParseFault) {
        _ = library
        guard let context = unsafe xmlNewParserCtxt(), let size = CInt(exactly: text.bytes.count) else {
            throw ParseFault(at: 0, "OVF descriptor: no memory to read it")
        }
        defer { unsafe xmlFreeParserCtxt(context) }
        let state = unsafe EventState(reader: reader, context: context)
        // Safe: the context was just made, and has its table of handlers; `state` lives until after the last use.
        unsafe context.pointee.sax.pointee = handlers()
        unsafe context.pointee.userData = Unmanaged.passUnretained(state).toOpaque()
        let options = XML_PARSE_NONET.rawValue | XML_PARSE_NOERROR.rawValue | XML_PARSE_NOWARNING.rawValue
        // Safe: the pointer is good for the call, and the size is that of the array.
        let document = unsafe withExtendedLifetime(state) {
            unsafe text.bytes.withUnsafeBytes { bytes in
                unsafe xmlCtxtReadMemory(
                    context, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), size, nil, text.encoding,
                    CInt(options | XML_PARSE_IGNORE_ENC.rawValue))
            }
        }
        // Nothing built one.
        if let document = unsafe document { unsafe xmlFreeDoc(document) }
        if let fault = state.fault { throw fault }
        if unsafe context.pointee.wellFormed == 0 || !state.sawElement {
            let line = max(state.errorLine, 1)
            throw ParseFault(
                at: start(ofLine: line, in: text.bytes),
                "OVF descriptor: line \(line): is no well-formed XML: \(state.errorText)")
        }
    }

    /// Where line `line`, counted from 1, begins.
    private static func start(ofLine line: Int, in bytes: [UInt8]) -> Int {
        var rest = line - 1
        for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "\n") {
            guard rest > 0 else { break }
            rest -= 1
            if rest == 0 { return index + 1 }
        }
        return 0
    }

    /// The handlers of what is of use; the parser passes over all else.
    private static func handlers() -> xmlSAXHandler {
        var handlers = unsafe xmlSAXHandler()
        unsafe handlers.initialized = UInt32(XML_SAX2_MAGIC)
        unsafe handlers.startElementNs = { state, name, _, _, _, _, count, _, attributes in
            unsafe EventState.of(state)?.begin(name, attributes, Int(count))
        }
        unsafe handlers.endElementNs = { state, _, _, _ in unsafe EventState.of(state)?.end() }
        unsafe handlers.characters = { state, text, count in unsafe EventState.of(state)?.add(text, Int(count)) }
        unsafe handlers.ignorableWhitespace = unsafe handlers.characters
        unsafe handlers.cdataBlock = unsafe handlers.characters
        unsafe handlers.serror = { state, error in
            guard let error = unsafe error, unsafe error.pointee.level == XML_ERR_FATAL else { return }
            let message = unsafe error.pointee.message.map { unsafe String(cString: $0) } ?? ""
            unsafe EventState.of(state)?.note(message, line: Int(error.pointee.line))
        }
        return unsafe handlers
    }
}

/// What the handlers of one reading share.
@safe
private final class EventState {
    let reader: any XMLReader
    private let context: xmlParserCtxtPtr
    private(set) var fault: ParseFault?
    private(set) var sawElement = false
    /// The first error that ends a document, in the parser's words, and its line.
    private(set) var errorText = "there is no element"
    private(set) var errorLine = 0

    init(reader: any XMLReader, context: xmlParserCtxtPtr) {
        self.reader = reader
        // Safe: the context outlives this object's use.
        unsafe self.context = context
    }

    /// The state that a handler was given.
    static func of(_ pointer: UnsafeMutableRawPointer?) -> EventState? {
        // Safe: the only pointer that handlers are given is that of the state, which outlives the reading.
        unsafe pointer.map { unsafe Unmanaged<EventState>.fromOpaque($0).takeUnretainedValue() }
    }

    func begin(
        _ name: UnsafePointer<xmlChar>?, _ list: UnsafeMutablePointer<UnsafePointer<xmlChar>?>?, _ count: Int
    ) {
        guard fault == nil else { return }
        sawElement = true
        var element = XMLElement(name: unsafe name.map { unsafe String(cString: $0) } ?? "", attributes: [])
        for index in 0..<count {
            // Safe: an attribute is five pointers: name, prefix, namespace, value, and the value's end.
            guard let list = unsafe list, let name = unsafe list[index * 5], let value = unsafe list[index * 5 + 3],
                let end = unsafe list[index * 5 + 4]
            else { continue }
            let bytes = unsafe UnsafeBufferPointer(start: value, count: end - value)
            let namespace = unsafe list[index * 5 + 2].map { unsafe String(cString: $0) }
            element.attributes.append(
                XMLElement.Attribute(
                    name: unsafe String(cString: name), namespace: namespace, value: unsafe text(bytes)))
        }
        perform { () throws(ParseFault) in try reader.begin(element) }
    }

    func end() {
        guard fault == nil else { return }
        perform { () throws(ParseFault) in try reader.end() }
    }

    func add(_ text: UnsafePointer<xmlChar>?, _ count: Int) {
        guard fault == nil, count > 0 else { return }
        // Safe: the parser gives the length of what is there.
        unsafe reader.add(UnsafeBufferPointer(start: text, count: count))
    }

    func note(_ message: String, line: Int) {
        guard errorLine == 0 else { return }
        errorLine = line
        errorText = message.prefix(200).split(whereSeparator: \.isNewline).joined(separator: " ")
    }

    private func perform(_ body: () throws(ParseFault) -> Void) {
        do throws(ParseFault) {
            try body()
        } catch {
            fault = error
            // Safe: called by the parser of this very context, as it asks for.
            unsafe xmlStopParser(context)
        }
    }

    /// The value of an attribute. Where entities are not substituted, libxml2 gives an ampersand, and nothing else, as
    /// `&#38;`.
    private func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
        let written = Array("&#38;".utf8)
        var result: [UInt8] = []
        var rest = unsafe Array(bytes)[...]
        while let byte = rest.first {
            result.append(byte)
            rest = rest.dropFirst(byte == written[0] && rest.starts(with: written) ? written.count : 1)
        }
        return String(decoding: result, as: UTF8.self)
    }
}
