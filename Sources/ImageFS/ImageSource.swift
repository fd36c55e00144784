import BlockImage
import Catalog
import HostStorage
import ImageFormats
import Overlays

import struct SystemPackage.FilePath

/// What the nodes of a mount share: how images are found and opened.
final class ImageSource: Sendable {
    /// What makes a file an image, and which may be opened.
    let rules: FolderRules
    /// Opens images, and what they name.
    let opener: ImageOpener
    /// The one image that is shown, where a person named it, rather than a folder: then it may be a device.
    private let named: FilePath?
    /// Where what is written to disks goes; nil: nothing can be written.
    let overlays: OverlayFolder?
    /// Numbers the entries.
    let numbers = EntryNumbers()

    init(rules: FolderRules, opener: ImageOpener, named: FilePath?, overlays: OverlayFolder?) {
        self.rules = rules
        self.opener = opener
        self.named = named
        self.overlays = overlays
    }

    /// The entry of the image in the file at `location`, which has that format, if it is known; `isSaid`: whether a person
    /// said it.
    func image(at location: FilePath, _ format: ImageFormat?, isSaid: Bool) -> ImageNode {
        ImageNode(number: numbers.next(), at: location, format: format, isFormatSaid: isSaid) { [self] counters in
            do throws(ImageError) {
                var opener = opener
                opener.options.isFormatSaid = isSaid
                return view(
                    of: opener.open(try file(at: location), as: format, counters: counters), at: location, isFile: true)
            } catch {
                return OpenedImage(failure: error)
            }
        }
    }

    /// The image `opened` at `location`, with what was written to its disk; `isFile`: it is a file of its own.
    func view(of opened: OpenedImage, at location: FilePath, isFile: Bool) -> OpenedImage {
        guard let overlays else { return opened }
        return overlays.disk(over: location).view(
            of: opened, at: location, isFile: isFile, ignoresChanges: opener.options.ignoresParentID)
    }

    private func file(at location: FilePath) throws(ImageError) -> any HostFile {
        if location == named, case .blockDevice? = try? FileStatus(at: location).kind {
            return try DeviceFile(at: location)
        }
        return try rules.policy.openImage(at: location)
    }
}
