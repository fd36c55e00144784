import BlockImage
import FormatCore
import ImageFormats
import ImageTools
import Reports
import TestImages

/// An image made of the bytes of a fuzzer, and everything that is done to images.
struct FuzzedImage {
    /// As much of a disk as is read at each end.
    private static let readLimit: UInt64 = 1 << 16
    /// The most runs that are looked up one by one.
    private static let runLimit = 256

    private let file: any HostFile
    private let format: ImageFormat

    /// An image of `bytes`, of the format that `target` is about.
    init(_ bytes: [UInt8], _ target: FuzzTarget) {
        format =
            switch target {
            case .qcow2: .qcow2
            case .qcow1: .qcow1
            case .vhd: .vhd
            case .vdi: .vdi
            case .vhdx: .vhdx
            case .qed: .qed
            case .parallels: .parallels
            case .ewf: .ewf
            default: .vmdk
            }
        file =
            target == .vhdx
            ? VHDXShape.file(of: bytes) : MemoryFile(bytes, path: "memory.\(format.driver.extensions[0])")
    }

    /// Opens and reads it, checks it, and lists its structures; answers how many of its disks could be opened.
    func run() -> Int {
        let opener = ImageOpener(policy: FlatFiles(), resources: LayerResources(cacheSize: 1 << 20))
        let opened = opener.open(file, as: format, counters: ReadCounters())
        var disks = 0
        if let image = opened.disk.image {
            read(image)
            _ = image.allocation()
            disks += 1
        }
        for index in opened.snapshots.indices.prefix(4) {
            guard let image = opened.snapshotDisk(index)?.image else { continue }
            read(image)
            disks += 1
        }
        _ = opened.bitmaps
        check(opened)
        inspect()
        return disks
    }

    private func read(_ image: Image) {
        let count = min(image.virtualSize, Self.readLimit)
        _ = try? image.bytes(Int(count), at: 0)
        _ = try? image.bytes(Int(count), at: image.virtualSize - count)
        var position = GuestOffset(0)
        for _ in 0..<Self.runLimit where position.rawValue < image.virtualSize {
            guard let found = try? image.resolve(at: position, limit: .max) else { break }
            position = position.advanced(by: found.extent.count)
        }
        _ = try? image.next(hole: true, from: GuestOffset(0))
        _ = try? image.next(hole: false, from: GuestOffset(image.virtualSize / 2))
    }

    private func check(_ opened: OpenedImage) {
        _ = try? (opened.layers.first?.image as? any CheckableImage)?.check { _ in }
    }

    private func inspect() {
        guard let inspected = try? InspectedImage(file, as: format, policy: FlatFiles()) else { return }
        let text = LayoutText(TextStyle()) { (_) throws(ImageError) in }
        try? inspected.list(to: text, LayoutOptions(showsEntries: true, entryLimit: 64))
        _ = try? inspected.hostMap(cellLimit: 1024)
    }
}

/// Opens a megabyte of zeros under every name of an extent or a data file, a disk of a megabyte with the CID 7 as every
/// parent, and no backing file.
private struct FlatFiles: OpenPolicy {
    private static let file = MemoryFile([UInt8](repeating: 0, count: 1 << 20), path: "memory-flat.vmdk")
    private static let parent: MemoryFile? = {
        let extent = VMDKDescriptorText.extent("FLAT", size: 1 << 20, file: "memory-flat.vmdk", offset: 0)
        let text = VMDKDescriptorText("monolithicFlat", [extent], cid: 7)
        return (try? text.bytes()).map { MemoryFile($0, path: "parent.vmdk") }
    }()

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        if reference.role == .parent, let parent = Self.parent { return parent }
        guard reference.role != .backing, reference.role != .parent else {
            throw ImageError(.denied, path: file.path, "\(reference.text) is not opened")
        }
        return Self.file
    }
}
