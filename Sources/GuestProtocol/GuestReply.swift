import ByteFormat

/// What the agent says first.
public struct GuestHello: Hashable, Sendable {
    public var version: UInt32
    /// The version of its kernel.
    public var kernel: String

    /// Of an agent of this build, on `kernel`.
    public init(kernel: String) {
        (version, self.kernel) = (GuestProtocol.version, kernel)
    }

    /// The greeting as a frame.
    public func frame() -> [UInt8] {
        var writer = ByteWriter.frame()
        writer.write(counted: Array(GuestProtocol.portName.utf8))
        writer.write(version, .little)
        writer.write(counted: Array(kernel.utf8))
        return writer.framed()
    }

    /// The greeting in the frame `content`, without its length. Throws where it is none.
    public init(decoding content: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(content)
        guard try reader.readCounted(16) == Array(GuestProtocol.portName.utf8) else {
            throw ParseFault(at: 0, "no greeting of the agent")
        }
        version = try reader.read(.little)
        kernel = String(decoding: try reader.readCounted(GuestProtocol.wordLimit), as: UTF8.self)
        try reader.checkEnd()
    }
}

/// Why a request failed.
public struct GuestFailure: Error, Hashable, Sendable {
    /// As errno(3).
    public var number: UInt32
    /// What was tried, in a few words.
    public var step: String

    /// `step` failed with `number`.
    public init(_ number: Int32, _ step: String) {
        (self.number, self.step) = (UInt32(bitPattern: number), step)
    }
}

/// How much a file system holds, as statfs(2) has it.
public struct GuestCounts: Hashable, Sendable {
    public var blockSize: UInt64
    public var blocks: UInt64
    public var freeBlocks: UInt64
    public var availableBlocks: UInt64
    public var files: UInt64
    public var freeFiles: UInt64

    /// So much.
    public init(
        blockSize: UInt64, blocks: UInt64, freeBlocks: UInt64, availableBlocks: UInt64, files: UInt64,
        freeFiles: UInt64
    ) {
        (self.blockSize, self.blocks, self.freeBlocks) = (blockSize, blocks, freeBlocks)
        (self.availableBlocks, self.files, self.freeFiles) = (availableBlocks, files, freeFiles)
    }
}

/// Where data and holes begin in a part of a file.
public struct GuestRuns: Hashable, Sendable {
    /// Whether the first run is data; the others are in turn.
    public var beginsWithData: Bool
    /// The bytes of each run; none is 0.
    public var counts: [UInt64]

    /// Runs of `counts` bytes.
    public init(beginsWithData: Bool, counts: [UInt64]) {
        (self.beginsWithData, self.counts) = (beginsWithData, counts)
    }
}

/// What the agent answers.
public enum GuestReply: Hashable, Sendable {
    case done
    /// A mount or a handle.
    case number(UInt32)
    case record(GuestRecord)
    case counts(GuestCounts)
    /// Some entries, and whether there may be more.
    case entries([GuestListedEntry], isEnd: Bool)
    /// Data of a file, a target, a value.
    case bytes([UInt8])
    case names([[UInt8]])
    case runs(GuestRuns)
    case failure(GuestFailure)

    private enum Number: UInt8 {
        case done = 1
        case number, record, counts, entries, bytes, names, runs, failure
    }

    /// The reply as a frame.
    public func frame() -> [UInt8] {
        var size = 64
        if case .bytes(let bytes) = self { size += bytes.count }
        var writer = ByteWriter.frame(capacity: size)
        func begin(_ number: Number) { writer.write(number.rawValue, .little) }
        switch self {
        case .done: begin(.done)
        case .number(let number):
            begin(.number)
            writer.write(number, .little)
        case .record(let record):
            begin(.record)
            record.write(to: &writer)
        case .counts(let counts):
            begin(.counts)
            for value in [
                counts.blockSize, counts.blocks, counts.freeBlocks, counts.availableBlocks, counts.files,
                counts.freeFiles,
            ] { writer.write(value, .little) }
        case .entries(let entries, let isEnd):
            begin(.entries)
            writer.write(isEnd)
            writer.write(UInt32(truncatingIfNeeded: entries.count), .little)
            for entry in entries { entry.write(to: &writer) }
        case .bytes(let bytes):
            begin(.bytes)
            writer.write(counted: bytes)
        case .names(let names):
            begin(.names)
            writer.write(UInt32(truncatingIfNeeded: names.count), .little)
            for name in names { writer.write(counted: name) }
        case .runs(let runs):
            begin(.runs)
            writer.write(runs.beginsWithData)
            writer.write(UInt32(truncatingIfNeeded: runs.counts.count), .little)
            for count in runs.counts { writer.write(count, .little) }
        case .failure(let failure):
            begin(.failure)
            writer.write(failure.number, .little)
            writer.write(counted: Array(failure.step.utf8.prefix(GuestProtocol.wordLimit)))
        }
        return writer.framed()
    }

    /// The reply in the frame `content`, without its length. Throws where it is none.
    public init(decoding content: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(content)
        let number = try reader.read(.little, as: UInt8.self)
        guard let kind = Number(rawValue: number) else {
            throw ParseFault(at: 0, "a reply of the unknown kind \(number)")
        }
        self = try Self.parse(kind, &reader)
        try reader.checkEnd()
    }

    private static func parse(_ kind: Number, _ reader: inout ByteReader) throws(ParseFault) -> Self {
        switch kind {
        case .done: return .done
        case .number: return .number(try reader.read(.little))
        case .record: return .record(try GuestRecord(parsing: &reader))
        case .counts:
            return .counts(
                GuestCounts(
                    blockSize: try reader.read(.little), blocks: try reader.read(.little),
                    freeBlocks: try reader.read(.little), availableBlocks: try reader.read(.little),
                    files: try reader.read(.little), freeFiles: try reader.read(.little)))
        case .entries:
            let isEnd = try reader.readFlag()
            let count = try reader.read(.little, as: UInt32.self)
            // Each takes some bytes of the frame, so that a large number ends with the frame.
            var entries: [GuestListedEntry] = []
            for _ in 0..<count { entries.append(try GuestListedEntry(parsing: &reader)) }
            return .entries(entries, isEnd: isEnd)
        case .bytes: return .bytes(try reader.readCounted(GuestProtocol.payloadLimit))
        case .names:
            let count = try reader.read(.little, as: UInt32.self)
            var names: [[UInt8]] = []
            for _ in 0..<count { names.append(try reader.readAttributeName()) }
            return .names(names)
        case .runs: return .runs(try parseRuns(&reader))
        case .failure:
            let number = try reader.read(.little, as: Int32.self)
            guard number > 0, number < 4096 else { throw ParseFault(at: 1, "the error number \(number)") }
            let step = try reader.readCounted(GuestProtocol.wordLimit)
            return .failure(GuestFailure(number, String(decoding: step, as: UTF8.self)))
        }
    }

    private static func parseRuns(_ reader: inout ByteReader) throws(ParseFault) -> GuestRuns {
        let beginsWithData = try reader.readFlag()
        let place = reader.position
        let count = try reader.read(.little, as: UInt32.self)
        guard count <= UInt32(GuestProtocol.runLimit) else {
            throw ParseFault(at: place, "\(count) runs, and the limit is \(GuestProtocol.runLimit)")
        }
        var counts: [UInt64] = []
        for _ in 0..<count {
            let place = reader.position
            let count = try reader.read(.little, as: UInt64.self)
            guard count > 0, count <= 1 << 63 else { throw ParseFault(at: place, "a run of \(count) bytes") }
            counts.append(count)
        }
        return GuestRuns(beginsWithData: beginsWithData, counts: counts)
    }
}
