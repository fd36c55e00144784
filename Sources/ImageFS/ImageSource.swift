import BlockImage
import HostStorage
import ImageFormats

import struct SystemPackage.FilePath

/// What the nodes of a mount share: how images are found and opened.
struct ImageSource: Sendable {
    /// Which files may be opened.
    var policy: ConfinedOpenPolicy
    /// Opens images, and what they name.
    var opener: ImageOpener
    /// Whether a `.img` is recognised by its content; otherwise it is raw.
    var probesImg: Bool
    /// Whether files whose names do not call them images are recognised by their content, too.
    var probesAll: Bool
    /// The one image that is shown, where a person named it, rather than a folder: then it may be a device.
    var named: FilePath?
    /// What the person said of its format.
    var saidFormat: ImageFormat?
    /// Numbers the entries.
    let numbers = EntryNumbers()

    /// What the name of a file says of its format, and whether it is shown at all; `isSaid`: whether a person says it.
    func naming(of name: [UInt8]) -> (isShown: Bool, format: ImageFormat?, isSaid: Bool) {
        if let saidFormat { return (true, saidFormat, true) }
        switch ImageFormat.naming(of: name) {
        case .format(let format): return (true, format, false)
        case .ambiguous: return (true, probesImg ? nil : .raw, !probesImg)
        case nil: return (false, nil, false)
        }
    }

    /// Which of the files of `listing`, that of `folder`, are parts of others, and which only their content calls images, where
    /// these are shown.
    func contents(
        of listing: [FolderListing.Entry], in folder: FilePath
    ) -> (parts: DiskParts, probed: ProbedFiles) {
        func open(_ name: [UInt8]) -> (any HostFile)? {
            try? policy.openImage(at: folder.appending(FilePath(bytes: name).components))
        }
        let parts = DiskParts(among: listing.map(\.name), open: open)
        guard probesAll else { return (parts, ProbedFiles()) }
        let files = listing.filter { $0.kind != .folder && !ImageFormat.isAppliance($0.name) }.map(\.name)
        let images = files.filter { naming(of: $0).isShown }
        return (parts, ProbedFiles(files.filter { !naming(of: $0).isShown }, besides: images, open: open))
    }

    /// The image in the file at `location`, or why it cannot be read; `isSaid`: whether a person said its format.
    func open(
        _ location: FilePath, as format: ImageFormat?, isSaid: Bool, counters: ReadCounters
    ) -> OpenedImage {
        do throws(ImageError) {
            var opener = opener
            opener.options.isFormatSaid = isSaid
            return opener.open(try file(at: location), as: format, counters: counters)
        } catch {
            return OpenedImage(failure: error)
        }
    }

    private func file(at location: FilePath) throws(ImageError) -> any HostFile {
        if location == named, case .blockDevice? = try? FileStatus(at: location).kind {
            return try DeviceFile(at: location)
        }
        return try policy.openImage(at: location)
    }
}
