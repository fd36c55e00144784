import BlockImage
import Dispatch
import Glibc
import HostStorage
import ImageFormats
import SystemPackage

/// What a server offers: the images that a person named, and those of the folders that a person named. Every disk has
/// one name, and is found by that name only: a client's word never becomes a path. Every method may be called from any
/// thread.
public final class ExportCatalog: Sendable {
    /// What `list` says of one export.
    public struct Entry: Sendable {
        /// The name.
        public var name: String
        /// What it is, for people; empty where that is not known.
        public var summary: String
        /// The size of the disk in bytes, or why it cannot be read.
        public var size: Result<UInt64, ImageError>
    }

    /// The most images that are kept open because somebody may come back to them. Those in use are open besides.
    private static let openLimit = 64
    /// How long a failed look-up of a name stands: who asks for what is not there does not have the folders read at
    /// each question.
    private static let scanLifetime = Duration.milliseconds(100)

    private enum Source {
        case image(name: String, NamedImage)
        /// `prefix`: what comes before the names of the folder's images.
        case folder(prefix: String, FolderImages, as: NamedImage)
    }

    private struct Scan {
        var images: [String: NamedImage] = [:]
        var madeAt: ContinuousClock.Instant?
    }

    private let sources: [Source]
    private let resources: LayerResources
    private let scan = Guarded(Scan())
    private let open = BoundedCache<String, ServedImage>(capacity: openLimit)

    /// What `named` leads to, images and folders, opened as each says. Images share the caches of `resources`.
    ///
    /// An image has its file's name, and a disk of an appliance the archive's name and its own. The images of a folder have their path below the folder, and before that, where
    /// more than the one folder is served, the folder's name. Throws `system` for what is not there, and `denied` where
    /// two have one name.
    /// `probesAll`: whether files of folders whose names do not call them images are offered where their content does.
    public init(
        _ named: [NamedImage], resources: LayerResources = LayerResources(), probesAll: Bool = false
    ) throws(ImageError) {
        self.resources = resources
        var sources: [Source] = []
        var names: Set<String> = []
        for image in named {
            let place = image.appliancePlace
            let file = place?.archive ?? image.path
            let location = try canonical(file)
            if let place, place.disk != nil {
                _ = try NamedImage.disk(place, of: try image.openAppliance(place).appliance)
            }
            let path = String(decoding: image.path)
            // "." and "disks/" have a name, too; a link to an image has its own.
            let last = file.lastComponent.flatMap { $0.kind == .regular ? $0 : nil } ?? location.lastComponent
            let disk = place?.disk.map { "/" + String(decoding: $0, as: UTF8.self) } ?? ""
            let name = (last.map { String(decoding: $0) } ?? "disk") + disk
            guard names.insert(name).inserted else {
                throw ImageError(
                    .denied, path: path, "another one called \"\(name)\" is served already; serve them apart")
            }
            guard try Self.isFolder(location) else {
                sources.append(.image(name: name, image))
                continue
            }
            let prefix = named.count > 1 ? "\(name)/" : ""
            sources.append(
                .folder(
                    prefix: prefix, try FolderImages(location, allowed: image.allowed, probesAll: probesAll), as: image)
            )
        }
        self.sources = sources
    }

    /// Every image by its name, as it is to be opened, appliances as a whole; folders are looked through anew.
    public func images() -> [String: NamedImage] {
        var images: [String: NamedImage] = [:]
        for source in sources {
            switch source {
            case .image(let name, let image): images[name] = image
            case .folder(let prefix, let folder, let options):
                for found in folder.list() {
                    var image = options
                    image.path = found.location
                    image.confines = folder.confines
                    image.format = found.format ?? options.format
                    images[prefix + found.name] = image
                }
            }
        }
        let found = images
        scan.withLock { $0 = Scan(images: found, madeAt: .now) }
        return images
    }

    /// What the folders hold and is not offered. Told on another thread: a folder may not answer.
    public func tellSkipped(to tell: @escaping @Sendable (SkippedFiles) -> Void) {
        DispatchQueue.global().async { [sources] in
            var skipped = SkippedFiles()
            for case .folder(let prefix, let folder, _) in sources { skipped.add(folder.look().skipped, named: prefix) }
            tell(skipped)
        }
    }

    /// Every export, in the order of the images' names: for each image its disk, its partitions, and those of its
    /// snapshots. Opens each image for it.
    public func list() -> [Entry] {
        images().sorted { $0.key < $1.key }.flatMap { name, image -> [Entry] in
            do throws(ImageError) {
                return try image.disks(called: name).flatMap(entries)
            } catch {
                return [Entry(name: name, summary: "", size: .failure(error))]
            }
        }
    }

    /// The exports of one image.
    private func entries(_ name: String, _ image: NamedImage) -> [Entry] {
        do throws(ImageError) {
            return try served(name, image).exports().map {
                Entry(name: $0.name, summary: $0.summary, size: .success($0.image.virtualSize))
            }
        } catch {
            return [Entry(name: name, summary: "", size: .failure(error))]
        }
    }

    /// The image called `name`, which is no snapshot's or partition's name, as it is to be opened; also an appliance as a
    /// whole. Empty: the only one that there is. Throws `system` with ENOENT where there is none.
    public func image(_ name: String) throws(ImageError) -> NamedImage {
        try find(name).image
    }

    /// Opens the export called `name`; empty: the only image that there is.
    ///
    /// One that is open already is used again unless a file of it has changed. Throws `system` with ENOENT for what is
    /// not in the catalog, and why an image cannot be read.
    public func open(_ name: String) throws(ImageError) -> Export {
        let named: (name: String, image: NamedImage)?
        do throws(ImageError) {
            named = try find(name)
        } catch {
            guard !name.isEmpty else { throw error }
            named = nil
        }
        if let named {
            guard !named.image.isAppliance else {
                throw Self.several(named.name, try named.image.disks(called: named.name))
            }
            return try served(named.name, named.image).whole()
        }
        // The longest image name comes first: a name may have these marks in it.
        for mark in name.indices.reversed() where name[mark] == "@" || name[mark] == "/" {
            guard let found = try? find(String(name[..<mark])), !found.name.isEmpty, mark > name.startIndex,
                !found.image.isAppliance
            else { continue }
            let exports = try served(found.name, found.image).exports()
            if let export = exports.first(where: { $0.name == name }) { return export }
        }
        throw Self.missing(name)
    }

    /// The image called `name`, and its name where that was left out.
    private func find(_ name: String) throws(ImageError) -> (name: String, image: NamedImage) {
        let last = scan.withLock { $0 }
        if !name.isEmpty, let image = last.images[name] { return (name, image) }
        if let disk = try? Self.disk(name, in: last.images) { return (name, disk) }
        let isRecent = last.madeAt.map { $0.duration(to: .now) < Self.scanLifetime } ?? false
        let images = isRecent ? last.images : images()
        if name.isEmpty {
            guard images.count == 1, let image = images.first else {
                throw ImageError(
                    .system(errno: ENOENT), path: "export", "\(images.count) images are served: say which is meant")
            }
            let disks = try image.value.disks(called: image.key)
            guard let only = disks.first, disks.count == 1 else { throw Self.several(image.key, disks) }
            return only
        }
        if let image = images[name] { return (name, image) }
        guard let disk = try Self.disk(name, in: images) else { throw Self.missing(name) }
        return (name, disk)
    }

    /// The disk called `name` of one of the appliances among `images`; nil where there is none.
    private static func disk(_ name: String, in images: [String: NamedImage]) throws(ImageError) -> NamedImage? {
        for slash in name.indices where name[slash] == "/" {
            let archive = String(name[..<slash])
            guard let image = images[archive], image.isAppliance else { continue }
            return try image.disks(called: archive).first { $0.name == name }?.image
        }
        return nil
    }

    private static func several(_ name: String, _ disks: [(name: String, image: NamedImage)]) -> ImageError {
        let names = disks.prefix(16).map { "\"\($0.name)\"" }.joined(separator: ", ")
        return ImageError(
            .system(errno: ENOENT), path: "export \"\(name)\"",
            "is an appliance, of which each disk has a name of its own: \(names.isEmpty ? "it has none" : names)"
                + (disks.count > 16 ? " and \(disks.count - 16) more" : ""))
    }

    private func served(_ name: String, _ image: NamedImage) throws(ImageError) -> ServedImage {
        if let known = open.value(for: name) {
            if known.opened.isCurrent { return known }
            open.removeAll { $0 == name }
        }
        let served = ServedImage(try image.open(resources: resources), name: name)
        // What cannot be read now may be mended when it is next asked for.
        guard served.opened.disk.error == nil else { return served }
        return open.insert(served, cost: 1, for: name)
    }

    /// Whether `error`, which the catalog has thrown, is about a name that is not in it, and not about a file.
    public static func isAboutName(_ error: ImageError) -> Bool {
        error.code == .system(errno: ENOENT) && (error.path == "export" || error.path.hasPrefix("export \""))
    }

    private static func missing(_ name: String) -> ImageError {
        ImageError(.system(errno: ENOENT), path: "export \"\(name)\"", "is not served")
    }

    private static func isFolder(_ location: FilePath) throws(ImageError) -> Bool {
        do throws(Errno) {
            return try FileStatus(at: location).kind == .folder
        } catch {
            throw ImageError(.system(errno: error.rawValue), path: String(decoding: location), error.description)
        }
    }
}
