import BlockImage
import Catalog
import HostStorage
import ImageFormats

import struct SystemPackage.FilePath

/// What the nodes of a mount share: how images are found and opened.
final class ImageSource: Sendable {
    /// What makes a file an image, and which may be opened.
    let rules: FolderRules
    /// Opens images, and what they name.
    let opener: ImageOpener
    /// The one image that is shown, where a person named it, rather than a folder: then it may be a device.
    private let named: FilePath?
    /// Numbers the entries.
    let numbers = EntryNumbers()

    init(rules: FolderRules, opener: ImageOpener, named: FilePath?) {
        self.rules = rules
        self.opener = opener
        self.named = named
    }

    /// The entry of the image in the file at `location`, which has that format, if it is known; `isSaid`: whether a person
    /// said it.
    func image(at location: FilePath, _ format: ImageFormat?, isSaid: Bool) -> ImageNode {
        ImageNode(number: numbers.next(), at: location, format: format, isFormatSaid: isSaid) { [self] counters in
            do throws(ImageError) {
                var opener = opener
                opener.options.isFormatSaid = isSaid
                return opener.open(try file(at: location), as: format, counters: counters)
            } catch {
                return OpenedImage(failure: error)
            }
        }
    }

    private func file(at location: FilePath) throws(ImageError) -> any HostFile {
        if location == named, case .blockDevice? = try? FileStatus(at: location).kind {
            return try DeviceFile(at: location)
        }
        return try rules.policy.openImage(at: location)
    }
}
