import BlockImage
import Catalog
import Fuse
import GuestFiles

/// An open directory of a guest. The names are read in the order in which they are stored, some of them at a time: a directory may have
/// any number. Every method may be called from any thread.
final class GuestDirectoryListing: Listing {
    private struct Item {
        var nameStart: Int
        var nameCount: Int
        var inode: Inode
        var kind: FileKind?
    }

    /// Some entries that follow one another.
    private struct Window {
        /// The most entries, and the most bytes of their names. A reader past the last one has those before it read again: a
        /// directory of a million names is gone through eight times.
        static let limit = 1 << 17
        static let nameLimit = 4 << 20

        /// The place of the first one among all.
        var start: UInt64
        var items: [Item] = []
        var names: [UInt8] = []
        /// Whether there are none after it.
        var isLast = true
        /// What came after it in place of more.
        var error: ErrorNumber?

        init(at start: UInt64) { self.start = start }

        var isFull: Bool { items.count >= Self.limit || names.count >= Self.nameLimit }
        var end: UInt64 { start + UInt64(items.count) }
    }

    /// "." and "..".
    private static let dots: UInt64 = 2

    private let directory: GuestDirectory
    private let window = Guarded<Window?>(nil)
    var gate: RequestGate? { directory.gate }

    init(of directory: GuestDirectory) {
        self.directory = directory
    }

    func answer(_ reply: consuming DirectoryReply, from position: UInt64, in mount: ImageFileSystem) {
        var position = position
        if position == 0 {
            // Who goes back to the start sees what is there by then.
            window.withLock { $0 = nil }
            let number = mount.inodes.number(of: directory)
            _ = reply.add(name: Array(".".utf8), inode: number, kind: .directory, nextPosition: 1)
            _ = reply.add(
                name: Array("..".utf8), inode: directory.numberAbove(in: mount), kind: .directory,
                nextPosition: Self.dots)
            return reply.finish()
        }
        position = max(position, Self.dots) - Self.dots
        do throws(ErrorNumber) {
            let window = try entries(from: position, in: mount)
            // Nothing is the end.
            if position >= window.end, let error = window.error { throw error }
            for index in window.items.indices.dropFirst(Int(clamping: position - window.start)) {
                let item = window.items[index]
                let name = Array(window.names[item.nameStart..<item.nameStart + item.nameCount])
                let next = window.start + UInt64(index) + Self.dots + 1
                guard reply.add(name: name, inode: item.inode, kind: item.kind, nextPosition: next) else { break }
            }
            reply.finish()
        } catch {
            reply.failure(error)
        }
    }

    /// The window that `position` is in, or at the end of which it is.
    private func entries(from position: UInt64, in mount: ImageFileSystem) throws(ErrorNumber) -> Window {
        try window.withLock { window throws(ErrorNumber) in
            if let known = window, position >= known.start, position < known.end || known.isLast { return known }
            let new = try load(from: position, in: mount)
            window = new
            return new
        }
    }

    private func load(from position: UInt64, in mount: ImageFileSystem) throws(ErrorNumber) -> Window {
        try directory.view.read(in: mount) { tree throws(ImageError) in
            var window = Window(at: position)
            var passed: UInt64 = 0
            do throws(ImageError) {
                try tree.list(directory.file) { entry throws(ImageError) in
                    guard passed == position else {
                        passed += 1
                        return true
                    }
                    guard !window.isFull else {
                        window.isLast = false
                        return false
                    }
                    let (inode, kind) = directory.number(of: entry, tree, in: mount)
                    window.items.append(
                        Item(
                            nameStart: window.names.count, nameCount: entry.name.count, inode: inode, kind: kind))
                    window.names += entry.name
                    return true
                }
            } catch {
                // What comes before the damage is shown.
                window.error = directory.view.note(error, in: mount)
            }
            return window
        }
    }
}
