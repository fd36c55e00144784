import BlockImage

/// Ranges of an address space, one behind the other from 0 on, each of one kind: no more of them than a limit, whatever
/// comes. Where there would be more, neighbours that are shorter than a step are put together, and what they are of is
/// counted; the step grows until they are few enough.
package struct RangeList: Sendable {
    /// A part of the space.
    package struct Part: Hashable, Sendable {
        /// How many bytes it has.
        package fileprivate(set) var count: UInt64
        /// The kinds of its bytes, and how many are of each; one, where nothing was put together.
        package fileprivate(set) var mix: [Share]

        fileprivate mutating func join(_ next: Part) {
            count += next.count
            for share in next.mix {
                if let index = mix.firstIndex(where: { $0.kind == share.kind }) {
                    mix[index].count += share.count
                } else {
                    mix.append(share)
                }
            }
        }
    }

    /// Bytes of one kind.
    package struct Share: Hashable, Sendable {
        /// The kind, as who uses the list numbers them.
        package var kind: UInt8
        /// How many bytes.
        package var count: UInt64
    }

    /// The parts, in their order.
    package private(set) var parts: [Part] = []
    /// What is shorter than this was put together with its neighbours; 0 where nothing was.
    package private(set) var step: UInt64 = 0
    /// Where the parts end.
    package private(set) var end: UInt64 = 0
    private var lastStart: UInt64 = 0
    private let limit: Int

    /// An empty list that gets at most `limit` parts.
    package init(limit: Int) {
        self.limit = max(2, limit)
    }

    /// Adds the next `count` bytes, all of one kind.
    package mutating func append(_ kind: UInt8, count: UInt64) {
        guard count > 0 else { return }
        append(Part(count: count, mix: [Share(kind: kind, count: count)]))
    }

    /// Adds the next bytes, of several kinds.
    package mutating func append(mix: [Share]) {
        let part = Part(count: mix.reduce(0) { $0 + $1.count }, mix: mix)
        if part.count > 0 { append(part) }
    }

    private mutating func append(_ part: Part) {
        if let last = parts.last, joins(last, at: lastStart, part, at: end) {
            parts[parts.count - 1].join(part)
        } else {
            lastStart = end
            parts.append(part)
        }
        end += part.count
        while parts.count > limit { coarsen() }
    }

    /// Whether two neighbours are one part: they are of one kind, or both so short that they lie in one step.
    private func joins(_ part: Part, at start: UInt64, _ next: Part, at nextStart: UInt64) -> Bool {
        if part.mix.count == 1, next.mix.count == 1, part.mix[0].kind == next.mix[0].kind { return true }
        return step > 0 && part.count < step && next.count < step && start / step == nextStart / step
    }

    /// Doubles the step until at least an eighth of the parts is put together, so that this is not done for each part.
    private mutating func coarsen() {
        while parts.count > limit - limit / 8, step < .max >> 1 {
            step = max(512, step << 1)
            var joined: [Part] = []
            var start: UInt64 = 0
            lastStart = 0
            for part in parts {
                if let last = joined.last, joins(last, at: lastStart, part, at: start) {
                    joined[joined.count - 1].join(part)
                } else {
                    lastStart = start
                    joined.append(part)
                }
                start += part.count
            }
            parts = joined
        }
    }
}
