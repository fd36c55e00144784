import BlockImage
import FormatCore
import ImageFormats

/// How it stands with the disk that an overlay of this program was made over.
package enum BaseState: Hashable, Sendable {
    /// It is the one.
    case unchanged
    /// A commit of the overlay has begun, and did not come to its end.
    case committing
    /// It is another, for this reason: both together are no disk.
    case changed(BaseIdentity.Change)
    /// There is none.
    case missing(ImageError)
    /// It was not looked at, or could not be read.
    case unknown(ImageError)

    /// Of the image that `overlay` describes, whose chain is `opened`; nil for what is no such overlay.
    package init?(_ overlay: LayerDescription, in opened: OpenedImage) {
        guard let made = Self.identity(of: overlay) else { return nil }
        let below = opened.layers.dropFirst()
        guard !below.isEmpty, below.allSatisfy({ $0.image?.layer != nil }), below.last?.image?.backing == nil else {
            let error =
                opened.disk.error
                ?? ImageError(.corrupt, path: overlay.file.path, "names no image under it")
            self = error.code == .missing ? .missing(error) : .unknown(error)
            return
        }
        do throws(ImageError) {
            switch try made.state(over: Array(below)) {
            case .unchanged: self = made.isPartlyInBase ? .committing : .unchanged
            case .committing: self = .committing
            case .changed(let change): self = .changed(change)
            }
        } catch {
            self = .unknown(error)
        }
    }

    /// Whether something encrypted is under the topmost image of `opened`, an overlay, which is not.
    package static func isPlaintext(_ opened: OpenedImage) -> Bool {
        opened.layers.dropFirst().contains(where: \.isEncrypted)
    }

    /// Whether the image is an overlay of this program.
    package static func isKnown(of layer: LayerDescription) -> Bool { identity(of: layer) != nil }

    private static func identity(of layer: LayerDescription) -> BaseIdentity? {
        layer.image?.baseIdentity.flatMap { BaseIdentity(parsing: $0) }
    }
}
