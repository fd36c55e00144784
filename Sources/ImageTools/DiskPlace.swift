import BlockImage
import HostStorage
import ImageFormats
import PartitionTable
import SystemPackage

/// Which disk of an image is meant: its own, or one that it holds. It is what follows the image's name in
/// `IMAGE@SNAPSHOT`, `IMAGE/p1`, `IMAGE@SNAPSHOT/p1`, `IMAGE@SNAPSHOT/vmstate` and `IMAGE/layers/1`: the same for the
/// commands, NBD and JSON-RPC.
package struct DiskPlace: Hashable, Sendable {
    /// What is meant of the disk of the image, or of its snapshot.
    package enum Part: Hashable, Sendable {
        /// The partition of that number.
        case partition(Int)
        /// The disk as the image so many steps down the chain has it; 0 is the image itself.
        case layer(Int)
        /// The saved state of the machine that a snapshot keeps.
        case vmState
    }

    /// The name, or else the ID, of an internal snapshot; nil: the current disk.
    package var snapshot: String?
    /// Whether the snapshot is called as mounts and lists of exports call it (`SnapshotNames`): then that is looked for first.
    private(set) var isListed = false
    /// Nil: all of the disk.
    package var part: Part?

    /// The image's own disk.
    package init() {}

    /// What `bytes`, which follow the name of an image, mean; nil where they mean nothing.
    ///
    /// A slash in a snapshot's name is written as `%2F`, as a mount and lists of exports have it.
    init?(_ bytes: some Collection<UInt8>) {
        var text = nameText(bytes)[...]
        if text.first == "@" {
            text = text.dropFirst()
            let name = text.prefix { $0 != "/" }
            guard !name.isEmpty else { return nil }
            snapshot = String(name)
            isListed = true
            text = text[name.endIndex...]
        }
        guard !text.isEmpty else {
            if snapshot == nil { return nil }
            return
        }
        let layers = "/layers/"
        if text == "/vmstate", snapshot != nil {
            part = .vmState
        } else if text.hasPrefix(layers), snapshot == nil, let depth = Self.number(text.dropFirst(layers.count)) {
            part = .layer(depth)
        } else if text.hasPrefix("/p"), let number = Self.number(text.dropFirst(2)) {
            part = .partition(number)
        } else {
            return nil
        }
    }

    /// A number in the digits that it is written with: `01` is none.
    private static func number(_ digits: Substring) -> Int? {
        Int(digits).flatMap { $0 >= 0 && String($0) == digits ? $0 : nil }
    }

    /// What follows the image's name.
    package var text: String {
        let disk = snapshot.map { "@\($0)" } ?? ""
        return switch part {
        case nil: disk
        case .partition(let number): "\(disk)/p\(number)"
        case .layer(let depth): "\(disk)/layers/\(depth)"
        case .vmState: "\(disk)/vmstate"
        }
    }
}

extension NamedImage {
    /// What a person calls `path`: the file of that name, or disk of an appliance; where there is none, a disk that an image
    /// holds, whose name comes after that of the image.
    package static func called(_ path: FilePath, format: ImageFormat? = nil) -> NamedImage {
        let whole = NamedImage(path, format: format)
        guard !whole.isThere else { return whole }
        let bytes = path.bytes
        for mark in bytes.indices.reversed().dropLast() where "@/".utf8.contains(bytes[mark]) {
            guard let place = DiskPlace(bytes[mark...]) else { continue }
            var image = NamedImage(FilePath(bytes: Array(bytes[..<mark])), format: format)
            guard image.isThere, (try? FileStatus(at: image.path).kind) != .folder else { continue }
            image.place = place
            return image
        }
        return whole
    }

    /// Whether there is a file of that name, or such a disk in an appliance.
    private var isThere: Bool {
        if let place = appliancePlace { return place.disk == nil || (try? openAppliance(place).disk(place)) != nil }
        return (try? FileStatus(at: path)) != nil
    }

    /// Has the snapshot `name`, if it is not nil, be meant. Throws `outOfRange` where the image's name says one already.
    package mutating func choose(snapshot name: String?) throws(ImageError) {
        guard let name else { return }
        guard place == DiskPlace() else {
            throw ImageError(
                .outOfRange, path: path.text, "\(place.text): says already which disk is meant, without --snapshot")
        }
        place.snapshot = name
    }

    /// Throws `outOfRange` where a disk that the image holds is meant, by what is done with whole images.
    package func checkIsWhole() throws(ImageError) {
        guard place != DiskPlace() else { return }
        throw ImageError(
            .outOfRange, path: path.text, "\(place.text): is a disk that the image holds, and no image by itself")
    }

    /// The part of `disk`, of the image that `open` answered, that is meant.
    func part(of disk: Image, _ opened: OpenedImage, snapshot: Int?) throws(ImageError) -> Image {
        switch place.part {
        case nil: return disk
        case .partition(let number):
            let table = PartitionTable(of: disk)
            if let partition = table.partition(number) { return partition.image(in: disk) }
            let numbers = table.partitions.map { "\($0.number)" }.joined(separator: ", ")
            throw missing("partition \(number)", numbers.isEmpty ? "it has none" : "it has \(numbers)")
        case .layer(let depth):
            if let layer = disk.layer(depth) { return layer }
            throw missing("image \(depth) in its chain", "the last one is \(opened.layers.count - 1)")
        case .vmState:
            guard let snapshot, let state = try opened.vmState(snapshot) else {
                throw missing("saved state of a machine", "the snapshot was taken of the disk alone")
            }
            return state
        }
    }

    private func missing(_ what: String, _ instead: String) -> ImageError {
        ImageError(.outOfRange, path: path.text, "has no \(what); \(instead)")
    }
}
