import BlockImage
import ImageFormats
import OVA

/// What is known of an appliance as a whole: what its `stats.json` in a mount says.
package struct ApplianceReport: Sendable {
    /// The bytes that the archive takes on the host.
    package var actualSize: UInt64
    /// Its machines, disks and files.
    package var info: ApplianceInfo
    /// What is odd about it, in sentences.
    package var notes: [ErrorText]
}

extension NamedImage {
    /// The report of the appliance, where one is meant and none of its disks; nil otherwise.
    func applianceReport() throws(ImageError) -> ImageReport? {
        guard let place = appliancePlace, place.disk == nil else { return nil }
        let open = try openAppliance(place)
        var report = ImageReport(filename: path.text, error: open.appliance.fault)
        report.appliance = ApplianceReport(
            actualSize: open.appliance.file.allocatedSize, info: ApplianceInfo(open.appliance),
            notes: open.appliance.notes + open.notes())
        return report
    }

    /// What a check of the manifest has found wrong with the disk, in sentences, where it is one of an appliance and was
    /// checked since.
    package func manifestNotes() -> [ErrorText] {
        guard let place = appliancePlace, let open = try? openAppliance(place),
            let disk = try? open.disk(place)
        else { return [] }
        return open.notes(of: disk)
    }
}
