import BlockImage
import Catalog
import ImageFormats
import OVA

extension NamedImage {
    /// Checks the structures of the image, of its topmost file that is, and of a VMDK delta also whether its parents are
    /// as they were; of a disk in an appliance also its digest in the manifest, and of an appliance all its disks, and all
    /// files that the manifest has. Nil where there is nothing that could be checked. Writes nothing.
    ///
    /// `readsData`: also reads and inflates all that the file stores of the disk. `force`: also where another program is
    /// writing to the image. `progress` gets the part that is done, 0 to 1. Throws why nothing can be checked, and where
    /// it was cancelled.
    package func check(
        readsData: Bool = false, force: Bool = false, progress: (Double) -> Void = { _ in }
    ) throws(ImageError) -> CheckedImage? {
        guard let place = appliancePlace else {
            return try checkImage(readsData: readsData, force: force, progress: progress)
        }
        let open = try openAppliance(place)
        guard place.disk != nil else { return try checkAppliance(open, place, readsData, force, progress) }
        let disk = try open.disk(place)
        let checked = try checkImage(readsData: readsData, force: force) { progress($0 / 2) }
        var result = checked?.result ?? CheckResult()
        let members = open.members(of: disk)
        let isCompared = try ManifestCheck(open: open).run(of: members, into: &result) { progress(0.5 + $0 / 2) }
        guard checked != nil || isCompared else { return nil }
        return CheckedImage(format: checked?.format ?? ImageFormat.raw.rawValue, result: result)
    }

    /// Checks the archive, the files that its manifest has, and every disk; nil where there is nothing to check.
    private func checkAppliance(
        _ open: OpenAppliance, _ place: AppliancePlace, _ readsData: Bool, _ force: Bool, _ progress: (Double) -> Void
    ) throws(ImageError) -> CheckedImage? {
        let appliance = open.appliance
        var result = CheckResult()
        if let fault = appliance.fault {
            result.add(CheckFinding(.archive, .corruption, path: fault.path, at: fault.offset, fault.detail))
        }
        let check = ManifestCheck(open: open)
        var isChecked = try check.run(into: &result) { progress($0 / 2) }
        if isChecked { check.addUnlisted(to: &result) }
        for (index, disk) in appliance.disks.enumerated() {
            let name = nameText(disk.folderName)
            let start = 0.5 + Double(index) / Double(appliance.disks.count) / 2
            let image = named(disk, in: place)
            do throws(ImageError) {
                let checked = try image.checkImage(readsData: readsData, force: force) {
                    progress(start + $0 / Double(appliance.disks.count) / 2)
                }
                guard let checked else { continue }
                result.add(checked.result, of: name, in: appliance.file.path)
            } catch {
                guard !error.isCancelled else { throw error }
                let isDamage = error.code == .corrupt || error.code == .truncated
                result.add(
                    CheckFinding(
                        .archive, isDamage ? .corruption : .error, path: error.path, at: error.offset,
                        "\(name): cannot be opened: \(error)"))
            }
            isChecked = true
        }
        guard isChecked || appliance.fault != nil else { return nil }
        return CheckedImage(format: "ova", result: result)
    }
}

extension ManifestCheck {
    /// Adds the disks that the manifest has no digest of to `result`.
    func addUnlisted(to result: inout CheckResult) {
        let listed = Set(open.appliance.digests.compactMap(\.member))
        for disk in open.appliance.disks where !open.members(of: disk).isSubset(of: listed) {
            let name = nameText(disk.folderName)
            result.add(
                CheckFinding(
                    .manifest, .warning, path: open.appliance.file.path,
                    "\(name): the manifest does not have all of its files, and cannot tell whether they are as they were"
                ))
        }
    }
}

extension CheckResult {
    /// Adds what a check of the disk `name` of the appliance at `path` found, those findings too that it did not keep.
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
