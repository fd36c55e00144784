import BlockImage
import ByteFormat
import FormatCore

/// The disk of a folder `….hdd`, by its descriptor: expanding and plain images, one for each part of the disk and snapshot.
struct ParallelsBundle: SnapshotImage, CheckableImage {
    private struct Info: Encodable {
        var storages: Int
        var images: Int
        var top: String
    }

    private let descriptor: DiskDescriptor
    private let file: any HostFile
    private(set) var layer: (any ImageLayer)?
    private(set) var nameNotes: [ErrorText] = []
    /// The disk of each snapshot that can be read.
    private var disks: [String: any ImageLayer] = [:]
    /// The expanding images, each once.
    private var images: [ParallelsImage] = []

    /// The disk that the descriptor in `file` makes up.
    init(_ file: any HostFile) throws(ImageError) {
        descriptor = try DiskDescriptor(file)
        self.file = file
    }

    var refusal: ImageError? {
        guard descriptor.isEncrypted else { return nil }
        return ImageError(
            .unsupported, path: file.path, "disk descriptor: the images are encrypted, by a plugin of Parallels")
    }

    var notes: [ErrorText] { images.flatMap(\.notes) + nameNotes }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        if let refusal { throw refusal }
        var opened: [[UInt8]: any ImageLayer] = [:]
        for storage in descriptor.storages {
            for image in storage.images where opened[image.file] == nil {
                let found = try services.find(
                    SoughtName(inHeader: image.file), as: .extent, for: file, notes: &nameNotes)
                if image.isPlain {
                    opened[image.file] = RawLayer(file: found)
                } else {
                    var expanding = try ParallelsImage(found)
                    try expanding.makeReadable(with: services)
                    opened[image.file] = expanding.layer
                    images.append(expanding)
                }
            }
        }
        for guid in [descriptor.top] + descriptor.shots.map(\.guid) where disks[guid] == nil {
            do throws(ParseFault) {
                disks[guid] = try disk(of: descriptor.chain(of: guid), opened)
            } catch {
                // The disk needs its own snapshot, and no other.
                guard guid != descriptor.top else {
                    throw ImageError(.corrupt, path: file.path, "\(error.message)")
                }
            }
        }
        layer = disks[descriptor.top]
    }

    /// The disk that the snapshots `chain` make, topmost first, of the images `opened`.
    private func disk(of chain: [String], _ opened: [[UInt8]: any ImageLayer]) throws(ParseFault) -> JoinedLayer {
        var parts: [JoinedLayer.Part] = []
        for (number, storage) in descriptor.storages.enumerated() {
            var image: Image?
            for guid in chain.reversed() {
                guard let named = storage.images.first(where: { $0.guid == guid }), let layer = opened[named.file]
                else {
                    throw ParseFault(
                        at: 0, "disk descriptor: storage \(number): has no image of the snapshot \(printable(guid))")
                }
                guard layer.virtualSize / 512 >= storage.end - storage.start else {
                    throw ParseFault(
                        at: 0,
                        "disk descriptor: storage \(number): has \(storage.end - storage.start) sectors, but its image of "
                            + "the snapshot \(printable(guid)) has \(layer.virtualSize / 512)")
                }
                image = Image(layer: layer, backing: image)
            }
            guard let image else { continue }
            parts.append(JoinedLayer.Part(image, from: storage.start * 512, to: storage.end * 512))
        }
        return JoinedLayer(parts, size: descriptor.sectorCount * 512, file: file)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = descriptor.sectorCount * 512
        info.clusterSize = images.first?.header.clusterSize
        info.dirtyFlag = images.contains { $0.header.isInUse }
        let count = descriptor.storages.reduce(0) { $0 + $1.images.count }
        info.formatSpecific = FormatSpecific(
            type: "parallels",
            data: Info(storages: descriptor.storages.count, images: count, top: printable(descriptor.top)))
    }

    /// Those snapshots that are not the disk.
    var snapshots: [DiskSnapshot] {
        descriptor.shots.enumerated().filter { $0.element.guid != descriptor.top }.map { index, shot in
            DiskSnapshot(
                idBytes: Array(shot.guid.utf8), nameBytes: Array(shot.guid.utf8),
                diskSize: descriptor.sectorCount * 512, content: DiskSnapshot.ContentID(UInt64(index), 0))
        }
    }

    var snapshotFault: ImageError? { nil }

    func layer(ofSnapshot index: Int) throws(ImageError) -> (any ImageLayer)? {
        let guid = snapshots[index].id
        guard let disk = disks[guid] else {
            throw ImageError(.corrupt, path: file.path, "the snapshot \(guid) has no image, or one that is too small")
        }
        return disk
    }

    func vmState(ofSnapshot index: Int) throws(ImageError) -> (any ImageLayer)? { nil }

    /// Checks each expanding image by itself.
    func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        guard layer != nil else { return nil }
        var result = CheckResult()
        var total: UInt64 = 0
        for (index, image) in images.enumerated() {
            try image.check(into: &result) { progress((Double(index) + $0) / Double(images.count)) }
            total += result.totalClusters ?? 0
        }
        result.totalClusters = total
        result.imageEndOffset = nil
        return result
    }
}
