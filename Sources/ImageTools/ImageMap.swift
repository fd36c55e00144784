import BlockImage
import Catalog
import ImageFormats

/// How a disk is stored, run by run, and the files that it is stored in.
package struct ImageMap: Sendable {
    /// The runs.
    package var runs: DiskMap
    /// The files that it tells of, those of the chain as far as that was followed.
    package var files: [any HostFile]
    /// The paths of the files that the runs name.
    package var paths: [HostFileID: String]
}

extension NamedImage {
    /// The map of the disk that is meant from the byte `start` on, of at most `count` bytes.
    ///
    /// Throws why the disk cannot be read, or that there is no such snapshot.
    package func map(from start: UInt64 = 0, count: UInt64 = .max) throws(ImageError) -> ImageMap {
        let disks = ImageDisks(of: try open())
        let disk = try disk(of: disks).result.get()
        let files = disks.opened(for: try find(in: disks)).layers.flatMap(\.files)
        let paths = Dictionary(files.map { ($0.id, $0.path) }) { first, _ in first }
        return ImageMap(runs: DiskMap(disk, from: start, count: count), files: files, paths: paths)
    }
}
