import BlockImage
import FormatCore
import Foundation
import HostStorage
import HostTools
import ImageFormats
import QCOW2
import SystemPackage
import TestImages
import Testing

/// A folder of images that qemu makes, and this program opens as the mount does.
struct Images {
    let folder: TemporaryFolder
    private let policy: ConfinedOpenPolicy

    init() throws {
        folder = try TemporaryFolder()
        policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
    }

    /// The path of `name` in the folder.
    func path(_ name: String) -> String { folder.file(name) }

    /// Makes the image `name` with qemu-img; `arguments` come behind it.
    func create(_ name: String, _ options: String, size: String, backing: String? = nil) throws {
        var arguments = ["create", "-q", "-f", "qcow2"]
        if !options.isEmpty { arguments += ["-o", options] }
        if let backing { arguments += ["-b", backing, "-F", backing.hasSuffix(".raw") ? "raw" : "qcow2"] }
        let result = try Tool.run("qemu-img", arguments + [name, size], in: folder.path)
        guard result.status == 0 else { throw ToolFailure(description: "qemu-img \(arguments): \(result.errors)") }
    }

    /// Runs commands of qemu-io on the image `name`, all in one go.
    func io(_ name: String, _ commands: [String]) throws {
        let arguments = ["-f", "qcow2"] + commands.flatMap { ["-c", $0] } + [name]
        let result = try Tool.run("qemu-io", arguments, in: folder.path)
        guard result.status == 0, !result.text.contains("failed") else {
            throw ToolFailure(description: "qemu-io \(commands): \(result.text) \(result.errors)")
        }
    }

    /// Opens the file `name` for reading.
    func file(_ name: String) throws -> any HostFile {
        try policy.openImage(at: FilePath(path(name)))
    }

    /// Opens the image `name` with its chain.
    func open(_ name: String) throws -> OpenedImage {
        let resources = LayerResources(cacheSize: 6 << 20)
        return ImageOpener(policy: policy, resources: resources)
            .open(try file(name), as: .qcow2, counters: resources.counters)
    }

    /// The layer on top of the image `name`, its description and what backs it.
    func layer(_ name: String) throws -> (layer: QCOW2Layer, description: QCOW2Description, backing: Image?) {
        let opened = try open(name)
        let image = try opened.disk.result.get()
        guard let qcow2 = opened.layers.first?.image as? QCOW2Image, let layer = qcow2.clusters else {
            throw ToolFailure(description: "\(name) is no QCOW2 image")
        }
        return (layer, qcow2.description, image.backing)
    }

    /// The bytes of the file `name`.
    func bytes(_ name: String) throws -> [UInt8] {
        try Array(Data(contentsOf: URL(fileURLWithPath: path(name))))
    }

    /// What qemu-img reads of the image `name`, as a raw file's path; `arguments` choose a snapshot.
    func converted(_ name: String, _ arguments: [String] = []) throws -> String {
        let raw = "\(name).oracle.raw"
        let result = try Tool.run(
            "qemu-img", ["convert", "-f", "qcow2", "-O", "raw"] + arguments + [name, raw], in: folder.path)
        guard result.status == 0 else { throw ToolFailure(description: "qemu-img convert \(name): \(result.errors)") }
        return path(raw)
    }

    /// Every byte, random reads, the runs of `map` and the keys of `info` are those of qemu.
    func agrees(_ name: String, seed: UInt64 = 1, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let opened = try open(name)
        let image = try opened.disk.result.get()
        let raw = try converted(name)
        #expect(try image.firstDifference(from: raw) == nil, "\(name)", sourceLocation: sourceLocation)
        #expect(try image.wrongRead(from: raw, seed: seed) == nil, "\(name)", sourceLocation: sourceLocation)
        #expect(try differencesOfMap(name, image) == [], "\(name)", sourceLocation: sourceLocation)
        #expect(try differencesOfInfo(name, opened) == [], "\(name)", sourceLocation: sourceLocation)
        let (sum, error) = image.allocation()
        #expect(error == nil, sourceLocation: sourceLocation)
        #expect(
            sum.data + sum.compressed + sum.zero + sum.unallocated == image.virtualSize, sourceLocation: sourceLocation)
    }

    private struct MapEntry: Decodable {
        var start: UInt64
        var length: UInt64
        var depth: Int
        var zero: Bool
        var data: Bool
        var offset: UInt64?
    }

    // qemu looks for data files in the folder that it runs in, so that it runs in that of the image.

    /// The runs that qemu-img has stored in another way, or in another place, than `resolve` has them.
    private func differencesOfMap(_ name: String, _ image: Image) throws -> [String] {
        let text = try Tool.check("qemu-img", "map", "-f", "qcow2", "--output=json", path(name), in: folder.path)
        var found: [String] = []
        var end: UInt64 = 0
        for entry in try JSONDecoder().decode([MapEntry].self, from: text) {
            end = entry.start + entry.length
            var position = entry.start
            while position < end {
                let resolution = try image.resolve(at: GuestOffset(position), limit: end - position)
                let count = resolution.extent.count
                switch resolution.extent.storage {
                case .zero:
                    if !entry.zero || entry.data { found.append("\(position): zeros, \(entry)") }
                case .unallocated: found.append("\(position): unallocated, \(entry)")
                case .encoded:
                    if !entry.data || entry.depth != resolution.depth { found.append("\(position): encoded, \(entry)") }
                case .data(let file, let offset):
                    let run = file.run(at: offset, limit: count)
                    if !entry.data, !(run.isHole && run.count == count) { found.append("\(position): data, \(entry)") }
                    if entry.depth != resolution.depth { found.append("\(position): at \(resolution.depth), \(entry)") }
                    if let theirs = entry.offset, offset.rawValue != theirs + (position - entry.start) {
                        found.append("\(position): offset \(offset), \(entry)")
                    }
                }
                position += count
            }
        }
        if end != image.virtualSize { found.append("qemu-img ends at \(end), we at \(image.virtualSize)") }
        return found
    }

    /// The keys of qemu's description that ours lacks, or has with other values.
    func differencesOfInfo(_ name: String, _ opened: OpenedImage) throws -> [String] {
        let layer = try #require(opened.layers.first)
        let text = try Tool.check("qemu-img", "info", "-f", "qcow2", "--output=json", path(name), in: folder.path)
        let theirs = try JSONSerialization.jsonObject(with: text)
        let ours = try JSONSerialization.jsonObject(with: try JSONEncoder().encode(ImageInfo(layer)))
        return QemuImg.differences(theirs, ours, allowsMoreData: false)
    }
}

extension [UInt8] {
    /// The big-endian integer at `offset`.
    func integer<Value: FixedWidthInteger>(at offset: Int, as type: Value.Type = Value.self) -> Value {
        self[offset..<offset + Value.bitWidth / 8].reduce(0) { $0 << 8 | Value($1) }
    }

    /// Writes the big-endian bytes of `value` at `offset`.
    mutating func poke(_ value: some FixedWidthInteger, at offset: Int) {
        let bytes = Swift.withUnsafeBytes(of: value.bigEndian) { Array($0) }
        replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }

    /// Where the L2 table of the L1 entry `index` of the active table begins.
    func l2Offset(_ index: Int = 0) -> Int {
        Int(integer(at: Int(integer(at: 40, as: UInt64.self)) + index * 8, as: UInt64.self) & 0x00ff_ffff_ffff_fe00)
    }
}

/// An image in memory, over nothing.
func openInMemory(_ bytes: [UInt8], dataFile: [UInt8]? = nil) throws(ImageError) -> Image {
    let file = MemoryFile(bytes)
    let layer = try QCOW2Layer(
        try QCOW2Description(file), file: file, dataFile: dataFile.map { MemoryFile($0, path: "data.raw") },
        resources: LayerResources(cacheSize: 1 << 20))
    return Image(layer: layer)
}

/// Asks for everything that a disk can be asked for, as far as its size allows, and takes every error.
func exercise(_ image: Image) {
    if image.virtualSize <= 1 << 20 {
        _ = try? image.wholeDisk()
    } else {
        _ = try? image.bytes(1 << 16, at: 0)
        _ = try? image.bytes(1 << 16, at: image.virtualSize - (1 << 16))
    }
    // Past every error, too: what is damaged ends one cluster at a time.
    var position: UInt64 = 0
    for _ in 0..<100 where position < image.virtualSize {
        let found = try? image.resolve(at: GuestOffset(position), limit: .max)
        position += found?.extent.count ?? 2048
    }
}
