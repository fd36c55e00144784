import BlockImage
import Catalog
import Fuse
import Glibc
import Logging
import Overlays
import Synchronization

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
        if !range.isPart { disk.node.pageWriters.add(1, ordering: .relaxed) }
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
        guard mayFollowPages else { return write(bytes, to: target, in: mount, reply: reply) }
        let copy = AlignedBuffer(copying: bytes)
        afterPages(of: target, in: mount, reply) { [self] reply in
            write(copy.bytes, to: target, in: mount, reply: reply)
        }
    }

    private func write(
        _ bytes: RawSpan, to target: Range<UInt64>, in mount: ImageFileSystem, reply: consuming WriteReply
    ) {
        let count = target.count
        do throws(ImageError) {
            try range.layer.write(bytes.extracting(first: count), at: GuestOffset(target.lowerBound))
        } catch {
            return reply.failure(range.failure(error, in: mount))
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
        guard mayFollowPages else { return zero(target, way, in: mount, reply: reply) }
        afterPages(of: target, in: mount, reply) { [self] reply in zero(target, way, in: mount, reply: reply) }
    }

    private func zero(
        _ target: Range<UInt64>, _ way: ZeroingWay, in mount: ImageFileSystem, reply: consuming DoneReply
    ) {
        do throws(ImageError) {
            try range.layer.zero(
                UInt64(target.count), at: GuestOffset(target.lowerBound), mayUnmap: !way.keepsSpace)
        } catch {
            return reply.failure(range.failure(error, in: mount))
        }
        seen(target, in: mount, reply) { $0.done() }
    }

    /// Whether the kernel may have pages of `disk.raw` that mapped memory has changed, and that it has not written yet. Where
    /// one of them holds bytes that are written to a partition, the whole page would later be written over these.
    private var mayFollowPages: Bool { range.isPart && disk.node.pageWriters.load(ordering: .relaxed) > 0 }

    /// Does `work` when the kernel has written such pages of `target`.
    private func afterPages<Reply: ~Copyable>(
        of target: Range<UInt64>, in mount: ImageFileSystem, _ reply: consuming Reply,
        _ work: @escaping @Sendable (consuming Reply) -> Void
    ) {
        let held = HeldReply(reply)
        mount.writing.forget(target, of: mount.inodes.number(of: whole)) { [gate] in
            if let reply = held.take() { mount.gated(by: gate, reply, work) }
        }
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

    func flush(in mount: ImageFileSystem, reply: consuming DoneReply) { range.flush(in: mount, reply: reply) }

    func close(in mount: ImageFileSystem) {
        // No program waits for it, and what was written to mapped memory comes after the last close(2).
        disk.node.requests.perform { [range] in
            do throws(ImageError) { try range.layer.disk.flush() } catch { _ = range.failure(error, in: mount) }
            range.layer.disk.noteModified()
            return nil
        }
        if !range.isPart { disk.node.pageWriters.subtract(1, ordering: .relaxed) }
        disk.close(in: mount)
        disk.node.forgetIfIdle()
    }
}

extension WritableRange {
    /// Has what was written to its disk be on stable storage.
    func flush(in mount: ImageFileSystem, reply: consuming DoneReply) {
        do throws(ImageError) {
            try layer.disk.flush()
            reply.done()
        } catch {
            reply.failure(failure(error, in: mount))
        }
    }

    /// Logs `error`, if none of the disk was logged lately, and tells its number.
    fileprivate func failure(_ error: ImageError, in mount: ImageFileSystem) -> ErrorNumber {
        if layer.disk.failureNotice.isDue() { mount.logger.warning("write error: \(error)") }
        return ErrorNumber(error)
    }
}
