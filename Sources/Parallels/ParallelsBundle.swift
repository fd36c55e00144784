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
    /// The disk of each snapshot, or why it cannot be read.
    private var disks: [String: Result<JoinedLayer, ImageError>] = [:]
    /// What is stored in the images, by their names and by the files that these lead to.
    private var named: [[UInt8]: any ImageLayer] = [:]
    private var opened: [FileIdentity: any ImageLayer] = [:]
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
        // The disk needs its own snapshot, and no other.
        let disk = try disk(of: descriptor.top, services)
        layer = disk
        disks[descriptor.top] = .success(disk)
        for (guid, _) in descriptor.shots where disks[guid] == nil {
            do throws(ImageError) {
                disks[guid] = .success(try self.disk(of: guid, services))
            } catch {
                disks[guid] = .failure(error)
            }
        }
    }

    /// The disk that the snapshot `guid` and those under it make.
    private mutating func disk(of guid: String, _ services: LayerServices) throws(ImageError) -> JoinedLayer {
        let chain: [String]
        do throws(ParseFault) { chain = try descriptor.chain(of: guid) } catch { throw corrupt(error.message) }
        var parts: [JoinedLayer.Part] = []
        for (number, storage) in descriptor.storages.enumerated() {
            try ReadScope.checkWanted()
            let named = Dictionary(storage.images.map { ($0.guid, $0) }) { first, _ in first }
            var image: Image?
            for guid in chain.reversed() {
                let name = "disk descriptor: storage \(number)"
                guard let stored = named[guid] else {
                    throw corrupt("\(name): has no image of the snapshot \(printable(guid))")
                }
                let layer = try open(stored, services)
                guard layer.virtualSize / 512 >= storage.end - storage.start else {
                    throw corrupt(
                        "\(name): has \(storage.end - storage.start) sectors, but its image of the snapshot "
                            + "\(printable(guid)) has \(layer.virtualSize / 512)")
                }
                image = Image(layer: layer, backing: image)
            }
            guard let image else { continue }
            parts.append(JoinedLayer.Part(image, from: storage.start * 512, to: storage.end * 512))
        }
        return JoinedLayer(parts, file: file)
    }

    private func corrupt(_ message: String) -> ImageError {
        ImageError(.corrupt, path: file.path, "\(message)")
    }

    /// What is stored in `image`: of one file, whatever names lead to it, the same.
    private mutating func open(
        _ image: DiskDescriptor.Image, _ services: LayerServices
    ) throws(ImageError) -> any ImageLayer {
        if let known = named[image.file] { return known }
        let found = try services.find(SoughtName(inHeader: image.file), as: .extent, for: file, notes: &nameNotes)
        if let identity = found.identity, let known = opened[identity] {
            named[image.file] = known
            return known
        }
        let layer: any ImageLayer
        if image.isPlain {
            layer = RawLayer(file: found)
        } else {
            var expanding = try ParallelsImage(found)
            layer = expanding.readable(with: services)
            images.append(expanding)
        }
        named[image.file] = layer
        if let identity = found.identity { opened[identity] = layer }
        return layer
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = descriptor.sectorCount * 512
        info.setActualSize(of: [file] + named.values.flatMap(\.files))
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
        try disks[snapshots[index].id]?.get()
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
