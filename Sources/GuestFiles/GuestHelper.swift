import BlockImage

/// What reads file systems that have no reader here: given the disks of all of an image's, it opens each when asked.
public protocol GuestHelper: Sendable {
    /// Whether it reads file systems of `type`, as blkid(8) calls it.
    func reads(_ type: String) -> Bool
    /// Whether it is asked also for file systems that are read here, as where they are written to.
    var isPreferred: Bool { get }
    /// Those on `disks`, of the image in the file `path`.
    func volumes(_ disks: [(disk: Image, info: GuestFileSystemInfo)], path: String) -> any HelpedVolumes
}

/// The file systems of one image that a helper reads. May be used from any thread.
public protocol HelpedVolumes: Sendable {
    /// The one on the disk `index`. Throws why it cannot be read.
    func fileSystem(of index: Int) throws(ImageError) -> any GuestFileSystem
}
