import BlockImage
import HostStorage
import ImageFormats
import LVM
import PartitionTable

/// What the other images of a folder have of LVM. They are looked into only for a group of which an image has a part, and
/// what is found is kept for a while: a folder may have hundreds of guests, each of which asks.
struct NeighbourVolumes: Sendable {
    /// How many images are looked into, and how long what was found stands.
    private static let limits = (images: 4096, age: Duration.seconds(30))
    /// The most volumes, segments and physical volumes together that are kept of all images: some 100 MB.
    private static let weightLimit = 1 << 19
    /// How many milliseconds an image is waited for.
    private static let patience = 1000

    /// One image.
    final class Entry: Sendable {
        /// Its name in the folder.
        let name: [UInt8]
        /// Its file, and those that it is made of besides.
        let file: FileIdentity?
        let chain: Set<FileIdentity>
        /// Its physical volumes, each with its copies of the metadata.
        let volumes: [(id: VolumeID, copies: [VolumeGroup], hasMetadataAreas: Bool)]
        fileprivate let madeAt = ContinuousClock.now

        /// How many volumes, segments and physical volumes its metadata has.
        fileprivate var weight: Int {
            let groups = volumes.flatMap(\.copies)
            return groups.reduce(1) { sum, group in
                sum + group.members.count + group.volumes.reduce(0) { $0 + 1 + $1.segments.count }
            }
        }

        fileprivate init(_ name: [UInt8], _ opened: OpenedImage) {
            self.name = name
            let files = opened.layers.flatMap(\.files)
            let own = opened.layers.first?.file.identity
            file = own
            let all: Set<FileIdentity> = files.reduce(into: []) { $0.formUnion($1.identities) }
            chain = all.filter { $0 != own }
            guard let disk = opened.disk.image else {
                volumes = []
                return
            }
            volumes = PhysicalVolumes(on: disk, PartitionTable(of: disk)).found.map {
                ($0.volume.id, $0.volume.newestCopies, $0.volume.hasMetadataAreas)
            }
        }

        /// The name, for people.
        var text: ErrorText { "\(path: exportName(name))" }
    }

    private static let known = BoundedCache<FileStamp, Entry>(capacity: weightLimit)
    private static let lookups = TimedLookups<FileName, Entry?>(patience: patience)

    private struct FileName: Hashable {
        var folder: String
        var name: [UInt8]
    }

    /// Every other image, once, but for those that others are made of.
    var entries: [Entry] = []
    /// The image of which the image itself is a part of the chain; nil where there is none.
    var above: Entry?
    /// What is not known, in sentences.
    var notes: [ErrorText] = []

    /// The images beside `opened`; none beside nil.
    init(of opened: OpenedImage?) {
        guard let opened, let neighbours = opened.neighbours, let own = opened.layers.first?.file else { return }
        var names = neighbours.names
        if names.count > Self.limits.images {
            notes.append(
                "the folder has \(names.count) images, and \(Self.limits.images) are looked into for the rest of a group"
            )
            names.removeLast(names.count - Self.limits.images)
        }
        let keys = names.map { FileName(folder: own.path, name: $0) }
        let found = Self.lookups.values(of: keys) { Self.entry($0.name, neighbours) }
        if found.count < keys.count { notes.append("\(keys.count - found.count) images of the folder do not answer") }
        var seen: Set<FileIdentity> = []
        var all = keys.compactMap { found[$0] ?? nil }.filter { entry in
            entry.file.map { $0 != own.identity && seen.insert($0).inserted } ?? false
        }
        if all.reduce(0, { $0 + $1.weight }) > Self.weightLimit {
            notes.append("the images of the folder have more metadata of LVM than is looked into")
            all = []
        }
        let used = all.reduce(into: Set(opened.layers.flatMap(\.files).flatMap(\.identities))) {
            $0.formUnion($1.chain)
        }
        entries = all.filter { entry in entry.file.map { !used.contains($0) } ?? false }
        above = own.identity.flatMap { identity in all.first { $0.chain.contains(identity) } }
    }

    private static func entry(_ name: [UInt8], _ neighbours: ImageNeighbours) -> Entry? {
        guard let file = try? neighbours.file(called: name) else { return nil }
        let stamp = FileStamp(file)
        if let known = known.value(for: stamp) {
            if known.madeAt.duration(to: .now) < limits.age, known.name == name { return known }
            Self.known.removeAll { $0 == stamp }
        }
        let entry = Entry(name, neighbours.open(file, called: name))
        return known.insert(entry, cost: entry.weight, for: stamp)
    }
}
