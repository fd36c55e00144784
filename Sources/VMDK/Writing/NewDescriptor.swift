import BlockImage

/// The descriptor of a new disk (Virtual Disk Format 5.0, "The Descriptor File").
struct NewDescriptor {
    /// The disk.
    let disk: NewVMDK
    /// Its extents, in their order.
    let extents: [DescriptorExtent]
    /// Its content identifier.
    var cid: UInt32

    /// The text, in UTF-8 but for names of files that are not: those are bytes, as everywhere.
    var bytes: [UInt8] {
        var lines = ["# Disk DescriptorFile", "version=1", "encoding=\"UTF-8\"", "CID=\(contentIDText(cid))"]
        lines.append("parentCID=\(contentIDText(disk.parent?.cid ?? Descriptor.noParent))")
        lines.append("createType=\"\(disk.subformat.rawValue)\"")
        if let parent = disk.parent { lines.append("parentFileNameHint=\"\(parent.name)\"") }
        lines += ["", "# Extent description"]
        lines += extents.map { nameText($0.encoded) }
        lines += ["", "# The Disk Data Base", "#DDB", ""]
        lines += database.map { "ddb.\($0.key) = \"\($0.value)\"" }
        return lines.flatMap { $0.nameBytes + [UInt8(ascii: "\n")] }
    }

    /// The disk database: what virtual machines make of the disk.
    private var database: [(key: String, value: String)] {
        let geometry = Geometry(sectors: disk.sectors, adapterType: disk.adapterType)
        return [
            ("adapterType", disk.adapterType.rawValue),
            ("geometry.cylinders", String(geometry.cylinders)),
            ("geometry.heads", String(geometry.heads)),
            ("geometry.sectors", String(geometry.sectors)),
            ("toolsVersion", String(disk.toolsVersion)),
            ("virtualHWVersion", String(disk.hardwareVersion)),
        ]
    }
}

/// What a disk is said to consist of, for programs from a time when that mattered.
private struct Geometry {
    let cylinders: UInt64
    let heads: UInt64
    let sectors: UInt64

    /// That of a disk of `sectors` sectors: 16 heads and at most 16,383 cylinders for IDE, where ATA ends counting so,
    /// else 255 heads; 63 sectors, the most that a BIOS knows. At least one cylinder, as 0 is what VirtualBox writes for
    /// a geometry that is not known.
    init(sectors total: UInt64, adapterType: NewVMDK.AdapterType) {
        let isIDE = adapterType == .ide
        heads = isIDE ? 16 : 255
        sectors = 63
        cylinders = min(max(total / (heads * sectors), 1), isIDE ? 16383 : .max)
    }
}
