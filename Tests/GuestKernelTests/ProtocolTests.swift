import ByteFormat
import GuestProtocol
import HostTools
import Testing

@Suite struct `The messages of the agent` {
    private static let time = GuestTime(seconds: -5, nanoseconds: 999_999_999)
    private static let record = GuestRecord(
        mode: 0o120777, user: 1, group: 2, links: 3, size: 4, blocks: 5, inode: .max, device: 6, major: 7, minor: 8,
        modified: time, accessed: time, changed: time, born: time, hasAttributes: true, target: [47, 97])
    private static let path = GuestPath(GuestMountID(7), Array("a/b c/d".utf8))
    private static let handle = GuestHandle(9)

    private static let requests: [GuestRequest] = [
        .mount(disk: 1, type: "xfs", options: "nouuid", isWritable: true), .unmount(GuestMountID(3)),
        .usage(GuestMountID(4)), .status(path), .status(GuestPath(GuestMountID(1), [])), .list(path),
        .entries(handle), .target(path), .attributeNames(path), .attribute(path, name: [117]),
        .open(path, isWritable: false), .read(handle, count: 1 << 20, offset: .max), .runs(handle, offset: 12),
        .close([handle, GuestHandle(10)]), .make(path, mode: 0o100644, major: 1, minor: 2),
        .makeLink(path, target: [46]), .makeName(path, of: path), .write(handle, offset: 5, bytes: [1, 2, 3]),
        .setSize(path, 8), .setMode(path, 0o7777), .setOwner(path, user: 5, group: 6),
        .setTimes(path, accessed: nil, modified: time), .setTimes(path, accessed: time, modified: nil),
        .setAttribute(path, name: [117, 46], value: [0, 1]), .removeAttribute(path, name: [117]),
        .remove(path, isDirectory: true), .rename(path, to: path), .synchronize(GuestMountID(1)), .powerOff,
        .fill(path, bytes: [1, 2]), .batch([.setSize(path, 8), .makeLink(path, target: [46])]),
    ]

    private static let replies: [GuestReply] = [
        .done, .number(5), .record(record),
        .counts(GuestCounts(blockSize: 1, blocks: 2, freeBlocks: 3, availableBlocks: 4, files: 5, freeFiles: 6)),
        .entries(
            [
                GuestListedEntry(name: [97], inode: 5, record: record),
                GuestListedEntry(name: [98], inode: 6, record: nil),
            ], isEnd: false),
        .bytes([1, 2, 3]), .names([[97], [98, 99]]), .runs(GuestRuns(beginsWithData: true, counts: [1, 2])),
        .failure(GuestFailure(2, "find it")),
    ]

    @Test func `are read as they were written`() throws {
        for request in Self.requests {
            #expect(try GuestRequest(decoding: Self.content(request.frame())) == request)
        }
        for reply in Self.replies {
            #expect(try GuestReply(decoding: Self.content(reply.frame())) == reply)
        }
        let hello = GuestHello(kernel: "6.1.0")
        #expect(try GuestHello(decoding: Self.content(hello.frame())) == hello)
    }

    private static func content(_ frame: [UInt8]) throws -> [UInt8] {
        #expect(try GuestProtocol.frameSize(Array(frame.prefix(4))) == frame.count - 4)
        return Array(frame.dropFirst(4))
    }

    @Test func `that are damaged are errors, and no others`() throws {
        var random = SeededRandom(seed: 11)
        var (errors, others) = (0, 0)
        let frames = Self.requests.map { ($0.frame(), true) } + Self.replies.map { ($0.frame(), false) }
        for (frame, isRequest) in frames {
            let content = Array(frame.dropFirst(4))
            func decode(_ bytes: [UInt8]) throws {
                _ = isRequest ? try GuestRequest(decoding: bytes).frame() : try GuestReply(decoding: bytes).frame()
            }
            // One that ends too early, and one that goes on.
            for count in 0..<content.count {
                #expect(throws: ParseFault.self) { try decode(Array(content[..<count])) }
            }
            #expect(throws: ParseFault.self) { try decode(content + [0]) }
            for _ in 0..<2000 {
                var changed = content
                for _ in 0...Int.random(in: 0..<3, using: &random) {
                    let index = Int.random(in: 0..<changed.count, using: &random)
                    changed[index] = [0, 1, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &random)]
                        .randomElement(using: &random)!
                }
                do throws(ParseFault) {
                    let reply = try GuestReply(decoding: changed)
                    // What is read is bounded by what was sent; text that is no UTF-8 takes three bytes for one.
                    #expect(reply.frame().count <= 3 * changed.count + 4)
                    others += 1
                } catch {
                    errors += 1
                }
                _ = try? GuestRequest(decoding: changed)
            }
        }
        #expect(errors > 1000 && others > 100)
    }

    @Test func `hold to limits`() throws {
        for size: UInt32 in [0, UInt32(GuestProtocol.frameLimit) + 1, .max] {
            let head = (0..<4).map { UInt8(truncatingIfNeeded: size >> UInt32(8 * $0)) }
            #expect(throws: ParseFault.self) { try GuestProtocol.frameSize(head) }
        }
        for name in [".", "..", "", "a//b", "/a", "a/", "a/../b", String(repeating: "x", count: 1025), "a\u{0}b"]
        where !name.isEmpty {
            let path = GuestPath(GuestMountID(1), Array(name.utf8))
            #expect(!path.isValid)
            #expect(throws: ParseFault.self) {
                try GuestRequest(decoding: Array(GuestRequest.status(path).frame().dropFirst(4)))
            }
        }
        for name in ["..", "a/b", ""] {
            let entry = GuestListedEntry(name: Array(name.utf8), inode: 1, record: nil)
            #expect(throws: ParseFault.self) {
                try GuestReply(decoding: Array(GuestReply.entries([entry], isEnd: true).frame().dropFirst(4)))
            }
        }
        // A run of no bytes would never end.
        let runs = GuestReply.runs(GuestRuns(beginsWithData: true, counts: [1, 0]))
        #expect(throws: ParseFault.self) { try GuestReply(decoding: Array(runs.frame().dropFirst(4))) }
    }
}
