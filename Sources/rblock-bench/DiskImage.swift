import Foundation
import HostTools

/// An image of the guest's disk, and the files that it is made of.
struct DiskImage {
    let kind: ImageKind
    /// The file that servers are given.
    let path: String
    /// Every file that must be in the page cache.
    let files: [String]

    /// Makes the image of `disk` in `folder`, which holds nothing else, and has qemu-img check it.
    init(_ kind: ImageKind, of disk: GuestDisk, in folder: String) throws {
        self.kind = kind
        switch kind {
        case .raw: (path, files) = (disk.path, [disk.path])
        case .vmdk, .vhdx, .qcow2, .zlib, .zstd, .extended, .vhd, .vdi:
            path = "\(folder)/\(kind.rawValue).\(kind.format)"
            files = [path]
            try Self.call("qemu-img", ["convert", "-q", "-f", "raw"] + kind.conversion + [disk.path, path])
        case .scattered:
            path = "\(folder)/scattered.qcow2"
            files = [path]
            var random = SeededRandom(seed: 1)
            let disk = try ClusterSource(disk.path)
            let clusters = try disk.nonzeroClusters().shuffled(using: &random)
            try LayerFile(size: disk.size).write(clusters, of: disk, to: path)
        case .chain:
            files = try Self.makeChain(of: disk, in: folder)
            path = files[0]
        }
        for file in files where kind.format == "qcow2" {
            try Self.call("qemu-img", ["check", "-q", "-U", "-f", "qcow2", file])
        }
    }

    /// Writes a base that holds the whole disk and eight overlays, each of which holds a random eighth of its clusters.
    /// What another overlay hides is something else than the disk has there. Answers the files, the topmost first.
    private static func makeChain(of disk: GuestDisk, in folder: String) throws -> [String] {
        let depth = 8
        let source = try ClusterSource(disk.path)
        var random = SeededRandom(seed: 2)
        let stored = try source.nonzeroClusters()
        var hidden: Set<Int> = []
        var files: [String] = []
        for level in (0...depth).reversed() {
            let clusters =
                level == 0
                ? stored : (0..<source.clusterCount).filter { _ in Int.random(in: 0..<8, using: &random) == 0 }
            var layer = LayerFile(size: source.size)
            layer.backingFile = level == 0 ? nil : "chain-\(level - 1).qcow2"
            layer.hidden = hidden
            files.append("\(folder)/chain-\(level).qcow2")
            try layer.write(clusters, of: source, to: files[depth - level])
            hidden.formUnion(clusters)
        }
        return files
    }

    /// Reads every file into the page cache, so that the servers' work is measured, and not the disk under them.
    func warm() throws {
        try Self.call("cat", files, output: false)
    }

    private static func call(_ name: String, _ arguments: [String], output: Bool = true) throws {
        let words = output ? arguments : ["-c", "exec \(name) \"$@\" >/dev/null", name] + arguments
        let result = try Tool.run(output ? name : "sh", words, timeout: 1800)
        guard result.status == 0 else { throw ToolFailure(description: "\(name) \(arguments): \(result.errors)") }
    }
}

extension ImageKind {
    /// The options of qemu-img convert that make it.
    fileprivate var conversion: [String] {
        switch self {
        case .vmdk: ["-O", "vmdk", "-o", "subformat=monolithicSparse"]
        case .vhd: ["-O", "vpc", "-o", "force_size=on"]
        case .zlib: ["-c", "-O", "qcow2"]
        case .zstd: ["-c", "-O", "qcow2", "-o", "compression_type=zstd"]
        // Subclusters of 4 KiB, which is what they were made for.
        case .extended: ["-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"]
        default: ["-O", format]
        }
    }
}
