/// The name of a file as it stands in an image, and all that it is looked for by.
public struct SoughtName: Hashable, Sendable {
    /// One way to understand the name on this host.
    public struct Candidate: Hashable, Sendable {
        /// The name to look for.
        public var name: [UInt8]
        /// What is read when it is found, for people; nil where that is just what the image says.
        public var reading: ErrorText?

        /// The name `name`, of which `reading` tells people if the image says something else.
        public init(name: [UInt8], reading: ErrorText? = nil) {
            self.name = name
            self.reading = reading
        }
    }

    /// The name for people.
    public var text: String
    /// What of the image has it, for people.
    public var place: String
    /// The names to look for, the best first. None for a device.
    public var candidates: [Candidate]
    /// The name without its folders; nil where nothing is left.
    public var lastComponent: [UInt8]?
    /// Whether other letters of the alphabet in another case are the same, as for Windows.
    public var ignoresCase: Bool

    /// The name `text` of `place`, that is looked for by `candidates` and by `lastComponent`.
    public init(text: String, place: String, candidates: [Candidate], lastComponent: [UInt8]?, ignoresCase: Bool) {
        self.text = text
        self.place = place
        self.candidates = candidates
        self.lastComponent = lastComponent
        self.ignoresCase = ignoresCase
    }
}

extension SoughtName {
    /// The name in a QCOW2 header: looked for as it is; by its last two components beside the image's folder; and by its
    /// last component beside the image, because chains are moved and copied without anybody changing what they say. A
    /// device, and what QEMU reads as a protocol (block.c, path_has_protocol), is looked for as it is only.
    public init(inHeader name: [UInt8]) {
        var candidates = [Candidate(name: name)]
        var path = name[...]
        let mark = path.firstIndex { $0 == colon || $0 == slash }
        let protocolName = mark.flatMap { name[$0] == colon ? name[..<$0] : nil }
        if protocolName?.elementsEqual("file".utf8) == true { path = name[5...] }
        let isFile = protocolName == nil || path.startIndex > 0
        let last = path.lastIndex(of: slash).map { path[($0 + 1)...] } ?? path
        guard isFile, !path.starts(with: "/dev/".utf8), isName(last) else {
            self.init(
                text: nameText(name), place: "header", candidates: candidates,
                lastComponent: nil, ignoresCase: false)
            return
        }
        let folder = path.dropLast(last.count + 1)
        let above = folder.lastIndex(of: slash).map { folder[($0 + 1)...] } ?? folder
        if isName(above) {
            let sibling = Array("../".utf8) + above + [slash] + last
            let text = nameText(sibling)
            if !path.elementsEqual(sibling) {
                candidates.append(Candidate(name: sibling, reading: "\(path: text) is read"))
            }
        }
        if path.count > last.count, !path.dropLast(last.count).elementsEqual("./".utf8) {
            // What comes before a colon would be a protocol.
            let beside = (last.contains(colon) ? Array("./".utf8) : []) + last
            let text = nameText(last)
            candidates.append(Candidate(name: beside, reading: "\(path: text) beside it is read"))
        }
        self.init(
            text: nameText(name), place: "header", candidates: candidates,
            lastComponent: Array(last), ignoresCase: false)
    }
}

/// Whether `component` may be the name of a file, and is no way to another folder.
private func isName(_ component: some Collection<UInt8>) -> Bool {
    !component.isEmpty && !component.elementsEqual(".".utf8) && !component.elementsEqual("..".utf8)
}

private let slash = UInt8(ascii: "/")
private let colon = UInt8(ascii: ":")
