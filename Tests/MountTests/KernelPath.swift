import Foundation
import HostTools

/// What the kernel and the rights of the tests allow it to read by itself. Tests of it hold in both states: where it may
/// not, they expect the ordinary path.
enum KernelPath {
    /// Whether it reads flat disks by itself: Linux 6.9 for root.
    static let passesThrough = Tool.isRoot && release >= (6, 9)

    /// Whether it reads disks by maps: Linux 6.12 with EROFS, for root.
    static let maps = Tool.isRoot && release >= (6, 12) && Tool.knowsFileSystem("erofs")

    private static let release: (Int, Int) = {
        let release = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)) ?? ""
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return numbers.count == 2 ? (numbers[0], numbers[1]) : (0, 0)
    }()

    /// How disks are shown: as the kernel can, and always by the server.
    static let settings = ["auto", "off"]

    /// What `stats.json` calls the way of a disk that lies in one file, under a `setting`.
    static func name(_ setting: String) -> String { setting != "off" && passesThrough ? "passthrough" : "server" }
}

extension Mount {
    /// Mounts `images` with `--kernel-path setting`.
    convenience init(_ images: String, kernelPath setting: String) throws {
        try self.init(images, options: ["--kernel-path", setting])
    }

    /// The way of the disk of an image, and why it is no better one, as its `stats.json` has them.
    func kernelPath(_ image: String) throws -> (name: String, reason: String?) {
        let document = try document(image)
        guard let facts = document["rblock", "kernel-path"], let name = facts["path"]?.text else {
            throw ToolFailure(description: "no kernel-path of \(image): \(document)")
        }
        return (name, facts["reason"]?.text)
    }

    /// How many reads the server has answered of the disk of an image.
    func reads(_ image: String) throws -> Int? { try document(image)["rblock", "counters", "reads"]?.number }
}
