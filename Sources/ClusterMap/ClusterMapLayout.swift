import BlockImage
import ByteFormat

extension ClusterMap {
    /// Reports the tables and their entries to `consumer`: of two levels, those of the second where `options` ask for them.
    /// Where the host cannot read the file, that is reported as a fault. Throws what the consumer throws.
    public func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let (size, overflow) = UInt64(first.count).multipliedReportingOverflow(by: UInt64(first.entrySize))
        try consumer.begin(LayoutStructure(first.name, at: first.offset, size: overflow ? nil : size))
        let end = first.offset.rawValue.addingReportingOverflow(size)
        if overflow || end.overflow || end.partialValue > file.size {
            try consumer.fault("does not lie in the file, which ends at \(HostOffset(file.size))")
        }
        var lister = LayoutEntryLister(consumer, "entries of the \(first.name)", limit: options.entryLimit)
        var walk = ClusterWalk(self)
        var next = 0
        try reportingReadErrors(consumer) { () throws(ImageError) in
            try walk.visitFirst { (entry) throws(ImageError) in
                try addEmpty(next..<entry.index, of: first, guest: 0, coverage, to: &lister)
                next = entry.index + 1
                try lister.add(second == nil ? listed(entry) : listedTable(entry), isEmpty: false)
            }
        }
        try addEmpty(next..<max(next, neededFirstCount), of: first, guest: 0, coverage, to: &lister)
        try lister.finish()
        if let second, options.showsEntries { try listSecond(second, to: consumer, options) }
        try consumer.end()
    }

    private func listSecond(
        _ second: SecondTables, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        var lister = LayoutEntryLister(consumer, "entries of \(second.name)s", limit: options.entryLimit)
        var (walk, inner) = (ClusterWalk(self), ClusterWalk(self))
        try reportingReadErrors(consumer) { () throws(ImageError) in
            try walk.visitFirst { (entry) throws(ImageError) in
                guard !lister.isExhausted, let table = table(of: entry.stored) else { return }
                let size = UInt64(table.count * table.entrySize)
                try consumer.begin(LayoutStructure(table.name, at: table.offset, size: size))
                var next = 0
                try inner.visit(table, of: entry) { (found) throws(ImageError) in
                    try addEmpty(next..<found.index, of: table, guest: entry.guest, clusterSize, to: &lister)
                    next = found.index + 1
                    try lister.add(listed(found), isEmpty: false)
                }
                try lister.finish()
                try consumer.end()
            }
        }
        try lister.finish()
    }

    private func reportingReadErrors(
        _ consumer: any LayoutConsumer, _ body: () throws(ImageError) -> Void
    ) throws(ImageError) {
        do throws(ImageError) {
            try body()
        } catch {
            // What the consumer threw is about no place of this file.
            guard error.subject == .file(file.path) else { throw error }
            try consumer.fault(error.detail)
        }
    }

    /// Adds the entries `range` of `table`, all of which are 0, as one.
    private func addEmpty(
        _ range: Range<Int>, of table: TableLocation, guest: UInt64, _ covered: UInt64,
        to lister: inout LayoutEntryLister
    ) throws(ImageError) {
        guard !range.isEmpty else { return }
        let place = table.offset.advanced(by: UInt64(range.lowerBound * table.entrySize))
        let start = guest &+ UInt64(range.lowerBound) &* covered
        try lister.add(
            LayoutEntry(
                UInt64(range.lowerBound), count: UInt64(range.count), at: place, raw: [0],
                facts: [.init("guest", .range(start, covered))]), isEmpty: true)
    }

    private func listedTable(_ entry: ClusterWalk.Entry) -> LayoutEntry {
        var listed = LayoutEntry(
            UInt64(entry.index), at: entry.offset, raw: [entry.stored],
            facts: [.init("guest", .range(entry.guest, coverage))])
        do throws(ParseFault) {
            guard let offset = try entries.table(of: entry.stored) else { return listed }
            listed.facts.append(.init("l2", .offset(offset.rawValue)))
            listed.fault = placeFault(offset)
        } catch {
            listed.fault = error.message
        }
        return listed
    }

    private func listed(_ entry: ClusterWalk.Entry) -> LayoutEntry {
        var listed = LayoutEntry(
            UInt64(entry.index), at: entry.offset, raw: [entry.stored],
            facts: [.init("guest", .range(entry.guest, clusterSize))])
        func add(_ kind: String, _ host: HostOffset?) {
            listed.facts.append(.init("kind", .text(kind)))
            guard let host else { return }
            listed.facts.append(.init("host", .offset(host.rawValue)))
            listed.fault = placeFault(host)
        }
        do throws(ParseFault) {
            switch try entries.place(of: entry.stored) {
            case .unallocated: add("unallocated", nil)
            case .zero: add("zero", nil)
            case .data(let host): add("data", host)
            case .compressed(let host, _): add("compressed", host)
            }
        } catch {
            listed.fault = error.message
        }
        return listed
    }

    private func placeFault(_ offset: HostOffset) -> String? {
        offset.rawValue < file.size ? nil : "points to \(offset), but the file ends at \(HostOffset(file.size))"
    }

    /// Tells `recorder` where tables and clusters lie; `firstUse` and `secondUse` are what the tables are. Damage is passed
    /// over. Throws nothing but what reading the file throws.
    public func recordUse(
        in recorder: any HostUseRecorder, firstUse: HostUse = .l1Table, secondUse: HostUse = .l2Table
    ) throws(ImageError) {
        let (size, overflow) = UInt64(first.count).multipliedReportingOverflow(by: UInt64(first.entrySize))
        // The header may end in the sector or the cluster in which the table begins.
        recorder.record(firstUse, at: first.offset, count: overflow ? .max : size) { _, earlier in earlier == .header }
        var (walk, inner) = (ClusterWalk(self), ClusterWalk(self))
        do throws(ImageError) {
            try walk.visitFirst { (entry) throws(ImageError) in
                guard second != nil else { return record(entry, in: recorder) }
                guard let table = table(of: entry.stored) else { return }
                let size = UInt64(table.count * table.entrySize)
                let earlier = recorder.record(secondUse, at: table.offset, count: size) { _, _ in false }
                let held = min(size, file.size - table.offset.rawValue)
                recorder.record(
                    StoredRange(secondUse, at: table.offset, count: held, start: entry.guest, covered: coverage))
                // What was walked over once is known.
                if earlier == secondUse || earlier == .overlap { return }
                try inner.visit(table, of: entry) { (found) in record(found, in: recorder) }
            }
        } catch {
            guard error.code == .unsupported else { throw error }
            recorder.note("\(error.detail): not all of them were walked over")
        }
    }

    private func record(_ entry: ClusterWalk.Entry, in recorder: any HostUseRecorder) {
        guard let place = try? entries.place(of: entry.stored) else { return }
        let (use, host, count): (HostUse, HostOffset, UInt64)
        switch place {
        case .unallocated, .zero: return
        case .data(let offset): (use, host, count) = (.data, offset, clusterSize)
        case .compressed(let offset, let size): (use, host, count) = (.compressed, offset, size)
        }
        guard host.rawValue < file.size else { return }
        recorder.record(use, at: host, count: count) { _, earlier in use == .compressed && earlier == .compressed }
        recorder.record(
            StoredRange(
                use, at: host, count: min(count, file.size - host.rawValue), start: entry.guest,
                covered: min(clusterSize, virtualSize - min(entry.guest, virtualSize))))
    }
}
