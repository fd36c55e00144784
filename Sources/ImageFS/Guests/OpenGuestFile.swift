import BlockImage
import Catalog
import Fuse
import GuestFiles
import ImageFormats

/// An open file of a guest, as it was when it was opened. Every method may be called from any thread.
final class OpenGuestFile: OpenFile {
    private let content: any GuestFileContent
    private let view: GuestView
    private let opened: [OpenedImage]
    var gate: RequestGate? { view.image.gate }

    /// A reader of `content`, which lies on `opened`.
    init(_ content: any GuestFileContent, of view: GuestView, on opened: [OpenedImage]) {
        (self.content, self.view, self.opened) = (content, view, opened)
    }

    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        let begin = ContinuousClock.now
        let start = min(offset, content.size)
        let count = Int(min(UInt64(count), content.size - start))
        let buffer = mount.buffers.take(count)
        defer { mount.buffers.giveBack(buffer) }
        do throws(ImageError) {
            try checkUnchanged()
            try buffer.fill(count) { output throws(ImageError) in
                try content.read(count, at: start, into: &output)
            }
            mount.counters.countRead(count, in: begin.duration(to: .now))
            reply.bytes(buffer.bytes)
        } catch {
            // Never a short answer: the kernel would take it for the end of the file and fill up with zeros.
            reply.failure(view.note(error, in: mount))
        }
    }

    func seek(from offset: UInt64, to target: SeekTarget, in mount: ImageFileSystem, reply: consuming SeekReply) {
        do throws(ImageError) {
            try checkUnchanged()
            var position = offset
            while position < content.size {
                let run = try content.run(at: position, limit: content.size - position)
                if run.isData == (target == .data) { return reply.offset(position) }
                position += min(max(run.count, 1), content.size - position)
            }
            guard target == .hole, offset < content.size else { return reply.failure(.noSuchAddress) }
            reply.offset(content.size)
        } catch {
            reply.failure(view.note(error, in: mount))
        }
    }

    func close(in mount: ImageFileSystem) { mount.closeDisk(of: view.image) }

    private func checkUnchanged() throws(ImageError) {
        for image in opened { try image.checkUnchanged(view.image.noteChange) }
    }
}
