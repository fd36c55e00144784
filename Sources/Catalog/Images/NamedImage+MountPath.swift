import BlockImage
import FormatCore
import HostStorage
import SystemPackage

extension NamedImage {
    /// The file that rblockfs shows the disk `id` of `disks` as, below the mountpoint, when it mounts this image, or the
    /// container that it is in; and the path that rblockfs is given for that.
    package func mountPath(of id: DiskID, in disks: ImageDisks) throws(ImageError) -> (image: FilePath, file: FilePath)
    {
        var image = path
        var file = FilePath()
        if let place = containerPlace {
            image = place.archive
            file.append(Self.component(of: image))
            file.append(FilePath(bytes: try openContainer(place).disk(place).name).components)
        } else {
            file.append(Self.component(of: image))
        }
        if let snapshot = id.snapshot {
            file.append("snapshots")
            file.append(FilePath(bytes: disks.snapshotNames[snapshot]).components)
        }
        switch id.part {
        case .whole: file.append("disk.raw")
        // A mount shows layers only where there is a chain.
        case .layer(0): file.append("disk.raw")
        case .layer(let depth): file.append(FilePath("layers/\(depth).raw").components)
        case .partition(let number): file.append(FilePath("partitions/p\(number).raw").components)
        case .volume(let name): file.append(FilePath("volumes/\(name).raw").components)
        case .vmState: file.append("vmstate")
        }
        return (image, file)
    }

    /// The name that a mount gives the folder of the file at `path`.
    private static func component(of path: FilePath) -> [FilePath.Component] {
        path.lastComponent.map { [$0] } ?? []
    }
}
