import BlockImage
import HostStorage
import OVA
import SystemPackage

/// An appliance that is open, and what a check of its manifest has found. Every method may be called from any thread.
package final class OpenAppliance: Sendable {
    package let appliance: Appliance
    private let faults = Guarded<[Int: ErrorText]>([:])
    /// The places in its members of those of each name.
    private let places: [[UInt8]: [Int]]
    /// The disks by the names of their folders, each of which is given once.
    private let disks: [[UInt8]: ApplianceDisk]

    /// The appliance in `file`.
    init(_ file: any HostFile) throws(ImageError) {
        let appliance = try Appliance(file)
        self.appliance = appliance
        places = Dictionary(grouping: appliance.members.indices) { appliance.members[$0].name }
        disks = Dictionary(appliance.disks.map { ($0.folderName, $0) }) { first, _ in first }
    }

    /// The disk whose folder is called `name`.
    package func disk(called name: [UInt8]) -> ApplianceDisk? { disks[name] }

    /// The places in the appliance's members of those that `disk` is made of.
    package func members(of disk: ApplianceDisk) -> Set<Int> { Set(disk.memberNames.flatMap { places[$0] ?? [] }) }

    /// A check has compared the member `index` with the manifest: `fault` is what is wrong, nil where nothing is.
    package func note(_ fault: ErrorText?, of index: Int) {
        faults.withLock { $0[index] = fault }
    }

    /// What checks have found wrong, in sentences: of all members, or of those that `disk` is made of.
    package func notes(of disk: ApplianceDisk? = nil) -> [ErrorText] {
        let found = faults.withLock { $0 }
        guard !found.isEmpty else { return [] }
        let members = disk.map { self.members(of: $0) }
        return found.sorted { $0.key < $1.key }.compactMap { index, fault in
            members?.contains(index) ?? true ? "when it was last checked: \(fault)" : nil
        }
    }
}

/// The appliances that were opened lately, so that several disks of one share the list of its members, and what a check has
/// found is noted where a disk is opened later. May be used from any thread.
package final class OpenAppliances: Sendable {
    private let open = BoundedCache<[UInt8], OpenAppliance>(capacity: 64)

    /// None yet.
    package init() {}

    /// The appliance at `path`, which `file` opens: the one that is open, unless its file has changed since.
    func open(at path: FilePath, _ file: () throws(ImageError) -> any HostFile) throws(ImageError) -> OpenAppliance {
        let key = path.bytes
        if let known = open.value(for: key) {
            if known.appliance.file.isCurrent { return known }
            open.removeAll { $0 == key }
        }
        return open.insert(try OpenAppliance(try file()), cost: 1, for: key)
    }
}
