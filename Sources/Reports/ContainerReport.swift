import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats

/// What is known of a container of disks as a whole: what its `stats.json` in a mount says.
package struct ContainerReport: Sendable {
    /// The name of its format, under which a report has `info`: "ova".
    package var format: String
    /// The bytes that the file takes on the host.
    package var actualSize: UInt64
    /// What it says of itself.
    package var info: any Encodable & Sendable
    /// What is odd about it, in sentences.
    package var notes: [ErrorText]

    /// The report of `container`, which is of `format`; `notes`: what else is odd about it.
    package init(_ container: any DiskContainer, of format: ContainerFormat, notes: [ErrorText] = []) {
        self.format = format.name
        actualSize = container.file.allocatedSize
        info = container.info
        self.notes = container.notes + notes
    }
}

extension NamedImage {
    /// The report of the container, where one is meant and none of its disks; nil otherwise.
    func containerReport() throws(ImageError) -> ImageReport? {
        guard let place = containerPlace, place.disk == nil else { return nil }
        let open = try openContainer(place)
        var report = ImageReport(filename: path.text, error: open.container.fault)
        report.container = ContainerReport(open.container, of: place.format, notes: open.notes())
        return report
    }
}
