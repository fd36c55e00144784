import BlockImage
import Catalog
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

    /// The report of `appliance`; `notes`: what else is odd about it.
    package init(_ appliance: Appliance, notes: [ErrorText] = []) {
        actualSize = appliance.file.allocatedSize
        info = ApplianceInfo(appliance)
        self.notes = appliance.notes + notes
    }
}

extension NamedImage {
    /// The report of the appliance, where one is meant and none of its disks; nil otherwise.
    func applianceReport() throws(ImageError) -> ImageReport? {
        guard let place = appliancePlace, place.disk == nil else { return nil }
        let open = try openAppliance(place)
        var report = ImageReport(filename: path.text, error: open.appliance.fault)
        report.appliance = ApplianceReport(open.appliance, notes: open.notes())
        return report
    }
}
