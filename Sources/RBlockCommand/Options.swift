import ArgumentParser
import Arguments
import BlockImage
import Catalog
import Encryption
import HostStorage
import ImageFormats
import ImageTools
import SystemPackage

/// How a verb prints what it found.
enum OutputForm: String, ExpressibleByArgument, CaseIterable {
    case human, json
}

extension ImageFormat: ExpressibleByArgument {}

/// What is said to verbs that open what an image names.
struct AllowedPathsOption: ParsableArguments {
    @Option(
        name: .customLong("allow-path"),
        help: ArgumentHelp(
            "A folder besides the image's own whose files images may name (backing files, extents). Repeatable.",
            valueName: "dir"),
        completion: .directory)
    var allowPaths: [String] = []
}

/// What is said to every verb of how images are opened.
struct ImageOptions: ParsableArguments {
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "The format of the image: \(ImageFormat.names(before: "or")); by default what its name says, else its content.",
            valueName: "format"))
    var format: ImageFormat?

    @OptionGroup var allowing: AllowedPathsOption
    /// The folders of --allow-path.
    var allowPaths: [String] { allowing.allowPaths }

    @Option(
        name: .customLong("secret"),
        help: ArgumentHelp(
            "The passphrase of an encrypted image, by its file name or path: all bytes of a file, or an environment "
                + "variable. Repeatable.",
            valueName: "image=file:path|image=env:variable"))
    var secrets: [SecretSource] = []

    @Flag(
        name: [.customLong("ignore-parent-id"), .customLong("ignore-cid")],
        help:
            "Read an image although its parent was changed after it was made (its CID or UUID is another, or an overlay says so)."
    )
    var ignoreParentID = false

    @Flag(
        help: ArgumentHelp(
            "Unlock also where the key slots ask for more hashing than a few seconds' (\(LUKS1Header.usualWorkLimit) HMACs)."
        ))
    var slowKeys = false

    /// The image at `path`, of this format where one was said, without what it would be opened with: for its own file alone.
    func bare(_ path: String, format: ImageFormat? = nil) -> NamedImage {
        NamedImage.called(FilePath(text: path), format: format ?? self.format)
    }

    /// The image at `path`, to be opened so.
    func image(_ path: String) throws(ImageError) -> NamedImage {
        var keys: [ExactName: Secret] = [:]
        for secret in secrets { keys[ExactName(secret.image)] = try secret.read() }
        var image = NamedImage.called(FilePath(text: path), format: format)
        image.allowed = allowPaths.map { FilePath(text: $0) }
        image.options.keys = ImageKeys(
            keys, workLimit: slowKeys ? LUKS1Header.workLimit : LUKS1Header.usualWorkLimit,
            slowKeyHint: "--slow-keys does them")
        image.options.ignoresParentID = ignoreParentID
        image.onNote = { note in Failure.warn(note) }
        return image
    }
}

/// What is said to verbs that read images of those that other programs write to.
struct SharingOption: ParsableArguments {
    @Flag(
        name: [.customShort("U"), .customLong("force-share")],
        help: "Read an image that another program is writing to, though the result may be wrong.")
    var forceShare = false
}

/// What is said to verbs that may take long.
struct ProgressOption: ParsableArguments {
    @Flag(
        name: [.customShort("p"), .long],
        help: ArgumentHelp(
            "Print how far it has got to standard error each second, where that is no terminal; JSON with --output json. "
                + "SIGUSR1 has it printed once."))
    var progress = false

    /// Has it printed so, where it was asked for.
    func begin(_ output: OutputForm) {
        if progress { ProgressBar.print(as: output == .json ? .json : .lines) }
    }
}

/// The same for verbs that read whole disks.
struct ReadingOptions: ParsableArguments {
    @OptionGroup var sharing: SharingOption
    @OptionGroup var progress: ProgressOption
    @Flag(
        name: .customLong("ignore-changes"),
        help: "Go on where an image was written to while it was read, though the result may be a mixture.")
    var ignoreChanges = false
}

/// What is said to verbs that read one image of what lies under it.
struct BackingOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The file that lies under IMAGE, in place of the backing file or parent that it names.", valueName: "file"),
        completion: .file())
    var backing: String?

    /// Throws where it was given for several images at once.
    func check(_ images: [String]) throws {
        guard backing == nil || images.count < 2 else { throw ValidationError("--backing: goes with one IMAGE") }
    }

    /// Has `image` lie over the file that was given, if one was.
    func apply(to image: inout NamedImage) {
        image.backing = backing.map { FilePath(text: $0) }
        image.options.backingOption = "--backing"
    }
}
