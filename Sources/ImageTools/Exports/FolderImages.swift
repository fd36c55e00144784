import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

/// The images and appliances in a folder of the host and in the folders below it, found as a mount finds them. May be used from any
/// thread.
struct FolderImages {
    /// The most images that are found: what comes after them in the order of the names is not looked for.
    static let limit = 100_000

    /// How long a folder, what a link leads to, or the content of a folder's files is waited for; what does not answer by then
    /// is passed over.
    private static let patience = Duration.seconds(1)

    /// What may be opened: the folder, and what was allowed besides.
    let confines: ConfinedOpenPolicy
    private let listings = SharedWork<FilePath, Listing?>(threadLimit: 16)
    private let places = SharedWork<FilePath, Place?>(threadLimit: 16)
    private let contents = SharedWork<FilePath, Content>(threadLimit: 16)
    /// What the contents of folders came to where that took long: less than is waited for it.
    private let late = LateFindings<Content>(longerThan: .milliseconds(500))

    /// Whether `location` is a folder. Throws `system` where that cannot be told.
    static func isFolder(_ location: FilePath) throws(ImageError) -> Bool {
        do throws(Errno) {
            return try FileStatus(at: location).kind == .folder
        } catch {
            throw ImageError(.system(errno: error.rawValue), path: location.text, "\(error)")
        }
    }

    /// What a folder holds, and when it was last changed before it was listed.
    private struct Listing: Sendable {
        var entries: [FolderListing.Entry]
        var time: FileTime?
    }

    /// Where a name leads.
    private struct Place: Sendable {
        var kind: FileStatus.Kind
        var location: FilePath
    }

    /// What the files of a folder are by their content: the parts of others' disks, and, where these are looked for, images
    /// whose names do not call them so.
    private struct Content: Sendable {
        var parts: DiskParts
        var probed = ProbedFiles()

        init(parts: DiskParts) {
            self.parts = parts
        }

        /// What the files `entries` of `folder` say of themselves.
        init(
            of entries: [FolderListing.Entry], in folder: FilePath, _ confines: ConfinedOpenPolicy, probesAll: Bool
        ) {
            func open(_ name: [UInt8]) -> (any HostFile)? {
                try? confines.openImage(at: folder.appending(FilePath(bytes: name).components))
            }
            parts = DiskParts(among: entries.map(\.name), open: open)
            guard probesAll else { return }
            let files = entries.filter { $0.kind != .folder }.map(\.name)
            let images = files.filter { ImageFormat.naming(of: $0) != nil }
            probed = ProbedFiles(
                files.filter { ImageFormat.naming(of: $0) == nil && !ImageFormat.isAppliance($0) }, besides: images,
                open: open)
        }
    }

    /// Whether files whose names do not call them images are recognised by their content, too.
    let probesAll: Bool

    /// An image of the folder.
    struct Found {
        /// Its path below the folder, as a name.
        var name: String
        /// Where it is.
        var location: FilePath
        /// Its format, where another image says it, and its own name says none.
        var format: ImageFormat?
    }

    /// The images of `folder`, which may also name files of the folders `allowed`. Throws `system` where one of these
    /// cannot be opened.
    init(_ folder: FilePath, allowed: [FilePath], probesAll: Bool = false) throws(ImageError) {
        self.probesAll = probesAll
        confines = try ConfinedOpenPolicy(images: folder, allowed: allowed)
    }

    /// What is there now: the path below the folder as a name (see `exportName`), and where it is.
    func list() -> [Found] { look().found }

    /// The same, and what else is there.
    func look() -> (found: [Found], skipped: SkippedFiles) {
        var all: (found: [Found], skipped: SkippedFiles) = ([], SkippedFiles())
        list(confines.images, named: "", below: [], into: &all)
        return all
    }

    /// `ancestors`: the folders that `folder` lies in. A link back to one of them would make the tree endless.
    private func list(
        _ folder: FilePath, named prefix: String, below ancestors: [FilePath],
        into all: inout (found: [Found], skipped: SkippedFiles)
    ) {
        guard let listing = listing(of: folder) else {
            return all.skipped.add(prefix.isEmpty ? "." : prefix, .unreadable)
        }
        let content = content(of: folder, listing)
        for entry in listing.entries.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
            guard all.found.count < Self.limit else { return }
            let shown = prefix + exportName(entry.name)
            guard !content.parts.contains(entry.name) else {
                all.skipped.add(shown, .part)
                continue
            }
            let location = folder.appending(FilePath(bytes: entry.name).components)
            let (isProbed, format) = content.probed[entry.name]
            let isImage =
                isProbed || ImageFormat.naming(of: entry.name) != nil || ImageFormat.isAppliance(entry.name)
            let place = entry.kind == .file ? nil : self.place(of: location)
            if entry.kind != .file, place == nil {
                all.skipped.add(shown, .unreadable)
            } else if place?.kind == .folder, let place {
                guard place.location != folder, !ancestors.contains(place.location) else { continue }
                list(place.location, named: "\(shown)/", below: ancestors + [folder], into: &all)
            } else if isImage {
                all.found.append(Found(name: shown, location: location, format: format))
            } else {
                all.skipped.add(shown, .noKnownExtension)
            }
        }
    }

    /// What the content of the files in `folder` says of them; where one of them does not answer, what the names say.
    private func content(of folder: FilePath, _ listing: Listing) -> Content {
        let (entries, time) = (listing.entries, listing.time)
        if let known = late.value(of: entries, in: folder, changed: time) { return known }
        let found = try? contents.value(for: folder, of: .named("folder"), within: Self.patience) {
            [confines, probesAll, late] in
            late.look(at: entries, in: folder, changed: time) {
                Content(of: entries, in: folder, confines, probesAll: probesAll)
            }
        }
        // What was found before the folder changed says more than names.
        return found ?? late.latest(of: folder) ?? Content(parts: DiskParts(named: entries.map(\.name)))
    }

    private func listing(of folder: FilePath) -> Listing? {
        let found = try? listings.value(for: folder, of: .named("folder"), within: Self.patience) { [confines] in
            let time = try? FileStatus(at: folder, followingLinks: false).modified
            return confines.list(folder).map { Listing(entries: $0.entries, time: time) }
        }
        return found ?? nil
    }

    private func place(of location: FilePath) -> Place? {
        let found = try? places.value(for: location, of: .named("link"), within: Self.patience) { [confines] in
            confines.place(of: location).map { Place(kind: $0.kind, location: $0.location) }
        }
        return found ?? nil
    }
}
