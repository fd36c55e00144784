import BlockImage
import FormatCore
import QCOW2

/// How disks are written over.
public struct OverlaySettings: Sendable {
    /// Whether what is written over an encrypted disk may be stored as it is, and so can be read without the key.
    let allowsPlaintext: Bool
    /// Whether QEMU's locks are taken and heeded, on overlays and on the images under them.
    let takesLocks: Bool
    /// What overlays are like that are made.
    private let layout: NewQCOW2

    /// As it is where nothing is said.
    public init() {
        (allowsPlaintext, takesLocks, layout) = (false, true, QCOW2Overlay.image(size: 0, over: nil))
    }

    /// As people have said it; `options` as for `QCOW2Overlay.choose`. Throws what that throws, and what options there are where
    /// that is asked for.
    public init(options: [String], allowsPlaintext: Bool, takesLocks: Bool) throws(OptionFault) {
        var list = ImageOptionList()
        for text in options { try list.add(text) }
        guard !list.asksForHelp else {
            let lines = QCOW2Overlay.options.map { "\($0.name) (\($0.help))" }
            throw OptionFault(message: "overlays have the options \(lines.joined(separator: ", "))")
        }
        var layout = QCOW2Overlay.image(size: 0, over: nil)
        try QCOW2Overlay.choose(list, for: &layout)
        self.layout = layout
        (self.allowsPlaintext, self.takesLocks) = (allowsPlaintext, takesLocks)
    }

    /// The overlay for a disk of `size` bytes.
    func image(size: UInt64) -> NewQCOW2 {
        var image = layout
        image.size = size
        return image
    }
}
