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
    /// Where every node is registered.
    var entries: Entries

    /// What the name of a file says of its format, and whether it is shown at all.
    func naming(of name: [UInt8]) -> (isShown: Bool, format: ImageFormat?) {
        switch ImageFormat.naming(of: name) {
        case .format(let format): (true, format)
        case .ambiguous: (true, probesImg ? nil : .raw)
        case nil: (false, nil)
        }
    }

    /// The image in the file at `location`, or why it cannot be read.
    func open(_ location: FilePath, as format: ImageFormat?, counters: ReadCounters) -> OpenedImage {
        do throws(ImageError) {
            let file = try policy.openImage(at: location)
            return opener.open(file, as: format, counters: counters)
        } catch {
            return OpenedImage(failure: error)
        }
    }
}
