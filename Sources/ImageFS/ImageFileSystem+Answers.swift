import BlockImage
import Fuse
import ImageFormats
import Logging

/// What the mount answers, on a thread that may serve the image.
extension ImageFileSystem {
    func answerLookup(_ node: Node, reply: consuming EntryReply) {
        do throws(ErrorNumber) {
            let timeout = isVolatile(node) ? 0 : Self.timeout
            let attributes = try attributes(of: node)
            // Another thread may have put another in its place meanwhile: the kernel then looks the name up again.
            guard source.entries.refer(to: Node.entryNumber(of: attributes.inode)) else { throw .stale }
            reply.entry(attributes, entryTimeout: timeout, attributesTimeout: timeout)
        } catch {
            // An image that cannot be opened has no disk.raw.
            reply.failure(error)
        }
    }

    func answerAttributes(of inode: Inode, reply: consuming AttributesReply) {
        guard let node = node(inode) else { return reply.failure(.noEntry) }
        do throws(ErrorNumber) {
            reply.attributes(try attributes(of: node), timeout: isVolatile(node) ? 0 : Self.timeout)
        } catch {
            reply.failure(error)
        }
    }

    func answerOpen(_ inode: Inode, reply: consuming OpenReply) {
        guard let node = node(inode) else { return reply.failure(.noEntry) }
        switch node {
        case .image(let image, .disk(let view)): open(view, of: image, as: inode, reply: reply)
        case .image(let image, .map): openMap(of: image, as: inode, reply: reply)
        case .image(_, .stats), .applianceStats, .mountStats:
            do throws(ErrorNumber) {
                // The size may differ from the one that the kernel knows, so reads come here whatever it knows.
                let handle = files.add(.stats(try statsText(of: node)))
                if !reply.opened(handle, OpenOptions(directIO: true)) { close(inode, handle: handle) }
            } catch {
                reply.failure(error)
            }
        case .folder, .appliance, .image: reply.failure(.isDirectory)
        }
    }

    private func open(_ view: DiskView, of node: ImageNode, as inode: Inode, reply: consuming OpenReply) {
        do throws(ImageError) {
            let (disk, keepsCache) = try node.openDisk(view, reading: ahead)
            openImages.note(node)
            counters.countOpen()
            let handle = files.add(.disk(disk))
            if !reply.opened(handle, OpenOptions(keepCache: keepsCache)) { close(inode, handle: handle) }
        } catch {
            if ErrorNumber(error) != .stale { logger.warning("\(error)") }
            reply.failure(ErrorNumber(error))
        }
    }

    private func openMap(of node: ImageNode, as inode: Inode, reply: consuming OpenReply) {
        do throws(ImageError) {
            let (disk, _) = try node.openDisk(.current, reading: ahead, isCached: false)
            openImages.note(node)
            let handle = files.add(.map(node, MapText(disk.image)))
            // Its size is not known beforehand.
            if !reply.opened(handle, OpenOptions(directIO: true)) { close(inode, handle: handle) }
        } catch {
            logger.warning("\(error)")
            reply.failure(ErrorNumber(error))
        }
    }

    func answerRead(_ file: OpenFile?, count: Int, at offset: UInt64, reply: consuming DataReply) {
        switch file {
        case .disk(let disk): read(count, at: offset, of: disk, reply: reply)
        case .stats(let text):
            let start = Int(min(offset, UInt64(text.count)))
            answer(text[start...].prefix(count), reply: reply)
        case .map(_, let text): answer(text.bytes(count, at: offset)[...], reply: reply)
        case .directory, nil: reply.failure(.badHandle)
        }
    }

    private func answer(_ text: ArraySlice<UInt8>, reply: consuming DataReply) {
        let buffer = AlignedBuffer(capacity: text.count)
        buffer.fill(text.count) { output in for byte in text { output.append(byte) } }
        reply.bytes(buffer.bytes)
    }

    private func read(_ count: Int, at offset: UInt64, of disk: OpenDisk, reply: consuming DataReply) {
        let begin = ContinuousClock.now
        let start = min(offset, disk.image.virtualSize)
        let count = Int(min(UInt64(count), disk.image.virtualSize - start))
        let buffer = buffers.take(count)
        defer { buffers.giveBack(buffer) }
        do throws(ImageError) {
            try disk.checkUnchanged()
            disk.readAhead.note(count, at: start)
            try buffer.fill(count) { output throws(ImageError) in
                try disk.image.read(count, at: GuestOffset(start), into: &output)
            }
            // Counted before it is answered: who has read everything finds it counted.
            let duration = begin.duration(to: .now)
            disk.counters.countRead(count, in: duration)
            counters.countRead(count, in: duration)
            reply.bytes(buffer.bytes)
        } catch {
            let reason = error.description
            if disk.counters.countFailure(reason) { logger.warning("read error: \(reason)") }
            _ = counters.countFailure(reason)
            // Never a short answer: the kernel would take it for the end of the file and fill up with zeros.
            reply.failure(ErrorNumber(error))
        }
    }

    func answerOpenDirectory(_ inode: Inode, reply: consuming OpenReply) {
        guard let node = node(inode), node.isDirectory, let root = self.node(.root) else {
            return reply.failure(.notDirectory)
        }
        // The kernel knows by itself what lies above a directory, and takes the number of ".." for decoration.
        let entries = [(name: Array(".".utf8), node: node), (name: Array("..".utf8), node: root)]
        let handle = files.add(.directory(DirectoryListing { [self] in entries + children(of: node) }))
        if !reply.opened(handle) { closeDirectory(inode, handle: handle) }
    }

    func answerReadDirectory(_ handle: FileHandle, from position: UInt64, reply: consuming DirectoryReply) {
        guard case .directory(let listing)? = files[handle] else { return reply.failure(.badHandle) }
        let entries = listing.entries(at: position)
        for index in entries.indices.dropFirst(Int(clamping: position)) {
            let (name, node) = entries[index]
            let kind: FileKind = node.isDirectory ? .directory : .regularFile
            let next = UInt64(index) + 1
            guard reply.add(name: name, inode: node.inode, kind: kind, nextPosition: next) else { break }
        }
        reply.finish()
    }

    func answerSeek(
        _ handle: FileHandle, from offset: UInt64, to target: SeekTarget, reply: consuming SeekReply
    ) {
        guard case .disk(let disk) = files[handle] else { return reply.failure(.invalidArgument) }
        guard offset < disk.image.virtualSize else { return reply.failure(.noSuchAddress) }
        do throws(ImageError) {
            guard let found = try disk.image.next(hole: target == .hole, from: GuestOffset(offset)) else {
                return reply.failure(.noSuchAddress)
            }
            reply.offset(found.rawValue)
        } catch {
            logger.warning("\(error)")
            reply.failure(ErrorNumber(error))
        }
    }
}
