import BlockImage
import HostStorage
import SystemPackage

/// What is known of a disk that is attached: the file `state.json` of its folder.
package struct AttachmentRecord: Codable, Sendable {
    /// How the bytes get to the loop device.
    package enum Source: String, Codable, Sendable {
        /// From the file that has them, in which they lie as they are.
        case file
        /// From a server, rblockfs, that reads the image.
        case server = "rblockfs"
    }

    /// A file of the image, as it was when it was attached.
    struct File: Codable, Sendable {
        var path: String
        var device: UInt64
        var inode: UInt64
        var size: UInt64
        var seconds: Int64
        var nanoseconds: Int

        init?(_ file: any HostFile) {
            guard let identity = file.identity, !file.isDatedByClock, identity.inode != 0 else { return nil }
            (path, size) = (file.path, file.size)
            (device, inode) = (identity.device, identity.inode)
            (seconds, nanoseconds) = (file.modified.seconds, file.modified.nanoseconds)
        }

        /// Whether its path leads to the same file, and that has not been written to.
        var isUnchanged: Bool {
            guard let status = try? FileStatus(at: FilePath(text: path)) else { return false }
            return status.identity == FileIdentity(device: device, inode: inode) && status.size == size
                && status.modified == FileTime(seconds: seconds, nanoseconds: nanoseconds)
        }
    }

    /// A mount that `rblock mount` made.
    package struct Mounted: Codable, Sendable {
        /// Where: an absolute path without links.
        package var mountpoint: String
        /// The device, which may be one of the partitions.
        package var device: String
        package var type: String
        package var options: String
        /// The number of the mount; nil until it is made.
        var mountID: Int?
    }

    /// What it is called.
    package let name: String
    /// The image, as it was named, and the path of its file.
    package let image: String
    package let path: String
    /// The bytes of the disk.
    package let diskSize: UInt64
    /// The text of its loop devices, which no other attachment has.
    let tag: String
    var files: [File]

    /// The process that changes it now.
    var owner: ProcessIdentity?
    /// Whether it was attached in full: of one that was not, and has no owner, all is removed.
    var isComplete = false
    /// Its server, where it has one.
    package internal(set) var server: ProcessIdentity?
    package internal(set) var source = Source.file
    /// The loop device, and the bytes that it has; nil until it is made.
    package internal(set) var device: String?
    package internal(set) var size: UInt64 = 0
    /// Whether the device reads past the page cache.
    package internal(set) var isDirect = false
    package internal(set) var partitions: [PartitionDevice] = []
    package internal(set) var mounted: Mounted?
    /// Whether its server has ended by itself, and the device is in use still.
    package internal(set) var isDead = false

    /// What `name` is to stand for, before any of it is made.
    init(name: String, image: String, path: String, diskSize: UInt64, files: [any HostFile]) {
        (self.name, self.image, self.path, self.diskSize) = (name, image, path, diskSize)
        tag = "rblock:" + String(UInt64.random(in: .min ... .max), radix: 36)
        owner = .current
        self.files = files.compactMap { File($0) }
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        image = try values.decode(String.self, forKey: .image)
        path = try values.decode(String.self, forKey: .path)
        diskSize = try values.decode(UInt64.self, forKey: .diskSize)
        tag = try values.decode(String.self, forKey: .tag)
        isComplete = try values.decode(Bool.self, forKey: .isComplete)
        // Another version may not have written these.
        files = try values.decodeIfPresent([File].self, forKey: .files) ?? []
        owner = try values.decodeIfPresent(ProcessIdentity.self, forKey: .owner)
        server = try values.decodeIfPresent(ProcessIdentity.self, forKey: .server)
        source = try values.decodeIfPresent(Source.self, forKey: .source) ?? .file
        device = try values.decodeIfPresent(String.self, forKey: .device)
        size = try values.decodeIfPresent(UInt64.self, forKey: .size) ?? 0
        isDirect = try values.decodeIfPresent(Bool.self, forKey: .isDirect) ?? false
        partitions = try values.decodeIfPresent([PartitionDevice].self, forKey: .partitions) ?? []
        mounted = try values.decodeIfPresent(Mounted.self, forKey: .mounted)
        isDead = try values.decodeIfPresent(Bool.self, forKey: .isDead) ?? false
    }

    /// The files of the image that were written to, or replaced, since it was attached.
    package var changedFiles: [String] { files.filter { !$0.isUnchanged }.map(\.path) }

    /// Every device of it.
    package var devices: [String] { [device].compactMap { $0 } + partitions.map(\.device) }

    /// Whether another process works at it.
    package var isBusy: Bool { owner.map { $0 != ProcessIdentity.current && $0.isRunning } ?? false }
}
