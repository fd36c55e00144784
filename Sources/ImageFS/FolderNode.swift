import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

/// A folder of the host, as the mount shows it: its images, its appliances and its subfolders. It is listed when it is
/// looked into, and again when it has changed since. Every method may be called from any thread.
final class FolderNode: Sendable {
    /// The number of the folder that is mounted.
    static let rootNumber: UInt64 = 0

    /// A change within this time after the last one may leave the folder's time as it is: file systems count in ticks.
    static let tick = Duration.milliseconds(100)

    private struct State {
        /// The folder's time when it was last listed; nil before that.
        var listedTime: FileTime?
        var listedAt = ContinuousClock.now
        /// Whether the folder's time was old enough, when it was listed, to show every later change.
        var isSettled = false
        /// In the order of their names' bytes.
        var names: [[UInt8]] = []
        var entries: [[UInt8]: Entry] = [:]
    }

    let number: UInt64
    /// The folder's path, without links.
    let location: FilePath
    private let source: ImageSource
    /// The folders that it lies in, up to the mounted one: a link back to one of them would make the tree endless.
    private let ancestors: [FilePath]
    /// The one image that the mount shows, where it does not show a folder.
    private let onlyImage: (name: [UInt8], location: FilePath)?
    private let state = Guarded(State())

    init(number: UInt64, at location: FilePath, below ancestors: [FilePath], from source: ImageSource) {
        self.number = number
        self.location = location
        self.ancestors = ancestors
        self.source = source
        onlyImage = nil
    }

    /// The root of a mount that shows `folder`.
    init(number: UInt64, showing folder: ImageFolder, from source: ImageSource) {
        self.number = number
        self.location = folder.location
        self.source = source
        ancestors = []
        onlyImage = folder.image
    }

    /// What it holds, in the order of the names' bytes.
    func children() -> [(name: [UInt8], entry: Entry)] {
        state.withLock { state in
            refresh(&state)
            return state.names.compactMap { name in state.entries[name].map { (name, $0) } }
        }
    }

    /// What `name` is; nil where nothing is called so.
    func child(_ name: [UInt8]) -> Entry? {
        state.withLock { state in
            refresh(&state)
            return state.entries[name]
        }
    }

    /// Puts a new node in the place of `image`, which somebody goes on reading as it was when they opened it. Who comes
    /// now is to see what it is, under an inode of its own: the kernel keeps what it has read by inode.
    func replace(_ image: ImageNode, called name: [UInt8]) -> Entry? {
        state.withLock { state in
            guard let known = state.entries[name], known.number == image.number else { return state.entries[name] }
            Entry.image(image).letGo(from: source.entries)
            let entry = makeFile(name, at: image.location)
            if case .image(let image)? = entry { image.noteChange(of: String(decoding: image.location)) }
            state.entries[name] = entry
            return entry
        }
    }

    /// The folder has lost its name. Who is still in it is shown what is there by then; where somebody is just looking
    /// into it, they see to that.
    func letGo() {
        _ = state.withLockIfAvailable { state in
            for entry in state.entries.values { entry.letGo(from: source.entries) }
            state = State()
        }
    }

    private func refresh(_ state: inout State) {
        if let onlyImage {
            guard state.entries.isEmpty else { return }
            state.names = [onlyImage.name]
            state.entries[onlyImage.name] = makeFile(onlyImage.name, at: onlyImage.location)
            return
        }
        let modified = (try? FileStatus(at: location, followingLinks: false))?.modified
        if modified == state.listedTime, modified != nil {
            guard !state.isSettled, state.listedAt.duration(to: .now) > Self.tick else { return }
        }
        state.isSettled = modified.map { $0.age > Self.tick } ?? false
        state.listedTime = modified
        state.listedAt = .now
        // A folder that is gone, or cannot be read any more, has nothing in it.
        list(source.policy.list(location)?.entries ?? [], into: &state)
    }

    /// Takes over what is there, keeps what is still there, and lets go of the rest.
    private func list(_ listing: [FolderListing.Entry], into state: inout State) {
        let names = Set(listing.map(\.name))
        var entries: [[UInt8]: Entry] = [:]
        for found in listing where !ImageFormat.isPart(found.name, among: names) {
            let known = state.entries[found.name]
            // What a link leads to may be another thing by now.
            if let known, found.kind != .link, known.isFolder == (found.kind == .folder) {
                entries[found.name] = known
            } else {
                entries[found.name] = entry(of: found, unless: known)
            }
        }
        for (name, entry) in state.entries where entries[name]?.number != entry.number {
            entry.letGo(from: source.entries)
        }
        state.entries = entries
        state.names = entries.keys.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// What `found` is shown as: `known` where that is still right, and nil where it is not shown.
    private func entry(of found: FolderListing.Entry, unless known: Entry?) -> Entry? {
        let location = path(of: found.name)
        guard found.kind == .link || found.kind == .folder else { return makeFile(found.name, at: location) }
        guard let place = source.policy.place(of: location) else {
            // A link that leads nowhere, or where nothing may be opened, is an image whose `stats.json` says so.
            return found.kind == .folder ? nil : file(known) ?? makeFile(found.name, at: location)
        }
        guard place.kind == .folder else { return file(known) ?? makeFile(found.name, at: location) }
        if case .folder(let node)? = known, node.location == place.location { return known }
        return makeFolder(at: place.location)
    }

    private func file(_ entry: Entry?) -> Entry? {
        entry.flatMap { $0.isFolder ? nil : $0 }
    }

    private func path(of name: [UInt8]) -> FilePath {
        location.appending(FilePath(bytes: name).components)
    }

    /// The entry of a file; nil for one that is no image.
    private func makeFile(_ name: [UInt8], at location: FilePath) -> Entry? {
        if ApplianceNode.isAppliance(name) {
            return add(.appliance(ApplianceNode(number: source.entries.nextNumber(), at: location, from: source)))
        }
        let naming = source.naming(of: name)
        guard naming.isShown || onlyImage != nil else { return nil }
        let source = self.source
        let node = ImageNode(number: source.entries.nextNumber(), at: location, format: naming.format) { counters in
            source.open(location, as: naming.format, counters: counters)
        }
        return add(.image(node))
    }

    /// The entry of a folder; nil for a link that leads back.
    private func makeFolder(at place: FilePath) -> Entry? {
        let above = ancestors + [location]
        guard !above.contains(place) else { return nil }
        return add(.folder(FolderNode(number: source.entries.nextNumber(), at: place, below: above, from: source)))
    }

    private func add(_ entry: Entry) -> Entry {
        source.entries.add(entry)
        return entry
    }
}

extension Entry {
    /// Whether the host has a folder where it is.
    fileprivate var isFolder: Bool {
        if case .folder = self { true } else { false }
    }
}

extension FileTime {
    /// How long ago it was; negative for the future.
    var age: Duration {
        let now = FileTime.now
        return .seconds(now.seconds - seconds) + .nanoseconds(now.nanoseconds - nanoseconds)
    }
}
