import BlockImage
import Catalog
import Fuse
import ImageFormats
import Reports

/// `map.json`: how the disk is stored.
struct MapNode: ImagePart {
    let image: ImageNode
    var kind: FileKind { .regularFile }
    var isVolatile: Bool { true }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        let opened = mount.opened(image)
        guard let size = image.mapSize() else { throw .noEntry }
        return NodeStatus(time: opened.layers.first?.file.modified, size: size, allocatedSize: 0)
    }

    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        let (disk, _) = try mount.openDisk(.current, of: image, by: nil)
        // Its size is not known beforehand.
        return (OpenMap(node: image, text: MapText(disk.image)), OpenOptions(directIO: true))
    }
}

/// `map.json` of the disk as it was when it was opened; counts as a reader of it.
private struct OpenMap: OpenFile {
    let node: ImageNode
    let text: MapText
    var gate: RequestGate? { node.gate }

    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        reply.text(text.bytes(count, at: offset)[...])
    }

    func close(in mount: ImageFileSystem) {
        mount.closeDisk(of: node)
    }
}

/// The text of a `map.json`, made as it is read: the map of a large disk may have millions of runs, and takes no more
/// memory than that of a small one. Every method may be called from any thread.
final class MapText: Sendable {
    /// How much text is made ahead and kept after the last read.
    private static let window = 1 << 20

    private struct State {
        var pieces: MapJSON
        /// The place in the text that `text` begins at.
        var start: UInt64 = 0
        var text: [UInt8] = []
        var isComplete = false

        init(_ image: Image) {
            pieces = MapJSON(DiskMap(image))
        }

        mutating func addPiece() {
            guard let piece = pieces.next() else {
                isComplete = true
                return
            }
            text += Array(piece.utf8)
        }
    }

    private let image: Image
    private let state: Guarded<State>

    /// The text of the map of `image`.
    init(_ image: Image) {
        self.image = image
        state = Guarded(State(image))
    }

    /// The size of the whole text, in bytes; nil where counting it takes more than 10,000 runs.
    func size() -> UInt64? {
        var state = State(image)
        for _ in 0..<10_000 {
            state.addPiece()
            if state.isComplete { return UInt64(state.text.count) }
        }
        return nil
    }

    /// At most `count` bytes of the text from `offset` on; none past its end. Who goes back has it made from its start.
    func bytes(_ count: Int, at offset: UInt64) -> [UInt8] {
        state.withLock { state in
            if offset < state.start { state = State(image) }
            let end = offset.addingReportingOverflow(UInt64(count))
            let wanted = end.overflow ? UInt64.max : end.partialValue
            while !state.isComplete, state.start + UInt64(state.text.count) < wanted {
                state.addPiece()
                // What was read long ago is let go.
                if state.text.count > 2 * Self.window {
                    let dropped = min(state.text.count - Self.window, Int(clamping: offset - min(offset, state.start)))
                    state.text.removeFirst(dropped)
                    state.start += UInt64(dropped)
                }
            }
            let first = Int(clamping: offset - state.start)
            guard first < state.text.count else { return [] }
            return Array(state.text[first...].prefix(count))
        }
    }
}
