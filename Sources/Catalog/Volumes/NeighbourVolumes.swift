import BlockImage
import Glibc
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

    /// How much is known of an image.
    enum Knowledge: Sendable {
        /// What it has; nothing of a file that is no disk image.
        case all
        /// Not which groups it has: it is encrypted and there is no key, what it has of LVM is damaged, or it may not be opened,
        /// as what a link leads to that leads out of the folder.
        case notGroups
        /// Nothing, though it is an image.
        case nothing
    }

    /// One image.
    final class Entry: Sendable {
        /// Its name in the folder.
        let name: [UInt8]
        /// Its file, and those that it is made of besides.
        let file: FileIdentity?
        let chain: Set<FileIdentity>
        /// Its physical volumes, each with its copies of the metadata.
        let volumes: [(id: VolumeID, copies: [VolumeGroup], hasMetadataAreas: Bool)]
        /// How much is known of it.
        let knowledge: Knowledge
        fileprivate let madeAt = ContinuousClock.now

        /// How many volumes, segments and physical volumes its metadata has.
        fileprivate var weight: Int {
            let groups = volumes.flatMap(\.copies)
            return groups.reduce(1) { sum, group in
                sum + group.members.count + group.volumes.reduce(0) { $0 + 1 + $1.segments.count }
            }
        }

        fileprivate init(_ name: [UInt8], _ opened: OpenedImage, in hostFile: any HostFile) {
            self.name = name
            let files = opened.layers.flatMap(\.files)
            let own = hostFile.identity
            file = own
            let all: Set<FileIdentity> = files.reduce(into: []) { $0.formUnion($1.identities) }
            chain = all.filter { $0 != own }
            guard let disk = opened.disk.image else {
                volumes = []
                knowledge = Self.knowledge(ofClosed: opened, in: hostFile)
                return
            }
            let physical = PhysicalVolumes(on: disk, PartitionTable(of: disk))
            volumes = physical.found.map { ($0.volume.id, $0.volume.newestCopies, $0.volume.hasMetadataAreas) }
            knowledge = physical.isRead ? physical.isDamaged ? .notGroups : .all : .nothing
        }

        /// An image whose file cannot be opened.
        fileprivate init(_ name: [UInt8], _ error: ImageError) {
            (self.name, file, chain, volumes) = (name, nil, [], [])
            knowledge = error.code == .denied ? .notGroups : .nothing
        }

        /// What is known of the image in `file` which cannot be read.
        private static func knowledge(ofClosed opened: OpenedImage, in file: any HostFile) -> Knowledge {
            if opened.layers.contains(where: { $0.missingKey != nil }) { return .notGroups }
            let isForeign = opened.layers.first?.image == nil && (try? ImageFormat.probe(file)) == .raw
            return isForeign ? .all : .nothing
        }

        /// The name, for people.
        var text: ErrorText { "\(path: exportName(name))" }
    }

    private static let known = BoundedCache<FileStamp, Entry>(capacity: weightLimit)
    /// The look-ups in a folder, which all of its images share.
    private struct FolderLookups {
        let entries = TimedLookups<[UInt8], Entry?>(patience: patience)
        let parts = TimedLookups<[UInt8], Result<Part, ImageError>>(patience: patience)
    }

    /// A physical volume, and the image that it is on.
    typealias Part = (image: OpenedImage, disk: Image)

    /// Those of each folder, so that those of another one that do not answer take none of its places.
    private static let lookups = Guarded<[[UInt8]: FolderLookups]>([:])
    /// How many folders' look-ups are kept.
    private static let folderLimit = 1024

    /// Every other image, once, but for those that others are made of.
    var entries: [Entry] = []
    /// The image of which the image itself is a part of the chain; nil where there is none.
    var above: Entry?
    /// Why not all images are known, so that nothing tells whether one has the same as another; nil where all are.
    var gap: ErrorText?
    /// Why the groups of not all images are known; nil where they are.
    var groupGap: ErrorText?

    /// What opens them, and the path of the folder.
    private var neighbours: ImageNeighbours?
    private var folder: [UInt8] = []

    /// The images beside `opened`; none beside nil.
    init(of opened: OpenedImage?) {
        guard let opened, let neighbours = opened.neighbours, let own = opened.layers.first?.file else { return }
        let path = own.path.nameBytes
        let slash = path.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex
        (self.neighbours, folder) = (neighbours, Array(path[..<slash]))
        let ownName = path[slash...].drop { $0 == UInt8(ascii: "/") }
        var names = neighbours.names
        if names.count > Self.limits.images {
            gap = "the folder has \(names.count) images, and \(Self.limits.images) are looked into"
            names.removeLast(names.count - Self.limits.images)
        }
        let found = Self.lookups(in: folder).entries.values(of: names) { Self.entry($0, neighbours) }
        if let silent = names.first(where: { found[$0] == nil && !$0.elementsEqual(ownName) }) {
            gap = gap ?? "the image \(path: exportName(silent)) does not answer"
        }
        var seen: Set<FileIdentity> = []
        var all = names.compactMap { found[$0] ?? nil }.filter { entry in
            guard let file = entry.file else { return !entry.name.elementsEqual(ownName) }
            return file != own.identity && seen.insert(file).inserted
        }
        if all.reduce(0, { $0 + $1.weight }) > Self.weightLimit {
            gap = gap ?? "the images of the folder have more metadata of LVM than is looked into"
            all = []
        }
        let used = all.reduce(into: Set(opened.layers.flatMap(\.files).flatMap(\.identities))) {
            $0.formUnion($1.chain)
        }
        above = own.identity.flatMap { identity in all.first { $0.chain.contains(identity) } }
        all.removeAll { entry in entry.file.map { used.contains($0) } ?? false }
        entries = all.filter { $0.file != nil }
        if let entry = all.first(where: { $0.knowledge == .nothing }) {
            gap = gap ?? "the image \(entry.text) cannot be read"
        }
        groupGap = gap
        if let entry = all.first(where: { $0.knowledge == .notGroups }) {
            groupGap = gap ?? "what the image \(entry.text) has of LVM cannot be read"
        }
    }

    /// The look-ups in `folder`.
    private static func lookups(in folder: [UInt8]) -> FolderLookups {
        lookups.withLock { known in
            if let lookups = known[folder] { return lookups }
            if known.count >= folderLimit { known = [:] }
            let lookups = FolderLookups()
            known[folder] = lookups
            return lookups
        }
    }

    /// Where the image of `entry`, which is opened unless it is `known`, has the physical volume `id`; `path`: the image that errors
    /// are about.
    func part(_ id: VolumeID, on entry: Entry, _ known: OpenedImage?, path: String) throws(ImageError) -> Part {
        guard let neighbours else {
            throw ImageError(.system(errno: ENOENT), path: path, "there is no other image")
        }
        let found = Self.lookups(in: folder).parts.values(of: [entry.name]) { name in
            Result { () throws(ImageError) in
                let image = if let known { known } else { try Self.open(name, neighbours) }
                let disk = try image.disk.result.get()
                let found = PhysicalVolumes(on: disk, PartitionTable(of: disk)).found.filter { $0.volume.id == id }
                guard let only = found.first, found.count == 1 else {
                    throw ImageError(.system(errno: ESTALE), path: path, "it has changed meanwhile")
                }
                return (image, only.disk)
            }
        }
        guard let result = found[entry.name] else {
            throw ImageError(.system(errno: ETIMEDOUT), path: path, "it does not answer")
        }
        return try result.get()
    }

    private static func open(_ name: [UInt8], _ neighbours: ImageNeighbours) throws(ImageError) -> OpenedImage {
        neighbours.open(try neighbours.file(called: name), called: name)
    }

    /// The image called `name`; nil where there is none.
    private static func entry(_ name: [UInt8], _ neighbours: ImageNeighbours) -> Entry? {
        let file: any HostFile
        do throws(ImageError) {
            file = try neighbours.file(called: name)
        } catch {
            return error.code == .missing ? nil : Entry(name, error)
        }
        let stamp = FileStamp(file)
        if let known = known.value(for: stamp) {
            if known.madeAt.duration(to: .now) < limits.age, known.name == name { return known }
            Self.known.removeAll { $0 == stamp }
        }
        let entry = Entry(name, neighbours.open(file, called: name), in: file)
        // What it lacks may lie in another file, which can come at any time.
        guard entry.knowledge != .nothing else { return entry }
        return known.insert(entry, cost: entry.weight, for: stamp)
    }
}
