import BlockImage
import QCOW2

/// A QCOW2 image in memory as a power cut left it, opened by our own reader.
struct QCOW2State {
    /// What is kept of the tables of all states that are opened: little, since each is opened once.
    private static let resources = LayerResources(cacheSize: 3 << 20)
    /// The memory that disks are read into: of every disk anew, it would be made by the kernel, page by page.
    private static let buffers = BufferPool(capacity: 8 << 20)

    let file: any HostFile
    let description: QCOW2Description
    let disk: Image

    /// Opens the image in `content`, over what is under it.
    init(_ content: HostContent, _ subject: QCOW2Judge.Subject) throws(ImageError) {
        file = ContentFile(content)
        description = try QCOW2Description(file)
        if let fault = description.snapshotFault { throw fault }
        if let fault = description.bitmapFault { throw fault }
        let layer = try QCOW2Layer(description, file: file, resources: Self.resources)
        let name = description.backingFile.map { String(decoding: $0, as: UTF8.self) }
        disk = Image(layer: layer, backing: name.flatMap { subject.backings[$0] } ?? subject.backing)
    }

    /// What a check finds that a power cut must not leave: all but leaks, and COPIED flags that are clear where the
    /// refcount is 1. No finding is one about a COPIED flag that is set where it is not: a writer would then overwrite what
    /// others use. Without `allowingLeaks`, everything that it finds.
    func faults(allowingLeaks: Bool = true) throws(ImageError) -> [String] {
        let result = try description.check(file)
        return result.findings.filter { finding in
            switch finding.severity {
            case .warning: false
            case .leak: !allowingLeaks
            case .corruption, .error:
                !allowingLeaks || finding.kind != .copiedFlag
                    || !finding.message.description.contains("COPIED is not set")
            }
        }.map { "check: \($0.kind.rawValue): \($0.message)" }
    }

    /// What the sectors of the disk are.
    func sectors(run: UInt64) -> [GuestSector] { Self.sectors(of: disk, run: run) }

    /// The disk of each snapshot, by its ID.
    func snapshots(run: UInt64) throws(ImageError) -> [String: [GuestSector]] {
        guard !description.snapshots.isEmpty, let layer = disk.layer as? QCOW2Layer else { return [:] }
        var snapshots: [String: [GuestSector]] = [:]
        for snapshot in description.snapshots {
            let image = Image(layer: try layer.layer(of: snapshot), backing: disk.backing)
            snapshots[snapshot.id] = Self.sectors(of: image, run: run)
        }
        return snapshots
    }

    /// What cannot be read is foreign: its error says why.
    static func sectors(of disk: Image, run: UInt64) -> [GuestSector] {
        let size = Int(disk.virtualSize)
        let buffer = buffers.take(size)
        defer { buffers.giveBack(buffer) }
        do throws(ImageError) {
            try buffer.fill(size) { output throws(ImageError) in
                try disk.read(size, at: GuestOffset(0), into: &output)
            }
            return buffer.bytes.withUnsafeBytes { GuestSector.all(in: $0, run: run) }
        } catch {}
        return (0..<size / GuestSector.size).map { sector in
            do throws(ImageError) {
                try buffer.fill(GuestSector.size) { output throws(ImageError) in
                    try disk.read(GuestSector.size, at: GuestOffset(UInt64(sector * GuestSector.size)), into: &output)
                }
                return buffer.bytes.withUnsafeBytes { bytes in
                    bytes.withMemoryRebound(to: UInt64.self) {
                        GuestSector($0.baseAddress!, sector: sector, run: run)
                    }
                }
            } catch {
                return .foreign("unreadable (\(error.message))")
            }
        }
    }
}
