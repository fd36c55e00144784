import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

/// What makes a file of a folder an image.
package struct FolderRules: Sendable {
    /// Which files may be opened.
    package var policy: ConfinedOpenPolicy
    /// Whether a `.img` is recognised by its content; otherwise it is raw.
    package var probesImg: Bool
    /// Whether files whose names do not call them images are recognised by their content, too.
    package var probesAll: Bool
    /// The format of all files, where a person said it.
    package var saidFormat: ImageFormat?

    /// These rules.
    package init(
        _ policy: ConfinedOpenPolicy, probesImg: Bool = true, probesAll: Bool = false, saidFormat: ImageFormat? = nil
    ) {
        self.policy = policy
        self.probesImg = probesImg
        self.probesAll = probesAll
        self.saidFormat = saidFormat
    }

    /// What a file called `name` is taken for, by its name alone; nil where it is no image by that.
    package func kind(ofFile name: [UInt8]) -> FolderItem.Kind? {
        if let saidFormat { return .image(saidFormat, .person) }
        if let container = ContainerFormat.naming(of: name) { return .container(container) }
        switch ImageFormat.naming(of: name) {
        case .format(let format): return .image(format, .name)
        case .ambiguous: return probesImg ? .image(nil, .name) : .image(.raw, .person)
        case nil: return nil
        }
    }

    /// What the files of `listing`, that of `folder`, say of themselves.
    func contents(of listing: [FolderListing.Entry], in folder: FilePath) -> FolderContents {
        func open(_ name: [UInt8]) -> (any HostFile)? {
            try? policy.openImage(at: folder.appending(FilePath(bytes: name).components))
        }
        var contents = FolderContents(parts: DiskParts(among: listing.map(\.name), open: open))
        guard probesAll else { return contents }
        let files = listing.filter { $0.kind != .folder && ContainerFormat.naming(of: $0.name) == nil }.map(\.name)
        let images = files.filter { kind(ofFile: $0) != nil }
        contents.probed = ProbedFiles(files.filter { kind(ofFile: $0) == nil }, besides: images, open: open)
        return contents
    }
}

/// What the files of a folder are by their content.
struct FolderContents: Sendable {
    /// The parts of others' disks.
    var parts: DiskParts
    /// Images whose names do not call them so, where these are looked for.
    var probed = ProbedFiles()
}

/// What a folder has under one name.
package struct FolderItem: Sendable {
    /// What says the format of an image.
    package enum FormatSource: Hashable, Sendable {
        case person, name, content
    }

    /// What it is.
    package enum Kind: Hashable, Sendable {
        /// An image of that format; nil: its content decides.
        case image(ImageFormat?, FormatSource)
        /// A file that holds disks.
        case container(ContainerFormat)
        /// A folder, and where it is, without links.
        case folder(FilePath)
        /// Nothing that is shown.
        case skipped(SkippedFiles.Reason)
    }

    /// Its name.
    package var name: [UInt8]
    /// Its path.
    package var location: FilePath
    /// What it is.
    package var kind: Kind
    /// Whether that is known, and not only how it looks as long as what it leads to does not answer.
    package var isCertain = true

    /// What the folder has at `location` under `name`.
    package init(name: [UInt8], location: FilePath, kind: Kind) {
        self.name = name
        self.location = location
        self.kind = kind
    }
}
