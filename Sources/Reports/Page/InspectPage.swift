import BlockImage
import ImageFormats
import ImageTools

extension InspectedImage {
    /// The most parts of the file, and of the disk, that a page has: at about 60 bytes each, some megabytes.
    private static let pagePartLimit = 40_000
    /// The most entries of each kind of table that are looked at for what is wrong.
    private static let pageEntryLimit: UInt64 = 1 << 20

    /// What the parts of the file are used for, as pictures need it; `forPage`: and which parts of the disk they store.
    package func pictureMap(
        forPage: Bool, onProgress: @escaping (UInt64) -> Void
    ) throws(ImageError) -> HostMap {
        try hostMap(
            cellLimit: HostMap.pictureCellLimit, storedLimit: forPage ? Self.pagePartLimit : 0, onProgress: onProgress)
    }

    /// The file as a page of HTML: the picture of its use, `map`, which parts of the disk it stores, its structures and
    /// what is wrong. Answers how many things are wrong in the structures, too. `name` is what the image is called.
    package func page(named name: String, _ map: HostMap) throws -> (html: String, faultCount: UInt64) {
        var structures = ""
        let json = LayoutJSON { (part) throws(ImageError) in structures += part }
        let bounded = BoundedLayout(json)
        do throws(ImageError) {
            try list(to: bounded, LayoutOptions(showsEntries: true, entryLimit: Self.pageEntryLimit))
        } catch {
            // What was found up to there is shown, too.
            try json.endAll()
            map.note("the structures are not all shown: \(error)")
        }
        let ranges = map.ranges(limit: Self.pagePartLimit)
        let stored = map.stored?.finished
        var data = JSONObject()
        data.add("space", "file")
        data.add("size", map.size)
        data.add("unit", map.unit)
        data.add(
            "facts",
            raw: jsonFacts([
                ("format", format.rawValue), ("file", "\(humanSize(map.size)) (\(counted(map.size, "byte")))"),
                ("unit", humanSize(map.unit)),
            ]))
        data.add("kinds", raw: "[\(HostUse.allCases.map(\.pageKind.json).joined(separator: ",\n"))]")
        data.add("ranges", raw: ranges.json)
        data.add("stored", raw: stored?.json ?? "[]")
        if let note = coarseNote(ranges, stored, map) { data.add("coarse", note) }
        data.add("findings", raw: findings(map))
        data.add("structures", raw: "[\(structures)]")
        let page = PageDocument(title: "\(name): use of the file", data: data.text, listTitle: "Findings")
        return (try page.html(), bounded.faultCount)
    }

    private func coarseNote(_ ranges: RangeList, _ stored: StoredRanges?, _ map: HostMap) -> String? {
        var notes = ranges.coarseNote.map { [$0] } ?? []
        if !map.isExact { notes.append("Each \(humanSize(map.cellSize)) is shown with the mix of its uses.") }
        if let step = stored?.step, step > 0 {
            notes.append("Of clusters that lie within \(humanSize(step)) of each other only the bounds are known.")
        }
        return notes.isEmpty ? nil : notes.joined(separator: " ")
    }

    /// What is to be known of the file and of its use, as an array of JSON.
    private func findings(_ map: HostMap) -> String {
        func finding(_ note: ErrorText, isFault: Bool) -> String {
            "{\"text\": \(jsonString(note.description)), \"fault\": \(isFault)}"
        }
        // The map notes what lies past the end first, then overlaps and what it could not look at.
        let found = notes.map { finding($0, isFault: false) } + map.notes.map { finding($0, isFault: map.hasFaults) }
        return "[\(found.joined(separator: ",\n"))]"
    }
}

extension StoredRanges {
    /// The parts as an array of JSON: `[offset, bytes, use, start, covered, snapshot or -1, pieces, 1 if joined]`.
    fileprivate var json: String {
        let parts = parts.map { part in
            let range = part.range
            return "[\(range.offset.rawValue),\(range.count),\(range.use.rawValue),\(range.start),\(range.covered),"
                + "\(range.snapshot.map { "\($0)" } ?? "-1"),\(part.pieces)\(part.isJoined ? ",1" : "")]"
        }
        return "[\(parts.joined(separator: ",\n"))]"
    }
}

extension HostUse {
    /// How the page shows it, and what it calls tables by their entry of the table above them.
    fileprivate var pageKind: PageKind {
        var members: [(name: String, json: String)] = []
        func add(_ name: String, _ text: String) { members.append((name, jsonString(text))) }
        switch self {
        case .free, .leaked: members.append(("last", self == .free ? "2" : "1"))
        case .overlap: members += [("urgent", "1"), ("crossed", "true")]
        case .l2Table:
            add("table", "L2 table of L1 index")
            add("tables", "L2 tables of L1 indexes")
        case .grainTable, .redundantTable:
            add("table", name)
            add("tables", "\(name)s")
        case .refcountBlock:
            add("table", "refcount block of table entry")
            add("tables", "refcount blocks of table entries")
            add("covers", "file")
        default: break
        }
        return PageKind(name: name, colours: (colour, darkColour), members: members)
    }
}
