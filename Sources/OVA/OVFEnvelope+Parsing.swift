import BlockImage
import ByteFormat

extension OVFEnvelope {
    /// Reads the descriptor in `bytes`, of any version. May be called from any thread.
    ///
    /// Throws where it is no well-formed XML, has a document type declaration, is no `Envelope`, or is beyond a limit;
    /// positions are bytes of the descriptor in UTF-8, without a byte order mark. Values that are none become nil, and a note.
    package init(parsing bytes: [UInt8]) throws(ParseFault) {
        let reader = EnvelopeReader()
        try XMLEvents.read(try OVFText(bytes), into: reader)
        self = reader.envelope
    }
}

/// Makes an envelope from the elements of a descriptor as they come.
final class EnvelopeReader: XMLReader {
    /// What an element is, by its name and the elements around it.
    private enum Role {
        case envelope, references, diskSection, collection, system
        /// An element, or something below it, that may be text of the system that began last.
        case insideSystem
        case name, hostResource
        case other
    }

    private(set) var envelope = OVFEnvelope()
    /// The elements that are open, from the root on.
    private var roles: [Role] = []
    private var text: [UInt8] = []
    private var fileIds: Set<String> = []
    private var attachedDisks = 0

    /// The most bytes of text that one element may have here: the rest is left out.
    private static let textLimit = 4096

    /// An element begins.
    func begin(_ element: XMLElement) throws(ParseFault) {
        let role = try role(of: element, in: roles.last)
        switch (roles.last, role) {
        case (.references, _) where element.name == "File": try addFile(element)
        case (.diskSection, _) where element.name == "Disk" || element.name == "SharedDisk": try addDisk(element)
        case (_, .system):
            try checkCount(envelope.systems.count, of: "machines")
            envelope.systems.append(VirtualSystem(id: element["id"] ?? ""))
        case (_, .name), (_, .hostResource): text = []
        default: break
        }
        roles.append(role)
    }

    /// Text in UTF-8, a piece of what the innermost open element has; valid in this call only.
    func add(_ characters: UnsafeBufferPointer<UInt8>) {
        guard roles.last == .name || roles.last == .hostResource else { return }
        unsafe text.append(contentsOf: characters.prefix(Self.textLimit - text.count))
    }

    /// The innermost open element ends.
    func end() throws(ParseFault) {
        let role = roles.popLast()
        let last = envelope.systems.count - 1
        guard last >= 0, role == .name || role == .hostResource else { return }
        let words = String(decoding: text, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        if role == .name {
            if envelope.systems[last].name == nil { envelope.systems[last].name = words.joined(separator: " ") }
        } else if let id = words.first.flatMap(Self.diskId) {
            attachedDisks += 1
            try checkCount(attachedDisks, of: "attached disks")
            envelope.systems[last].diskIds.append(id)
        }
    }

    private typealias VirtualSystem = OVFEnvelope.VirtualSystem

    private func role(of element: XMLElement, in parent: Role?) throws(ParseFault) -> Role {
        guard let parent else {
            guard element.name == "Envelope" else {
                throw ParseFault(
                    at: 0,
                    "OVF descriptor: its root is the element \"\(element.name.prefix(80))\", but must be Envelope")
            }
            return .envelope
        }
        switch parent {
        case .envelope, .collection:
            // Version 0.9 has sections and machines of the elements Section and Content, and says what they are here.
            let type = element.schemaType.split(separator: ":").last
            switch (element.name, type) {
            case ("References", _): return .references
            case ("DiskSection", _), ("SharedDiskSection", _), ("Section", "DiskSection_Type"): return .diskSection
            case ("VirtualSystem", _), ("Content", "VirtualSystem_Type"): return .system
            case ("VirtualSystemCollection", _), ("Content", "VirtualSystemCollection_Type"): return .collection
            default: return .other
            }
        case .system: return element.name == "Name" ? .name : .insideSystem
        case .insideSystem: return element.name == "HostResource" ? .hostResource : .insideSystem
        case .references, .diskSection, .name, .hostResource, .other: return .other
        }
    }

    private func addFile(_ element: XMLElement) throws(ParseFault) {
        try checkCount(envelope.files.count, of: "files")
        let id = element["id"] ?? ""
        let what = "File \"\(id.prefix(80))\""
        guard let href = element["href"], !href.isEmpty else { return note("\(what): has no href") }
        if !fileIds.insert(id).inserted { note("\(what): comes twice, and the first one counts") }
        let compression = element["compression"].flatMap { $0.isEmpty || $0 == "identity" ? nil : $0 }
        envelope.files.append(
            OVFEnvelope.File(
                id: id, href: href, size: number(element, "size", of: what), compression: compression,
                chunkSize: number(element, "chunkSize", of: what)))
    }

    private func addDisk(_ element: XMLElement) throws(ParseFault) {
        try checkCount(envelope.disks.count, of: "disks")
        let id = element["diskId"] ?? ""
        let what = "Disk \"\(id.prefix(80))\""
        var capacity = number(element, "capacity", of: what)
        if let written = element["capacityAllocationUnits"], let count = capacity {
            if let unit = allocationUnit(written) {
                let (bytes, overflow) = count.multipliedReportingOverflow(by: unit)
                if overflow { note("\(what): capacity \(count) in units of \(unit) bytes is more than any disk has") }
                capacity = overflow ? nil : bytes
            } else {
                note("\(what): capacityAllocationUnits \"\(written.prefix(80))\" is no unit of bytes")
                capacity = nil
            }
        }
        envelope.disks.append(
            OVFEnvelope.Disk(
                diskId: id, fileRef: element["fileRef"].flatMap { $0.isEmpty ? nil : $0 }, capacity: capacity,
                format: element["format"], populatedSize: number(element, "populatedSize", of: what),
                parentRef: element["parentRef"].flatMap { $0.isEmpty ? nil : $0 }))
    }

    private func number(_ element: XMLElement, _ name: String, of what: String) -> UInt64? {
        guard let written = element[name] else { return nil }
        if let number = decimal(Array(written.utf8)[...]) { return number }
        // ${name} is a property of the appliance, which gets its value when it is deployed.
        if !written.hasPrefix("${") { note("\(what): \(name) \"\(written.prefix(80))\" is no decimal number") }
        return nil
    }

    /// The disk that a resource refers to: `ovf:/disk/<diskId>`, without the scheme in older versions.
    private static func diskId(_ resource: Substring) -> String? {
        let bytes = Array(resource.utf8)
        guard let start = firstIndex(of: Array("disk/".utf8), in: bytes.prefix(16)) else { return nil }
        return String(decoding: bytes[(start + 5)...], as: UTF8.self)
    }

    private func checkCount(_ count: Int, of what: String) throws(ParseFault) {
        guard count < OVFEnvelope.listLimit else {
            throw ParseFault(
                at: 0, "OVF descriptor: has more than \(OVFEnvelope.listLimit) \(what), which is the limit")
        }
    }

    private func note(_ sentence: ErrorText) {
        if envelope.notes.count < OVFEnvelope.noteLimit { envelope.notes.append(sentence) }
    }
}
