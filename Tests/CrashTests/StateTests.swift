import BlockImage
import CrashReplay
import HostTools
import Testing

struct `The states that a power cut may leave` {
    /// A file of two sectors of "a", and what is done to it.
    private func recording(_ body: (RecordedFile, Recorder) throws -> Void) rethrows -> Recording {
        let content = HostContent(Array(repeating: UInt8(ascii: "a"), count: 1024))
        let recorder = Recorder([content])
        try body(RecordedFile(content, recorder: recorder), recorder)
        return recorder.recording
    }

    /// Each state as the first bytes of its sectors, and "-" where the file has no name.
    private func texts(_ recording: Recording) -> Set<String> {
        var texts: Set<String> = []
        var states = CrashStates(recording)
        states.visit { state in
            let bytes = state.files[0].bytes
            let first = stride(from: 0, to: bytes.count, by: 512).map {
                bytes[$0] == 0 ? "0" : String(UnicodeScalar(bytes[$0]))
            }
            texts.insert(state.isNamed[0] ? first.joined() : "-")
        }
        return texts
    }

    private func put(_ text: String, at sector: UInt64, in file: RecordedFile) throws {
        try file.write(text.utf8.flatMap { Array(repeating: $0, count: 512) }, at: sector * 512)
    }

    @Test func `are all subsets of what was not synced`() throws {
        let recording = try recording { file, _ in
            try put("b", at: 0, in: file)
            try put("c", at: 1, in: file)
        }
        #expect(texts(recording) == ["aa", "ba", "ac", "bc"])
    }

    @Test func `have what was synced, and in its order`() throws {
        let recording = try recording { file, _ in
            try put("b", at: 0, in: file)
            try file.sync()
            try put("c", at: 1, in: file)
            try file.sync()
            try put("d", at: 0, in: file)
        }
        #expect(texts(recording) == ["aa", "ba", "bc", "dc"])
    }

    @Test func `have torn writes`() throws {
        let recording = try recording { file, _ in try put("bc", at: 0, in: file) }
        #expect(texts(recording) == ["aa", "ba", "ac", "bc"])
    }

    @Test func `have a size without its bytes, and bytes without the size`() throws {
        let recording = try recording { file, _ in try put("bc", at: 1, in: file) }
        #expect(texts(recording) == ["aa", "ab", "abc", "aa0", "ab0", "aac"])
    }

    @Test func `have zeros and sizes that are not synced`() throws {
        let recording = try recording { file, _ in
            try file.zero(512, at: HostOffset(0), keepingSpace: false)
            try file.setSize(1536)
            try file.sync()
            try file.setSize(512)
        }
        #expect(texts(recording) == ["aa", "0a", "aa0", "0a0", "0"])
    }

    /// Bytes of one sector reach the disk together, with what was there before.
    @Test func `never mix the bytes of a sector`() throws {
        let recording = try recording { file, _ in
            try file.write(Array("bbbbbbbb".utf8), at: 0)
            try file.write(Array("cccccccc".utf8), at: 8)
        }
        var states = CrashStates(recording)
        var found: Set<String> = []
        states.visit { found.insert(String(decoding: $0.files[0].bytes(16, at: 0), as: UTF8.self)) }
        #expect(found == ["aaaaaaaaaaaaaaaa", "bbbbbbbbaaaaaaaa", "bbbbbbbbcccccccc"])
    }

    @Test func `have a name only once the folder is synced`() throws {
        func names(_ body: (RecordedFile, Recorder) throws -> Void) throws -> Set<Bool> {
            let content = HostContent([1])
            let recorder = Recorder([content], isNamed: [false])
            try body(RecordedFile(content, recorder: recorder), recorder)
            var names: Set<Bool> = []
            var states = CrashStates(recorder.recording)
            states.visit { if $0.prefix == recorder.count { names.insert($0.isNamed[0]) } }
            return names
        }
        let unsynced = try names { file, _ in
            file.link()
            try file.write([2], at: 0)
        }
        #expect(unsynced == [true, false])
        let synced = try names { file, recorder in
            file.link()
            recorder.syncFolder()
        }
        #expect(synced == [true])
    }

    /// Many pending changes have too many subsets: each is missing alone, and there alone.
    @Test func `are a choice where there are too many`() throws {
        let recording = try recording { file, _ in
            for sector in 0..<20 { try put("b", at: UInt64(sector), in: file) }
        }
        var options = StateOptions()
        options.seed = 5
        var states = CrashStates(recording, options)
        var digests: Set<ContentDigest> = []
        states.visit { digests.insert($0.digest) }
        #expect(digests.count > 1000 && digests.count < 4000)
        let all = texts(recording)
        for sector in 3..<20 {
            let missing = (0..<20).map { $0 == sector ? "0" : "b" }.joined()
            #expect(sector == 19 || all.contains(missing))
            #expect(all.contains("aa" + String(repeating: "0", count: sector - 2) + "b"))
        }
    }
}

extension RecordedFile {
    fileprivate func write(_ bytes: [UInt8], at offset: UInt64) throws(ImageError) {
        try write(bytes.span.bytes, at: HostOffset(offset))
    }
}

struct `What a sector may be` {
    private func sectors(_ bytes: [UInt8], run: UInt64) -> [GuestSector] {
        bytes.withUnsafeBytes { GuestSector.all(in: $0, run: run) }
    }

    @Test func `follows from its bytes`() {
        let bytes = GuestSector.bytes(from: 0, generations: [7, 0, 8], run: 5)
        #expect(sectors(bytes, run: 5) == [.generation(7), .zeros, .generation(8)])
        #expect(sectors(bytes, run: 6)[0] == .foreign("generation 7 of sector 0 of run 5"))
        let moved = Array(bytes[1024...])
        #expect(sectors(moved, run: 5) == [.foreign("generation 8 of sector 2 of run 5")])
        let torn = Array(bytes[..<256]) + GuestSector.bytes(from: 0, generations: [9], run: 5)[256...]
        #expect(
            sectors(torn, run: 5)
                == [.foreign("torn: generation 7 of sector 0 of run 5, then generation 9 of sector 0 of run 5")])
        #expect(sectors(Array(repeating: 3, count: 512), run: 5) == [.foreign("bytes of no sector")])
    }

    /// The number of the sector is that of the write, or of none.
    private func allowed(_ recording: Recording, generations: ClosedRange<UInt64> = 0...9) -> [UInt64] {
        let history = DiskHistory([1], recording.requests)
        let floor = history.floor(flushes: history.flushCount(at: .max))
        return generations.filter {
            history.allows($0 == 0 ? .zeros : .generation($0), in: 0, at: .max, floor)
        }
    }

    @Test func `is the last that was flushed, or what was issued later`() {
        var recording = Recording([HostContent()])
        func write(_ generation: UInt64) { recording.acknowledge(recording.issue(.write([generation]), 0..<1)) }
        #expect(allowed(recording) == [1])
        write(2)
        write(3)
        #expect(allowed(recording) == [1, 2, 3])
        let flush = recording.issue(.flush)
        let late = recording.issue(.write([4]), 0..<1)
        #expect(allowed(recording) == [1, 2, 3, 4])
        recording.acknowledge(flush)
        #expect(allowed(recording) == [3, 4])
        recording.acknowledge(late)
        recording.acknowledge(recording.issue(.zero(mayKeep: true), 0..<1))
        #expect(allowed(recording) == [0, 3, 4])
        recording.acknowledge(recording.issue(.flush))
        #expect(allowed(recording) == [0, 4])
        recording.acknowledge(recording.issue(.zero(mayKeep: false), 0..<1))
        recording.acknowledge(recording.issue(.flush))
        #expect(allowed(recording) == [0])
    }

    /// Of two that were written at once, either may be the later.
    @Test func `is either of two that were written at once`() {
        var recording = Recording([HostContent()])
        let first = recording.issue(.write([2]), 0..<1)
        let second = recording.issue(.write([3]), 0..<1)
        recording.acknowledge(second)
        recording.acknowledge(first)
        recording.acknowledge(recording.issue(.flush))
        #expect(allowed(recording) == [2, 3])
    }
}
