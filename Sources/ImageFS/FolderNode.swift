import BlockImage
import Catalog
import Fuse
import HostStorage
import SystemPackage

/// A folder of the host, as the mount shows it: its images, its containers of disks and its subfolders. It is listed when it is
/// looked into, and again when it has changed since. Every method may be called from any thread.
final class FolderNode: Entry {
    /// A change within this time after the last one may leave the folder's time as it is: file systems count in ticks.
    static let tick = Duration.milliseconds(100)

    private struct State {
        /// Which folder it was, and its time, when it was last listed; nil before that.
        var listed: (folder: FileIdentity, time: FileTime)?
        var listedAt = ContinuousClock.now
        /// Whether the folder's time was old enough, when it was listed, to show every later change, and all that is in it
        /// could be looked up.
        var isSettled = false
        /// In the order of their names' bytes.
        var names: [[UInt8]] = []
        var entries: [[UInt8]: any Entry] = [:]
    }

    private let id: EntryNumber
    var number: UInt64 { id.value }
    /// Whether it is the folder that is mounted.
    private let isRoot: Bool
    /// The folder's path, without links; that of a link where it was not found in time where it leads.
    let location: FilePath
    /// Bounds the threads that list it.
    let gate: RequestGate? = RequestGate()
    private let source: ImageSource
    /// The folders that it lies in, up to the mounted one: a link back to one of them would make the tree endless.
    private let ancestors: [FilePath]
    /// The one image that the mount shows, where it does not show a folder.
    private let onlyImage: (name: [UInt8], location: FilePath)?
    private let lister: FolderLister
    private let state = Guarded(State())

    init(at location: FilePath, below ancestors: [FilePath], from source: ImageSource) {
        id = source.numbers.next()
        isRoot = false
        self.location = location
        self.ancestors = ancestors
        self.source = source
        lister = FolderLister(of: location, source.rules)
        onlyImage = nil
    }

    /// The root of a mount that shows `folder`.
    init(showing folder: ImageFolder, from source: ImageSource) {
        id = source.numbers.next()
        isRoot = true
        self.location = folder.location
        self.source = source
        lister = FolderLister(of: folder.location, source.rules)
        ancestors = []
        onlyImage = folder.image
    }

    deinit {
        letGo()
    }

    var kind: FileKind { .directory }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        NodeStatus(ofDirectoryFor: location)
    }

    /// In the order of the names' bytes.
    func children(in mount: ImageFileSystem) -> [NamedNode] {
        let children = refreshed { state -> [NamedNode] in
            state.names.compactMap { name in state.entries[name].map { (name, $0) } }
        }
        // A subfolder of that name is hidden.
        return isRoot ? [(NodeName.stats, MountStats())] + children.filter { $0.name != NodeName.stats } : children
    }

    func child(_ name: [UInt8], in mount: ImageFileSystem) -> (any Node)? {
        fixedChild(name) ?? refreshed { $0.entries[name] }
    }

    func fixedChild(_ name: [UInt8]) -> (any Node)? {
        isRoot && name == NodeName.stats ? MountStats() : nil
    }

    /// Puts a new node in the place of an image that changed, which readers go on reading as it was when they opened it. Who
    /// comes now is to see what it is, under an inode of its own: the kernel keeps what it has read by inode.
    func renewed(_ child: any Node, called name: [UInt8]) -> (any Node)? {
        guard let image = child as? ImageNode, image.isLeftBehind else { return child }
        let entry = state.withLock { state -> (any Entry)? in
            guard let known = state.entries[name], known.number == image.number else { return state.entries[name] }
            var naming = (format: image.format, isSaid: image.isFormatSaid)
            if case .image(let format, let said) = lister.kind(ofFile: name) { naming = (format, said == .person) }
            let entry = source.image(at: image.location, naming.format, isSaid: naming.isSaid)
            entry.takeOver(from: image)
            state.entries[name] = entry
            return entry
        }
        // Not under the lock: closing this one may take long, and other images are looked up meanwhile.
        if entry?.number != image.number { image.letGo() }
        return entry
    }

    /// The folder has lost its name. Who is still in it is shown what is there by then; where a look-up is under way
    /// into it, they see to that.
    func letGo() {
        let entries = state.withLockIfAvailable { state in
            defer { state = State() }
            return state.entries
        }
        for entry in (entries ?? [:]).values { entry.letGo() }
    }

    /// What `work` answers of the folder as it is now.
    private func refreshed<Answer>(_ work: (State) -> Answer) -> Answer {
        let (answer, gone) = state.withLock { state in
            let gone = refresh(&state)
            return (work(state), gone)
        }
        // Not under the lock: closing an image may take long, and others are looked up meanwhile.
        for entry in gone { entry.letGo() }
        return answer
    }

    /// Lists the folder where it has changed. Answers what it has no longer, to be let go of.
    private func refresh(_ state: inout State) -> [any Entry] {
        if let onlyImage {
            guard state.entries.isEmpty else { return [] }
            state.names = [onlyImage.name]
            // The person said that it is one.
            let kind = source.rules.kind(ofFile: onlyImage.name) ?? .image(nil, .name)
            let item = FolderItem(name: onlyImage.name, location: onlyImage.location, kind: kind)
            state.entries[onlyImage.name] = makeEntry(of: item)
            return []
        }
        let status = try? FileStatus(at: location, followingLinks: false)
        let now = status.map { (folder: $0.identity, time: $0.modified) }
        let isSame = now != nil && now?.folder == state.listed?.folder && now?.time == state.listed?.time
        guard !isSame || !state.isSettled && state.listedAt.duration(to: .now) > Self.tick else { return [] }
        state.listed = now
        state.listedAt = .now
        let known = state.entries
        let isComplete = list(into: &state)
        // A time that stayed for a tick is settled, also one that lies in the future.
        state.isSettled = isComplete && (isSame || now.map { $0.time.age > Self.tick } ?? false)
        return known.compactMap { name, entry in state.entries[name]?.number == entry.number ? nil : entry }
    }

    /// Takes over what is there, and keeps what is still there. Answers whether all of it could be looked up.
    private func list(into state: inout State) -> Bool {
        var entries: [[UInt8]: any Entry] = [:]
        // A folder that is gone, or cannot be read any more, has nothing in it.
        let listing = source.rules.policy.list(location)?.entries ?? []
        let (items, isComplete) = lister.items(in: listing, changed: state.listed?.time) { found in
            // What a link leads to may be another thing by now.
            guard let known = state.entries[found.name], found.kind != .link,
                known is FolderNode == (found.kind == .folder)
            else { return false }
            entries[found.name] = known
            return true
        }
        for item in items {
            entries[item.name] = entry(of: item, unless: state.entries[item.name])
        }
        state.entries = entries
        state.names = entries.keys.sorted { $0.lexicographicallyPrecedes($1) }
        return isComplete
    }

    /// What `item` is shown as: `known` where that is still right, and nil where it is not shown.
    private func entry(of item: FolderItem, unless known: (any Entry)?) -> (any Entry)? {
        guard let known else { return makeEntry(of: item) }
        guard item.isCertain else { return known }
        switch item.kind {
        case .folder(let place): return (known as? FolderNode)?.location == place ? known : makeEntry(of: item)
        case .image, .container: return known is FolderNode ? makeEntry(of: item) : known
        case .skipped: return nil
        }
    }

    /// The entry of `item`; nil for what is not shown, and for a link that leads back.
    private func makeEntry(of item: FolderItem) -> (any Entry)? {
        switch item.kind {
        case .image(let format, let said): source.image(at: item.location, format, isSaid: said == .person)
        case .container(let format): ContainerNode(at: item.location, as: format, from: source)
        case .folder(let place): makeFolder(at: place)
        case .skipped: nil
        }
    }

    private func makeFolder(at place: FilePath) -> (any Entry)? {
        let above = ancestors + [location]
        guard !above.contains(place) else { return nil }
        return FolderNode(at: place, below: above, from: source)
    }
}

extension FileTime {
    /// How long ago it was, as far as that can be said; negative for the future. File systems report any number.
    var age: Duration {
        let now = FileTime.now
        let (elapsed, isTooLong) = now.seconds.subtractingReportingOverflow(seconds)
        guard !isTooLong else { return .seconds(seconds < 0 ? Int64.max : Int64.min) }
        return .seconds(elapsed) + .nanoseconds(now.nanoseconds &- nanoseconds)
    }
}
