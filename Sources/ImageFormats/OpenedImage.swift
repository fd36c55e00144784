import BlockImage
import QCOW2
import VMDK

/// One file of a chain, as it describes itself.
public struct LayerDescription: Sendable {
    /// What the format says of it.
    public enum Facts: Sendable {
        /// A raw file says nothing of itself.
        case raw
        /// A QCOW2 image.
        case qcow2(QCOW2Description)
        /// A VMDK image; the layer is there if it could be made ready to read.
        case vmdk(VMDKDescription, VMDKLayer?)
    }

    /// The file that was opened for it, open still.
    public var file: any HostFile
    /// Its format.
    public var format: ImageFormat
    /// Whether only its content, and neither a name nor another image, said that it has this format.
    public var wasProbed: Bool
    /// What the format says of it.
    public var facts: Facts

    /// Every file that the layer's bytes come from, each once.
    public var files: [any HostFile] {
        if case .vmdk(_, let layer?) = facts { return layer.files }
        return [file]
    }

    /// What people should know of it, in sentences: what was read another way than usual, and why.
    public var notes: [String] {
        guard case .vmdk(let description, let layer) = facts else { return [] }
        return layer?.notes ?? description.notes
    }
}

/// What opening an image led to: as much of its chain as could be described, and the disk or why there is none.
/// Every method may be called from any thread.
public final class OpenedImage: Sendable {
    /// The files of the chain, topmost first, as far as the chain could be followed.
    public let layers: [LayerDescription]
    /// The disk, or why it cannot be read.
    public let result: Result<Image, ImageError>
    private let measured = Guarded<(Allocation, ImageError?)?>(nil)

    init(layers: [LayerDescription], result: Result<Image, ImageError>) {
        self.layers = layers
        self.result = result
    }

    /// An image whose file could not even be opened.
    public convenience init(failure: ImageError) {
        self.init(layers: [], result: .failure(failure))
    }

    /// The disk; nil where it cannot be read.
    public var image: Image? { try? result.get() }

    /// Why it cannot be read; nil where it can.
    public var error: ImageError? {
        if case .failure(let error) = result { return error }
        return nil
    }

    /// How the disk is stored, and what ended the count early, if anything did. Walks the tables when first asked, and
    /// keeps the answer. Nil where there is no disk.
    public var allocation: (Allocation, ImageError?)? {
        guard let image else { return nil }
        return measured.withLock { measured in
            let answer = measured ?? image.allocation()
            measured = answer
            return answer
        }
    }

    /// Whether every file of the chain is still the one that was opened, unchanged.
    public var isCurrent: Bool {
        files.allSatisfy { $0.isCurrent }
    }

    /// Tells one state of the chain's files from another: what was read from equal ones is equal.
    public var stamp: [FileStamp] {
        files.map(FileStamp.init)
    }

    private var files: [any HostFile] { layers.flatMap(\.files) }
}

/// One state of a file.
public struct FileStamp: Hashable, Sendable {
    private let identity: FileIdentity?
    private let size: UInt64
    private let modified: FileTime

    init(_ file: any HostFile) {
        identity = file.identity
        size = file.size
        modified = file.modified
    }
}
