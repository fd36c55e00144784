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
    /// Whether it is read and written past the page cache.
    private let isDirect: Bool
    var gate: RequestGate? { disk.gate }

    /// `disk`, of which `range` can be written.
    init(_ disk: OpenDisk, _ range: WritableRange, isDirect: Bool) {
        (self.disk, self.range, self.isDirect) = (disk, range, isDirect)
        disk.node.aliases.beginWriting(disk.view)
    }

    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        disk.read(count, at: offset, in: mount, reply: reply)
    }

    func seek(from offset: UInt64, to target: SeekTarget, in mount: ImageFileSystem, reply: consuming SeekReply) {
        disk.seek(from: offset, to: target, in: mount, reply: reply)
    }

    func write(
        _ bytes: RawSpan, at offset: UInt64, isPage: Bool, in mount: ImageFileSystem, reply: consuming WriteReply
    ) {
        guard bytes.byteCount > 0 else { return reply.written(0) }
        // As a block device has it: what lies past its end is not written, and nothing at all is an error.
        guard let target = range.range(UInt64(bytes.byteCount), at: offset) else {
            return reply.failure(ErrorNumber(rawValue: ENOSPC))
        }
        let changed = isPage ? [] : changedPages(of: target, in: mount)
        guard !changed.isEmpty else { return write(bytes, to: target, isPage: isPage, in: mount, reply: reply) }
        let copy = AlignedBuffer(copying: bytes)
        after(changed, in: mount, reply) { [self] reply in
            write(copy.bytes, to: target, isPage: false, in: mount, reply: reply)
        }
    }

    private func write(
        _ bytes: RawSpan, to target: Range<UInt64>, isPage: Bool, in mount: ImageFileSystem,
        reply: consuming WriteReply
    ) {
        let count = target.count
        do throws(ImageError) {
            try range.layer.write(bytes.extracting(first: count), at: GuestOffset(target.lowerBound))
        } catch {
            return reply.failure(range.failure(error, in: mount))
        }
        let stale = pages(of: target, in: mount)
        guard !isPage else {
            // The kernel holds this page, and who changes another of the same bytes may hold that: neither waits.
            let aliases = disk.node.aliases
            if !stale.isEmpty { aliases.beginForgetting() }
            reply.written(count)
            if !stale.isEmpty { mount.writing.forget(stale) { aliases.endForgetting() } }
            return
        }
        once(stale, in: mount, reply) { $0.written(count) }
    }

    func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, in mount: ImageFileSystem, reply: consuming DoneReply
    ) {
        let (end, overflow) = offset.addingReportingOverflow(count)
        guard way.keepsSize || !overflow && end <= range.size else {
            return reply.failure(ErrorNumber(rawValue: EFBIG))
        }
        guard let target = range.range(count, at: offset) else { return reply.done() }
        let changed = changedPages(of: target, in: mount)
        guard !changed.isEmpty else { return zero(target, way, in: mount, reply: reply) }
        after(changed, in: mount, reply) { [self] reply in zero(target, way, in: mount, reply: reply) }
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
        once(pages(of: target, in: mount), in: mount, reply) { $0.done() }
    }

    /// What the kernel may have of `target` in pages of other files that mapped memory has changed, and that it has not written
    /// yet: the whole of such a page would later be written over what is written now.
    private func changedPages(of target: Range<UInt64>, in mount: ImageFileSystem) -> [DiskAliases.Pages] {
        disk.node.aliases.changedPages(of: target, besides: disk.view, of: disk.node, in: mount)
    }

    /// What the kernel may have of `target` in other pages than those that are written.
    private func pages(of target: Range<UInt64>, in mount: ImageFileSystem) -> ArraySlice<DiskAliases.Pages> {
        disk.node.aliases.pages(
            of: target, writtenBy: disk.view, isDirect: isDirect, of: disk.node, in: mount)[...]
    }

    /// Does `work` when the kernel has written what mapped memory has changed of `pages`.
    private func after<Reply: ~Copyable>(
        _ pages: [DiskAliases.Pages], in mount: ImageFileSystem, _ reply: consuming Reply,
        _ work: @escaping @Sendable (consuming Reply) -> Void
    ) {
        let held = HeldReply(reply)
        mount.writing.forget(pages[...]) { [gate] in
            if let reply = held.take() { mount.gated(by: gate, reply, work) }
        }
    }

    /// Answers once the kernel has forgotten `pages`: they are then read as they are now.
    private func once<Reply: ~Copyable>(
        _ pages: ArraySlice<DiskAliases.Pages>, in mount: ImageFileSystem, _ reply: consuming Reply,
        _ answer: @escaping @Sendable (consuming Reply) -> Void
    ) {
        guard !pages.isEmpty else { return answer(reply) }
        let held = HeldReply(reply)
        mount.writing.forget(pages) {
            if let reply = held.take() { answer(reply) }
        }
    }

    func flush(in mount: ImageFileSystem, reply: consuming DoneReply) {
        range.flush(in: mount, after: disk.node.aliases, reply: reply)
    }

    func close(in mount: ImageFileSystem) {
        // No program waits for it, and what was written to mapped memory comes after the last close(2).
        disk.node.requests.perform { [range] in
            do throws(ImageError) { try range.layer.disk.flush() } catch { _ = range.failure(error, in: mount) }
            range.layer.disk.noteModified()
            return nil
        }
        disk.node.aliases.endWriting(disk.view)
        disk.close(in: mount)
        disk.node.forgetIfIdle()
    }
}

extension WritableRange {
    /// Has what was written to its disk be on stable storage, and be read through all of its files, `aliases`.
    func flush(in mount: ImageFileSystem, after aliases: DiskAliases, reply: consuming DoneReply) {
        do throws(ImageError) {
            try layer.disk.flush()
        } catch {
            return reply.failure(failure(error, in: mount))
        }
        guard aliases.isForgetting else { return reply.done() }
        let held = HeldReply(reply)
        aliases.afterForgetting { held.take()?.done() }
    }

    /// Logs `error`, if none of the disk was logged lately, and tells its number.
    fileprivate func failure(_ error: ImageError, in mount: ImageFileSystem) -> ErrorNumber {
        if layer.disk.failureNotice.isDue() { mount.logger.warning("write error: \(error)") }
        return ErrorNumber(error)
    }
}
