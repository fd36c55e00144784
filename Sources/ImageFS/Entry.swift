import Synchronization

/// What has a name in the mount because the host has one there: a folder, an image or a container of disks.
protocol Entry: AnyObject, Node {
    /// Its number, which no other ever has.
    var number: UInt64 { get }

    /// It has lost its name: closes what it keeps open, at once or with the last reader, so that the host has the space of
    /// a deleted image back.
    func letGo()
}

extension Entry {
    static func == (one: Self, other: Self) -> Bool { one.number == other.number }

    func hash(into hasher: inout Hasher) {
        hasher.combine(number)
    }
}

/// Numbers the entries of a mount, and counts those that are there: an entry whose name is gone stays for as long as the
/// kernel refers to it. Every method may be called from any thread.
final class EntryNumbers: Sendable {
    private let last = Atomic<UInt64>(0)
    fileprivate let existing = Atomic(0)

    /// How many entries there are.
    var count: Int { existing.load(ordering: .relaxed) }

    /// The number of a new entry, which must keep it.
    func next() -> EntryNumber {
        EntryNumber(self, last.add(1, ordering: .relaxed).newValue)
    }
}

/// The number of one entry, which counts for as long as it is kept.
struct EntryNumber: ~Copyable, Sendable {
    let value: UInt64
    private let numbers: EntryNumbers

    fileprivate init(_ numbers: EntryNumbers, _ value: UInt64) {
        self.numbers = numbers
        self.value = value
        numbers.existing.add(1, ordering: .relaxed)
    }

    deinit {
        numbers.existing.subtract(1, ordering: .relaxed)
    }
}
