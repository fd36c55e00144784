import BlockImage
import ByteFormat

extension Descriptor {
    /// Reads the descriptor that `stored` begins with, which is a file of its own or is embedded. Any bytes are one: what
    /// is wrong in them is said by `textFault`, `extentFault`, `namelessFault`, `entryFault`, `unknownLine` and
    /// `encodingFault`, because it depends on the disk whether that matters.
    ///
    /// Products differ in case, in spaces and quotes and in line ends, and write names in many encodings, so all of
    /// that is read as it comes.
    init(parsing stored: [UInt8], isFile: Bool = false) {
        self.init(parsing: DescriptorText(stored, isFile: isFile))
    }

    /// Reads the descriptor that `stored` is.
    init(parsing stored: DescriptorText) {
        let bytes = stored.bytes
        var texts = DescriptorTexts(of: bytes, isUTF8: stored.isUTF16)
        var lines = ExtentLines()
        var entries: [Entry] = []
        var extentFault: ParseFault?
        var unknownLine: ParseFault?
        var entryFault: ParseFault?
        for line in DescriptorLines(bytes) where !line.isEmpty && line.first != UInt8(ascii: "#") {
            if DescriptorExtent.isExtent(line) {
                do throws(ParseFault) {
                    lines.add(try DescriptorExtent(parsing: line, texts: &texts), written: line)
                } catch {
                    extentFault = extentFault ?? error
                }
            } else if let pair = DescriptorPair(parsing: line) {
                guard entries.count < Self.entryLimit else {
                    entryFault =
                        entryFault
                        ?? ParseFault(
                            at: line.startIndex, "descriptor: has more than \(Self.entryLimit) keys, which is the limit"
                        )
                    continue
                }
                let value = texts.decode(pair.value)
                entries.append(Entry(key: text(pair.key), written: value, position: line.startIndex))
            } else {
                unknownLine =
                    unknownLine
                    ?? ParseFault(
                        at: line.startIndex, quoting: text(line.prefix(80)),
                        " is neither a comment, nor a key, nor an extent; it is ignored")
            }
        }
        self.entries = entries
        extents = lines.extents
        self.extentFault = extentFault
        namelessFault = lines.namelessFault
        notes = stored.notes + lines.notes
        textFault = stored.fault
        isUTF16 = stored.isUTF16
        self.unknownLine = unknownLine
        self.entryFault = entryFault
        encodingFault = texts.fault
        hasMark = isVMDK(firstBytes: bytes)
    }
}

/// The extents of a descriptor while its lines are read.
private struct ExtentLines {
    /// What a line says. Two lines that say the same of a file would put the same bytes on the disk twice.
    private struct Content: Hashable {
        var access: DescriptorExtent.Access
        var sectors: UInt64
        var kindName: String
        var name: [UInt8]
        var offset: UInt64
    }

    private(set) var extents: [DescriptorExtent] = []
    /// The first extent that needs a file, and names none.
    private(set) var namelessFault: ParseFault?
    private var known: Set<Content> = []
    private var duplicate: (line: String, count: Int)?

    /// The extent lines that were left out.
    var notes: [ErrorText] {
        guard let duplicate else { return [] }
        let more = duplicate.count > 1 ? ", as \(duplicate.count - 1) more do" : ""
        return ["the extent line \"\(quoting: duplicate.line)\" stands there twice\(more), and is read once"]
    }

    /// Adds the extent of the line `written`, unless it is there already.
    mutating func add(_ extent: DescriptorExtent, written: ArraySlice<UInt8>) {
        if extent.needsFile {
            guard let name = extent.name else {
                namelessFault =
                    namelessFault
                    ?? ParseFault(
                        at: extent.position, "extent line ", quoting: text(written.prefix(200)),
                        ": the file name is missing")
                return extents.append(extent)
            }
            let content = Content(
                access: extent.access, sectors: extent.sectors, kindName: extent.kindName, name: name.bytes,
                offset: extent.offset)
            guard known.insert(content).inserted else {
                duplicate = (duplicate?.line ?? text(written.prefix(200)), (duplicate?.count ?? 0) + 1)
                return
            }
        }
        extents.append(extent)
    }
}

/// A line `key = "value"`.
private struct DescriptorPair {
    var key: ArraySlice<UInt8>
    var value: ArraySlice<UInt8>

    /// The pair in `line`, which has neither blanks around it nor is empty; nil where there is no `=` or no key.
    init?(parsing line: ArraySlice<UInt8>) {
        guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        key = trimmed(line[..<equals])
        guard !key.isEmpty else { return nil }
        value = trimmed(line[(equals + 1)...])
        if value.first == UInt8(ascii: "\"") {
            // A value whose closing quote is missing ends with its line.
            value = value.dropFirst().prefix { $0 != UInt8(ascii: "\"") }
        }
    }
}

/// Decodes the texts of one descriptor.
private struct DescriptorTexts: ~Copyable {
    private let decoder: TextDecoder?
    /// Whether the descriptor names its encoding, so that other bytes are a fault.
    private let isNamed: Bool
    /// The first text that could not be decoded, or why none is.
    private(set) var fault: ParseFault?

    /// A decoder for the encoding that the descriptor in `bytes` names; UTF-8 where it names none, and where it
    /// `isUTF8` whatever it says, as it was converted.
    init(of bytes: [UInt8], isUTF8: Bool) {
        guard !isUTF8 else {
            isNamed = false
            decoder = TextDecoder(.utf8)
            return
        }
        let pairs = DescriptorLines(bytes).lazy.filter { $0.first != UInt8(ascii: "#") }.compactMap(DescriptorPair.init)
        let named =
            pairs.first { text($0.key).lowercased() == "encoding" }
            ?? pairs.first { text($0.key).lowercased() == "ddb.encoding" }
        isNamed = named != nil
        let name = named.map { text($0.value) } ?? "UTF-8"
        let decoder = name.isEmpty ? TextDecoder(.utf8) : DescriptorEncoding(name: name).flatMap { TextDecoder($0) }
        if decoder == nil, let named {
            fault = ParseFault(
                at: named.key.startIndex,
                "encoding: \"\(name)\" is not known here, so that the texts are taken for UTF-8")
        }
        self.decoder = decoder ?? TextDecoder(.utf8)
    }

    /// The text `bytes` of the descriptor.
    mutating func decode(_ bytes: ArraySlice<UInt8>) -> DescriptorName {
        let decoded = decoder?.decode(bytes)
        if decoded == nil, isNamed {
            fault =
                fault
                ?? ParseFault(
                    at: bytes.startIndex, quoting: text(bytes.prefix(80)),
                    " is no text in the encoding that the descriptor names, so that it is "
                        + "taken for UTF-8")
        }
        return DescriptorName(bytes, decoded: decoded)
    }
}

extension DescriptorExtent {
    /// Whether `line` is meant to be an extent, so that it is never passed over: it begins with a word of access, or
    /// has a number and a type where an extent has them.
    static func isExtent(_ line: ArraySlice<UInt8>) -> Bool {
        var words = DescriptorWords(rest: line)
        let access = words.next()
        let size = words.next()
        guard size.first != UInt8(ascii: "="), !access.contains(UInt8(ascii: "=")) else { return false }
        if Access(rawValue: uppercase(access)) != nil { return true }
        return number(size) != nil && Kind(rawValue: uppercase(words.next())) != nil
    }

    /// The extent in `line`, which `isExtent` holds for one.
    fileprivate init(parsing line: ArraySlice<UInt8>, texts: inout DescriptorTexts) throws(ParseFault) {
        var words = DescriptorWords(rest: line)
        func fault(_ message: String) -> ParseFault {
            ParseFault(at: line.startIndex, "extent line ", quoting: text(line.prefix(200)), ": \(message)")
        }
        guard let access = Access(rawValue: uppercase(words.next())) else {
            throw fault("the access must be RW, RDONLY or NOACCESS")
        }
        guard let sectors = number(words.next()), sectors <= sectorLimit else {
            throw fault("the size must be a number of sectors, at most \(sectorLimit)")
        }
        let kindName = uppercase(words.next())
        guard !kindName.isEmpty else { throw fault("the type is missing") }
        guard let name = words.nextName() else { throw fault("the closing quote of the file name is missing") }
        let offset = words.next()
        guard offset.isEmpty || (number(offset) ?? .max) <= sectorLimit else {
            throw fault("the offset must be a number of sectors, at most \(sectorLimit)")
        }
        let partition = words.nextName().map { texts.decode($0).text }
        let device = words.nextName().map { texts.decode($0).text }
        self.init(
            access: access, sectors: sectors, kindName: kindName, name: name.isEmpty ? nil : texts.decode(name),
            offset: number(offset) ?? 0, partitionUUID: partition.flatMap { $0.isEmpty ? nil : $0 },
            deviceID: device.flatMap { $0.isEmpty ? nil : $0 }, position: line.startIndex)
    }
}

/// The lines of a descriptor, without the blanks around them; each keeps the indices of the whole text.
///
/// Lines end in LF, CR or both. The text ends at the first NUL, with which embedded descriptors are padded, and a byte
/// order mark before it is passed over.
struct DescriptorLines: Sequence, IteratorProtocol {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) {
        rest = bytes.prefix { $0 != 0 }
        if rest.starts(with: byteOrderMark) { rest = rest.dropFirst(byteOrderMark.count) }
    }

    mutating func next() -> ArraySlice<UInt8>? {
        guard !rest.isEmpty else { return nil }
        let line = rest.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        rest = rest[line.endIndex...].dropFirst()
        return trimmed(line)
    }
}

/// The words of an extent line, one after the other.
private struct DescriptorWords {
    var rest: ArraySlice<UInt8>

    /// The next word; it ends before a blank or a quote, and is empty at the end of the line.
    mutating func next() -> ArraySlice<UInt8> {
        rest = trimmed(rest)
        let word = rest.prefix { !isBlank($0) && $0 != UInt8(ascii: "\"") }
        rest = rest[word.endIndex...]
        return word
    }

    /// The next word, or all between two quotes; nil where the second is missing.
    mutating func nextName() -> ArraySlice<UInt8>? {
        rest = trimmed(rest)
        guard rest.first == UInt8(ascii: "\"") else { return next() }
        let name = rest.dropFirst().prefix { $0 != UInt8(ascii: "\"") }
        guard name.endIndex < rest.endIndex else { return nil }
        rest = rest[(name.endIndex + 1)...]
        return name
    }
}

/// Whether `byte` is a space or a tab.
func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
}

/// The text of `bytes` in capitals, for comparing words without regard to case.
func uppercase(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: Array(bytes), as: UTF8.self).uppercased()
}

private func text(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes, as: UTF8.self)
}

/// The decimal number that `word` is; nil where it is none, or does not fit.
private func number(_ word: ArraySlice<UInt8>) -> UInt64? {
    let isNumber = !word.isEmpty && word.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    return isNumber ? UInt64(text(word)) : nil
}

private func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let start = bytes.drop(while: isBlank)
    guard let last = start.lastIndex(where: { !isBlank($0) }) else { return start }
    return start[...last]
}
