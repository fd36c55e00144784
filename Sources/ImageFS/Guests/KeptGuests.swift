import BlockImage
import Catalog
import Glibc
import GuestFiles
import ImageFormats

/// How a mount shows the files of guests.
struct GuestSettings: Sendable {
    /// Whether it does.
    let areShown: Bool
    /// Reads what is not read here.
    let helper: (any GuestHelper)?
    /// Whether what gives rights where it is on a file system of the host is not shown.
    let hidesRights: Bool
    /// Whether attributes are shown that are for administrators: the user that reads them mostly mounted it.
    let showsTrusted = getuid() == 0
}

/// Which files of the guest on an image are meant.
struct GuestChoice: Hashable, Sendable {
    /// The place of the snapshot in the snapshot table; nil: the current disk.
    let snapshot: Int?
    let selector: GuestPlace.Selector
}

/// The file systems on the disks of one image, each opened when it is first asked for. Every method may be called from any thread;
/// those that open them wait for each other.
final class KeptGuests: Closable {
    /// Of how many snapshots they are kept.
    private static let snapshotLimit = 8

    /// What is on the disk of a snapshot, or on the current one.
    private struct Disk {
        let volumes: [GuestVolume]
        /// The other images that its volumes of LVM lie on as well.
        let others: [OpenedImage]
    }

    private struct State {
        /// The disks that all else is of; nil where they were let go of.
        var disks: ImageDisks?
        /// The state of their files then; nil where that does not tell whether they are the same later.
        var stamp: [FileStamp]?
        var generation: UInt64 = 0
        var known: [Int?: Disk] = [:]
        var trees: [GuestChoice: Result<GuestTree, ImageError>] = [:]
    }

    /// The image, in errors.
    private let name: String
    private let state = Guarded(State())

    /// Those of the image `name`.
    init(_ name: String) {
        self.name = name
    }

    /// Where the disk of `snapshot`, one of `disks`, may have file systems; and the generation of the image: what was read at another
    /// one may have been of other content.
    func volumes(
        of snapshot: Int?, in disks: ImageDisks, _ helper: (any GuestHelper)?
    ) -> (volumes: [GuestVolume], generation: UInt64) {
        state.withLock { state in
            prepare(&state, disks)
            return (Self.disk(snapshot, &state, disks, helper).volumes, state.generation)
        }
    }

    /// The files that `choice` means, of `disks`, or why they cannot be read; and the generation, as above.
    func tree(
        _ choice: GuestChoice, in disks: ImageDisks, _ helper: (any GuestHelper)?
    ) -> (tree: Result<GuestTree, ImageError>, generation: UInt64) {
        state.withLock { state in
            prepare(&state, disks)
            if let tree = state.trees[choice] { return (tree, state.generation) }
            let volumes = Self.disk(choice.snapshot, &state, disks, helper).volumes
            let tree: Result<GuestTree, ImageError>
            do throws(ImageError) {
                tree = .success(try GuestTree(choice.selector, of: volumes, image: name))
            } catch {
                tree = .failure(error)
            }
            state.trees[choice] = tree
            return (tree, state.generation)
        }
    }

    /// The images besides `disks` whose files the disk of `snapshot` lies on.
    func others(of snapshot: Int?) -> [OpenedImage] { state.withLock { $0.known[snapshot]?.others ?? [] } }

    /// Lets go of all of them; they are opened again when they are asked for. A file of one that is open can be read on.
    func closeIfIdle() -> Bool {
        let gone = state.withLockIfAvailable { state -> State in
            let gone = state
            state.stamp = Self.stamp(of: state) ?? (state.disks == nil ? state.stamp : nil)
            (state.disks, state.known, state.trees) = (nil, [:], [:])
            return gone
        }
        return gone != nil
    }

    /// What tells whether the same files are read again; nil where nothing does: a file system counts time in ticks.
    private static func stamp(of state: borrowing State) -> [FileStamp]? {
        guard let opened = state.disks?.opened, state.known.values.allSatisfy(\.others.isEmpty),
            opened.layers.allSatisfy({ $0.file.modified.age > FolderNode.tick })
        else { return nil }
        return opened.stamp
    }

    /// Sees to it that all that is known is of `disks`.
    private func prepare(_ state: inout State, _ disks: ImageDisks) {
        let isCurrent = state.known.values.allSatisfy { $0.others.allSatisfy(\.isCurrent) }
        if state.disks === disks, isCurrent { return }
        let isSame = state.disks == nil && state.stamp != nil && state.stamp == disks.opened.stamp
        if !isSame { state.generation += 1 }
        (state.disks, state.stamp, state.known, state.trees) = (disks, nil, [:], [:])
    }

    private static func disk(
        _ snapshot: Int?, _ state: inout State, _ disks: ImageDisks, _ helper: (any GuestHelper)?
    ) -> Disk {
        if let known = state.known[snapshot] { return known }
        if state.known.count >= snapshotLimit {
            state.known = state.known.filter { $0.key == nil }
            state.trees = state.trees.filter { $0.key.snapshot == nil }
        }
        let volumes = disks.guestVolumes(of: snapshot, helper: helper)
        let others = volumes.map { disks.opened(for: DiskID(snapshot: snapshot, part: $0.part)) }
        let disk = Disk(volumes: volumes, others: others.filter { $0 !== disks.opened })
        state.known[snapshot] = disk
        return disk
    }
}
