import BlockImage
import FormatCore
import HostStorage
import ImageFormats
import SystemPackage

/// A container of disks that is open, and what a check of its digests has found. Every method may be called from any thread.
package final class OpenContainer: Sendable {
    package let container: any DiskContainer
    private let faults: DigestFaults
    /// The disks by their names, each of which is given once.
    private let disks: [[UInt8]: ContainedDisk]

    /// `container`, of whose files `faults` are known.
    fileprivate init(_ container: any DiskContainer, _ faults: DigestFaults) {
        self.container = container
        self.faults = faults
        disks = Dictionary(container.disks.map { ($0.name, $0) }) { first, _ in first }
    }

    /// The disk called `name`.
    package func disk(called name: [UInt8]) -> ContainedDisk? { disks[name] }

    /// A check has compared the file `index` with its digest: `fault` is what is wrong, nil where nothing is.
    package func note(_ fault: ErrorText?, of index: Int) {
        faults.byFile.withLock { $0[index] = fault }
    }

    /// What checks have found wrong, in sentences: of all files, or of those that `disk` is made of.
    package func notes(of disk: ContainedDisk? = nil) -> [ErrorText] {
        let found = faults.byFile.withLock { $0 }
        guard !found.isEmpty else { return [] }
        let files = disk.flatMap { (container as? any DigestedContainer)?.files(of: $0) }
        return found.sorted { $0.key < $1.key }.compactMap { index, fault in
            files?.contains(index) ?? true ? "when it was last checked: \(fault)" : nil
        }
    }
}

/// What checks have found wrong with the files of a container, as it was when they were done.
private final class DigestFaults: Sendable {
    let byFile = Guarded<[Int: ErrorText]>([:])
}

/// The containers that were opened lately, so that several disks of one share the list of its files, and what a check has
/// found is noted where a disk is opened later. One that was not used for some seconds is closed. May be used from any thread.
package final class OpenContainers: Sendable {
    private let known = BoundedCache<[UInt8], KnownContainer>(capacity: 64)
    private let open = OpenImages(limit: 64)

    /// None yet.
    package init() {}

    /// The container at `path`, which is of `format`, and `file` opens: the one that is open, unless its file has changed since.
    func open(
        at path: FilePath, as format: ContainerFormat, _ file: () throws(ImageError) -> any HostFile
    ) throws(ImageError) -> OpenContainer {
        let key = path.bytes
        let container = known.value(for: key) ?? known.insert(KnownContainer(), cost: 1, for: key)
        defer { open.note(container) }
        return try container.opened(as: format, file)
    }
}

/// A container by its path: while it is open, and what checks have found also after that.
private final class KnownContainer: Closable {
    private struct State {
        var open: OpenContainer?
        /// The state of the file that `faults` are of.
        var stamp: FileStamp?
        var faults = DigestFaults()
    }

    private let state = Guarded(State())

    func opened(
        as format: ContainerFormat, _ file: () throws(ImageError) -> any HostFile
    ) throws(ImageError) -> OpenContainer {
        let result = state.withLock { state -> Result<OpenContainer, ImageError> in
            if let open = state.open, open.container.file.isCurrent { return .success(open) }
            state.open = nil
            do throws(ImageError) {
                let file = try file()
                let stamp = FileStamp(file)
                if stamp != state.stamp { (state.stamp, state.faults) = (stamp, DigestFaults()) }
                let open = OpenContainer(try format.open(file), state.faults)
                state.open = open
                return .success(open)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    func closeIfIdle() -> Bool {
        state.withLockIfAvailable { state in
            state.open = nil
            return true
        } ?? false
    }
}
