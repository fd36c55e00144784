import ArgumentParser
import Attachment
import BlockImage
import Catalog
import Completion
import ControlRPC
import FormatCore
import HostStorage
import ImageFormats
import PartitionTable
import SystemPackage

extension RBlock {
    /// Answers shells.
    static let completer = Completer(RBlock.self, usualVerb: Info.self) { word in
        DisksOfFile(word).names
    }

    /// The verb that `words` of a command line say, as far as it is typed: what is still missing is empty.
    fileprivate static func parsed(_ words: [String]) -> (any ParsableCommand)? {
        guard let arguments = try? withVerb(Array(words.dropFirst())) else { return nil }
        for missing in 0...3 {
            let command = try? parseAsRoot(arguments + Array(repeating: "", count: missing))
            if let command { return command }
        }
        return nil
    }
}

extension NamedImage {
    /// The format's own image in its file, without all that it names; nil where that cannot be said.
    private var formatImage: (any FormatImage)? { try? openAlone().image.layers.first?.image }

    /// The snapshots; none where that cannot be said.
    var snapshots: [DiskSnapshot] { (formatImage as? any SnapshotImage)?.snapshots ?? [] }

    /// The dirty bitmaps; none where that cannot be said.
    fileprivate var bitmaps: [DirtyBitmap] { (formatImage as? any BitmapImage)?.bitmaps ?? [] }
}

extension CompletionKind {
    /// The names of the snapshots of `image`, which a `Verb` is about.
    static func snapshots<Verb: ParsableCommand>(of image: @escaping @Sendable (Verb) -> NamedImage?) -> CompletionKind
    {
        names(of: image) { $0.snapshots.map(\.nameBytes) }
    }

    /// The names of the dirty bitmaps of `image`, which a `Verb` is about.
    static func bitmaps<Verb: ParsableCommand>(of image: @escaping @Sendable (Verb) -> NamedImage?) -> CompletionKind {
        names(of: image) { $0.bitmaps.map(\.nameBytes) }
    }

    private static func names<Verb: ParsableCommand>(
        of image: @escaping @Sendable (Verb) -> NamedImage?, _ names: @escaping @Sendable (NamedImage) -> [[UInt8]]
    ) -> CompletionKind {
        .custom { words, _, _ in
            guard let verb = RBlock.parsed(words.dropLast()) as? Verb, let image = image(verb) else { return [] }
            // Lines go to the shell: a name of two lines would be two names.
            return names(image).map { nameText($0) }.filter { !$0.isEmpty && printable($0) == $0 }
        }
    }

    /// The options of the new image that the verb makes.
    static let newImageOptions = CompletionKind.custom { words, _, text in
        guard let verb = RBlock.parsed(words.dropLast()) as? any ImageMaker, let format = verb.newImageFormat,
            let options = try? NewImage.options(of: format)
        else { return [] }
        return CommaList(text).words(options.map { ($0.name, $0.values) }) + (text.isEmpty ? ["help"] : [])
    }

    /// The names and devices of what is attached, as far as `isMeant` says so, and directories.
    static func attachments(_ isMeant: @escaping @Sendable (AttachmentRecord) -> Bool) -> CompletionKind {
        .custom { _, _, text in
            let records = AttachmentFolder.usual.known.filter(isMeant)
            return records.map(\.name) + records.flatMap { [$0.mounted?.mountpoint ?? $0.device].compactMap { $0 } }
        }
    }

    /// The methods of JSON-RPC.
    static let rpcMethods = CompletionKind.custom { _, _, _ in ControlServer.methods.map(\.name) }

    /// The parameters of the method.
    static let rpcParameters = CompletionKind.custom { words, _, _ in
        guard let verb = RBlock.parsed(words.dropLast()) as? RPC else { return [] }
        return ControlServer.methods.first { $0.name == verb.method }?.parameters.map { "\($0)=" } ?? []
    }
}

/// A verb that makes an image.
protocol ImageMaker: ParsableCommand {
    /// The format of the new image; nil where nothing says it yet.
    var newImageFormat: ImageFormat? { get }
}

extension Create: ImageMaker {
    var newImageFormat: ImageFormat? { options.format ?? file.flatMap { formatOfName($0) } }
}

extension Convert: ImageMaker {
    var newImageFormat: ImageFormat? { outputFormat ?? formatOfName(destination) }
}

extension Measure: ImageMaker {
    var newImageFormat: ImageFormat? { outputFormat }
}

extension Delta: ImageMaker {
    var newImageFormat: ImageFormat? { .qcow2 }
}

/// The format that the name of a new image says.
private func formatOfName(_ path: String) -> ImageFormat? {
    if case .format(let format)? = ImageFormat.naming(of: path.nameBytes) { format } else { nil }
}
