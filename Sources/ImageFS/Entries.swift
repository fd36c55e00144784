import BlockImage
import Fuse

/// What has a name in the mount because something on the host has one: a folder, an image, or an appliance.
enum Entry: Sendable {
    /// The folder that was mounted, or one below it.
    case folder(FolderNode)
    /// One image.
    case image(ImageNode)
    /// An archive of images.
    case appliance(ApplianceNode)

    /// The number that its inodes are made of.
    var number: UInt64 {
        switch self {
        case .folder(let node): node.number
        case .image(let node): node.number
        case .appliance(let node): node.number
        }
    }
}

extension Entry {
    /// It has lost its name: closes what it keeps open, at once or with the last reader, so that the host has the space
    /// of a deleted image back; and takes it, and all that is below it, out of `entries`.
    func letGo(from entries: Entries) {
        switch self {
        case .folder(let node): node.letGo()
        case .image(let node): node.letGo()
        case .appliance(let node): node.letGo()
        }
        entries.remove(number)
    }
}

/// All entries that the kernel may ask for, by their numbers. Every method may be called from any thread.
///
/// An entry whose name is gone stays for as long as the kernel refers to it: a file that is open can be asked for its
/// attributes when it has no name any more.
final class Entries: Sendable {
    fileprivate struct Reference {
        var entry: Entry
        /// How many references the kernel holds to inodes of the entry.
        var count: UInt64 = 0
        /// Whether it still has its name.
        var isNamed = true
    }

    private struct State {
        var references: [UInt64: Reference] = [:]
        var next = FolderNode.rootNumber
    }

    private let state = Guarded(State())

    /// A number that was never given out before; the first is the root's.
    func nextNumber() -> UInt64 {
        state.withLock { state in
            defer { state.next += 1 }
            return state.next
        }
    }

    /// Keeps a new entry under its number.
    func add(_ entry: Entry) {
        state.withLock { $0.references[entry.number] = Reference(entry: entry) }
    }

    /// The entry with that number.
    subscript(number: UInt64) -> Entry? {
        state.withLock { $0.references[number]?.entry }
    }

    /// How many entries there are.
    var count: Int { state.withLock { $0.references.count } }

    /// Counts one more reference of the kernel to an inode of the entry; false where the entry is gone by now.
    func refer(to number: UInt64) -> Bool {
        state.withLock { state in
            state.references[number]?.count += 1
            return state.references[number] != nil
        }
    }

    /// The kernel gives up `count` references to inodes of the entry.
    func forget(_ number: UInt64, count: UInt64) {
        change(number) { $0.count -= min(count, $0.count) }
    }

    /// The entry has lost its name.
    func remove(_ number: UInt64) {
        change(number) { $0.isNamed = false }
    }

    private func change(_ number: UInt64, _ change: (inout Reference) -> Void) {
        // What goes with the last reference to an entry goes after the lock: it may be more entries.
        _ = state.withLock { state -> Entry? in
            guard var reference = state.references[number] else { return nil }
            change(&reference)
            state.references[number] = reference.isGone ? nil : reference
            return reference.entry
        }
    }
}

extension Entries.Reference {
    fileprivate var isGone: Bool { !isNamed && count == 0 }
}
