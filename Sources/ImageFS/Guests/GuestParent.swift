import BlockImage
import Catalog
import Fuse
import GuestFiles
import ImageFormats

/// A name of a directory with files of a guest, and which files they are.
typealias GuestPlaceName = (name: [UInt8], selector: GuestPlace.Selector)

/// A directory of an image that shows disks, and the files of guests on them, where the mount does so.
protocol GuestParent: ImageDirectory {
    /// The place of the snapshot in the snapshot table; nil: the current disk.
    var snapshot: Int? { get }

    /// All that it holds but files of guests.
    func disks(in mount: ImageFileSystem) -> [NamedNode]

    /// What may have files of guests.
    func guestPlaces(in mount: ImageFileSystem) -> [GuestPlaceName]
}

extension GuestParent {
    func children(in mount: ImageFileSystem) -> [NamedNode] {
        let disks = disks(in: mount)
        guard mount.guests.areShown, isReadable(in: mount) else { return disks }
        let names = Set(disks.map(\.name))
        return disks
            + guestPlaces(in: mount).compactMap { (try? shown($0, in: mount)) ?? nil }.filter {
                !names.contains($0.name)
            }
    }

    /// Without a look at the guest for what is not one.
    func child(_ name: [UInt8], in mount: ImageFileSystem) throws(ErrorNumber) -> (any Node)? {
        if let disk = disks(in: mount).first(where: { $0.name == name }) { return disk.node }
        guard mount.guests.areShown, isReadable(in: mount) else { return nil }
        for place in guestPlaces(in: mount) where name == place.name || name == NodeName.error(place.name) {
            if let shown = try shown(place, in: mount), shown.name == name { return shown.node }
        }
        return nil
    }

    private func isReadable(in mount: ImageFileSystem) -> Bool { image.disk(DiskID(snapshot: snapshot)).image != nil }

    /// The directory of `place`, or the file that says why it is not there; nil for what has no files that are read here.
    private func shown(_ place: GuestPlaceName, in mount: ImageFileSystem) throws(ErrorNumber) -> NamedNode? {
        defer { mount.openImages.note(image) }
        let choice = GuestChoice(snapshot: snapshot, selector: place.selector)
        switch try image.guestTop(choice, in: mount) {
        case .success(let top): return (place.name, top)
        case .failure(let error):
            return (
                NodeName.error(place.name),
                GuestErrorNode(image: image, choice: choice, text: Array("\(error)\n".utf8))
            )
        case nil: return nil
        }
    }
}

/// `files.error`: why there is no `files`.
struct GuestErrorNode: ImagePart {
    let image: ImageNode
    let choice: GuestChoice
    let text: [UInt8]
    var kind: FileKind { .regularFile }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        NodeStatus(time: mount.opened(image).layers.first?.file.modified, size: UInt64(text.count))
    }

    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        (OpenText(text: text), OpenOptions())
    }
}
