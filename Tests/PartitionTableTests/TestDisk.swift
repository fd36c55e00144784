import BlockImage
import Foundation
import HostStorage
import HostTools
import ImageFormats
import PartitionTable
import SystemPackage
import TestImages
import Testing

/// A raw disk in a file, to be partitioned by real tools and judged by them.
struct TestDisk {
    let folder: TemporaryFolder
    let path: String

    init(size: UInt64 = 64 << 20, name: String = "disk.raw") throws {
        folder = try TemporaryFolder()
        path = folder.file(name)
        try resize(size)
    }

    func resize(_ size: UInt64) throws {
        try Tool.check("truncate", "-s", String(size), path)
    }

    /// Has sfdisk write the table that `script` describes.
    func partition(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try Shell.check("export LC_ALL=C.UTF-8; printf '%s\\n' \"$1\" | sfdisk -q --no-reread \"$2\"", script, path)
    }

    /// Types `commands` into fdisk, which, other than sfdisk, can be told the size of a sector.
    func type(_ commands: String, sectorSize: Int) throws {
        try Shell.check(
            "printf '%s\\n' \"$1\" | tr ' ' '\\n' | fdisk -b \"$2\" \"$3\"", commands, String(sectorSize), path)
    }

    /// Writes `bytes` at `offset`, which counts from the end where it is negative.
    func poke(_ bytes: [UInt8], at offset: Int) throws {
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        defer { try? file.close() }
        let end = try file.seekToEnd()
        try file.seek(toOffset: offset < 0 ? end - UInt64(-offset) : UInt64(offset))
        try file.write(contentsOf: Data(bytes))
    }

    /// The disk in the file `name` of the folder, or in the raw one.
    func image(_ name: String? = nil) throws -> Image {
        let policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
        let file = try policy.openImage(at: FilePath(name.map { folder.file($0) } ?? path))
        if name == nil { return Image(layer: RawLayer(file: file)) }
        let resources = LayerResources(cacheSize: 6 << 20)
        return try ImageOpener(policy: policy, resources: resources)
            .open(file, as: .qcow2, counters: resources.counters).disk.result.get()
    }

    func table(sectorSize: SectorSize? = nil) throws -> PartitionTable {
        PartitionTable(of: try image(), sectorSize: sectorSize)
    }
}

/// A partition, in the words that this program and the judges have in common.
struct Row: Hashable, CustomStringConvertible {
    var number: Int
    var start: UInt64
    var size: UInt64
    var type: String
    var uuid: String
    var name = ""
    var attributes: UInt64

    var description: String { "\(number): \(start) +\(size) \(type) \(uuid) '\(name)' \(attributes)" }
}

extension PartitionTable {
    /// What it says, extended partitions included where `containers` asks for them.
    func rows(containers: Bool = false) -> [Row] {
        let all = partitions + (containers ? extendedPartitions : [])
        return all.sorted { $0.number < $1.number }.map { partition in
            var row = Row(
                number: partition.number, start: partition.start.rawValue, size: partition.size, type: "",
                uuid: partition.uuid ?? "", attributes: 0)
            switch partition.entry {
            case .mbr(let type, let isActive):
                row.type = "0x" + String(type, radix: 16)
                row.attributes = isActive ? 0x80 : 0
            case .gpt(let type, _, let attributes, let name):
                row.type = type.description
                row.attributes = attributes
                row.name = name
            case .bsd(let type):
                row.type = "0x" + String(type, radix: 16)
            case .solaris(let tag):
                row.type = "0x" + String(tag, radix: 16)
            }
            return row
        }
    }
}

/// libblkid's view, by partx: the very code that Linux's user space finds partitions with.
enum Partx {
    /// `text` with what partx writes as \xNN, which is all that is not ASCII, as what it is.
    private static func unescaped(_ text: String) -> String {
        let pieces = text.components(separatedBy: "\\x")
        var bytes = Array(pieces[0].utf8)
        for piece in pieces.dropFirst() {
            bytes.append(UInt8(piece.prefix(2), radix: 16) ?? 0)
            bytes += piece.dropFirst(2).utf8
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The partitions in the file at `path`; empty where it finds no table.
    static func rows(_ path: String, sectorSize: Int = 512) throws -> [Row] {
        let columns = "NR,START,SECTORS,TYPE,UUID,NAME,FLAGS"
        let result = try Shell.run(
            "export LC_ALL=C.UTF-8; partx -S \"$1\" -b -P -o \(columns) \"$2\"", String(sectorSize), path, timeout: 300)
        guard result.status == 0 else { return [] }
        return try result.text.split(separator: "\n").map { line in
            // KEY="value" KEY="value" …
            let pieces = line.components(separatedBy: "\"")
            let values = stride(from: 1, to: pieces.count, by: 2).map { pieces[$0] }
            try #require(values.count == 7, "\(line)")
            return Row(
                number: try #require(Int(values[0])), start: try #require(UInt64(values[1])) * 512,
                size: try #require(UInt64(values[2])) * 512, type: values[3], uuid: values[4],
                name: unescaped(values[5]),
                attributes: try #require(UInt64(values[6].dropFirst(2), radix: 16)))
        }
    }
}

/// libfdisk's view, by sfdisk.
struct Sfdisk {
    /// "dos" or "gpt".
    var label = ""
    var id = ""
    var rows: [Row] = []

    /// The table in the file at `path`, of sectors of 512 bytes. Attributes are left out: sfdisk has names for them.
    init(_ path: String) throws {
        let text = try Shell.check("export LC_ALL=C.UTF-8; sfdisk --json \"$1\"", path)
        let table = try #require(try JSONValue(parsing: Data(text.utf8))["partitiontable"])
        label = table["label"]?.text ?? ""
        id = table["id"]?.text?.lowercased() ?? ""
        for row in table["partitions"]?.array ?? [] {
            let node = try #require(row["node"]?.text)
            let type = try #require(row["type"]?.text?.lowercased())
            let isActive = row["bootable"] == .bool(true)
            rows.append(
                Row(
                    number: try #require(Int(node.dropFirst(path.count))),
                    start: UInt64(try #require(row["start"]?.number)) * 512,
                    size: UInt64(try #require(row["size"]?.number)) * 512,
                    type: label == "dos" ? "0x" + type : type, uuid: row["uuid"]?.text?.lowercased() ?? "",
                    name: row["name"]?.text ?? "", attributes: isActive ? 0x80 : 0))
        }
    }
}
