import BlockImage

extension HostMap {
    /// The uses of the file's parts one behind the other, at most `limit` ranges. Those of units, where these are known;
    /// else each cell's, with the mix of it.
    package func ranges(limit: Int) -> RangeList {
        var list = RangeList(limit: limit)
        guard isExact else {
            for cell in cells {
                list.append(mix: cell.ranked.map { .init(kind: $0.rawValue, count: cell.count(of: $0)) })
            }
            return list
        }
        let chunkSize = Self.chunkUnits.multipliedReportingOverflow(by: unit)
        func append(_ use: UInt8, to end: UInt64) { list.append(use, count: max(end, list.end) - list.end) }
        for (number, chunk) in chunks.sorted(by: { $0.key < $1.key }) {
            // The file ends within a chunk, or within a unit.
            let start = number * chunkSize.partialValue
            append(HostUse.free.rawValue, to: start)
            switch chunk {
            case .alike(let use): append(use, to: end(of: start, chunkSize))
            case .each(let uses, _):
                var first = 0
                while first < uses.count {
                    let next = uses[first...].firstIndex { $0 != uses[first] } ?? uses.count
                    append(uses[first], to: end(of: start, UInt64(next).multipliedReportingOverflow(by: unit)))
                    first = next
                }
            }
        }
        append(HostUse.free.rawValue, to: size)
        return list
    }

    private func end(of start: UInt64, _ count: (partialValue: UInt64, overflow: Bool)) -> UInt64 {
        let (end, overflow) = start.addingReportingOverflow(count.partialValue)
        return overflow || count.overflow ? size : min(end, size)
    }
}
