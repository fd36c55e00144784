import BlockImage
import GuestFiles

/// File systems of guests by way of kernels, each of which is booted when the first of its file systems is asked for. May be used
/// from any thread.
public final class KernelHelper: GuestHelper {
    /// What mount(8) calls the file systems that are read so, by what blkid(8) calls them.
    private static let readTypes = [
        "xfs": "xfs", "btrfs": "btrfs", "ext4": "ext4", "f2fs": "f2fs", "squashfs": "squashfs", "erofs": "erofs",
        "hfsplus": "hfsplus",
    ]
    /// Those that are written to.
    private static let writtenTypes = [
        "xfs": "xfs", "btrfs": "btrfs", "ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "f2fs": "f2fs", "vfat": "vfat",
        "exfat": "exfat",
    ]

    private let isWritable: Bool
    private let started = Guarded<[KernelVolumes]>([])

    /// `isWritable`: of disks that have overlays, whose file systems are written to; all that are known are asked for so.
    public init(isWritable: Bool = false) { self.isWritable = isWritable }

    deinit { kill() }

    /// Whether it reads file systems of `type`.
    public func reads(_ type: String) -> Bool { types[type] != nil }

    /// Whether it is asked also for those that are read without it.
    public var isPreferred: Bool { isWritable }

    /// Those on `disks`, of the image in the file `path`.
    public func volumes(_ disks: [(disk: Image, info: GuestFileSystemInfo)], path: String) -> any HelpedVolumes {
        let volumes = KernelVolumes(
            disks.map { (disk: $0.disk, type: types[$0.info.type] ?? $0.info.type) }, path: path, isWritable: isWritable
        )
        started.withLock { $0.append(volumes) }
        return volumes
    }

    /// Stores all that was written, and ends the kernels. Throws why what was written may not be on the disks. None of the file systems
    /// can be used afterwards.
    public func end() throws(ImageError) {
        for volumes in taken { try volumes.end() }
    }

    /// Ends the kernels as they are.
    public func kill() {
        for volumes in taken { volumes.kill() }
    }

    private var types: [String: String] { isWritable ? Self.writtenTypes : Self.readTypes }

    private var taken: [KernelVolumes] {
        started.withLock { started in
            defer { started = [] }
            return started
        }
    }
}

/// The file systems of one image, for which there is one kernel.
private final class KernelVolumes: HelpedVolumes {
    private struct State {
        var machine: GuestMachine?
        /// Why there is none.
        var fault: ImageError?
        var mounted: [Int: KernelFileSystem] = [:]
    }

    private let disks: [(disk: Image, type: String)]
    private let path: String
    private let isWritable: Bool
    private let state = Guarded(State())

    init(_ disks: [(disk: Image, type: String)], path: String, isWritable: Bool) {
        (self.disks, self.path, self.isWritable) = (disks, path, isWritable)
    }

    func fileSystem(of index: Int) throws(ImageError) -> any GuestFileSystem {
        try state.withLock { state throws(ImageError) -> any GuestFileSystem in
            if let known = state.mounted[index] { return known }
            if let fault = state.fault { throw fault }
            do throws(ImageError) {
                let machine = if let machine = state.machine { machine } else { try start() }
                state.machine = machine
                let mounted = try machine.mount(disk: index, type: disks[index].type, writable: isWritable)
                state.mounted[index] = mounted
                return mounted
            } catch {
                // Without a kernel none of the others can be read either.
                if state.machine == nil { state.fault = error }
                throw error
            }
        }
    }

    private func start() throws(ImageError) -> GuestMachine {
        var found: [MachineDisk] = []
        for disk in disks {
            // One that cannot be written to, as a volume that lies on another image as well, is said when it is asked for.
            let written = isWritable ? try? MachineDisk(writing: disk.disk, path: path) : nil
            found.append(written ?? MachineDisk(reading: disk.disk, path: path))
        }
        return try GuestMachine.start(disks: found, types: Set(disks.map(\.type)))
    }

    func end() throws(ImageError) { try take()?.end() }

    func kill() { take()?.kill() }

    /// The machine, which this has no more.
    private func take() -> GuestMachine? {
        state.withLock { state in
            defer { state = State(fault: ended) }
            return state.machine
        }
    }

    private var ended: ImageError { ImageError(.system(errno: 107), path: path, "its kernel was ended") }
}
