import BlockImage
import FormatCore

/// The driver of OVA, a virtual appliance in one file (`Appliance`).
public struct OVADriver: ContainerDriver {
    /// The driver.
    public init() {}

    /// "ova".
    public var name: String { "ova" }
    /// "appliance".
    public var noun: String { "appliance" }
    /// `.ova`.
    public var extensions: [String] { ["ova"] }

    /// What is in the archive `file`. Throws as `Appliance` does.
    public func open(_ file: any HostFile, isImage: @Sendable ([UInt8]) -> Bool) throws(ImageError) -> any DiskContainer
    {
        OVAContainer(try Appliance(file, isImage: isImage))
    }
}

/// An appliance, as all containers are seen.
private final class OVAContainer: DigestedContainer {
    private let appliance: Appliance
    /// The members that each disk is made of, by the disk's name.
    private let filesOfDisks: [[UInt8]: Set<Int>]
    let disks: [ContainedDisk]
    let digestErrors: [ImageError]

    init(_ appliance: Appliance) {
        self.appliance = appliance
        let places = Dictionary(grouping: appliance.members.indices) { appliance.members[$0].name }
        disks = appliance.disks.map { disk in
            let isVMDK = disk.disk?.format?.contains(text: "vmdk") == true
            return ContainedDisk(name: disk.folderName, file: disk.file, format: isVMDK ? "vmdk" : nil)
        }
        filesOfDisks = Dictionary(
            appliance.disks.map { ($0.folderName, Set($0.memberNames.flatMap { places[$0] ?? [] })) }
        ) { first, _ in first }
        digestErrors =
            (appliance.manifestError.map { [$0] } ?? [])
            + (appliance.manifest?.unreadLines ?? []).map { line in
                ImageError(
                    .corrupt, path: appliance.file.path, "manifest: line \(line) is no digest of a known kind")
            }
    }

    var file: any HostFile { appliance.file }
    var fault: ImageError? { appliance.fault }
    var descriptionFault: ImageError? { appliance.envelopeError }
    var absentFiles: [ImageError] { appliance.absentFiles }
    var notes: [ErrorText] { appliance.notes }
    var policy: any OpenPolicy { appliance.policy }
    var info: any Encodable & Sendable { ApplianceInfo(appliance) }
    var digests: [(digest: FileDigest, index: Int?)] { appliance.digests.map { ($0.entry, $0.member) } }

    func containedFile(_ index: Int) -> ContainedFile {
        let member = appliance.members[index]
        return ContainedFile(
            name: member.name, offset: member.offset, size: member.size, isSparse: member.entry.kind == .sparse,
            file: appliance.file(index))
    }

    func files(of disk: ContainedDisk) -> Set<Int> { filesOfDisks[disk.name] ?? [] }
}
