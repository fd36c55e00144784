import BlockImage
import FormatCore
import Glibc
import ImageFormats
import ImageTools
import JSON
import PartitionTable
import Reports

/// What is known of an image as people know it from `qemu-img info`, and more after it.
struct HumanInfo {
    /// The lines, each with its end.
    private(set) var text = ""

    /// The text of `report`; empty where the image could not be opened.
    init(_ report: ImageReport) {
        if let container = report.container { add(container, named: report.filename) }
        guard let info = report.info else { return }
        add(info)
        if let snapshots = info.snapshots { add(snapshots) }
        if let specific = info.formatSpecific, let facts = Facts(of: specific)?["data"] {
            add("Format specific information", facts)
        }
        if let more = report.more { add(more) }
    }

    private mutating func add(_ info: ImageInfo) {
        line("image", info.filename.text)
        line("file format", info.format)
        if let size = info.virtualSize { line("virtual size", "\(humanSize(size)) (\(size) bytes)") }
        line("disk size", humanSize(info.actualSize))
        if info.encrypted == true { line("encrypted", "yes") }
        if let size = info.clusterSize { line("cluster_size", "\(size)") }
        if info.dirtyFlag == true { line("cleanly shut down", "no") }
        if let name = info.backingFilename?.text {
            let full = info.fullBackingFilename?.text ?? name
            line("backing file", full == name ? name : "\(name) (actual path: \(full))")
        }
        if let format = info.backingFilenameFormat { line("backing file format", format) }
    }

    private mutating func add(_ container: ContainerReport, named name: String) {
        line("image", name)
        line("file format", container.format)
        line("disk size", humanSize(container.actualSize))
        if let facts = Facts(of: container.info) { add("Contents", facts) }
        for note in container.notes { line("note", note.description) }
    }

    private mutating func line(_ name: String, _ value: String, indent: Int = 0) {
        text += String(repeating: " ", count: 4 * indent) + "\(name): \(printable(value))\n"
    }

    private mutating func add(_ snapshots: [SnapshotInfo]) {
        func row(_ id: String, _ tag: String, _ right: [(String, Int)]) -> String {
            let left = padded(id, 9) + " " + padded(tag, 16) + " "
            return left + right.map { padded($0, $1, right: true) }.joined() + "\n"
        }
        text += "Snapshot list:\n"
        text += row(
            "ID", "TAG", [("VM SIZE", 8), ("DATE", 20), ("VM CLOCK", 13), ("ICOUNT", 11)])
        for snapshot in snapshots {
            text += row(
                printable(snapshot.id), printable(snapshot.name),
                [
                    (humanSize(snapshot.vmStateSize), 8), (localTime(snapshot.dateSec), 20),
                    (clock(snapshot.vmClockSec, snapshot.vmClockNsec), 13),
                    (snapshot.icount.map { "\($0)" } ?? "-", 11),
                ])
        }
    }

    private mutating func add(_ more: ImageReport.More) {
        if let use = more.inUse {
            line("in use", "another program \(use.writing ? "writes to" : "reads") \(use.filename.text)")
        }
        if let base = more.base { line("image under the overlay", base.text) }
        if let table = more.partitionTable { add(table) }
        if let content = more.content { line("content", content.name) }
        for group in more.volumeGroups ?? [] { add(group) }
        for note in more.volumeNotes ?? [] { line("note", note.description) }
        if let sum = more.allocation {
            text += "Allocation, over the whole chain:\n"
            for (name, count) in [
                ("data", sum.data), ("compressed", sum.compressed), ("zero", sum.zero),
                ("unallocated", sum.unallocated),
            ] { line(name, "\(humanSize(count)) (\(count) bytes)", indent: 1) }
        }
        if let bitmaps = more.bitmaps, let facts = Facts(of: bitmaps) { add("Dirty bitmaps", facts) }
        if let unknown = more.unknownHeaderExtensions, let facts = Facts(of: unknown) {
            add("Unknown header extensions", facts)
        }
        if more.probed { line("format found by", "the content of the file") }
        for note in more.notes ?? [] { line("note", note.description) }
    }

    private mutating func add(_ table: PartitionTableInfo) {
        line(
            "partition table",
            "\(table.scheme)" + (table.id.map { ", disk \($0)" } ?? "") + ", sectors of \(table.sectorSize) bytes"
                + (table.usedBackup == true ? ", from its backup" : ""))
        for partition in table.partitions {
            let content = partition.content.map { ", \($0.name)" } ?? ""
            let type = (partition.typeName ?? "type \(partition.type)") + content
            let name = partition.name.map { $0.isEmpty ? "" : ", \"\($0)\"" } ?? ""
            line(
                "\(partition.number)", "\(humanSize(partition.size)) at \(partition.start), \(type)\(name)", indent: 1)
        }
        for note in table.notes ?? [] { line("note", note.description, indent: 1) }
        if let error = table.error { line("error", error.description, indent: 1) }
    }

    private mutating func add(_ group: VolumeGroupReport) {
        let here = group.physicalVolumes.count { $0.here }
        line(
            "volume group",
            "\(group.name), \(group.id), \(here) of \(group.physicalVolumes.count) physical volumes on this disk")
        for volume in group.volumes {
            let error = volume.error.map { ", not read: \($0.detail)" } ?? ""
            line(volume.disk, "\(humanSize(volume.size)), \(volume.type)\(error)", indent: 1)
        }
        for note in group.notes ?? [] { line("note", note.description, indent: 1) }
    }

    private mutating func add(_ title: String, _ facts: Facts) {
        text += "\(title):\n"
        for fact in facts.lines { text += "    " + fact + "\n" }
    }
}

/// `number` with zeros that make it `width` digits wide.
private func digits(_ number: some BinaryInteger, _ width: Int) -> String {
    let text = "\(number)"
    return String(repeating: "0", count: max(0, width - text.count)) + text
}

/// The time of a guest's clock.
private func clock(_ seconds: UInt64, _ nanoseconds: UInt64) -> String {
    "\(digits(seconds / 3600, 2)):\(digits(seconds / 60 % 60, 2)):\(digits(seconds % 60, 2))."
        + digits(nanoseconds / 1_000_000, 3)
}

/// A moment in the time zone of the person who asks.
private func localTime(_ seconds: UInt32) -> String {
    var moment = time_t(seconds)
    // Safe: a value of numbers, and a pointer to a name of the time zone that is not looked at.
    var parts = unsafe tm()
    // Safe: both are on the stack, and the function writes into the second.
    guard unsafe localtime_r(&moment, &parts) != nil else { return "\(seconds)" }
    let date = unsafe [Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday)]
    let hour = unsafe [parts.tm_hour, parts.tm_min, parts.tm_sec]
    return date.map { digits($0, 2) }.joined(separator: "-") + " " + hour.map { digits($0, 2) }.joined(separator: ":")
}

/// What was encoded, to be printed for people whatever it is.
private indirect enum Facts {
    case text(String)
    case members([String: Facts])
    case elements([Facts])

    /// What `value` is encoded as; nil where it cannot be.
    init?(of value: some Encodable) {
        guard let json = try? JSON(encoding: value) else { return nil }
        self.init(json)
    }

    private init(_ json: JSON) {
        self =
            switch json {
            case .null: .text("null")
            case .bool(let value): .text("\(value)")
            case .number(let text), .string(let text): .text(text)
            case .array(let elements): .elements(elements.map(Facts.init))
            case .object(let members): .members(members.mapValues(Facts.init))
            }
    }

    /// The member called `name`, where there is one.
    subscript(name: String) -> Facts? {
        if case .members(let members) = self { members[name] } else { nil }
    }

    /// One line for each fact, those inside others indented, as qemu-img has them.
    var lines: [String] {
        func lines(_ name: String, _ facts: Facts) -> [String] {
            if case .text(let text) = facts { return ["\(printable(name)): \(printable(text))"] }
            return ["\(printable(name)):"] + facts.lines.map { "    " + $0 }
        }
        switch self {
        case .text(let text): return [printable(text)]
        case .elements(let elements):
            return elements.enumerated().flatMap { lines("[\($0.offset)]", $0.element) }
        case .members(let members):
            return members.sorted { $0.key < $1.key }.flatMap { name, facts in
                lines(String(name.map { $0 == "-" ? " " : $0 }), facts)
            }
        }
    }
}
