import BlockImage
import Dispatch
import Glibc
import HostStorage
import ImageFormats
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
    /// The most bytes of a name that is looked for, and the most marks of its parts that are looked at.
    private static let nameLimit = 4096
    private static let markLimit = 64
    /// How long a request for one image waits: less than clients have for a handshake.
    private static let openPatience = Duration.seconds(8)

    private enum Source {
        case image(name: String, NamedImage)
        /// `prefix`: what comes before the names of the folder's images.
        case folder(prefix: String, FolderImages, as: NamedImage)
    }

    private struct Scan {
        var images: [ExactName: NamedImage] = [:]
        var madeAt: ContinuousClock.Instant?
    }

    /// The most notes that are remembered so that each is logged once.
    private static let noteLimit = 1024

    private let tell: @Sendable (String) -> Void
    private let told = Guarded<Set<String>>([])
    private let sources: [Source]
    /// How long the folders are waited for.
    private let scanPatience: Duration
    private let resources: LayerResources
    /// What answers to clients say of the host's paths.
    package let paths: HostPaths
    private let openings = SharedWork<ExactName, ServedImage>(threadLimit: 64)
    private let parts = SharedWork<ExactName, [Export]>(threadLimit: 64)
    private let appliances = SharedWork<ExactName, [(name: String, image: NamedImage)]>(threadLimit: 64)
    /// Ask images for lists.
    let listers = KeyedThreads<ObjectIdentifier>(threadsPerKey: listedAtOnce, threadLimit: 64)
    /// How many images one list asks at a time.
    static let listedAtOnce = 8
    private let scans = SharedWork<Int, [ExactName: NamedImage]>(threadLimit: 1)
    private let scan = Guarded(Scan())
    private let open = BoundedCache<ExactName, ServedImage>(capacity: openLimit)

    /// What `named` leads to, images and folders, opened as each says. Images share the caches of `resources`.
    ///
    /// An image has its file's name, and a disk of an appliance the archive's name and its own. The images of a folder have their path below the folder, and before that, where
    /// more than the one folder is served, the folder's name. Throws `system` for what is not there, and `denied` where
    /// two have one name.
    /// `probesAll`: whether files of folders whose names do not call them images are offered where their content does.
    /// `tell` gets, once, what the operator should know of an image that is opened: that another program is
    /// writing to it.
    package init(
        _ named: [NamedImage], resources: LayerResources = LayerResources(), probesAll: Bool = false,
        scanPatience: Duration = .seconds(3), tell: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(ImageError) {
        self.resources = resources
        self.tell = tell
        self.scanPatience = scanPatience
        var sources: [Source] = []
        var names: Set<ExactName> = []
        var folders: [String] = []
        for image in named {
            let place = image.appliancePlace
            let file = place?.archive ?? image.path
            let location = try canonical(file)
            if let place, place.disk != nil {
                _ = try image.openAppliance(place).disk(place)
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
            let isFolder = try FolderImages.isFolder(location)
            folders.append((isFolder ? location : location.removingLastComponent()).text)
            guard isFolder else {
                sources.append(.image(name: name, image))
                continue
            }
            let prefix = named.count > 1 ? "\(name)/" : ""
            let images = try FolderImages(image.path, allowed: image.allowed, probesAll: probesAll)
            sources.append(.folder(prefix: prefix, images, as: image))
        }
        self.sources = sources
        paths = HostPaths(below: folders)
    }

    /// Every image by its name, as it is to be opened, appliances as a whole; folders are looked through anew.
    /// Where they do not answer, the images are those that were there before; throws `system` with ETIMEDOUT where they never
    /// did.
    package func images() throws(ImageError) -> [ExactName: NamedImage] {
        do throws(ImageError) {
            return try scans.value(for: 0, of: .named("folders"), within: scanPatience) { [self] in lookThrough() }
        } catch {
            let last = scan.withLock { $0 }
            guard last.madeAt != nil else { throw error }
            return last.images
        }
    }

    private func lookThrough() -> [ExactName: NamedImage] {
        var images: [ExactName: NamedImage] = [:]
        for source in sources {
            switch source {
            case .image(let name, let image): images[ExactName(name)] = image
            case .folder(let prefix, let folder, let options):
                for found in folder.list() {
                    var image = options
                    image.path = found.location
                    image.confines = folder.confines
                    image.format = found.format ?? options.format
                    images[ExactName(Self.free(prefix + found.name, in: images))] = image
                }
            }
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

    /// What the folders hold and is not offered. Told on another thread: a folder may not answer.
    package func tellSkipped(to tell: @escaping @Sendable (SkippedFiles) -> Void) {
        DispatchQueue.global().async { [sources] in
            var skipped = SkippedFiles()
            for case .folder(let prefix, let folder, _) in sources { skipped.add(folder.look().skipped, named: prefix) }
            tell(skipped)
        }
    }

    /// The image called `name`, or that holds the disk called so, as it is to be opened, and the name; also an appliance as a
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
            guard !named.image.isAppliance else {
                let disks = try disks(of: named.image, called: named.name, within: Self.openPatience)
                throw Self.several(named.name, disks)
            }
            return try served(named.name, named.image, within: Self.openPatience).whole()
        }
        // The longest image name comes first: a name may have these marks in it.
        let bytes = Array(name.utf8)
        for found in parts(of: bytes, before: Self.marks(in: bytes)) {
            let served = try served(found.name, found.image, within: Self.openPatience)
            let exports = try exports(of: served, called: found.name, within: Self.openPatience)
            let wanted = found.name + String(decoding: bytes[found.mark...], as: UTF8.self)
            if let index = try Self.place(of: wanted, in: exports.map(\.name), noting: found.image) {
                return exports[index]
            }
        }
        throw Self.missing(name)
    }

    /// Where in a name the names of snapshots and partitions may begin, the last first: the last `markLimit` of them. They
    /// are looked for by bytes: an accent behind one makes one character of both.
    private static func marks(in name: [UInt8]) -> [Int] {
        let marks = name.indices.dropFirst().reversed().lazy.filter {
            [UInt8(ascii: "@"), UInt8(ascii: "/")].contains(name[$0])
        }
        return Array(marks.prefix(markLimit))
    }

    /// The image, or the disk of an appliance, whose name is `bytes` before one of `marks`, each with its mark; the longest
    /// name comes first. They are among those that were just looked for.
    private func parts(of bytes: [UInt8], before marks: [Int]) -> [(mark: Int, name: String, image: NamedImage)] {
        let images = scan.withLock { $0.images }
        let archives = Self.archives(in: bytes, of: images)
        let alike = Self.alike(bytes, before: marks, in: images)
        return marks.compactMap { mark in
            let name = String(decoding: bytes[..<mark], as: UTF8.self)
            if let image = images[ExactName(name)] { return image.isAppliance ? nil : (mark, name, image) }
            if let disk = try? disk(name, of: archives) { return (mark, name, disk) }
            guard let names = alike[mark],
                let index = try? Self.place(of: name, in: names, noting: images[ExactName(names[0])]),
                let image = images[ExactName(names[index])], !image.isAppliance
            else { return nil }
            return (mark, names[index], image)
        }
    }

    /// The names of `images` that look like `bytes` before one of `marks`, by the mark. Only names that are not ASCII look
    /// like others.
    private static func alike(
        _ bytes: [UInt8], before marks: [Int], in images: [ExactName: NamedImage]
    ) -> [Int: [String]] {
        guard !bytes.allSatisfy({ $0 < 0x80 }) else { return [:] }
        // Swift's strings are equal where they look the same.
        let marks = Dictionary(marks.map { (String(decoding: bytes[..<$0], as: UTF8.self), $0) }) { first, _ in first }
        return Dictionary(grouping: images.keys.map(\.text).filter { marks[$0] != nil }) { marks[$0] ?? 0 }
    }

    /// The name of the image that a disk called `name` is of, as far as that is known without looking: the longest name of
    /// the last scan, for an appliance its own. Nil where there is none.
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

    /// Those of `images` with the names of appliances that stand before a slash of `bytes`, the shortest first.
    private static func archives(
        in bytes: [UInt8], of images: [ExactName: NamedImage]
    ) -> [(name: String, image: NamedImage)] {
        marks(in: bytes).reversed().compactMap { mark in
            guard bytes[mark] == UInt8(ascii: "/"), ImageFormat.isAppliance(Array(bytes[..<mark].suffix(4))) else {
                return nil
            }
            let name = String(decoding: bytes[..<mark], as: UTF8.self)
            return images[ExactName(name)].map { (name, $0) }
        }
    }

    /// The disk called `name` of the first of the appliances `archives` that its name begins with; nil where there is none.
    private func disk(
        _ name: String, of archives: [(name: String, image: NamedImage)]
    ) throws(ImageError) -> NamedImage? {
        guard let found = archives.first(where: { name.utf8.starts(with: "\($0.name)/".utf8) && $0.image.isAppliance })
        else { return nil }
        let disks = try disks(of: found.image, called: found.name, within: Self.openPatience)
        return disks.first { ExactName($0.name) == ExactName(name) }?.image
    }

    /// The disks of an image: itself, or those of an appliance.
    func disks(
        of image: NamedImage, called name: String, within limit: Duration
    ) throws(ImageError) -> [(name: String, image: NamedImage)] {
        guard image.isAppliance else { return [(name, image)] }
        return try appliances.value(for: ExactName(name), of: .export(name), within: limit) {
            () throws(ImageError) in try image.disks(called: name)
        }
    }

    private static func several(_ name: String, _ disks: [(name: String, image: NamedImage)]) -> ImageError {
        let names = disks.prefix(16).map { "\"\($0.name)\"" }.joined(separator: ", ")
        return ImageError(
            .system(errno: ENOENT), about: .export(name),
            "is an appliance, of which each disk has a name of its own: \(names.isEmpty ? "it has none" : names)"
                + (disks.count > 16 ? " and \(disks.count - 16) more" : ""))
    }

    /// Which of `names` is meant by `name`: it alone, or the only one that looks the same, which `image` notes. Nil where
    /// there is none.
    private static func place(
        of name: String, in names: [String], noting image: NamedImage?
    ) throws(ImageError) -> Int? {
        let found = try NameMatch.find(
            Array(name.utf8), among: names.map { Array($0.utf8) }, kind: "export", of: .export(name))
        if let note = found?.note { image?.onNote?(note.description) }
        return found?.index
    }

    /// The image `name`, open. Throws `system` with ETIMEDOUT where it does not answer within `limit`, and why it cannot be
    /// opened.
    func served(
        _ name: String, _ image: NamedImage, within limit: Duration
    ) throws(ImageError) -> ServedImage {
        let key = ExactName(name)
        if let known = open.value(for: key), known.isPrompt, known.opened.isCurrent, !known.opened.mayBeOutdated {
            return known
        }
        return try openings.value(for: key, of: .export(name), within: limit) {
            [self] () throws(ImageError) in try opened(name, image)
        }
    }

    func exports(
        of served: ServedImage, called name: String, within limit: Duration
    ) throws(ImageError) -> [Export] {
        if let known = served.knownExports { return known }
        return try parts.value(for: ExactName(name), of: .export(name), within: limit) {
            () throws(ImageError) in try served.exports()
        }
    }

    private func opened(_ name: String, _ image: NamedImage) throws(ImageError) -> ServedImage {
        let key = ExactName(name)
        if let known = open.value(for: key) {
            if known.opened.isCurrent, !known.opened.mayBeOutdated { return known }
            open.removeAll { $0 == key }
        }
        let opened = try image.open(resources: resources)
        var only: Result<Image, ImageError>?
        if image.place != DiskPlace() {
            do throws(ImageError) { only = .success(try image.disk(of: opened)) } catch { only = .failure(error) }
        }
        let served = ServedImage(opened, name: name, paths: paths, only: only)
        noteUse(of: served.opened.layers.flatMap(\.files))
        // What cannot be read now may be mended when it is next asked for.
        guard served.opened.disk.error == nil else { return served }
        return open.insert(served, cost: 1, for: key)
    }

    private func noteUse(of files: [any HostFile]) {
        for note in ImageUse.timeNotes(files) + (ImageUse(files)?.note.map { [$0] } ?? []) {
            let note = note.description
            let isNew = told.withLock { told in
                if told.count >= Self.noteLimit { told = [] }
                return told.insert(note).inserted
            }
            if isNew { tell(note) }
        }
    }

    /// Whether `error`, which the catalog has thrown, is about a name that is not in it, and not about a file.
    package static func isAboutName(_ error: ImageError) -> Bool {
        guard case .export = error.subject else { return false }
        return error.code == .system(errno: ENOENT)
    }

    private static func missing(_ name: String) -> ImageError {
        ImageError(.system(errno: ENOENT), about: .export(name), "is not served")
    }
}
