import BlockImage
import Fuse
import HostStorage
import ImageFormats
import SystemPackage

/// A folder of the host, as the mount shows it: its images, its appliances and its subfolders. It is listed when it is
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
        /// The files that only their content calls images, where these are shown.
        var probed = ProbedFiles()
    }

    private typealias Contents = (parts: DiskParts, probed: ProbedFiles)

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
    private let state = Guarded(State())
    /// Which of its files are parts of others, and which only their content calls images.
    private let contents = TimedLookups<FilePath, Contents>()
    /// What that came to where it took long: less than is waited for it.
    private let late = LateFindings<Contents>(longerThan: .milliseconds(250))
    /// Where links lead, and what subfolders are.
    private let places = TimedLookups<FilePath, (kind: FileStatus.Kind, location: FilePath)?>()

    init(at location: FilePath, below ancestors: [FilePath], from source: ImageSource) {
        id = source.numbers.next()
        isRoot = false
        self.location = location
        self.ancestors = ancestors
        self.source = source
        onlyImage = nil
    }

    /// The root of a mount that shows `folder`.
    init(showing folder: ImageFolder, from source: ImageSource) {
        id = source.numbers.next()
        isRoot = true
        self.location = folder.location
        self.source = source
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
        let children = state.withLock { state -> [NamedNode] in
            refresh(&state)
            return state.names.compactMap { name in state.entries[name].map { (name, $0) } }
        }
        // A subfolder of that name is hidden.
        return isRoot ? [(NodeName.stats, MountStats())] + children.filter { $0.name != NodeName.stats } : children
    }

    func child(_ name: [UInt8], in mount: ImageFileSystem) -> (any Node)? {
        fixedChild(name)
            ?? state.withLock { state in
                refresh(&state)
                return state.entries[name]
            }
    }

    func fixedChild(_ name: [UInt8]) -> (any Node)? {
        isRoot && name == NodeName.stats ? MountStats() : nil
    }

    /// Puts a new node in the place of an image that changed, which readers go on reading as it was when they opened it. Who
    /// comes now is to see what it is, under an inode of its own: the kernel keeps what it has read by inode.
    func renewed(_ child: any Node, called name: [UInt8]) -> (any Node)? {
        guard let image = child as? ImageNode, image.isLeftBehind else { return child }
        return state.withLock { state in
            guard let known = state.entries[name], known.number == image.number else { return state.entries[name] }
            image.letGo()
            let entry = makeFile(name, at: image.location, state.probed)
            (entry as? ImageNode)?.noteChange(of: image.location.text)
            state.entries[name] = entry
            return entry
        }
    }

    /// The folder has lost its name. Who is still in it is shown what is there by then; where a look-up is under way
    /// into it, they see to that.
    func letGo() {
        _ = state.withLockIfAvailable { state in
            for entry in state.entries.values { entry.letGo() }
            state = State()
        }
    }

    private func refresh(_ state: inout State) {
        if let onlyImage {
            guard state.entries.isEmpty else { return }
            state.names = [onlyImage.name]
            state.entries[onlyImage.name] = makeFile(onlyImage.name, at: onlyImage.location, state.probed)
            return
        }
        let status = try? FileStatus(at: location, followingLinks: false)
        let now = status.map { (folder: $0.identity, time: $0.modified) }
        let isSame = now != nil && now?.folder == state.listed?.folder && now?.time == state.listed?.time
        guard !isSame || !state.isSettled && state.listedAt.duration(to: .now) > Self.tick else { return }
        state.listed = now
        state.listedAt = .now
        // A folder that is gone, or cannot be read any more, has nothing in it.
        let isComplete = list(source.policy.list(location)?.entries ?? [], into: &state)
        // A time that stayed for a tick is settled, also one that lies in the future.
        state.isSettled = isComplete && (isSame || now.map { $0.time.age > Self.tick } ?? false)
    }

    /// Takes over what is there, keeps what is still there, and lets go of the rest. Answers whether all of it could be
    /// looked up.
    private func list(_ listing: [FolderListing.Entry], into state: inout State) -> Bool {
        let found = contents(of: listing, changed: state.listed?.time)
        // Where a file does not answer, names decide until it does.
        let (parts, probed) =
            found ?? late.latest(of: location) ?? (DiskParts(named: listing.map(\.name)), state.probed)
        state.probed = probed
        // What a link leads to may be another thing by now.
        func known(_ found: FolderListing.Entry) -> (any Entry)? {
            guard let known = state.entries[found.name], found.kind != .link else { return nil }
            return known is FolderNode == (found.kind == .folder) ? known : nil
        }
        let unknown = listing.filter { $0.kind != .file && known($0) == nil }.map { path(of: $0.name) }
        let places = places.values(of: unknown) { [policy = source.policy] in policy.place(of: $0) }
        var entries: [[UInt8]: any Entry] = [:]
        for found in listing where !parts.contains(found.name) {
            entries[found.name] =
                known(found) ?? entry(of: found, in: places, unless: state.entries[found.name], probed)
        }
        for (name, entry) in state.entries where entries[name]?.number != entry.number {
            entry.letGo()
        }
        state.entries = entries
        state.names = entries.keys.sorted { $0.lexicographicallyPrecedes($1) }
        return places.count == unknown.count && found != nil
    }

    /// What the files of `listing` are, in the folder as it was last changed at `time`; nil where that is not known yet.
    private func contents(of listing: [FolderListing.Entry], changed time: FileTime?) -> Contents? {
        if let known = late.value(of: listing, in: location, changed: time) { return known }
        return contents.values(of: [location]) { [source, late] folder in
            late.look(at: listing, in: folder, changed: time) { source.contents(of: listing, in: folder) }
        }[location]
    }

    /// What `found` is shown as: `known` where that is still right, and nil where it is not shown. `places` says where
    /// links lead and what subfolders are, as far as that was found in time.
    private func entry(
        of found: FolderListing.Entry, in places: [FilePath: (kind: FileStatus.Kind, location: FilePath)?],
        unless known: (any Entry)?, _ probed: ProbedFiles
    ) -> (any Entry)? {
        let location = path(of: found.name)
        guard found.kind == .link || found.kind == .folder else { return makeFile(found.name, at: location, probed) }
        guard let answer = places[location] else {
            // Requests for it will wait, and no others. By its name it is an image, else a folder.
            if let known { return known }
            return found.kind == .link
                ? makeFile(found.name, at: location, probed) ?? makeFolder(at: location) : makeFolder(at: location)
        }
        guard let place = answer else {
            // A link that leads nowhere, or where nothing may be opened, is an image whose `stats.json` says so.
            return found.kind == .folder ? nil : file(known) ?? makeFile(found.name, at: location, probed)
        }
        guard place.kind == .folder else { return file(known) ?? makeFile(found.name, at: location, probed) }
        if let node = known as? FolderNode, node.location == place.location { return known }
        return makeFolder(at: place.location)
    }

    private func file(_ entry: (any Entry)?) -> (any Entry)? {
        entry is FolderNode ? nil : entry
    }

    private func path(of name: [UInt8]) -> FilePath {
        location.appending(FilePath(bytes: name).components)
    }

    /// The entry of a file; nil for one that is no image.
    private func makeFile(_ name: [UInt8], at location: FilePath, _ probed: ProbedFiles) -> (any Entry)? {
        if source.saidFormat == nil, ImageFormat.isAppliance(name) {
            return ApplianceNode(at: location, from: source)
        }
        var naming = source.naming(of: name)
        if !naming.isShown { (naming.isShown, naming.format) = probed[name] }
        guard naming.isShown || onlyImage != nil else { return nil }
        let (format, isSaid) = (naming.format, naming.isSaid)
        let source = self.source
        return ImageNode(number: source.numbers.next(), at: location, format: format) { counters in
            source.open(location, as: format, isSaid: isSaid, counters: counters)
        }
    }

    /// The entry of a folder; nil for a link that leads back.
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
