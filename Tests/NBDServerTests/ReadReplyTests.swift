import BlockImage
import HostTools
import NIOCore
import SystemPackage
import TestImages
import Testing

@testable import Catalog
@testable import NBDServer

struct `A read` {
    @Test(arguments: [ReplyForm.simple, .structured, .extended], [UInt64(3000), 200_000, 3_000_000])
    func `looks each byte up once, however many pieces its answer has`(form: ReplyForm, length: UInt64) throws {
        let folder = try TemporaryFolder()
        try folder.write([UInt8](repeating: 1, count: 512), to: "a.raw")
        let catalog = try ExportCatalog([NamedImage(FilePath(folder.file("a.raw")))])
        let opened = try catalog.open("")
        let layer = CountingLayer(size: 3_500_000, runSize: 5000)
        let export = Export(
            "a.raw", ImageDisks.Listed(suffix: "", summary: "", image: Image(layer: layer)),
            of: ImageDisks(of: opened.opened), isWhole: true, paths: opened.paths, mayChange: false)
        let session = Session(export: export, form: form, contexts: [])
        let request = Request(flags: [], command: .read, cookie: 1, offset: 12_345, length: length)
        var reply = ReadReply(request, of: session, with: ReplyEncoder(form: form))
        var sum = 0
        while !reply.isDone {
            reply.pieceLimit = 64 << 10
            var buffer = ByteBuffer()
            let stored = try reply.next(into: &buffer)
            #expect(stored?.region == nil)
            sum += buffer.readableBytes
        }
        #expect(sum >= (form == .simple ? Int(length) : Int(length) / 3))
        #expect(layer.asked == Int(length))
    }
}
