import BlockImage
import ByteFormat

/// The records of a pax extended header that matter here (POSIX.1-2017, pax, "pax Extended Header"): lines of
/// `length key=value`, where the length is decimal and counts the whole line.
///
/// A record with an empty value takes away what an earlier one, or the member's own header, says.
struct PaxRecords: Hashable, Sendable {
    /// Key and value, the last of each key.
    private(set) var values: [String: [UInt8]] = [:]
    /// Of a sparse map in records of its own (version 0.0): the offsets and counts, which must come in turn; one that comes
    /// out of turn has nothing before it.
    private var sparseNumbers: [ArraySlice<UInt8>] = []

    /// No records.
    init() {}

    /// Reads the records in `bytes`, at most 2^31 of them. Throws where a record is none.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var position = 0
        while position < bytes.count {
            // Some programs pad with NULs inside the size.
            if bytes[position] == 0 { return }
            let (record, end) = try Self.record(at: position, of: bytes)
            if let equals = record.firstIndex(of: UInt8(ascii: "=")) {
                let key = String(decoding: record[..<equals], as: UTF8.self)
                let value = record[(equals + 1)...]
                switch key {
                case "GNU.sparse.offset": addSparse(value, isOffset: true)
                case "GNU.sparse.numbytes": addSparse(value, isOffset: false)
                case _ where Self.matters(key): values[key] = Array(value)
                default: break
                }
            }
            position = end
        }
    }

    /// The record that begins at `start`, without its length and its line end, and where the next one begins.
    private static func record(
        at start: Int, of bytes: [UInt8]
    ) throws(ParseFault) -> (record: ArraySlice<UInt8>, end: Int) {
        let digits = bytes[start...].prefix(10).prefix { isDigit($0) }
        guard let length = decimal(digits), let count = Int(exactly: length) else {
            throw ParseFault(at: start, "pax record: must begin with its length, a decimal number")
        }
        // At least the length itself, a blank, and the line end.
        guard count >= digits.count + 2, count <= bytes.count - start else {
            throw ParseFault(
                at: start,
                "pax record: says that it has \(count) bytes, which must be more than its length takes and no more than "
                    + "the \(bytes.count - start) that are there")
        }
        let end = start + count
        guard bytes[digits.endIndex] == UInt8(ascii: " "), bytes[end - 1] == UInt8(ascii: "\n") else {
            throw ParseFault(at: start, "pax record: must have a blank after its length, and end a line")
        }
        return (bytes[(digits.endIndex + 1)..<max(end - 1, digits.endIndex + 1)], end)
    }

    private mutating func addSparse(_ value: ArraySlice<UInt8>, isOffset: Bool) {
        if isOffset != (sparseNumbers.count % 2 == 0) { sparseNumbers.append([]) }
        sparseNumbers.append(value)
    }

    private static func matters(_ key: String) -> Bool {
        ["path", "size", "mtime", "SUN.holesdata"].contains(key) || key.hasPrefix("GNU.sparse.")
    }

    /// These records, with those of one member over them.
    func with(_ own: PaxRecords) -> PaxRecords {
        var result = self
        result.values.merge(own.values) { $1 }
        if !own.sparseNumbers.isEmpty { result.sparseNumbers = own.sparseNumbers }
        return result
    }

    private func value(_ key: String) -> [UInt8]? {
        values[key].flatMap { $0.isEmpty ? nil : $0 }
    }

    /// The member's name: what stands in `path`, or, of a sparse file, whose `path` is made up, in `GNU.sparse.name`.
    var name: [UInt8]? { value("GNU.sparse.name") ?? value("path") }

    /// The size of the member's data; throws where it is no number that a file can have.
    func size() throws(ParseFault) -> UInt64? {
        guard let digits = value("size") else { return nil }
        guard let size = decimal(digits[...]), size <= UInt64(Int64.max) else {
            throw ParseFault(at: 0, "pax record \"size\": must be a decimal number below 2^63")
        }
        return size
    }

    /// When the member changed: decimal seconds, with a fraction or not; nil where it is no such number.
    var modified: FileTime? {
        guard let digits = value("mtime") else { return nil }
        let isBefore = digits.first == UInt8(ascii: "-")
        let parts = digits[(isBefore ? 1 : 0)...].split(
            separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, let magnitude = decimal(whole), let seconds = Int64(exactly: magnitude) else {
            return nil
        }
        let fraction = parts.count > 1 ? Array(parts[1].prefix(9)) : []
        guard fraction.allSatisfy(isDigit) else { return nil }
        var nanoseconds = 0
        for index in 0..<9 {
            nanoseconds = nanoseconds * 10 + (index < fraction.count ? Int(fraction[index] - UInt8(ascii: "0")) : 0)
        }
        guard isBefore else { return FileTime(seconds: seconds, nanoseconds: nanoseconds) }
        // At least -2^63 + 1, less one.
        return nanoseconds == 0
            ? FileTime(seconds: -seconds, nanoseconds: 0)
            : FileTime(seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }

    /// Whether the member's data is not the file, but a map and the parts of it that are no holes (GNU tar manual,
    /// "Storing Sparse Files"; SUN.holesdata of Solaris).
    var isSparse: Bool {
        !sparseNumbers.isEmpty
            || values.contains { ($0.key.hasPrefix("GNU.sparse.") || $0.key == "SUN.holesdata") && !$0.value.isEmpty }
    }

    /// The map of the sparse `member` of `archive`, whose header stands at `start`: the numbers of the records, or those
    /// that stand before its data, after which `data` is moved then.
    ///
    /// Throws what reading the archive throws.
    func sparseMap(
        of member: TarMember, in archive: any HostFile, at start: HostOffset, limit: Int, data: inout HostOffset
    ) throws(ImageError) -> SparseMapReading {
        let version = value("GNU.sparse.major").map { ($0, value("GNU.sparse.minor") ?? []) }
        let size = value(version == nil ? "GNU.sparse.size" : "GNU.sparse.realsize")
        var reading = SparseMapReading(size: size.flatMap { decimal($0[...]) }, at: start, limit: limit)
        if let version {
            guard version == (Array("1".utf8), Array("0".utf8)) else {
                reading.fail(
                    .unsupported, at: start, "is of a GNU.sparse version that is not known; 0.0, 0.1 and 1.0 are")
                return reading
            }
            try reading.addText(of: member, in: archive, data: &data)
        } else if let map = value("GNU.sparse.map") {
            let numbers = map.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
            reading.add(numbers, expected: value("GNU.sparse.numblocks"), at: start)
        } else if !sparseNumbers.isEmpty || value("GNU.sparse.numblocks") != nil {
            reading.add(sparseNumbers, expected: value("GNU.sparse.numblocks"), at: start)
        } else {
            reading.fail(.unsupported, at: start, "is none of GNU tar")
        }
        return reading
    }
}

/// Whether `byte` is a decimal digit.
func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
}

/// The decimal number that `digits` are, all of them; nil where they are none, or it does not fit.
func decimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
    guard !digits.isEmpty, digits.allSatisfy(isDigit) else { return nil }
    return UInt64(String(decoding: digits, as: UTF8.self))
}
