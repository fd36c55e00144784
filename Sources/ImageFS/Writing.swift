import BlockImage
import Catalog
import Dispatch
import Fuse
import Glibc
import Logging
import Overlays
import Synchronization

/// What a mount that can be written needs besides: the page cache of the kernel, which has to forget pages, and the timer that
/// writes back idle overlays. Every method may be called from any thread.
final class Writing: Sendable {
    private let cache = Guarded<KernelCache?>(nil)
    private let direct = Atomic(false)
    /// For flushes of all overlays.
    let flushes = RequestGate(limit: 2)
    private let writeBack = Guarded<IdleWriteBack?>(nil)

    /// Whether disks that are open for writing are written past the page cache: then nearly twice as much is written in the same
    /// time, since each byte is copied once less.
    var isDirect: Bool { direct.load(ordering: .relaxed) }

    /// Whether writes to one file may be under way at the same time. Where files can be mapped as well, a program that maps one
    /// while its threads write to it could wait for itself (Linux 6.18, fuse_file_cached_io_open), so that only those may that ask
    /// for no page cache, with O_DIRECT.
    func mayBeParallel(pastCache: Bool) -> Bool { pastCache || !isDirect }

    /// The kernel has `cache`.
    func start(_ cache: KernelCache) {
        self.cache.withLock { $0 = cache }
        direct.store(cache.mapsDirectFiles, ordering: .relaxed)
    }

    /// Has the overlays hold from now on, soon, what was written to them. `report` gets what went wrong.
    func start(_ overlays: OverlayFolder, report: @escaping @Sendable (ImageError) -> Void) {
        writeBack.withLock { $0 = IdleWriteBack(of: overlays, report: report) }
    }

    /// Does so no more.
    func end() {
        writeBack.withLock { $0 }?.end()
    }

    /// Has the kernel write what mapped memory has changed of `pages`, and forget them, and then does `work`.
    func forget(_ pages: ArraySlice<DiskAliases.Pages>, then work: @escaping @Sendable () -> Void) {
        guard let first = pages.first, let cache = cache.withLock({ $0 }) else { return work() }
        cache.forget(UInt64(first.range.count), at: first.range.lowerBound, of: first.inode) { [self] in
            forget(pages.dropFirst(), then: work)
        }
    }
}

extension ImageFileSystem {
    /// Whether disks can be written to: what is written has a place, and the mount is not to be read-only.
    package var isWritable: Bool { source.overlays != nil && !isReadOnly }

    /// Writes all of `bytes` at `offset`.
    package func write(
        _ bytes: RawSpan, at offset: UInt64, isPage: Bool, _ inode: Inode, handle: FileHandle,
        reply: consuming WriteReply
    ) {
        guard let file = files[handle] else { return reply.failure(.badHandle) }
        guard let gate = file.gate else {
            return file.write(bytes, at: offset, isPage: isPage, in: self, reply: reply)
        }
        guard gate.enter() else {
            // They are the kernel's only until this returns.
            let copy = AlignedBuffer(copying: bytes)
            let held = HeldReply(reply)
            return gate.keep { [self] in
                if let reply = held.take() {
                    file.write(copy.bytes, at: offset, isPage: isPage, in: self, reply: reply)
                }
            }
        }
        file.write(bytes, at: offset, isPage: isPage, in: self, reply: reply)
        gate.leave()
    }

    /// Has the `count` bytes at `offset` read as zeros.
    package func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, _ inode: Inode, handle: FileHandle,
        reply: consuming DoneReply
    ) {
        guard let file = files[handle] else { return reply.failure(.badHandle) }
        gated(by: file.gate, reply) { [self] reply in file.zero(count, at: offset, way, in: self, reply: reply) }
    }

    /// Has what was written be on stable storage.
    package func synchronize(_ inode: Inode, handle: FileHandle, reply: consuming DoneReply) {
        guard let file = files[handle] else { return reply.failure(.badHandle) }
        gated(by: file.gate, reply) { [self] reply in file.synchronize(in: self, reply: reply) }
    }

    /// Has what was written to all disks be on stable storage, and logs of which that cannot be.
    package func synchronizeAll(reply: consuming DoneReply) {
        guard let overlays = source.overlays else { return reply.done() }
        let held = HeldReply(reply)
        DispatchQueue(label: "flush").async { [writing, logger] in
            // However many ask at once, few threads wait for disks.
            writing.flushes.perform {
                let errors = overlays.flush()
                for error in errors { logger.error("what was written is not in its overlay: \(error)") }
                guard let reply = held.take() else { return nil }
                if let first = errors.first { reply.failure(ErrorNumber(first)) } else { reply.done() }
                return nil
            }
        }
    }

    /// Has what was written through a descriptor be on stable storage, when it is closed: nothing that was acknowledged is lost by a power cut after that.
    package func flush(_ inode: Inode, handle: FileHandle, reply: consuming DoneReply) {
        guard let file = files[handle] else { return reply.failure(.badHandle) }
        gated(by: file.gate, reply) { [self] reply in file.flush(in: self, reply: reply) }
    }

    /// A disk stays as large as it is: answers EPERM for another size.
    package func resize(_ inode: Inode, to size: UInt64, reply: consuming AttributesReply) {
        guard let node = inodes[inode] else { return reply.failure(.noEntry) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let status = try node.status(in: self)
                guard status.isWritable else { throw .readOnlyFileSystem }
                guard status.size == size else { throw ErrorNumber(rawValue: EPERM) }
                reply.attributes(attributes(status, of: node, inode), timeout: Self.timeout)
            } catch {
                reply.failure(error)
            }
        }
    }

    /// Has the overlays hold, soon, what is written to them.
    func startWriteBack() {
        guard let overlays = source.overlays else { return }
        writing.start(overlays) { [logger] error in
            logger.error("what was written is not in its overlay: \(error)")
        }
    }

    /// The mount is gone: flushes and closes the overlays. Answers false, and logs why, where something that was written may be
    /// lost.
    package func end() -> Bool {
        writing.end()
        let errors = source.overlays?.close() ?? []
        for error in errors { logger.error("what was written may be lost: \(error)") }
        return errors.isEmpty
    }
}
