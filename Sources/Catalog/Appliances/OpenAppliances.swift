import BlockImage
import HostStorage
import ImageFormats
import OVA
import SystemPackage

/// An appliance that is open, and what a check of its manifest has found. Every method may be called from any thread.
package final class OpenAppliance: Sendable {
    package let appliance: Appliance
    private let faults: ManifestFaults
    /// The places in its members of those of each name.
    private let places: [[UInt8]: [Int]]
    /// The disks by the names of their folders, each of which is given once.
    private let disks: [[UInt8]: ApplianceDisk]

    /// The appliance in `file`, of whose members `faults` are known.
    fileprivate init(_ file: any HostFile, _ faults: ManifestFaults) throws(ImageError) {
        let appliance = try Appliance(file)
        self.appliance = appliance
        self.faults = faults
        places = Dictionary(grouping: appliance.members.indices) { appliance.members[$0].name }
        disks = Dictionary(appliance.disks.map { ($0.folderName, $0) }) { first, _ in first }
    }

    /// The disk whose folder is called `name`.
    package func disk(called name: [UInt8]) -> ApplianceDisk? { disks[name] }

    /// The places in the appliance's members of those that `disk` is made of.
    package func members(of disk: ApplianceDisk) -> Set<Int> { Set(disk.memberNames.flatMap { places[$0] ?? [] }) }

    /// A check has compared the member `index` with the manifest: `fault` is what is wrong, nil where nothing is.
    package func note(_ fault: ErrorText?, of index: Int) {
        faults.byMember.withLock { $0[index] = fault }
    }

    /// What checks have found wrong, in sentences: of all members, or of those that `disk` is made of.
    package func notes(of disk: ApplianceDisk? = nil) -> [ErrorText] {
        let found = faults.byMember.withLock { $0 }
        guard !found.isEmpty else { return [] }
        let members = disk.map { self.members(of: $0) }
        return found.sorted { $0.key < $1.key }.compactMap { index, fault in
            members?.contains(index) ?? true ? "when it was last checked: \(fault)" : nil
        }
    }
}

/// What checks have found wrong with the members of an archive, as it was when they were done.
private final class ManifestFaults: Sendable {
    let byMember = Guarded<[Int: ErrorText]>([:])
}

/// The appliances that were opened lately, so that several disks of one share the list of its members, and what a check has
/// found is noted where a disk is opened later. One that was not used for some seconds is closed. May be used from any thread.
package final class OpenAppliances: Sendable {
    private let known = BoundedCache<[UInt8], KnownAppliance>(capacity: 64)
    private let open = OpenImages(limit: 64)

    /// None yet.
    package init() {}

    /// The appliance at `path`, which `file` opens: the one that is open, unless its file has changed since.
    func open(at path: FilePath, _ file: () throws(ImageError) -> any HostFile) throws(ImageError) -> OpenAppliance {
        let key = path.bytes
        let appliance = known.value(for: key) ?? known.insert(KnownAppliance(), cost: 1, for: key)
        defer { open.note(appliance) }
        return try appliance.opened(file)
    }
}

/// An appliance by its path: while it is open, and what checks have found also after that.
private final class KnownAppliance: Closable {
    private struct State {
        var open: OpenAppliance?
        /// The state of the file that `faults` are of.
        var stamp: FileStamp?
        var faults = ManifestFaults()
    }

    private let state = Guarded(State())

    func opened(_ file: () throws(ImageError) -> any HostFile) throws(ImageError) -> OpenAppliance {
        let result = state.withLock { state -> Result<OpenAppliance, ImageError> in
            if let open = state.open, open.appliance.file.isCurrent { return .success(open) }
            state.open = nil
            do throws(ImageError) {
                let file = try file()
                let stamp = FileStamp(file)
                if stamp != state.stamp { (state.stamp, state.faults) = (stamp, ManifestFaults()) }
                let open = try OpenAppliance(file, state.faults)
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
