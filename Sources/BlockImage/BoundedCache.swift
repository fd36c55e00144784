/// A cache that never holds more than a set cost of values. Every method may be called from any thread.
///
/// Eviction is CLOCK (second chance): a hit only sets a number, so that the lock is held for one dictionary look-up. What
/// was used is passed by twice, and what is new once: what was made ready ahead of a reader must not go before the
/// reader comes.
/// Values are made outside the lock: look up, unlock, make, insert.
///
/// Foundation's NSCache has a cost limit too, but holds to it as it likes ("not a strict limit"), and removes by key only;
/// swift-collections has no cache.
public final class BoundedCache<Key: Hashable & Sendable, Value: AnyObject & Sendable>: Sendable {
    fileprivate struct Slot {
        var key: Key
        var value: Value
        var cost: Int
        /// How often the hand passes it by.
        var chances: UInt8
    }

    fileprivate struct Contents {
        var slots: [Slot] = []
        var slotOfKey: [Key: Int] = [:]
        var hand = 0
        var cost = 0
    }

    /// The most that the values held may cost together, in bytes.
    public let capacity: Int
    private let contents = Guarded(Contents())

    /// A cache whose values may cost `capacity` bytes together.
    public init(capacity: Int) {
        self.capacity = capacity
    }

    /// What the values held cost together, in bytes.
    public var cost: Int { contents.withLock { $0.cost } }

    /// The value kept for `key`, if any.
    public func value(for key: Key) -> Value? {
        contents.withLock { contents in
            guard let index = contents.slotOfKey[key] else { return nil }
            contents.slots[index].chances = 2
            return contents.slots[index].value
        }
    }

    /// Keeps `value` for `key` unless another thread did so meanwhile, and answers what is kept.
    ///
    /// Others are dropped to make space. A value that costs more than the whole capacity is answered, but not kept.
    @discardableResult
    public func insert(_ value: Value, cost: Int, for key: Key) -> Value {
        guard cost <= capacity else { return value }
        return contents.withLock { contents in
            if let index = contents.slotOfKey[key] { return contents.slots[index].value }
            while contents.cost + cost > capacity { contents.evictOne() }
            contents.slotOfKey[key] = contents.slots.count
            contents.slots.append(Slot(key: key, value: value, cost: cost, chances: 1))
            contents.cost += cost
            return value
        }
    }

    /// Drops every value whose key fits.
    public func removeAll(where fits: (Key) -> Bool) {
        contents.withLock { contents in
            for index in contents.slots.indices.reversed() where fits(contents.slots[index].key) {
                contents.remove(at: index)
            }
        }
    }
}

extension BoundedCache.Contents {
    /// Drops the first value from the hand on that has no chance left; there must be one value.
    fileprivate mutating func evictOne() {
        while true {
            if hand >= slots.count { hand = 0 }
            guard slots[hand].chances > 0 else { return remove(at: hand) }
            slots[hand].chances -= 1
            hand += 1
        }
    }

    /// Drops one value; the last slot takes its place.
    fileprivate mutating func remove(at index: Int) {
        cost -= slots[index].cost
        slotOfKey[slots[index].key] = nil
        slots.swapAt(index, slots.count - 1)
        slots.removeLast()
        if index < slots.count { slotOfKey[slots[index].key] = index }
    }
}

/// What keeping a buffer of `size` bytes takes in all: the entry, and three eighths more for the gaps that buffers which come
/// and go, on many threads, leave between those that stay. So what the process takes stays near what the user allowed.
func heapCost(of size: Int) -> Int {
    size + size / 8 * 3 + 256
}
