import BlockImage
import Catalog
import Fuse
import Glibc
import Logging
import Overlays

/// A disk that is open for writing. Every method may be called from any thread.
final class WritableDisk: OpenFile {
    private let disk: OpenDisk
    private let range: WritableRange
    /// `disk.raw`, whose pages the kernel keeps.
    private let whole: DiskNode
    var gate: RequestGate? { disk.gate }

    /// `disk`, of which `range` can be written.
    init(_ disk: OpenDisk, _ range: WritableRange) {
        (self.disk, self.range) = (disk, range)
        whole = DiskNode(image: disk.node, view: .current)
    }

    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        disk.read(count, at: offset, in: mount, reply: reply)
    }

    func seek(from offset: UInt64, to target: SeekTarget, in mount: ImageFileSystem, reply: consuming SeekReply) {
        disk.seek(from: offset, to: target, in: mount, reply: reply)
    }

    func write(_ bytes: RawSpan, at offset: UInt64, in mount: ImageFileSystem, reply: consuming WriteReply) {
        guard bytes.byteCount > 0 else { return reply.written(0) }
        // As a block device has it: what lies past its end is not written, and nothing at all is an error.
        guard let target = range.range(UInt64(bytes.byteCount), at: offset) else {
            return reply.failure(ErrorNumber(rawValue: ENOSPC))
        }
        let count = target.count
        do throws(ImageError) {
            try range.layer.write(bytes.extracting(first: count), at: GuestOffset(target.lowerBound))
        } catch {
            return reply.failure(failure(error, in: mount))
        }
        seen(target, in: mount, reply) { $0.written(count) }
    }

    func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, in mount: ImageFileSystem, reply: consuming DoneReply
    ) {
        let (end, overflow) = offset.addingReportingOverflow(count)
        guard way.keepsSize || !overflow && end <= range.size else {
            return reply.failure(ErrorNumber(rawValue: EFBIG))
        }
        guard let target = range.range(count, at: offset) else { return reply.done() }
        do throws(ImageError) {
            try range.layer.zero(
                UInt64(target.count), at: GuestOffset(target.lowerBound), mayUnmap: !way.keepsSpace)
        } catch {
            return reply.failure(failure(error, in: mount))
        }
        seen(target, in: mount, reply) { $0.done() }
    }

    /// Answers once whoever reads `target` through another file sees what is there now.
    private func seen<Reply: ~Copyable>(
        _ target: Range<UInt64>, in mount: ImageFileSystem, _ reply: consuming Reply,
        _ answer: @escaping @Sendable (consuming Reply) -> Void
    ) {
        // Of partitions the kernel keeps no pages.
        guard range.isPart else { return answer(reply) }
        let held = HeldReply(reply)
        mount.writing.forget(target, of: mount.inodes.number(of: whole)) {
            if let reply = held.take() { answer(reply) }
        }
    }

    func flush(in mount: ImageFileSystem, reply: consuming DoneReply) {
        do throws(ImageError) {
            try range.layer.disk.flush()
            reply.done()
        } catch {
            reply.failure(failure(error, in: mount))
        }
    }

    func close(in mount: ImageFileSystem) {
        // No program waits for it, and what was written to mapped memory comes after the last close(2).
        disk.node.requests.perform { [self, range] in
            do throws(ImageError) { try range.layer.disk.flush() } catch { _ = failure(error, in: mount) }
            return nil
        }
        disk.close(in: mount)
        disk.node.forgetIfIdle()
    }

    /// Logs `error`, and tells its number.
    private func failure(_ error: ImageError, in mount: ImageFileSystem) -> ErrorNumber {
        mount.logger.warning("write error: \(error)")
        return ErrorNumber(error)
    }
}
