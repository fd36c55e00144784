import BlockImage
import Catalog
import Fuse
import GuestFiles
import ImageFormats
import Logging

/// The files of one guest as a mount shows them: of one image as it was at one time. Where the image has changed since, nothing of
/// it is answered any more (ESTALE): the kernel looks the names up again, and finds what is there by then.
final class GuestView: Hashable, Sendable {
    let image: ImageNode
    let choice: GuestChoice
    private let generation: UInt64

    init(of image: ImageNode, _ choice: GuestChoice, generation: UInt64) {
        (self.image, self.choice, self.generation) = (image, choice, generation)
    }

    static func == (one: GuestView, other: GuestView) -> Bool {
        one === other
            || one.image.number == other.image.number && one.choice == other.choice
                && one.generation == other.generation
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(image.number)
        hasher.combine(choice)
        hasher.combine(generation)
    }

    /// What `body` answers of the files. Throws `stale` where the image has changed, and what `body` throws, which is logged.
    func read<Answer>(
        in mount: ImageFileSystem, _ body: (GuestTree) throws(ImageError) -> Answer
    ) throws(ErrorNumber) -> Answer {
        guard let disks = image.take() else { throw .stale }
        defer {
            image.giveBack()
            mount.openImages.note(image)
        }
        return try read(in: mount, disks, body)
    }

    /// Opens the content of `file` for a reader, who must close it in the end. Throws as `read` does.
    func open(_ file: GuestTree.Node, in mount: ImageFileSystem) throws(ErrorNumber) -> OpenGuestFile {
        guard let disks = image.take() else { throw .stale }
        do throws(ErrorNumber) {
            let content = try read(in: mount, disks) { tree throws(ImageError) in try tree.open(file) }
            mount.openImages.note(image)
            let others = image.guests.others(of: choice.snapshot)
            return OpenGuestFile(content, of: self, on: [disks.opened] + others)
        } catch {
            image.giveBack()
            throw error
        }
    }

    private func read<Answer>(
        in mount: ImageFileSystem, _ disks: ImageDisks, _ body: (GuestTree) throws(ImageError) -> Answer
    ) throws(ErrorNumber) -> Answer {
        let (tree, generation) = image.guests.tree(choice, in: disks, mount.guests.helper)
        mount.openGuests.note(image.guests)
        guard generation == self.generation else { throw .stale }
        do throws(ImageError) {
            return try body(try tree.get())
        } catch {
            throw note(error, in: mount)
        }
    }

    /// Counts and logs `error`, and answers what a reader of the mount gets for it.
    func note(_ error: ImageError, in mount: ImageFileSystem) -> ErrorNumber {
        guard ErrorNumber(error) != .stale else { return .stale }
        let reason = error.description
        if image.counters(DiskID(snapshot: choice.snapshot)).countFailure(reason) {
            mount.logger.warning("files of a guest: \(reason)")
        }
        _ = mount.counters.countFailure(reason)
        return ErrorNumber(error)
    }
}

extension ImageNode {
    /// What is shown of the files of `choice`: the topmost directory, or why it cannot be read; nil where there is no file system that
    /// is read. Throws `stale` where the image has changed under a reader.
    func guestTop(
        _ choice: GuestChoice, in mount: ImageFileSystem
    ) throws(ErrorNumber) -> Result<GuestDirectory, ImageError>? {
        guard let disks = take() else { throw .stale }
        defer { giveBack() }
        defer { mount.openGuests.note(guests) }
        if case .part(let part) = choice.selector {
            let volumes = guests.volumes(of: choice.snapshot, in: disks, mount.guests.helper).volumes
            guard let volume = volumes.first(where: { $0.part == part }) else { return nil }
            do throws(ImageError) {
                guard try volume.fileSystem() != nil else { return nil }
            } catch {
                return .failure(error)
            }
        }
        let (tree, generation) = guests.tree(choice, in: disks, mount.guests.helper)
        return tree.map { tree in
            GuestDirectory(tree.root, in: nil, of: GuestView(of: self, choice, generation: generation))
        }
    }
}
