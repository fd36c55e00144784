/// A physical volume of LVM2, written byte by byte, knowing nothing of how it is read.
package struct BuiltLVM {
    /// The bytes of the disk.
    package var bytes: [UInt8]
    /// Its 32 characters.
    package let id: String
    /// Where its metadata areas are.
    package let areas: [Range<Int>]

    /// A volume of `size` bytes with a label in the sector `sector`, and an empty metadata area at each of `areas`.
    package init(_ id: String, size: Int = 1 << 20, sector: Int = 1, areas: [Range<Int>] = [4096..<65536]) {
        self.id = id
        self.areas = areas
        bytes = Array(repeating: 0, count: size)
        var label =
            Array("LABELONE".utf8) + Self.little(UInt64(sector)) + Self.little(UInt32(0)) + Self.little(UInt32(32))
        label += Array("LVM2 001".utf8) + Array(id.utf8) + Self.little(UInt64(size))
        label += Self.little(UInt64(65536)) + Self.little(UInt64(0)) + Array(repeating: 0, count: 16)
        for area in areas { label += Self.little(UInt64(area.lowerBound)) + Self.little(UInt64(area.count)) }
        label += Array(repeating: 0, count: 512 - label.count)
        bytes.replaceSubrange(sector * 512..<sector * 512 + 512, with: label)
        sealLabel(sector)
        for index in areas.indices { setText(nil, area: index) }
    }

    /// Writes the check sum of the label.
    package mutating func sealLabel(_ sector: Int = 1) {
        let start = sector * 512
        poke(Self.checksum(bytes[start + 20..<start + 512]), at: start + 16)
    }

    /// Writes the header of the area `area`, and `text` at `offset` of it; nil: it has none. What goes past the end of the area
    /// goes on in its second sector.
    package mutating func setText(_ text: String?, area index: Int = 0, at offset: Int = 512, flags: UInt32 = 0) {
        let area = areas[index]
        let content: [UInt8] = text.map { Array($0.utf8) + [0] } ?? []
        for (place, byte) in content.enumerated() {
            let position = offset + place
            bytes[area.lowerBound + (position < area.count ? position : position - area.count + 512)] = byte
        }
        var header = Array(" LVM2 x[5A%r0N*>".utf8) + Self.little(UInt32(1)) + Self.little(UInt64(area.lowerBound))
        header += Self.little(UInt64(area.count)) + Self.little(UInt64(text == nil ? 0 : offset))
        header += Self.little(UInt64(content.count)) + Self.little(Self.checksum(content)) + Self.little(flags)
        header += Array(repeating: 0, count: 508 - header.count)
        let sum = Self.little(Self.checksum(header))
        bytes.replaceSubrange(area.lowerBound..<area.lowerBound + 512, with: sum + header)
    }

    /// Writes `value`, little-endian, at `offset`.
    package mutating func poke(_ value: some FixedWidthInteger, at offset: Int) {
        let new = Self.little(value)
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    private static func little(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    /// CRC-32, bit by bit, as LVM begins it, and without its end.
    package static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
        var sum: UInt32 = 0xf597_a6cf
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xedb8_8320 }
        }
        return sum
    }

    /// `id` with the hyphens that metadata has in it.
    package static func hyphenated(_ id: String) -> String {
        var (parts, rest): ([Substring], Substring) = ([], id[...])
        for count in [6, 4, 4, 4, 4, 4, 6] {
            parts.append(rest.prefix(count))
            rest = rest.dropFirst(count)
        }
        return parts.joined(separator: "-")
    }
}

/// The text of a group's metadata, as LVM writes it.
package struct BuiltGroup {
    package var name: String
    package var id: String
    package var sequence = 1
    /// In sectors.
    package var extentSize = 8
    /// The identifiers of the physical volumes pv0, pv1 …; each has 1,000 extents from the byte 65,536 on.
    package var members: [String]
    /// What the section of each has besides.
    package var memberLines: [String] = []
    /// What the section of its logical volumes has.
    package var volumes = ""

    /// A group of `members` without volumes.
    package init(_ name: String, _ id: String, members: [String]) {
        (self.name, self.id, self.members) = (name, id, members)
    }

    /// Adds a volume of `segments`, each the lines of one; `status` is what it is.
    package mutating func add(_ name: String, status: String = #""READ", "WRITE", "VISIBLE""#, _ segments: String...) {
        let id = BuiltLVM.hyphenated(String((name + String(repeating: "0", count: 32)).filter { $0 != "_" }.prefix(32)))
        volumes += "\(name) {\nid = \"\(id)\"\nstatus = [\(status)]\nflags = []\nsegment_count = \(segments.count)\n"
        for (index, segment) in segments.enumerated() { volumes += "\nsegment\(index + 1) {\n\(segment)\n}\n" }
        volumes += "}\n"
    }

    /// The lines of a linear or striped segment: `stripes` are names and first extents.
    package static func segment(
        _ start: Int, _ count: Int, _ stripes: [(String, Int)], stripeSize: Int = 8
    ) -> String {
        let places = stripes.map { "\"\($0)\", \($1)" }.joined(separator: ",\n")
        return
            "start_extent = \(start)\nextent_count = \(count)\n\ntype = \"striped\"\nstripe_count = \(stripes.count)\n"
            + (stripes.count > 1 ? "stripe_size = \(stripeSize)\t# \(stripeSize / 2) Kilobytes\n" : "")
            + "\nstripes = [\n\(places)\n]"
    }

    /// The whole text.
    package var text: String {
        var text = """
            # a comment
            \(name) {
            id = "\(BuiltLVM.hyphenated(id))"
            seqno = \(sequence)
            format = "lvm2"\t# informational
            status = ["RESIZEABLE", "READ", "WRITE"]
            extent_size = \(extentSize)\t\t# 4 Kilobytes

            physical_volumes {

            """
        for (index, member) in members.enumerated() {
            text += """

                pv\(index) {
                id = "\(BuiltLVM.hyphenated(member))"
                device = "/dev/sd\(index)"\t# Hint only
                status = ["ALLOCATABLE"]
                dev_size = 2048
                pe_start = 128
                pe_count = 1000
                \(index < memberLines.count ? memberLines[index] : "flags = []")
                }

                """
        }
        text += "}\n\n"
        if !volumes.isEmpty { text += "logical_volumes {\n\n\(volumes)}\n\n" }
        return text
            + "}\ncontents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"made by \\\"a test\\\"\"\n"
    }
}
