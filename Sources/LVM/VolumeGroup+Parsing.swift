import ByteFormat

extension VolumeGroup {
    /// The most bytes of a text that is read: LVM's usual area takes half a MiB of it, and 5,000 volumes have less than this.
    static let textLimit: UInt64 = 4 << 20
    /// The most members and volumes of a group: LVM advises against more than some hundreds.
    private static let limit = 1 << 14

    /// The group that `text` describes. Throws what is wrong with it: the position of a fault is in the text, or 0.
    init(parsing text: [UInt8]) throws(ParseFault) {
        let root = try ConfigSection(parsing: text)
        guard root.text("contents") == "Text Format Volume Group", try root.number("version") == 1 else {
            throw ParseFault(at: 0, "it is not called a \"Text Format Volume Group\" of version 1")
        }
        guard root.sections.count == 1 else {
            throw ParseFault(at: 0, "it has \(root.sections.count) sections, but must have one, the group's")
        }
        let (name, group) = root.sections[0]
        self.name = try Self.checked(name, "group")
        guard let id = VolumeID(group.text("id")) else { throw ParseFault(at: 0, "the group's id is none") }
        self.id = id
        sequence = try group.number("seqno")
        extentSize = try group.sectors("extent_size")
        guard extentSize > 0 else { throw ParseFault(at: 0, "extent_size: is 0") }
        members = []
        for (name, section) in try Self.sections("physical_volumes", of: group) {
            members.append(try Member(parsing: section, named: name))
        }
        volumes = []
        let sections = try Self.sections("logical_volumes", of: group)
        for (name, section) in sections where section.texts("status").contains("VISIBLE") {
            volumes.append(
                LogicalVolume(parsing: section, named: try Self.checked(name, "volume"), extentSize: extentSize))
        }
        settleSnapshots(sections)
    }

    private static func sections(
        _ name: String, of group: ConfigSection
    ) throws(ParseFault) -> [(name: String, section: ConfigSection)] {
        let sections = group.section(name)?.sections ?? []
        guard sections.count <= limit else {
            throw ParseFault(at: 0, "\(name): has \(sections.count) sections, but \(limit) are the most that are read")
        }
        return sections
    }

    /// `name`, a group's or a volume's. Throws where LVM makes none of that name: such could stand for other files in a mount.
    private static func checked(_ name: String, _ what: String) throws(ParseFault) -> String {
        let isName =
            (1...127).contains(name.utf8.count) && name != "." && name != ".." && name.utf8.first != UInt8(ascii: "-")
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "+_.-".utf8.contains(byte)
                }
            }
        guard isName else {
            throw ParseFault(at: 0, "the \(what) has the name ", quoting: name, ", which LVM allows for none")
        }
        return name
    }

    /// Old-style snapshots: a volume of type "snapshot", which nothing shows, names the volume that people know, and whose bytes
    /// are those of the origin that were overwritten, with a table; or that is being merged back into its origin.
    private mutating func settleSnapshots(_ sections: [(name: String, section: ConfigSection)]) {
        var types: [String: String] = [:]
        var hidden: Set<String> = []
        for (name, volume) in sections {
            for (_, segment) in volume.sections where segment.text("type") == "snapshot" {
                hidden.insert(name)
                if let store = segment.text("cow_store") { types[store] = "snapshot" }
                if let store = segment.text("merging_store") {
                    types[store] = "snapshot"
                    if let origin = segment.text("origin") { types[origin] = "merging snapshot" }
                }
            }
        }
        volumes = volumes.filter { !hidden.contains($0.name) }.map { volume in
            guard let type = types[volume.name] else { return volume }
            var volume = volume
            (volume.type, volume.segments) = (type, [])
            return volume
        }
    }
}

extension VolumeGroup.Member {
    fileprivate init(parsing section: ConfigSection, named name: String) throws(ParseFault) {
        self.name = name
        guard let id = VolumeID(section.text("id")) else {
            throw ParseFault(at: 0, "the id of the physical volume ", quoting: name, " is none")
        }
        self.id = id
        device = section.text("device")
        start = try section.sectors("pe_start")
        extentCount = try section.number("pe_count")
        isMissing = section.texts("flags").contains("MISSING") || section.texts("status").contains("MISSING")
    }
}

extension LogicalVolume {
    /// What `section` says of the volume `name`; what is wrong with that is its `fault`.
    fileprivate init(parsing section: ConfigSection, named name: String, extentSize: UInt64) {
        self.name = name
        id = VolumeID(section.text("id"))
        do throws(ParseFault) {
            try addSegments(of: section, extentSize)
        } catch {
            segments = []
            fault = error.message
        }
    }

    private mutating func addSegments(of section: ConfigSection, _ extentSize: UInt64) throws(ParseFault) {
        let count = try section.number("segment_count")
        guard count == UInt64(section.sections.count) else {
            throw ParseFault(at: 0, "segment_count is \(count), but there are \(section.sections.count) segments")
        }
        var parts: [(start: UInt64, section: ConfigSection)] = []
        for (_, part) in section.sections { parts.append((try part.number("start_extent"), part)) }
        parts.sort { $0.start < $1.start }
        var end: UInt64 = 0
        for (start, part) in parts {
            guard start == end else {
                throw ParseFault(
                    at: 0, "a segment begins at the extent \(start), but must at \(end), where the one before it ends")
            }
            let extents = try part.number("extent_count")
            let (last, overflow) = end.addingReportingOverflow(extents)
            let (bytes, isTooLarge) = last.multipliedReportingOverflow(by: extentSize)
            guard extents > 0, !overflow, !isTooLarge, bytes <= UInt64(Int64.max) else {
                throw ParseFault(at: 0, "a segment has \(extents) extents from \(start) on, which no volume has")
            }
            end = last
            size = bytes
            try add(part, extents, extentSize)
        }
    }

    private mutating func add(_ part: ConfigSection, _ extents: UInt64, _ extentSize: UInt64) throws(ParseFault) {
        guard let kind = part.text("type") else { throw ParseFault(at: 0, "a segment has no type") }
        guard kind == "striped" || kind == "linear" else {
            if isMapped { type = kind }
            return
        }
        let count = try part.number("stripe_count")
        guard case .list(let list)? = part.values["stripes"], count > 0, UInt64(list.count) == 2 * count,
            extents.isMultiple(of: count)
        else {
            throw ParseFault(
                at: 0, "a segment of \(extents) extents has \(count) stripes, and must have a place for each")
        }
        var stripes: [Segment.Stripe] = []
        for index in stride(from: 0, to: list.count, by: 2) {
            guard case .text(let source) = list[index], case .number(let extent) = list[index + 1], extent >= 0 else {
                throw ParseFault(at: 0, "a stripe is no name and number of an extent")
            }
            stripes.append(Segment.Stripe(source: source, extent: UInt64(extent)))
        }
        // No more than the size of the volume, which is checked.
        let bytes = extents * extentSize
        var stripeSize = bytes
        if count > 1 {
            stripeSize = try part.sectors("stripe_size")
            guard stripeSize > 0, (bytes / count).isMultiple(of: stripeSize) else {
                throw ParseFault(
                    at: 0, "the stripe_size of a segment is \(stripeSize) bytes, which do not divide its stripes")
            }
            if isMapped { type = "striped" }
        }
        segments.append(Segment(count: bytes, stripes: stripes, stripeSize: stripeSize))
    }
}
