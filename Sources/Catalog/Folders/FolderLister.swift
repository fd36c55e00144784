import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

/// Tells of the names in a folder of the host which are images and containers of disks, and what the others are. Files and
/// links that do not answer are waited for as long as `TimedLookups` says. Every method may be called from any thread.
package final class FolderLister: Sendable {
    /// The folder's path.
    private let location: FilePath
    private let rules: FolderRules
    /// What its files say of themselves.
    private let contents: TimedLookups<FilePath, FolderContents>
    /// What that came to where it took long: less than is waited for it.
    private let late: LateFindings<FolderContents>
    /// The files that only their content called images when it was last listed.
    private let probed = Guarded(ProbedFiles())
    /// Where links lead, and what subfolders are.
    private let places: TimedLookups<FilePath, (kind: FileStatus.Kind, location: FilePath)?>

    /// Of the folder at `location`, whose files are what `rules` say, and are waited for `patience` milliseconds.
    package init(of location: FilePath, _ rules: FolderRules, patience: Int = 500) {
        self.location = location
        self.rules = rules
        contents = TimedLookups(patience: patience)
        places = TimedLookups(patience: patience)
        late = LateFindings(longerThan: .milliseconds(patience / 2))
    }

    /// What `listing`, that of the folder as it was last changed at `time`, has, in the order of the names' bytes; and
    /// whether all of it could be looked up.
    ///
    /// `isKnown`: what the folder itself says enough of, since it was listed before: of these there is no item, unless they
    /// are parts of others.
    package func items(
        in listing: [FolderListing.Entry], changed time: FileTime?,
        unless isKnown: (FolderListing.Entry) -> Bool = { _ in false }
    ) -> (items: [FolderItem], isComplete: Bool) {
        let found = contents(of: listing, changed: time)
        // Where a file does not answer, names decide until it does, and what was found before.
        let contents =
            found ?? late.latest(of: location)
            ?? FolderContents(parts: DiskParts(named: listing.map(\.name)), probed: probed.withLock { $0 })
        probed.withLock { $0 = contents.probed }
        var items: [FolderItem] = []
        var unknown: [FolderListing.Entry] = []
        for entry in listing {
            if contents.parts.contains(entry.name) {
                items.append(FolderItem(name: entry.name, location: path(of: entry.name), kind: .skipped(.part)))
            } else if !isKnown(entry) {
                unknown.append(entry)
            }
        }
        let paths = unknown.filter { $0.kind != .file }.map { path(of: $0.name) }
        let places = places.values(of: paths) { [policy = rules.policy] in policy.place(of: $0) }
        items += unknown.map { item(for: $0, in: places, contents.probed) }
        items.sort { $0.name.lexicographicallyPrecedes($1.name) }
        return (items, places.count == paths.count && found != nil)
    }

    /// What the file `name` is, in the folder as it was last listed.
    package func kind(ofFile name: [UInt8]) -> FolderItem.Kind {
        kind(ofFile: name, probed.withLock { $0 })
    }

    private func kind(ofFile name: [UInt8], _ probed: ProbedFiles) -> FolderItem.Kind {
        if let kind = rules.kind(ofFile: name) { return kind }
        let (isImage, format) = probed[name]
        return isImage ? .image(format, .content) : .skipped(.noKnownExtension)
    }

    /// What the files are, in the folder as it was last changed at `time`; nil where that is not known yet.
    private func contents(of listing: [FolderListing.Entry], changed time: FileTime?) -> FolderContents? {
        if let known = late.value(of: listing, in: location, changed: time) { return known }
        return contents.values(of: [location]) { [rules, late] folder in
            late.look(at: listing, in: folder, changed: time) { rules.contents(of: listing, in: folder) }
        }[location]
    }

    /// `places` says where links lead and what subfolders are, as far as that was found in time.
    private func item(
        for entry: FolderListing.Entry, in places: [FilePath: (kind: FileStatus.Kind, location: FilePath)?],
        _ probed: ProbedFiles
    ) -> FolderItem {
        var item = FolderItem(
            name: entry.name, location: path(of: entry.name), kind: kind(ofFile: entry.name, probed))
        guard entry.kind != .file else { return item }
        guard let answer = places[item.location] else {
            // Requests for it will wait, and no others. By its name it is an image, else a folder.
            item.isCertain = false
            if entry.kind == .folder || !item.isShown { item.kind = .folder(item.location) }
            return item
        }
        if let answer {
            if answer.kind == .folder { item.kind = .folder(answer.location) }
        } else if entry.kind == .folder || !item.isShown {
            item.kind = .skipped(.unreadable)
        }
        // A link that leads nowhere, or where nothing may be opened, and is called an image, is one that cannot be read.
        return item
    }

    private func path(of name: [UInt8]) -> FilePath {
        location.appending(FilePath(bytes: name).components)
    }
}

extension FolderItem {
    /// Whether it is an image, a container or a folder.
    package var isShown: Bool {
        if case .skipped = kind { return false }
        return true
    }
}
