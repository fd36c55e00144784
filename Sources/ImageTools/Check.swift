import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats

/// What checking an image, or an appliance, came to.
package struct CheckedImage: Sendable {
    /// Its format; "ova" for an appliance.
    package var format: String
    /// What was counted and found.
    package var result: CheckResult
}

extension NamedImage {
    /// Checks the structures of the image, of its topmost file that is, and of one over others also whether its parents are
    /// as they were. Nil where its format has none that could be checked. Writes nothing.
    ///
    /// `readsData`: also reads and inflates all that the file stores of the disk. `force`: also where another program is
    /// writing to the image. `progress` gets the part that is done, 0 to 1. Throws why nothing can be checked.
    func checkImage(
        readsData: Bool, force: Bool, progress: (Double) -> Void
    ) throws(ImageError) -> CheckedImage? {
        try checkIsWhole()
        var image = self
        // That a parent was changed is one of the findings.
        image.options.ignoresParentID = true
        let opened = try image.open()
        guard let top = opened.layers.first else {
            throw opened.disk.error ?? ImageError(.corrupt, path: path.text, "is no image")
        }
        if !force, let file = top.files.first(where: { $0.imageLock == .writing }) {
            throw ImageError(
                .denied, path: file.path, "another program is writing to it, so that a check may be wrong",
                hint: "--force-share checks it all the same")
        }
        let share = readsData ? 0.1 : 1
        var result = CheckResult()
        if let image = top.image as? any CheckableImage {
            guard let checked = try image.check(progress: { progress($0 * share) }) else {
                throw opened.disk.error ?? ImageError(.corrupt, path: top.file.path, "cannot be opened")
            }
            result = checked
            if let error = opened.disk.error, error != image.refusal { result.add(Self.chainWarning(error)) }
            try Self.checkBacking(opened.layers, &result)
        } else {
            guard top.image != nil, opened.disk.error == nil else {
                throw opened.disk.error ?? ImageError(.corrupt, path: top.file.path, "cannot be opened")
            }
            guard readsData else { return nil }
        }
        if readsData {
            let reading = DataCheck(of: top)
            try reading.run(&result) { progress(share + $0 * (1 - share)) }
        }
        return CheckedImage(format: top.format.rawValue, result: result)
    }

    private static func chainWarning(_ error: ImageError) -> CheckFinding {
        CheckFinding(.chain, .warning, path: error.path, at: error.offset, error.detail)
    }

    /// Whether the image lies over the one that it was made over, and so on where that is of the same format: others are no
    /// business of its check.
    private static func checkBacking(
        _ layers: [LayerDescription], _ result: inout CheckResult
    ) throws(ImageError) {
        for (index, layer) in layers.enumerated() {
            guard layer.format == layers[0].format else { return }
            guard let fault = try layers.backingFault(of: index) else { continue }
            result.add(
                CheckFinding(
                    .contentID, fault.isKnown ? .corruption : .warning, path: layer.file.path, at: fault.offset,
                    fault.message))
        }
    }
}
