import BlockImage
import Catalog
import Dispatch
import Fuse
import Overlays
import Synchronization

/// The open files of one disk: `disk.raw`, and partitions and others that show parts of it. What is written through one of them changes the
/// others, and the kernel may have pages of each: of `disk.raw` also after it was closed, and of all while they are open, if
/// only since they are mapped into memory. Every method may be called from any thread.
final class DiskAliases: Sendable {
    /// Bytes of a file of which the kernel may have pages.
    struct Pages: Sendable {
        let inode: Inode
        let range: Range<UInt64>
    }

    private struct Uses {
        /// Where it is on the disk; nil: anywhere.
        let range: Range<UInt64>?
        var handles = 0
        var writers = 0
    }

    private let uses = Guarded<[DiskID: Uses]>([:])
    /// How many handles there are in `uses`. Mostly it is one, and that is all that a write looks at.
    private let handles = Atomic(0)
    private let seenChanges = Guarded<UInt64?>(nil)
    private let forgetting = DispatchGroup()

    /// The file `view` was opened, which is at `range` of the disk, or has parts of it in other places.
    func open(_ view: DiskID, _ range: WritableRange?) {
        let range = range.map { $0.start..<$0.start + $0.size }
        uses.withLock { $0[view, default: Uses(range: range)].handles += 1 }
        // Who writes looks at it after what is written can be read: this reader sees that, or is seen.
        handles.add(1, ordering: .sequentiallyConsistent)
    }

    /// The same was closed.
    func close(_ view: DiskID) {
        handles.subtract(1, ordering: .sequentiallyConsistent)
        uses.withLock { uses in
            uses[view]?.handles -= 1
            if uses[view]?.handles == 0 { uses[view] = nil }
        }
    }

    /// One of its handles can write.
    func beginWriting(_ view: DiskID) { uses.withLock { $0[view]?.writers += 1 } }

    /// That one is closed.
    func endWriting(_ view: DiskID) { uses.withLock { $0[view]?.writers -= 1 } }

    /// Whether something was written, by the `changeCount` `changes` of now, since this was asked last.
    func isChanged(since changes: UInt64) -> Bool {
        seenChanges.withLock { seen in
            defer { seen = changes }
            return seen != changes
        }
    }

    /// Pages are being forgotten that no answer waits for, until `endForgetting`.
    func beginForgetting() { forgetting.enter() }

    /// They are.
    func endForgetting() { forgetting.leave() }

    /// Does `work` once no such pages are being forgotten, on a thread of its own.
    func afterForgetting(_ work: @escaping @Sendable () -> Void) {
        forgetting.notify(queue: DispatchQueue(label: "flushed"), execute: work)
    }

    /// Whether such pages are being forgotten.
    var isForgetting: Bool { forgetting.wait(timeout: .now()) == .timedOut }

    /// What may have been changed of `target`, bytes of the disk of `node`, by memory that other files than `view` are mapped to.
    func changedPages(
        of target: Range<UInt64>, besides view: DiskID, of node: ImageNode, in mount: ImageFileSystem
    ) -> [Pages] {
        guard handles.load(ordering: .sequentiallyConsistent) > 1 else { return [] }
        return uses.withLock { uses in
            uses.compactMap { other, uses in
                other == view || uses.writers == 0
                    ? nil : Self.pages(of: target, other, uses.range, of: node, in: mount)
            }
        }
    }

    /// Of which pages the kernel may have `target`, bytes of the disk of `node`, besides those that it has changed itself for a
    /// write to the file `view`, past the page cache if `isDirect` says so: it forgets its own pages before it writes, and another
    /// reader may have them back by now.
    func pages(
        of target: Range<UInt64>, writtenBy view: DiskID, isDirect: Bool, of node: ImageNode, in mount: ImageFileSystem
    ) -> [Pages] {
        // The kernel keeps those of `disk.raw` while it is closed, too.
        var pages =
            view == .current
            ? [] : [Pages(inode: mount.inodes.number(of: DiskNode(image: node, view: .current)), range: target)]
        guard handles.load(ordering: .sequentiallyConsistent) > 1 else { return pages }
        uses.withLock { uses in
            for (other, uses) in uses {
                let isMeant = other == view ? isDirect && uses.handles > 1 : other != .current
                guard isMeant, let found = Self.pages(of: target, other, uses.range, of: node, in: mount) else {
                    continue
                }
                pages.append(found)
            }
        }
        return pages
    }

    private static func pages(
        of target: Range<UInt64>, _ view: DiskID, _ range: Range<UInt64>?, of node: ImageNode, in mount: ImageFileSystem
    ) -> Pages? {
        let inode = mount.inodes.number(of: DiskNode(image: node, view: view))
        guard let range else { return Pages(inode: inode, range: 0..<UInt64(Int64.max)) }
        let common = target.clamped(to: range)
        guard !common.isEmpty else { return nil }
        return Pages(
            inode: inode,
            range: common.lowerBound - range.lowerBound..<common.upperBound - range.lowerBound)
    }
}
