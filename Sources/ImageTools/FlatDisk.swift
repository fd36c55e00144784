import BlockImage

/// A disk that lies as it is, in one piece, in one file of the host: what the kernel can read there by itself.
package struct FlatDisk: Sendable {
    /// The file, which has a descriptor.
    package let file: any HostFile
    /// Where in it the disk begins.
    package let offset: UInt64

    /// Where `disk` lies so; nil where it does not, or that takes more look-ups than its files have entries.
    package init?(_ disk: Image) {
        guard disk.virtualSize > 0 else { return nil }
        var runs = DiskRuns(of: disk, budget: WalkBudget(hostSize: disk.hostSize))
        var found: (file: any HostFile, offset: UInt64)?
        var position: UInt64 = 0
        while position < disk.virtualSize {
            guard let run = try? runs.run(at: position, limit: disk.virtualSize - position),
                let place = Self.place(of: run.extent), place.offset >= position
            else { return nil }
            if let found {
                guard found.file === place.file, found.offset == place.offset - position else { return nil }
            } else {
                found = (place.file, place.offset - position)
            }
            position += run.count
        }
        guard let found, found.file.descriptor != nil else { return nil }
        // What lies past the end of a file that was cut would be zeros for the kernel.
        let (end, overflow) = found.offset.addingReportingOverflow(disk.virtualSize)
        guard !overflow, end <= found.file.size else { return nil }
        (file, offset) = found
    }

    /// The file of the host that has `extent` as it is, and where; parts of files are looked for in the files that they are of.
    private static func place(of extent: Extent) -> (file: any HostFile, offset: UInt64)? {
        guard case .data(var file, let start) = extent.storage else { return nil }
        var offset = start.rawValue
        while let slice = file as? FileSlice {
            let (sum, overflow) = offset.addingReportingOverflow(slice.offset.rawValue)
            guard !overflow, offset <= slice.size, extent.count <= slice.size - offset else { return nil }
            (file, offset) = (slice.file, sum)
        }
        return (file, offset)
    }
}
