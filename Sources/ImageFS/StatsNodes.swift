import BlockImage
import Catalog
import Fuse
import HostStorage
import ImageFormats
import Logging

/// A `stats.json`. Its counters move all the time.
protocol StatsNode: Node {
    /// What it says now.
    func text(in mount: ImageFileSystem) throws -> [UInt8]

    /// When what it is about changed last.
    func time(in mount: ImageFileSystem) -> FileTime?
}

extension StatsNode {
    var kind: FileKind { .regularFile }
    var isVolatile: Bool { true }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        let size = UInt64(try loggedText(in: mount).count)
        return NodeStatus(time: time(in: mount), size: size)
    }

    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        // The size may differ from the one that the kernel knows, so reads come here whatever it knows.
        (OpenText(text: try loggedText(in: mount)), OpenOptions(directIO: true))
    }

    /// The text. Throws, and logs why, where it cannot be made.
    private func loggedText(in mount: ImageFileSystem) throws(ErrorNumber) -> [UInt8] {
        do {
            return try text(in: mount)
        } catch {
            mount.logger.error("stats.json: \(error)")
            throw .inputOutput
        }
    }
}

/// `stats.json` of the mount.
struct MountStats: StatsNode {
    var gate: RequestGate? { nil }

    func text(in mount: ImageFileSystem) throws -> [UInt8] { try MountDocument(mount).text() }

    func time(in mount: ImageFileSystem) -> FileTime? { mount.startTime }
}

/// `stats.json` of a container of disks.
struct ContainerStats: StatsNode {
    let container: ContainerNode
    var gate: RequestGate? { container.gate }

    func text(in mount: ImageFileSystem) throws -> [UInt8] {
        defer { mount.openImages.note(container) }
        return try ContainerDocument(container).text()
    }

    func time(in mount: ImageFileSystem) -> FileTime? {
        try? FileStatus(at: container.location, followingLinks: false).modified
    }
}

/// `stats.json` of an image or of one of its snapshots.
struct ImageStats: StatsNode, ImagePart {
    let image: ImageNode
    /// The place of the snapshot in the snapshot table; nil: the image itself.
    var snapshot: Int?

    func text(in mount: ImageFileSystem) throws -> [UInt8] {
        defer { mount.openImages.note(image) }
        if mount.guests.areShown { mount.openGuests.note(image.guests) }
        return try StatsDocument(image, snapshot: snapshot, by: mount.kernelPaths, guests: mount.guests).text()
    }

    func time(in mount: ImageFileSystem) -> FileTime? { mount.opened(image).layers.first?.file.modified }
}

/// A `stats.json` as it was when it was opened, so that one reader sees one document.
struct OpenText: OpenFile {
    let text: [UInt8]

    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        reply.text(text[Int(min(offset, UInt64(text.count)))...].prefix(count))
    }
}

extension DataReply {
    /// Answers with `text`.
    consuming func text(_ text: ArraySlice<UInt8>) {
        let buffer = AlignedBuffer(capacity: text.count)
        buffer.fill(text.count) { output in for byte in text { output.append(byte) } }
        bytes(buffer.bytes)
    }
}
