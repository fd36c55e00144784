import BlockImage
import Dispatch
import Glibc
import HostStorage
import ImageFormats
import Overlays
import SystemPackage

/// What a server offers: the images that a person named, and those of the folders that a person named. Every disk has
/// one name, and is found by that name only: a client's word never becomes a path. Every method may be called from any
/// thread.
package final class ExportCatalog: Sendable {
    /// The most images that are kept open because they may be asked for again. Those in use are open besides.
    private static let openLimit = 64
    /// How long a failed look-up of a name stands: who asks for what is not there does not have the folders read at
    /// each question.
    private static let scanLifetime = Duration.milliseconds(100)
    /// How long a request for one image waits: less than clients have for a handshake.
    private static let openPatience = Duration.seconds(8)

    enum Source {
        case image(name: String, NamedImage)
        /// `prefix`: what comes before the names of the folder's images.
        case folder(prefix: String, FolderImages, as: NamedImage)
    }

    private struct Scan {
        var images: [ExactName: NamedImage] = [:]
        var madeAt: ContinuousClock.Instant?
    }

    /// An image that was asked for, and how it is opened.
    private final class KnownImage: Sendable {
        let image: CatalogImage
        let path: FilePath
        let format: ImageFormat?

        init(_ image: CatalogImage, as named: NamedImage) {
            (self.image, path, format) = (image, named.path, named.format)
        }
    }

    let tell: @Sendable (String) -> Void
    let told = Guarded<Set<String>>([])
    let sources: [Source]
    /// How long the folders are waited for.
    private let scanPatience: Duration
    let resources: LayerResources
    /// Where what is written to disks goes, and what has it be in the files there; nil: nothing can be written.
    let overlays: (folder: OverlayFolder, writeBack: IdleWriteBack)?
    /// What answers to clients say of the host's paths.
    package let paths: HostPaths
    private let openings = SharedWork<ExactName, ImageDisks>(threadLimit: 64)
    private let parts = SharedWork<ObjectIdentifier, [ImageDisks.Listed]>(threadLimit: 64)
    private let containers = SharedWork<ExactName, [(name: String, image: NamedImage)]>(threadLimit: 64)
    /// Ask images for lists.
    let listers = KeyedThreads<ObjectIdentifier>(threadsPerKey: listedAtOnce, threadLimit: 64)
    /// How many images one list asks at a time.
    static let listedAtOnce = 8
    private let scans = SharedWork<Int, [ExactName: NamedImage]>(threadLimit: 1)
    private let scan = Guarded(Scan())
    /// The images that were asked for.
    private let known = BoundedCache<ExactName, KnownImage>(capacity: 4096)
    private let openImages = OpenImages(limit: openLimit)

    /// What `named` leads to, images and folders, opened as each says. Images share the caches of `resources`.
    ///
    /// An image has its file's name, and a disk in a container that one's name and its own. The images of a folder have
    /// their path below the folder, and before that, where more than the one folder is served, the folder's name. Throws `system` for what is not there, and `denied` where
    /// two have one name.
    /// `probesAll`: whether files of folders whose names do not call them images are offered where their content does.
    /// `overlay`: the folder for what is written to disks, and how. `tell` gets, once, what the operator should know of an image that is opened: that another program is
    /// writing to it.
    package init(
        _ named: [NamedImage], resources: LayerResources = LayerResources(), probesAll: Bool = false,
        scanPatience: Duration = .seconds(3), overlay: FilePath? = nil,
        overlaySettings: OverlaySettings = OverlaySettings(),
        tell: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(ImageError) {
        self.resources = resources
        self.tell = tell
        self.scanPatience = scanPatience
        var sources: [Source] = []
        var names: Set<ExactName> = []
        var folders: [String] = []
        var written: [OverlayFolder.Images] = []
        for image in named {
            let place = image.containerPlace
            let file = place?.archive ?? image.path
            let location = try canonical(file)
            if let place, place.disk != nil {
                _ = try image.openContainer(place).disk(place)
            }
            let path = image.path.text
            // "." and "disks/" have a name, too; a link to an image has its own.
            let last = file.lastComponent.flatMap { $0.kind == .regular ? $0 : nil } ?? location.lastComponent
            let disk = place?.disk.map { "/" + exportName($0) } ?? ""
            let name = (last.map { exportName(FilePath(root: nil, [$0]).bytes) } ?? "disk") + disk + image.place.text
            guard names.insert(ExactName(name)).inserted else {
                throw ImageError(
                    .denied, path: path, "another one called \"\(name)\" is served already; serve them apart")
            }
            let isFolder = try Self.isFolder(location)
            folders.append((isFolder ? location : location.removingLastComponent()).text)
            guard isFolder else {
                sources.append(.image(name: name, image))
                written.append(.init(only: try PathByName(file).path))
                continue
            }
            let prefix = named.count > 1 ? "\(name)/" : ""
            let below = named.count > 1 ? last.map { [$0] } ?? [] : []
            written.append(.init(of: location, in: FilePath(root: nil, below)))
            let policy = try ConfinedOpenPolicy(images: image.path, allowed: image.allowed)
            let images = FolderImages(policy.images, FolderRules(policy, probesAll: probesAll))
            sources.append(.folder(prefix: prefix, images, as: image))
        }
        self.sources = sources
        paths = HostPaths(below: folders)
        overlays = try overlay.map { path throws(ImageError) in
            try Self.openOverlays(at: path, for: written, overlaySettings, tell)
        }
    }

    /// Whether `location` is a folder. Throws `system` where that cannot be told.
    private static func isFolder(_ location: FilePath) throws(ImageError) -> Bool {
        do throws(Errno) {
            return try FileStatus(at: location).kind == .folder
        } catch {
            throw ImageError(.system(errno: error.rawValue), path: location.text, "\(error)")
        }
    }

    /// Every image by its name, as it is to be opened, containers as a whole; folders are looked through anew.
    /// Where they do not answer, the images are those that were there before; throws `system` with ETIMEDOUT where they never
    /// did.
    package func images() throws(ImageError) -> [ExactName: NamedImage] {
        do throws(ImageError) {
            return try scans.value(for: 0, of: .named("folders"), within: scanPatience) {
                [self] () throws(ImageError) in try lookThrough()
            }
        } catch {
            let last = scan.withLock { $0 }
            guard last.madeAt != nil else { throw error }
            return last.images
        }
    }

    /// Of a folder that does not answer, what was there before.
    private func lookThrough() throws(ImageError) -> [ExactName: NamedImage] {
        var images: [ExactName: NamedImage] = [:]
        let last = scan.withLock { $0 }
        var unanswered: [String] = []
        for source in sources {
            switch source {
            case .image(let name, let image): images[ExactName(name)] = image
            case .folder(let prefix, let folder, let options):
                let look = folder.look()
                unanswered += look.unanswered.map { prefix + $0 }
                for found in look.found {
                    var image = options
                    image.path = found.location
                    image.confines = folder.rules.policy
                    image.format = found.format ?? options.format
                    images[ExactName(Self.free(prefix + found.name, in: images))] = image
                }
            }
        }
        for (name, image) in last.images where unanswered.contains(where: { name.text.utf8.starts(with: $0.utf8) }) {
            if images[name] == nil { images[name] = image }
        }
        guard !images.isEmpty || unanswered.isEmpty || last.madeAt != nil else {
            throw ImageError(.system(errno: ETIMEDOUT), about: .named("folders"), "does not answer")
        }
        let found = images
        scan.withLock { $0 = Scan(images: found, madeAt: .now) }
        return images
    }

    /// `name`, or what tells it apart from the names in `images`: a name may look like that of another file that is not
    /// UTF-8, which comes after it in the order of the bytes.
    private static func free(_ name: String, in images: [ExactName: NamedImage]) -> String {
        var name = name
        while images[ExactName(name)] != nil { name += "~" }
        return name
    }

    /// The image called `name`, or that holds the disk called so, as it is to be opened, and the name; also a container as a
    /// whole. Empty: the only one that there is. Throws `system` with ENOENT where there is none.
    package func image(_ name: String) throws(ImageError) -> (name: String, image: NamedImage) {
        do throws(ImageError) {
            return try find(name)
        } catch {
            let bytes = Array(name.utf8)
            guard bytes.count <= Self.nameLimit, Self.isAboutName(error) else { throw error }
            let name = try open(name).name
            for found in parts(of: bytes, before: Self.marks(in: bytes)) {
                guard found.image.place == DiskPlace(), let place = DiskPlace(bytes[found.mark...]) else { continue }
                var image = found.image
                image.place = place
                return (name, image)
            }
            throw error
        }
    }

    /// Opens the export called `name`; empty: the only image that there is.
    ///
    /// One that is open already is used again unless a file of it has changed. Throws `system` with ENOENT for what is
    /// not in the catalog, and why an image cannot be read.
    package func open(_ name: String) throws(ImageError) -> Export {
        guard name.utf8.count <= Self.nameLimit else { throw Self.missing(name) }
        let named: (name: String, image: NamedImage)?
        do throws(ImageError) {
            named = try find(name)
        } catch {
            guard !name.isEmpty, error.code != .system(errno: ETIMEDOUT) else { throw error }
            named = nil
        }
        if let named {
            guard !named.image.isContainer else {
                let disks = try disks(of: named.image, called: named.name, within: Self.openPatience)
                throw Self.several(named.name, disks)
            }
            return try whole(named.name, named.image)
        }
        // The longest image name comes first: a name may have these marks in it.
        let bytes = Array(name.utf8)
        for found in parts(of: bytes, before: Self.marks(in: bytes)) {
            let disks = try disks(found.name, of: found.image, within: Self.openPatience)
            let list = try listed(found.name, of: found.image, disks, within: Self.openPatience)
            let wanted = found.name + String(decoding: bytes[found.mark...], as: UTF8.self)
            if let index = try Self.place(of: wanted, in: list.map { found.name + $0.suffix }, noting: found.image) {
                let isWhole = index == 0 && found.image.place == DiskPlace()
                return export(found.name, list[index], of: disks, isWhole: isWhole)
            }
        }
        throw Self.missing(name)
    }

    /// The disk that the image's name means.
    private func whole(_ name: String, _ image: NamedImage) throws(ImageError) -> Export {
        let disks = try disks(name, of: image, within: Self.openPatience)
        if image.place == DiskPlace() { return export(name, try disks.whole(), of: disks, isWhole: true) }
        let list = try listed(name, of: image, disks, within: Self.openPatience)
        guard let only = list.first else { throw Self.missing(name) }
        return export(name, only, of: disks, isWhole: false)
    }

    /// The image, or the disk in a container, whose name is `bytes` before one of `marks`, each with its mark; the longest
    /// name comes first. They are among those that were just looked for.
    private func parts(of bytes: [UInt8], before marks: [Int]) -> [(mark: Int, name: String, image: NamedImage)] {
        let images = scan.withLock { $0.images }
        let archives = Self.archives(in: bytes, of: images)
        let alike = Self.alike(bytes, before: marks, in: images)
        return marks.compactMap { mark in
            let name = String(decoding: bytes[..<mark], as: UTF8.self)
            if let image = images[ExactName(name)] { return image.isContainer ? nil : (mark, name, image) }
            if let disk = try? disk(name, of: archives) { return (mark, name, disk) }
            guard let names = alike[mark],
                let index = try? Self.place(of: name, in: names, noting: images[ExactName(names[0])]),
                let image = images[ExactName(names[index])], !image.isContainer
            else { return nil }
            return (mark, names[index], image)
        }
    }

    /// The name of the image that a disk called `name` is of, as far as that is known without looking: the longest name of
    /// the last scan, for a container its own. Nil where there is none.
    package func knownImage(of name: String) -> String? {
        let images = scan.withLock { $0.images }
        if name.isEmpty { return images.count == 1 ? images.first?.key.text : nil }
        guard name.utf8.count <= Self.nameLimit else { return nil }
        if images[ExactName(name)] != nil { return name }
        let bytes = Array(name.utf8)
        let marks = Self.marks(in: bytes)
        let known = marks.first { images[ExactName(String(decoding: bytes[..<$0], as: UTF8.self))] != nil }
        if let known { return String(decoding: bytes[..<known], as: UTF8.self) }
        let alike = Self.alike(bytes, before: [bytes.count] + marks, in: images)
        return alike.max { $0.key < $1.key }?.value.first
    }

    /// The image called `name`, and its name where that was left out.
    private func find(_ name: String) throws(ImageError) -> (name: String, image: NamedImage) {
        guard name.utf8.count <= Self.nameLimit else { throw Self.missing(name) }
        let last = scan.withLock { $0 }
        if !name.isEmpty, let image = last.images[ExactName(name)] { return (name, image) }
        let bytes = Array(name.utf8)
        if let disk = try? disk(name, of: Self.archives(in: bytes, of: last.images)) { return (name, disk) }
        let isRecent = last.madeAt.map { $0.duration(to: .now) < Self.scanLifetime } ?? false
        let images = isRecent ? last.images : try images()
        if name.isEmpty {
            guard images.count == 1, let image = images.first else {
                throw ImageError(
                    .system(errno: ENOENT), about: .export(nil), "\(images.count) images are served: say which is meant"
                )
            }
            let disks = try disks(of: image.value, called: image.key.text, within: Self.openPatience)
            guard let only = disks.first, disks.count == 1 else { throw Self.several(image.key.text, disks) }
            return only
        }
        if let image = images[ExactName(name)] { return (name, image) }
        if let disk = try disk(name, of: Self.archives(in: bytes, of: images)) { return (name, disk) }
        let names = Self.alike(bytes, before: [bytes.count], in: images)[bytes.count] ?? []
        guard let index = try Self.place(of: name, in: names, noting: images.values.first),
            let image = images[ExactName(names[index])]
        else { throw Self.missing(name) }
        return (names[index], image)
    }

    /// The disk called `name` of the first of the containers `archives` that its name begins with; nil where there is none.
    private func disk(
        _ name: String, of archives: [(name: String, image: NamedImage)]
    ) throws(ImageError) -> NamedImage? {
        guard let found = archives.first(where: { name.utf8.starts(with: "\($0.name)/".utf8) && $0.image.isContainer })
        else { return nil }
        let disks = try disks(of: found.image, called: found.name, within: Self.openPatience)
        return disks.first { ExactName($0.name) == ExactName(name) }?.image
    }

    /// The disks of an image: itself, or those of a container.
    func disks(
        of image: NamedImage, called name: String, within limit: Duration
    ) throws(ImageError) -> [(name: String, image: NamedImage)] {
        guard image.isContainer else { return [(name, image)] }
        return try containers.value(for: ExactName(name), of: .export(name), within: limit) {
            () throws(ImageError) in try image.disks(called: name)
        }
    }

    /// The disks of the image `name`. Throws `system` with ETIMEDOUT where it does not answer within `limit`, and why it cannot
    /// be read.
    func disks(
        _ name: String, of image: NamedImage, within limit: Duration
    ) throws(ImageError) -> ImageDisks {
        let key = ExactName(name)
        let entry = entry(key, image)
        defer { openImages.note(entry) }
        let disks: ImageDisks
        if let prompt = entry.promptDisks() {
            disks = prompt
        } else {
            disks = try openings.value(for: key, of: .export(name), within: limit) { entry.disks() }
        }
        _ = try disks.opened.disk.result.get()
        return disks
    }

    private func entry(_ key: ExactName, _ image: NamedImage) -> CatalogImage {
        if let known = known.value(for: key) {
            if known.path == image.path, known.format == image.format { return known.image }
            self.known.removeAll { $0 == key }
        }
        let entry = CatalogImage { [weak self] in
            self?.open(image, $0) ?? OpenedImage(failure: Self.missing(key.text))
        }
        return known.insert(KnownImage(entry, as: image), cost: 1, for: key).image
    }

    /// The disks that are offered of the image `name`: all of `disks`, or the one of them that was named.
    func listed(
        _ name: String, of image: NamedImage, _ disks: ImageDisks, within limit: Duration
    ) throws(ImageError) -> [ImageDisks.Listed] {
        let isWhole = image.place == DiskPlace()
        if isWhole, let known = disks.knownList { return known }
        return try parts.value(for: ObjectIdentifier(disks), of: .export(name), within: limit) {
            () throws(ImageError) in
            guard !isWhole else { return disks.list() }
            let id = try image.find(in: disks)
            let disk = try image.disk(of: disks).result.get()
            let opened = disks.opened(for: id)
            return [
                ImageDisks.Listed(
                    suffix: "", summary: "disk of an image", image: disk, opened: opened, isWritable: id.isWritable)
            ]
        }
    }
}
