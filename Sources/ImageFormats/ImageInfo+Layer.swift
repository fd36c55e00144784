import BlockImage
import FormatCore

extension ImageInfo {
    /// What `layer`, one file of a chain, says of itself; `listsAll`: with its snapshots and dirty bitmaps.
    public init(_ layer: LayerDescription, listsAll: Bool = true) {
        self.init(path: layer.file.path, format: layer.format.rawValue, actualSize: layer.file.allocatedSize)
        // One that could not be described has no size to speak of.
        guard let image = layer.image else { return }
        image.add(to: &self, listsAll: listsAll)
        if let backing = image.backing {
            backingFilename = PathText(backing.sought.text)
            // A name of Windows is none here; one that is only a UUID is no name of a file.
            let name =
                backing.identity == nil
                ? backing.sought.text : backing.sought.candidates.first.map { nameText($0.name) }
            fullBackingFilename = name.map { PathText(Self.joined($0, besides: layer.file.path)) }
            let isKnown = backing.usualFormat != nil
            backingFilenameFormat =
                backing.storedFormat ?? (isKnown ? ImageFormat.ofBacking(backing)?.rawValue : nil)
        }
        guard listsAll, let image = image as? any SnapshotImage else { return }
        let found = image.snapshots
        if !found.isEmpty { snapshots = found.map(SnapshotInfo.init) }
    }
}
