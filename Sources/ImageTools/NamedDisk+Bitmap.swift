import BlockImage
public import QCOW2

extension NamedDisk {
    /// What the dirty bitmap `name` of the image marks, and whether it is kept up to date: one that is disabled knows
    /// nothing of what was written since.
    ///
    /// Throws `unsupported` where the format has no bitmaps, and for one from which nothing can be learned, `outOfRange`
    /// where there is none of that name, and `corrupt` about its directory entry.
    public func dirtyRanges(of name: String) throws(ImageError) -> (ranges: DirtyRanges, isEnabled: Bool) {
        let layer = opened.layers[0]
        guard case .qcow2(let description, _) = layer.facts else {
            throw ImageError(
                .unsupported, path: layer.file.path,
                "is \(layer.format.rawValue), and only qcow2 images have dirty bitmaps")
        }
        let found = try NameMatch.find(
            name.nameBytes, among: description.bitmaps.map(\.nameBytes), kind: "bitmap", of: layer.file.path)
        guard let found else {
            if let fault = description.bitmapFault { throw fault }
            let names = description.bitmaps.map { "\"\(nameText($0.nameBytes))\"" }.joined(separator: ", ")
            throw ImageError(
                .outOfRange, path: layer.file.path,
                "has no bitmap \"\(name)\"; it has \(names.isEmpty ? "none" : names)")
        }
        if let note = found.note { onNote?(note) }
        let bitmap = description.bitmaps[found.index]
        return (try description.dirtyRanges(of: bitmap, in: layer.file), bitmap.flags.contains(.auto))
    }
}
