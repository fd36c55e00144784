import NIOCore
import TestImages
import Testing

@testable import NBDServer

struct `Requests` {
    /// A request of 28 bytes.
    static func compact(
        _ command: UInt16, flags: UInt16 = 0, cookie: UInt64 = 0x0102_0304_0506_0708, offset: UInt64 = 0, length: UInt32
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt32(0x2560_9513), flags, command, cookie, offset, length)
        return buffer
    }

    /// A request of 32 bytes.
    static func extended(
        _ command: UInt16, flags: UInt16 = 0, cookie: UInt64 = 1, offset: UInt64 = 0, length: UInt64
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt32(0x21e4_1c71), flags, command, cookie, offset, length)
        return buffer
    }

    @Test func `are read from their bytes, whose order is big-endian`() throws {
        var buffer = ByteBuffer(bytes: [
            0x25, 0x60, 0x95, 0x13, 0, 8, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0,
        ])
        var decoder = RequestDecoder(.structured)
        let request = try decoder.next(in: &buffer)
        #expect(
            request
                == Request(
                    flags: .requestOne, command: .blockStatus, cookie: 0x0102_0304_0506_0708, offset: 1 << 32,
                    length: 512))
        #expect(buffer.readableBytes == 0)
    }

    @Test func `have 64 bits of length with extended headers`() throws {
        var buffer = Self.extended(7, offset: 5, length: 1 << 40)
        var decoder = RequestDecoder(.extended)
        let found = try decoder.next(in: &buffer)
        let request = try #require(found)
        #expect(request.length == 1 << 40 && request.offset == 5 && request.command == .blockStatus)
    }

    @Test(arguments: [ReplyForm.structured, .extended])
    func `come in any pieces, with payloads that are dropped`(form: ReplyForm) throws {
        var stream = ByteBuffer()
        for index in 0..<4 as Range<UInt64> {
            var request =
                form == .extended
                ? Self.extended(UInt16(index % 2), flags: index % 2 == 0 ? 0 : 1 << 5, cookie: index, length: 300)
                : Self.compact(UInt16(index % 2), cookie: index, length: 300)
            stream.writeBuffer(&request)
            if index % 2 == 1 { stream.writeRepeatingByte(0x25, count: 300) }
        }
        for size in [1, 7, 33, 300, 2000] {
            var decoder = RequestDecoder(form)
            var rest = stream
            var received = ByteBuffer()
            var cookies: [UInt64] = []
            while let piece = rest.readSlice(length: min(size, rest.readableBytes)), piece.readableBytes > 0 {
                received.writeImmutableBuffer(piece)
                while let request = try decoder.next(in: &received) { cookies.append(request.cookie) }
            }
            #expect(cookies == [0, 1, 2, 3] && received.readableBytes == 0, "pieces of \(size)")
        }
    }

    @Test(arguments: [1, 7, 33, 300, 2000])
    func `whose payload is wanted are there before it, and it is taken or dropped`(size: Int) throws {
        var stream = ByteBuffer()
        for index in 0..<6 as Range<UInt64> {
            var request = Self.compact(1, cookie: index, length: 300)
            stream.writeBuffer(&request)
            stream.writeRepeatingByte(UInt8(index), count: 300)
        }
        var decoder = RequestDecoder(.simple)
        var (received, taken, cookies) = (ByteBuffer(), ByteBuffer(), [UInt64]())
        while let piece = stream.readSlice(length: min(size, stream.readableBytes)), piece.readableBytes > 0 {
            received.writeImmutableBuffer(piece)
            while true {
                // Of every three the first is taken, the second dropped late, and the third not wanted.
                if decoder.wanted > 0 {
                    let before = decoder.wanted
                    if cookies.last.map({ $0 % 3 }) == 0 {
                        decoder.takePayload(77, in: &received, into: &taken)
                    } else {
                        decoder.dropPayload(in: &received)
                    }
                    #expect(decoder.isAmidRequest == (decoder.wanted > 0))
                    guard decoder.wanted < before else { break }
                } else {
                    let next = try decoder.next(in: &received, wants: { $0.cookie % 3 < 2 })
                    guard let next else { break }
                    cookies.append(next.cookie)
                }
            }
        }
        #expect(cookies == Array(0..<6) && received.readableBytes == 0)
        let payload = [0, 3].flatMap { [UInt8](repeating: $0, count: 300) }
        #expect(Array(taken.readableBytesView) == payload)
    }

    @Test func `that have no magic number, or a payload beyond the limit, end the conversation`() {
        for bytes in [ByteBuffer(bytes: [0, 0, 0, 0]), Self.compact(1, length: (32 << 20) + 1)] {
            #expect(throws: RequestDecoder.Fault.self) {
                var buffer = bytes
                var decoder = RequestDecoder(.simple)
                _ = try decoder.next(in: &buffer)
            }
        }
    }

    @Test func `of commands that are not known are requests all the same`() throws {
        var buffer = Self.compact(99, length: 1)
        var decoder = RequestDecoder(.simple)
        let request = try decoder.next(in: &buffer)
        #expect(request != nil && request?.command == nil)
    }
}

struct `Replies` {
    let request = Request(flags: [], command: .read, cookie: 0x1122, offset: 0x10, length: 4)

    @Test func `have the bytes of the protocol`() {
        var simple = ByteBuffer()
        ReplyEncoder(form: .simple).writeError(NBDError(.io, "unseen"), to: request, into: &simple)
        #expect(Array(simple.readableBytesView) == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0x11, 0x22])

        var structured = ByteBuffer()
        ReplyEncoder(form: .structured).writeError(
            NBDError(.invalid, "no", at: 0x0102), to: request, into: &structured)
        #expect(
            Array(structured.readableBytesView) == [
                0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 2, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0, 0, 0, 16,
                0, 0, 0, 22, 0, 2, UInt8(ascii: "n"), UInt8(ascii: "o"), 0, 0, 0, 0, 0, 0, 1, 2,
            ])

        var extended = ByteBuffer()
        ReplyEncoder(form: .extended).writeDone(request, into: &extended)
        #expect(
            Array(extended.readableBytesView) == [
                0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x22,
                0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0,
            ])
    }

    @Test func `carry at most 4096 bytes of message, and no half letter`() throws {
        var buffer = ByteBuffer()
        let message = String(repeating: "ä", count: 3000)
        ReplyEncoder(form: .structured).writeError(NBDError(.io, "x" + message), to: request, into: &buffer)
        let size = try #require(buffer.getInteger(at: 24, as: UInt16.self))
        #expect(size == 4095)
        #expect(buffer.getString(at: 26, length: Int(size)) == "x" + message.prefix(2047))
    }
}

struct `Preshared keys` {
    @Test func `are read as psktool writes them`() throws {
        let keys = try #require(PresharedKeys(parsing: "alice:00ff10\nbob:with:colon:Ab\n"))
        #expect(keys["alice"] == [0, 255, 16])
        #expect(keys["bob:with:colon"] == [0xab])
        #expect(keys["carol"] == nil)
    }

    @Test(arguments: ["", "\n", "alice", "alice:", "alice:0", "alice:0g", "alice:00\nbob"])
    func `are not guessed`(text: String) {
        #expect(PresharedKeys(parsing: text) == nil)
    }
}
