import BlockImage
import ImageTools

/// A comparison of two disks as a page of HTML, gathered while it goes on. Bounded, whatever the disks are.
package struct DiffPage {
    /// The most ranges that it has.
    private static let rangeLimit = 60_000

    private var ranges = RangeList(limit: rangeLimit)
    private let names: [String]

    /// The page of the disks called `first` and `second`.
    package init(_ first: String, _ second: String) {
        names = [first, second]
    }

    /// Adds the next part of both.
    package mutating func add(_ part: ComparedPart) {
        ranges.append(part.kind.rawValue, count: part.end - part.start)
    }

    /// The page, with what the comparison sums up to.
    package func html(_ difference: DiskDifference) throws -> String {
        let sizes = difference.sizes
        var facts = zip(["A", "B"], zip(names, sizes)).map { letter, disk in
            (letter, "\(printable(disk.0)) (\(humanSize(disk.1)), \(counted(disk.1, "byte")))")
        }
        facts.append(
            (
                "differing",
                "\(counted(difference.sectors, "sector")) of \(difference.sectorSize) bytes, "
                    + "\(counted(difference.bytes, "byte")) in \(counted(difference.ranges, "range"))"
            ))
        var data = JSONObject()
        data.add("space", "disk")
        data.add("disks", sizes[0] == sizes[1] ? "disks" : "larger disk")
        data.add("size", ranges.end)
        data.add("unit", UInt64(difference.sectorSize))
        data.add("sectorSize", UInt64(difference.sectorSize))
        data.add("facts", raw: jsonFacts(facts))
        data.add("kinds", raw: "[\(ComparedKind.allCases.map(\.pageKind.json).joined(separator: ",\n"))]")
        data.add("ranges", raw: ranges.json)
        if let note = ranges.coarseNote { data.add("coarse", note) }
        let title = names.map { name in name.split(separator: "/").last.map { "\($0)" } ?? name }
        return try PageDocument(
            title: "\(title[0]) and \(title[1]): differences", data: data.text, listTitle: "Differences"
        ).html()
    }
}

extension ComparedKind {
    fileprivate var pageKind: PageKind {
        var kind = PageKind(name: name, colours: colours)
        switch self {
        case .zeros: kind.members = [("last", "2")]
        case .shared, .same: kind.members = [("last", "1")]
        case .differs: kind.members = [("urgent", "2"), ("listed", "true")]
        case .onlyFirst, .onlySecond: kind.members = [("urgent", "1"), ("listed", "true")]
        case .unreadable: kind.members = [("urgent", "3"), ("crossed", "true"), ("listed", "true")]
        }
        return kind
    }

    private var colours: (light: String, dark: String?) {
        switch self {
        case .zeros: ("#e8ecf0", "#29323c")
        case .shared: ("#c3d9c9", "#35563f")
        case .same: ("#9dbfe3", "#2f5878")
        case .differs: ("#d1495b", "#f0687a")
        case .onlyFirst: ("#f0932b", nil)
        case .onlySecond: ("#8657b8", "#a67be0")
        case .unreadable: ("#111827", "#ff1f1f")
        }
    }
}
