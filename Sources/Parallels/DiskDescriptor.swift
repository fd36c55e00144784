import BlockImage
import ByteFormat
import FormatCore

/// What `DiskDescriptor.xml` in a folder `….hdd` says of its disk: storages, one after the other, each with an image for every
/// snapshot, and which snapshot was made over which.
struct DiskDescriptor: Sendable {
    /// The file's name.
    static let fileName = Array("DiskDescriptor.xml".utf8)
    /// What it has in its first bytes.
    static let mark = "<Parallels_disk_image"
    /// The most images, and the most snapshots.
    static let imageLimit = 1024
    /// The most snapshots that lie under each other.
    static let depthLimit = 256
    private static let none = "{00000000-0000-0000-0000-000000000000}"
    /// The snapshot that the disk is, where the descriptor does not say it.
    private static let usualTop = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"

    /// A file with a snapshot's part of a storage.
    struct Image: Hashable, Sendable {
        var guid: String
        /// Whether it is the disk byte for byte, and no expanding image.
        var isPlain: Bool
        var file: [UInt8]
    }

    /// A part of the disk.
    struct Storage: Hashable, Sendable {
        /// The first sector, and the one after the last.
        var start: UInt64
        var end: UInt64
        var images: [Image]
    }

    /// The sectors of the disk.
    let sectorCount: UInt64
    let storages: [Storage]
    /// The snapshot that the disk is.
    let top: String
    /// The snapshots and what each was made over, in the order of the descriptor; nil: nothing.
    let shots: [(guid: String, parent: String?)]
    private let parents: [String: String?]
    /// Whether the images are encrypted.
    let isEncrypted: Bool

    /// What the text in `file` says. Throws `corrupt` where it is none of a disk.
    init(_ file: any HostFile) throws(ImageError) {
        guard file.size <= DescriptorElement.sizeLimit else {
            throw ImageError(.corrupt, path: file.path, "has \(file.size) bytes, more than a disk descriptor")
        }
        let bytes = try file.bytes(Int(file.size), at: HostOffset(0), of: "disk descriptor")
        do throws(ParseFault) {
            try self.init(DescriptorElement.parse(bytes))
        } catch {
            throw ImageError(.corrupt, path: file.path, offset: HostOffset(UInt64(error.position)), "\(error.message)")
        }
    }

    private init(_ root: DescriptorElement) throws(ParseFault) {
        func text(_ element: DescriptorElement?) -> String? {
            element.map { String(decoding: $0.value, as: UTF8.self) }
        }
        func guid(_ element: DescriptorElement?) -> String? { text(element)?.lowercased() }
        guard root.name == "Parallels_disk_image", let parameters = root["Disk_Parameters"],
            let count = parameters["Disk_size"]?.number, count <= UInt64(Int64.max) / 512
        else { throw ParseFault(at: 0, "disk descriptor: does not say how many sectors the disk has (Disk_size)") }
        sectorCount = count
        let engine = guid(parameters["Encryption"]?["Engine"])
        isEncrypted = engine != nil && engine != "" && engine != Self.none
        var storages: [Storage] = []
        for element in root["StorageData"]?.all("Storage") ?? [] {
            guard let start = element["Start"]?.number, let end = element["End"]?.number, start < end, end <= count
            else {
                throw ParseFault(
                    at: 0,
                    "disk descriptor: storage \(storages.count): Start and End are no part of the disk (\(count) sectors)"
                )
            }
            let wanted = storages.last?.end ?? 0
            guard start == wanted else {
                throw ParseFault(
                    at: 0,
                    "disk descriptor: storage \(storages.count): Start is \(start), but must be \(wanted), where the one "
                        + "before ends: a storage is missing, or they overlap")
            }
            let images = element.all("Image").compactMap { image -> Image? in
                guard let name = guid(image["GUID"]), let file = image["File"]?.value, !file.isEmpty else { return nil }
                return Image(guid: name, isPlain: text(image["Type"]) == "Plain", file: file)
            }
            storages.append(Storage(start: start, end: end, images: images))
        }
        guard let first = storages.first?.images.first else {
            throw ParseFault(at: 0, "disk descriptor: names no image")
        }
        let end = storages[storages.count - 1].end
        guard end == count else {
            throw ParseFault(
                at: 0,
                "disk descriptor: the last storage ends at sector \(end), but the disk has \(count) (Disk_size): "
                    + "a storage is missing")
        }
        self.storages = storages
        let snapshots = root["Snapshots"]
        shots = (snapshots?.all("Shot") ?? []).compactMap { shot in
            guid(shot["GUID"]).map { ($0, guid(shot["ParentGUID"]).flatMap { $0 == Self.none ? nil : $0 }) }
        }
        parents = Dictionary(shots.map { ($0.guid, $0.parent) }) { first, _ in first }
        let named = guid(snapshots?["TopGUID"]).flatMap { $0.isEmpty || $0 == Self.none ? nil : $0 }
        let isUsual = storages[0].images.contains { $0.guid == Self.usualTop }
        top = named ?? (isUsual ? Self.usualTop : first.guid)
        let imageCount = storages.reduce(0) { $0 + $1.images.count }
        guard max(storages.count, imageCount, shots.count) <= Self.imageLimit else {
            throw ParseFault(
                at: 0,
                "disk descriptor: has \(counted(storages.count, "storage")), \(counted(imageCount, "image")) and "
                    + "\(counted(shots.count, "snapshot")), but at most \(Self.imageLimit) of each are read")
        }
    }

    /// The snapshot `guid` and those under it, topmost first. Throws a message where they come back to themselves.
    func chain(of guid: String) throws(ParseFault) -> [String] {
        var chain = [guid]
        var known: Set = [guid]
        while let parent = parents[chain[chain.count - 1]] ?? nil {
            guard known.insert(parent).inserted, chain.count < Self.depthLimit else {
                throw ParseFault(
                    at: 0,
                    "disk descriptor: the snapshots under \(printable(guid)) have no end, or are more than \(Self.depthLimit)"
                )
            }
            chain.append(parent)
        }
        return chain
    }

    /// The names of all images.
    var files: Set<[UInt8]> { Set(storages.flatMap { $0.images.map(\.file) }) }
}
