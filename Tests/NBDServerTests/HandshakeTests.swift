import Catalog
import HostTools
import NIOCore
import SystemPackage
import TestImages
import Testing

@testable import NBDServer

/// Answers of the server's side, with what a client says as bytes.
struct `The handshake` {
    private let folder: TemporaryFolder
    private let catalog: ExportCatalog

    init() throws {
        folder = try TemporaryFolder()
        try folder.write([UInt8](repeating: 1, count: 1000), to: "disk.raw")
        try folder.write([], to: "notes.txt")
        catalog = try ExportCatalog([NamedImage(FilePath(folder.path))])
    }

    /// A handshake with a client that has sent its flags.
    private func begun(_ tls: TLSMode = .off, flags: UInt32 = 3) -> Handshake {
        var handshake = Handshake(catalog: catalog, tls: tls)
        var reply = ByteBuffer()
        guard case .option = handshake.answer(.clientFlags(flags), into: &reply) else {
            Issue.record("the client's flags are refused")
            return handshake
        }
        return handshake
    }

    private func infoData(_ name: String, _ infos: [UInt16] = []) -> ByteBuffer {
        var data = ByteBuffer()
        data.writeInteger(UInt32(name.utf8.count))
        data.writeString(name)
        data.writeInteger(UInt16(infos.count))
        for info in infos { data.writeInteger(info) }
        return data
    }

    private func metaData(_ name: String, _ queries: [String]) -> ByteBuffer {
        var data = ByteBuffer()
        data.writeInteger(UInt32(name.utf8.count))
        data.writeString(name)
        data.writeInteger(UInt32(queries.count))
        for query in queries {
            data.writeInteger(UInt32(query.utf8.count))
            data.writeString(query)
        }
        return data
    }

    /// What comes back for an option: the numbers of the replies, and their data.
    private func ask(
        _ handshake: inout Handshake, _ option: OptionRequest.Kind, _ data: ByteBuffer = ByteBuffer()
    ) throws -> (next: Handshake.Next, replies: [(number: UInt32, data: ByteBuffer)]) {
        var reply = ByteBuffer()
        let next = handshake.answer(.option(OptionRequest(number: option.rawValue, data: data)), into: &reply)
        var replies: [(UInt32, ByteBuffer)] = []
        while let (magic, number, kind, size) = reply.readMultipleIntegers(as: (UInt64, UInt32, UInt32, UInt32).self) {
            #expect(magic == 0x0003_e889_0455_65a9 && number == option.rawValue)
            let data = reply.readSlice(length: Int(size))
            replies.append((kind, try #require(data)))
        }
        #expect(reply.readableBytes == 0)
        return (next, replies)
    }

    @Test func `begins with two magic numbers and the server's flags`() {
        var buffer = ByteBuffer()
        Handshake.writeGreeting(into: &buffer)
        #expect(buffer.getString(at: 0, length: 16) == "NBDMAGICIHAVEOPT")
        #expect(buffer.getInteger(at: 16, as: UInt16.self) == 3)
        #expect(buffer.readableBytes == 18)
    }

    @Test func `ends with a client whose flags are not known`() {
        var handshake = Handshake(catalog: catalog, tls: .off)
        var reply = ByteBuffer()
        guard case .close = handshake.answer(.clientFlags(4), into: &reply) else {
            Issue.record("it goes on")
            return
        }
    }

    @Test func `tells of an export what is asked, and then begins with requests`() throws {
        var handshake = begun()
        let (next, replies) = try ask(&handshake, .info, infoData("disk.raw", [1, 2, 3, 77]))
        #expect(replies.map(\.number) == [3, 3, 3, 3, 1])
        #expect(Array(replies[0].data.readableBytesView) == [0, 0, 0, 0, 0, 0, 0, 0, 3, 232, 5, 3])
        #expect(replies[1].data.getString(at: replies[1].data.readerIndex + 2, length: 8) == "disk.raw")
        guard case .option = next else {
            Issue.record("INFO is not the end")
            return
        }
        guard case .transmission(let session) = try ask(&handshake, .go, infoData("disk.raw")).next else {
            Issue.record("GO is the end")
            return
        }
        #expect(session.export.name == "disk.raw" && session.form == .simple)
    }

    @Test func `knows exports by their names only`() throws {
        var handshake = begun()
        for name in [
            "disk", "/disk.raw", "./disk.raw", "../disk.raw", "notes.txt", "disk.raw/", "disk.raw/p1", "@", "/",
        ] {
            #expect(try ask(&handshake, .go, infoData(name)).replies.map(\.number) == [0x8000_0006], "\(name)")
        }
        #expect(try ask(&handshake, .info, infoData("")).replies.last?.number == 1, "the only image")
        #expect(try ask(&handshake, .info, infoData("a\0")).replies.map(\.number) == [0x8000_0003])
    }

    @Test func `answers EXPORT_NAME with 124 zeros, unless the client wants none`() throws {
        for (flags, size) in [(1 as UInt32, 134), (3, 10)] {
            var handshake = begun(flags: flags)
            var reply = ByteBuffer()
            let option = OptionRequest(number: 1, data: ByteBuffer(string: "disk.raw"))
            guard case .transmission = handshake.answer(.option(option), into: &reply) else {
                Issue.record("no requests")
                return
            }
            #expect(reply.readableBytes == size)
        }
    }

    @Test func `lists what there is, with names that open`() throws {
        var handshake = begun()
        let replies = try ask(&handshake, .list).replies
        #expect(replies.map(\.number) == [2, 1])
        #expect(replies[0].data.getString(at: replies[0].data.readerIndex + 4, length: 8) == "disk.raw")
        #expect(try ask(&handshake, .list, ByteBuffer(bytes: [0])).replies.map(\.number) == [0x8000_0003])
    }

    @Test func `negotiates replies, and contexts only with these`() throws {
        var handshake = begun()
        let query = metaData("disk.raw", ["base:allocation", "qemu:dirty-bitmap:none", "x-other:thing"])
        #expect(try ask(&handshake, .setMetaContext, query).replies.map(\.number) == [0x8000_0003])
        #expect(try ask(&handshake, .structuredReply).replies.map(\.number) == [1])
        #expect(try ask(&handshake, .setMetaContext, query).replies.map(\.number) == [4, 1])
        guard case .transmission(let session) = try ask(&handshake, .go, infoData("disk.raw")).next else {
            Issue.record("no requests")
            return
        }
        #expect(session.form == .structured && session.contexts.map(\.context.name) == ["base:allocation"])
        #expect(try ask(&handshake, .extendedHeaders).replies.map(\.number) == [1])
        #expect(try ask(&handshake, .structuredReply).replies.map(\.number) == [0x8000_000a])
    }

    @Test func `lists contexts by what their names begin with`() throws {
        var handshake = begun()
        _ = try ask(&handshake, .structuredReply)
        for (queries, count) in [
            ([], 2), (["base:"], 1), (["qemu:"], 1), (["qemu:dirty-bitmap:"], 0), (["base:allocation", "qemu:"], 2),
            (["base"], 0), ([""], 0),
        ] {
            let found = try ask(&handshake, .listMetaContext, metaData("disk.raw", queries)).replies.count - 1
            #expect(found == count, "\(queries)")
        }
    }

    @Test func `tells nothing before TLS where that is required, and forgets what was said before`() throws {
        var handshake = begun(.require)
        for option in [OptionRequest.Kind.list, .info, .go, .structuredReply, .setMetaContext, .extendedHeaders] {
            #expect(try ask(&handshake, option).replies.map(\.number) == [0x8000_0005])
        }
        guard case .close = try ask(&handshake, .exportName, ByteBuffer(string: "disk.raw")).next else {
            Issue.record("EXPORT_NAME without TLS")
            return
        }
        guard case .startTLS = try ask(&handshake, .startTLS).next else {
            Issue.record("no TLS")
            return
        }
        #expect(try ask(&handshake, .startTLS).replies.map(\.number) == [0x8000_0003])
        #expect(try ask(&handshake, .list).replies.map(\.number) == [2, 1])

        var free = begun(.allow)
        _ = try ask(&free, .structuredReply)
        _ = try ask(&free, .startTLS)
        #expect(free.form == .simple)
        var off = begun()
        #expect(try ask(&off, .startTLS).replies.map(\.number) == [0x8000_0002])
    }

    @Test func `says of options that it does not know that it does not, and of long ones that they are`() throws {
        var handshake = begun()
        var reply = ByteBuffer()
        _ = handshake.answer(.option(OptionRequest(number: 4711, data: ByteBuffer())), into: &reply)
        #expect(reply.getInteger(at: 12, as: UInt32.self) == 0x8000_0001)
        reply.clear()
        _ = handshake.answer(.option(OptionRequest(number: 6, data: nil)), into: &reply)
        #expect(reply.getInteger(at: 12, as: UInt32.self) == 0x8000_0009)
    }
}

struct `Options` {
    @Test func `come in any pieces, and those that are too long without their data`() throws {
        var stream = ByteBuffer(integer: UInt32(3))
        for (number, size) in [(3 as UInt32, 0), (7, 20), (6, OptionDecoder.dataLimit + 1), (2, 1)] {
            stream.writeMultipleIntegers(OptionDecoder.magic, number, UInt32(size))
            stream.writeRepeatingByte(0x49, count: size)
        }
        for piece in [1, 5, 4096, 1 << 20] {
            var decoder = OptionDecoder()
            var rest = stream
            var received = ByteBuffer()
            var found: [OptionDecoder.Message] = []
            while rest.readableBytes > 0, let bytes = rest.readSlice(length: min(piece, rest.readableBytes)) {
                received.writeImmutableBuffer(bytes)
                while let message = try decoder.next(in: &received) { found.append(message) }
                if piece < 4096 { #expect(received.readableBytes < 64) }
            }
            let options = [
                OptionRequest(number: 3, data: ByteBuffer()),
                OptionRequest(number: 7, data: ByteBuffer(repeating: 0x49, count: 20)),
                OptionRequest(number: 6, data: nil), OptionRequest(number: 2, data: ByteBuffer(bytes: [0x49])),
            ]
            #expect(found == [.clientFlags(3)] + options.map { .option($0) }, "pieces of \(piece)")
        }
    }

    @Test func `without their magic number end the conversation`() {
        #expect(throws: OptionDecoder.Fault.self) {
            var decoder = OptionDecoder()
            var buffer = ByteBuffer(bytes: [0, 0, 0, 3] + [UInt8](repeating: 7, count: 8))
            while try decoder.next(in: &buffer) != nil {}
        }
    }

    @Test func `that ask for an export or its contexts are taken whole or not at all`() {
        for bytes: [UInt8] in [
            [], [0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1, 65, 0], [0, 0, 0, 1, 65, 0, 1],
            [0xff, 0xff, 0xff, 0xff, 65, 0, 0],
            [0, 0, 0, 1, 0xff, 0, 0], [0, 0, 0, 1, 65, 0, 0, 0],
        ] {
            #expect(InfoQuery(ByteBuffer(bytes: bytes)) == nil, "\(bytes)")
        }
        for bytes: [UInt8] in [
            [], [0, 0, 0, 1, 65, 0, 0, 0], [0, 0, 0, 1, 65, 0, 0, 0, 1], [0, 0, 0, 1, 65, 0xff, 0xff, 0xff, 0xff],
            [0, 0, 0, 1, 65, 0, 0, 0, 1, 0, 0, 0, 2, 66], [0, 0, 0, 1, 65, 0, 0, 0, 0, 7],
        ] {
            #expect(MetaContextQuery(ByteBuffer(bytes: bytes)) == nil, "\(bytes)")
        }
    }
}
