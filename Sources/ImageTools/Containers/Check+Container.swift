import BlockImage
import Catalog
import FormatCore
import ImageFormats

extension NamedImage {
    /// Checks the structures of the image, of its topmost file that is, and of a VMDK delta also whether its parents are
    /// as they were; of a disk in a container also its digest in the manifest, and of a container all its disks, and all
    /// files that the manifest has. Nil where there is nothing that could be checked. Writes nothing.
    ///
    /// `readsData`: also reads and inflates all that the file stores of the disk. `force`: also where another program is
    /// writing to the image. `progress` gets the part that is done, 0 to 1. Throws why nothing can be checked, and where
    /// it was cancelled.
    package func check(
        readsData: Bool = false, force: Bool = false, progress: (Double) -> Void = { _ in }
    ) throws(ImageError) -> CheckedImage? {
        guard let place = containerPlace else {
            return try checkImage(readsData: readsData, force: force, progress: progress)
        }
        let open = try openContainer(place)
        guard place.disk != nil else { return try checkContainer(open, place, readsData, force, progress) }
        let disk = try open.disk(place)
        let checked = try checkImage(readsData: readsData, force: force) { progress($0 / 2) }
        var result = checked?.result ?? CheckResult()
        let isCompared =
            try ManifestCheck(open: open)?.run(of: disk, into: &result) { progress(0.5 + $0 / 2) } ?? false
        guard checked != nil || isCompared else { return nil }
        return CheckedImage(format: checked?.format ?? ImageFormat.raw.rawValue, result: result)
    }

    /// Checks the archive, the files that its manifest has, and every disk; nil where there is nothing to check.
    private func checkContainer(
        _ open: OpenContainer, _ place: ContainerPlace, _ readsData: Bool, _ force: Bool, _ progress: (Double) -> Void
    ) throws(ImageError) -> CheckedImage? {
        let container = open.container
        var result = CheckResult()
        if let fault = container.fault {
            result.add(CheckFinding(.archive, .corruption, path: fault.path, at: fault.offset, fault.detail))
        }
        if let fault = container.descriptionFault {
            result.add(CheckFinding(.descriptor, .corruption, path: fault.path, at: fault.offset, fault.detail))
        }
        for error in container.absentFiles {
            result.add(CheckFinding(.archive, error.severity, path: error.path, at: error.offset, "\(error)"))
        }
        let check = ManifestCheck(open: open)
        var isChecked = try check?.run(into: &result) { progress($0 / 2) } ?? false
        if isChecked { check?.addUnlisted(to: &result) }
        for (index, disk) in container.disks.enumerated() {
            let name = nameText(disk.name)
            let start = 0.5 + Double(index) / Double(container.disks.count) / 2
            let image = named(disk, in: place)
            do throws(ImageError) {
                let checked = try image.checkImage(readsData: readsData, force: force) {
                    progress(start + $0 / Double(container.disks.count) / 2)
                }
                guard let checked else { continue }
                result.add(checked.result, of: name, in: container.file.path)
            } catch {
                guard !error.isCancelled else { throw error }
                result.add(
                    CheckFinding(
                        .archive, error.severity, path: error.path, at: error.offset,
                        "\(name): cannot be opened: \(error)"))
            }
            isChecked = true
        }
        guard isChecked || container.fault != nil || container.descriptionFault != nil || result.findingCount > 0 else {
            return nil
        }
        return CheckedImage(format: place.format.name, result: result)
    }
}

extension ImageError {
    /// What it is of a container that a file cannot be opened: damage where the container contradicts itself, as where it lacks
    /// a file that it says it has; else, as where the file lies elsewhere or needs what is not done, it could not be checked.
    fileprivate var severity: CheckFinding.Severity {
        code == .corrupt || code == .truncated ? .corruption : .error
    }
}

extension ManifestCheck {
    /// Adds the disks that the manifest has no digest of to `result`.
    func addUnlisted(to result: inout CheckResult) {
        let listed = Set(container.digests.compactMap(\.index))
        for disk in container.disks where !container.files(of: disk).isSubset(of: listed) {
            let name = nameText(disk.name)
            result.add(
                CheckFinding(
                    .manifest, .warning, path: container.file.path,
                    "\(name): the manifest does not have all of its files, and cannot tell whether they are as they were"
                ))
        }
    }
}

extension CheckResult {
    /// Adds what a check of the disk `name` of the container at `path` found, those findings too that it did not keep.
    fileprivate mutating func add(_ other: CheckResult, of name: String, in path: String) {
        var (corruptions, leaks, errors) = (other.corruptions, other.leaks, other.checkErrors)
        for var finding in other.findings {
            switch finding.severity {
            case .corruption: corruptions -= min(finding.times, corruptions)
            case .leak: leaks -= min(finding.times, leaks)
            case .error: errors -= min(finding.times, errors)
            case .warning: break
            }
            finding.message = "\(name): \(finding.message)"
            add(finding)
        }
        for (severity, count) in [(CheckFinding.Severity.corruption, corruptions), (.leak, leaks), (.error, errors)]
        where count > 0 {
            add(CheckFinding(.archive, severity, path: path, times: count, "\(name): more of what is not listed"))
        }
    }
}
