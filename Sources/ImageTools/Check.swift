import BlockImage
import HostStorage
import ImageFormats
import QCOW2
import VMDK

extension NamedImage {
    /// Checks the structures of the image, of its topmost file that is, and of a VMDK delta also whether its parents are
    /// as they were. Nil where its format has none that could be checked. Writes nothing.
    ///
    /// `readsData`: also reads and inflates all that the file stores of the disk. `force`: also where another program is
    /// writing to the image. `progress` gets the part that is done, 0 to 1. Throws why nothing can be checked.
    func checkImage(
        readsData: Bool, force: Bool, progress: (Double) -> Void
    ) throws(ImageError) -> CheckReport? {
        try checkIsWhole()
        var image = self
        // That a parent was changed is one of the findings.
        image.ignoresCID = true
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
        var result: CheckResult
        switch top.facts {
        case .qcow2(let description, _):
            result = try description.check(top.file) { progress($0 * share) }
            if let error = opened.disk.error, error != description.refusal { result.add(Self.chainWarning(error)) }
        case .vmdk(_, let layer?):
            result = try layer.check { progress($0 * share) }
            if let error = opened.disk.error { result.add(Self.chainWarning(error)) }
            Self.checkContentIDs(opened.layers, &result)
        case .raw where top.format == .raw && opened.disk.error == nil:
            guard readsData else { return nil }
            result = CheckResult()
        case .raw, .vmdk:
            throw opened.disk.error ?? ImageError(.corrupt, path: top.file.path, "cannot be opened")
        }
        if readsData {
            let reading = DataCheck(of: top)
            try reading.run(&result) { progress(share + $0 * (1 - share)) }
        }
        return CheckReport(filename: path.text, format: top.format.rawValue, result)
    }

    private static func chainWarning(_ error: ImageError) -> CheckFinding {
        CheckFinding(.chain, .warning, path: error.path, at: error.offset, error.detail)
    }

    /// Whether each VMDK delta's parent has the content identifier that it had when the delta was made.
    private static func checkContentIDs(_ layers: [LayerDescription], _ result: inout CheckResult) {
        for (layer, parent) in zip(layers, layers.dropFirst()) {
            guard case .vmdk(let delta, _) = layer.facts, let wanted = delta.parentCID else { continue }
            var found: UInt32?
            if case .vmdk(let description, _) = parent.facts { found = description.cid }
            guard found != wanted else { continue }
            let expected = "parentCID is \(contentIDText(wanted))"
            let message: ErrorText =
                found.map { "\(expected), but the CID of the parent \(path: parent.file.path) is \(contentIDText($0))" }
                ?? "\(expected), but the parent \(path: parent.file.path) has no CID"
            result.add(
                CheckFinding(
                    .contentID, found == nil ? .warning : .corruption, path: delta.path, at: delta.parentCIDOffset,
                    "descriptor: \(message)\(found == nil ? "" : ": it was changed after this image was made")"))
        }
    }
}
