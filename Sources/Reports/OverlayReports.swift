import BlockImage
import ImageFormats
import Overlays

/// How it stands with the disk that an overlay of `rblockfs --overlay` was made over.
package struct BaseReport: Encodable, Sendable {
    /// `unchanged`, `changed`, `committing`, `missing`, `not-looked-at` or `unreadable`.
    package let state: String
    /// Why it is changed, missing, was not looked at or cannot be read, and what there is to do about it.
    package let reason: ErrorText?
    /// Whether the overlay is not encrypted, over an image that is; left out otherwise.
    package let plaintext: Bool?

    /// How it stands with what is under `overlay`, the topmost image of `opened`; nil for what is no such overlay.
    package init?(under overlay: LayerDescription, in opened: OpenedImage) {
        guard let state = BaseState(overlay, in: opened) else { return nil }
        plaintext = BaseState.isPlaintext(opened) ? true : nil
        switch state {
        case .unchanged: (self.state, reason) = ("unchanged", nil)
        case .committing:
            (self.state, reason) = (
                "committing", "'rblock commit' did not come to its end: do it again, nothing is lost"
            )
        case .changed(let change):
            let advice = change.hint.map { "; \(path: $0)" } ?? "" as ErrorText
            (self.state, reason) = ("changed", "\(change.fault): both together are no disk\(advice)")
        case .missing(let error): (self.state, reason) = ("missing", error.text)
        case .unknown(let error):
            (self.state, reason) = (error.code == .denied ? "not-looked-at" : "unreadable", error.text)
        }
    }

    /// The same for people.
    package var text: String {
        let words = String(state.map { $0 == "-" ? " " : $0 })
        let text = reason.map { "\(words): \($0)" } ?? words
        return plaintext == true ? "\(text); it is encrypted, and the overlay is not" : text
    }
}

/// What `rblock commit` did.
package struct CommitReport: Encodable, Sendable {
    /// The overlay, as it was named, which is removed.
    package var filename: String
    /// The image that has now what the overlay had.
    package var base: String
    package var baseFormat: String
    package var virtualSize: UInt64
    /// The bytes that were written to its disk, and those that became zeros.
    package var bytesWritten: UInt64
    package var bytesZeroed: UInt64

    package init(
        filename: String, base: String, format: String, virtualSize: UInt64, _ result: OverlayCommit.Result
    ) {
        (self.filename, self.base, baseFormat, self.virtualSize) = (filename, base, format, virtualSize)
        (bytesWritten, bytesZeroed) = (result.bytesWritten, result.bytesZeroed)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, base
        case baseFormat = "base-format"
        case virtualSize = "virtual-size"
        case bytesWritten = "bytes-written"
        case bytesZeroed = "bytes-zeroed"
    }
}

/// What `rblock discard` did.
package struct DiscardReport: Encodable, Sendable {
    /// The overlay, as it was named, which is removed.
    package var filename: String
    /// The image under it, which was not touched.
    package var base: String
    /// What the overlay had; nil where that could not be told.
    package var bytesWritten: UInt64?
    package var bytesZeroed: UInt64?
    /// The bytes that it took on the host.
    package var actualSize: UInt64

    package init(filename: String, base: String, _ written: Allocation?, actualSize: UInt64) {
        (self.filename, self.base, self.actualSize) = (filename, base, actualSize)
        (bytesWritten, bytesZeroed) = (written?.allocated, written?.zero)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, base
        case bytesWritten = "bytes-written"
        case bytesZeroed = "bytes-zeroed"
        case actualSize = "actual-size"
    }
}
