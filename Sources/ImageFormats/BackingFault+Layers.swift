import BlockImage
import FormatCore

extension [LayerDescription] {
    /// Whether what lies under the layer `index` is what that was made over, as its format, or an overlay of this program, tells;
    /// nil where it is, or there is no way to tell, as where the chain was not followed to its end.
    ///
    /// Throws what reading the files throws.
    package func backingFault(of index: Int) throws(ImageError) -> BackingFault? {
        guard index + 1 < count, let image = self[index].image else { return nil }
        let below = self[index + 1]
        if let fault = image.backingFault(below.image, in: below.file) { return fault }
        guard let stored = image.baseIdentity, let made = BaseIdentity(parsing: stored) else { return nil }
        let chain = Array(self[(index + 1)...])
        guard chain.last?.image?.backing == nil, chain.allSatisfy({ $0.image?.layer != nil }) else { return nil }
        switch try made.state(over: chain) {
        case .unchanged: return nil
        case .committing:
            return BackingFault(
                "'rblock commit' has written a part of it to the image under it, and did not come to its end", at: nil,
                isKnown: false)
        case .changed(let change):
            return BackingFault(
                "\(change.fault): both together are no disk", at: nil, isKnown: true, hint: change.hint)
        }
    }
}
