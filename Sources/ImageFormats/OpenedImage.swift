import BlockImage
import FormatCore
import Synchronization

/// One file of a chain, as it describes itself.
public struct LayerDescription: Sendable {
    /// The file that was opened for it, open still.
    public var file: any HostFile
    /// Its format.
    public var format: ImageFormat
    /// Whether only its content, and neither a name nor another image, said that it has this format.
    public var wasProbed: Bool
    /// What the format says of it; nil where it could not be described.
    public var image: (any FormatImage)?
    /// What was found when the files under it were looked for.
    var chainNotes: [ErrorText] = []
    /// What was read in place of the files that its header, or its parent's hint, names.
    var searchNotes: [ErrorText] = []
    /// That its content says something else than its name, or that only the content of a device says what it is.
    var contentNotes: [ErrorText] = []

    /// Those of `notes` that say that it may be another thing than it is taken for.
    public var contentWarnings: [ErrorText] { contentNotes + (image?.contentNotes ?? []) }

    /// Every file that the layer's bytes come from, each once.
    public var files: [any HostFile] { image?.layer?.files ?? [file] }

    /// Why it cannot be read, where that is for want of a key and of nothing else; nil otherwise, and where it is open.
    public var missingKey: ImageError? { image?.missingKey }

    /// What people should know of it, in sentences: what was read another way than usual, and why.
    public var notes: [ErrorText] { contentNotes + (image?.notes ?? []) + searchNotes + chainNotes }

    /// Those of `notes` that say that another file was read than the image names, or one of several.
    public var nameNotes: [ErrorText] { (image?.nameNotes ?? []) + searchNotes }

    /// The header extensions that the format's specification does not give; nil for none.
    public var unknownHeaderExtensions: [HeaderExtensionInfo]? {
        let found = image?.unknownHeaderExtensions ?? []
        return found.isEmpty ? nil : found
    }
}

/// What opening an image led to: as much of its chain as could be described, and its disks or why there are none.
/// Every method may be called from any thread.
public final class OpenedImage: Sendable {
    /// The files of the chain, topmost first, as far as the chain could be followed.
    public let layers: [LayerDescription]
    /// The disk that the image is.
    public let disk: OpenedDisk
    /// The internal snapshots whose disks can be asked for: none where the image itself cannot be read.
    public let snapshots: [DiskSnapshot]
    /// The other images in the folder of the topmost one; nil where there is no disk.
    public let neighbours: ImageNeighbours?
    private let snapshotDisks = Guarded<[Int: OpenedDisk]>([:])
    private let shared: SharedLookUps
    private let measuredBitmaps = Guarded<[MeasuredBitmap]?>(nil)

    /// How long the files are trusted to be as they were: looking at each for every read would cost more than a small
    /// read does.
    private static let trust: Int64 = 20_000_000
    private let openedAt = ContinuousClock.now
    /// When the files were last looked at, in nanoseconds after `openedAt`; the largest number from when one was found
    /// changed.
    private let lookedAt = Atomic<Int64>(0)

    init(
        layers: [LayerDescription], result: Result<Image, ImageError>, neighbours: ImageNeighbours? = nil
    ) {
        self.layers = layers
        self.neighbours = neighbours
        disk = OpenedDisk(result)
        shared = SharedLookUps(hostSize: disk.image?.hostSize ?? 0)
        if case .success = result, let image = layers.first?.image as? any SnapshotImage {
            snapshots = image.snapshots
        } else {
            snapshots = []
        }
    }

    /// An image whose file could not even be opened.
    public convenience init(failure: ImageError) {
        self.init(layers: [], result: .failure(failure))
    }

    /// A disk that lies on this image and `others`, of whose files the answer has all: it is unchanged while they are.
    public func joined(with others: [OpenedImage], as disk: Image) -> OpenedImage {
        OpenedImage(layers: layers + others.flatMap(\.layers), result: .success(disk))
    }

    /// The same files with another disk, which `result` is. Other images are not looked into for it: they have what belongs to
    /// the disk that it was.
    public func showing(_ result: Result<Image, ImageError>) -> OpenedImage {
        OpenedImage(layers: layers, result: result)
    }

    /// A part of the image as a disk of its own: a snapshot, a partition, an image of the chain. What counting all of them
    /// takes is in proportion to the image's files.
    public func part(_ result: Result<Image, ImageError>) -> OpenedDisk {
        OpenedDisk(result, sharing: shared)
    }

    /// The disk that the snapshot `index` keeps; nil where there is no such snapshot.
    public func snapshotDisk(_ index: Int) -> OpenedDisk? {
        guard snapshots.indices.contains(index), let top = layers.first?.image as? any SnapshotImage else { return nil }
        return snapshotDisks.withLock { disks in
            if let disk = disks[index] { return disk }
            let disk: OpenedDisk
            do throws(ImageError) {
                guard let layer = try top.layer(ofSnapshot: index) else { return nil }
                // What the snapshot does not store comes from the backing image, as it is now.
                let image = Image(layer: layer, backing: self.disk.image?.backing)
                disk = part(.success(image))
            } catch {
                disk = part(.failure(error))
            }
            disks[index] = disk
            return disk
        }
    }

    /// The machine state that the snapshot `index` keeps, as if it were a disk; nil where there is none. Throws why it
    /// cannot be read.
    public func vmState(_ index: Int) throws(ImageError) -> Image? {
        guard snapshots.indices.contains(index), let top = layers.first?.image as? any SnapshotImage else { return nil }
        return try top.vmState(ofSnapshot: index).map { Image(layer: $0) }
    }

    /// The bits of all bitmaps together that are looked at to count what they call dirty: those of a bitmap of 16 TiB in
    /// steps of 64 KiB. A hostile image can have 65,535 bitmaps of 4 billion bits that all lie in one cluster.
    private static let bitLimit: UInt64 = 1 << 28

    /// The dirty bitmaps of the topmost layer, with how many bytes each calls dirty, or why that cannot be told. Their
    /// tables are read when this is first asked.
    public var bitmaps: [MeasuredBitmap] {
        guard let image = layers.first?.image as? any BitmapImage, let file = layers.first?.file else { return [] }
        return measuredBitmaps.withLock { measured in
            if let measured { return measured }
            var left = Self.bitLimit
            let bitmaps = image.bitmaps.map { bitmap in
                let bits = bitmap.bitCount
                do throws(ImageError) {
                    guard bits <= left else {
                        throw ImageError(
                            .unsupported, path: file.path, offset: bitmap.entryOffset,
                            "bitmap: has \(bits) bits, too many to count beside those of the others")
                    }
                    left -= bits
                    let count = try image.dirtyBytes(of: bitmap)
                    return MeasuredBitmap(bitmap: bitmap, dirtyBytes: .success(count))
                } catch {
                    return MeasuredBitmap(bitmap: bitmap, dirtyBytes: .failure(error))
                }
            }
            measured = bitmaps
            return bitmaps
        }
    }

    /// Whether the allocation of one of its disks is being found now, which may take long.
    public var isBeingCounted: Bool {
        disk.isBeingCounted || snapshotDisks.withLock { $0.values.contains { $0.isBeingCounted } }
    }

    /// Whether every file of the chain is still the one that was opened, unchanged.
    public var isCurrent: Bool {
        files.allSatisfy { $0.isCurrent }
    }

    /// Whether it should be opened anew by who can: the times of one of its files do not tell whether it was written to,
    /// and it was opened a while ago.
    public var mayBeOutdated: Bool {
        openedAt.duration(to: .now) > .seconds(1) && files.contains { $0.isDatedByClock }
    }

    /// A file of the chain that was written to since it was opened; nil where all are as they were, whatever their names
    /// lead to by now.
    public var changedFile: (any HostFile)? {
        files.first { !$0.isUnchanged }
    }

    /// All files of the chain that were written to since it was opened.
    public var writtenFiles: Set<FileIdentity> {
        Set(files.filter { !$0.isUnchanged }.flatMap(\.identities))
    }

    /// The same as `changedFile` for every read: the files are looked at every 20 milliseconds at most.
    public var fileChangedLately: (any HostFile)? {
        let elapsed = openedAt.duration(to: .now).components
        let now = elapsed.seconds * 1_000_000_000 + elapsed.attoseconds / 1_000_000_000
        let last = lookedAt.load(ordering: .relaxed)
        if last != .max {
            guard now - last >= Self.trust else { return nil }
            lookedAt.store(now, ordering: .relaxed)
        }
        guard let file = changedFile else { return nil }
        lookedAt.store(.max, ordering: .relaxed)
        return file
    }

    /// Whether all of its files are on disks of this host: see `HostFile`.
    public var isPrompt: Bool { files.allSatisfy(\.isPrompt) }

    /// Tells one state of the chain's files from another: what was read from equal ones is equal.
    public var stamp: [FileStamp] {
        files.map(FileStamp.init)
    }

    private var files: [any HostFile] { layers.flatMap(\.files) }
}

/// A dirty bitmap, and what it says.
public struct MeasuredBitmap: Sendable {
    /// What the bitmap directory says of it.
    public var bitmap: DirtyBitmap
    /// How many bytes of the disk it calls dirty, or why that cannot be told.
    public var dirtyBytes: Result<UInt64, ImageError>
}

/// One state of a file.
public struct FileStamp: Hashable, Sendable {
    private let identity: FileIdentity?
    private let size: UInt64
    private let modified: FileTime

    /// The state that `file` was opened in.
    public init(_ file: any HostFile) {
        identity = file.identity
        size = file.size
        modified = file.modified
    }
}
