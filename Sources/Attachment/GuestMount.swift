import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// A file system of a guest that is to be mounted for reading.
package struct GuestMount {
    /// What every mount is made with: what a guest's file system says of set-user-ID programs and devices is not for this host.
    package static let usualOptions = ["ro", "nosuid", "nodev"]

    /// The options by which a file system whose journal has changes that are not in their place is mounted without them. They
    /// cannot be put in their place, since that would write to the image.
    private static let journalOptions = [
        "ext3": "noload", "ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay", "nilfs2": "norecovery",
        "f2fs": "norecovery", "jfs": "nointegrity",
    ]

    let device: String
    let type: String
    let mountpoint: FilePath
    /// What was asked for besides.
    let options: [String]

    /// The file system of type `type` on `device`, at the directory `mountpoint`. Throws where that is none.
    package init(_ device: String, type: String, at mountpoint: String, options: [String]) throws(ImageError) {
        (self.device, self.type, self.options) = (device, type, options)
        self.mountpoint = try Self.directory(mountpoint)
    }

    /// The directory at `path`, without links. Throws where there is none.
    package static func directory(_ path: String) throws(ImageError) -> FilePath {
        let place = try canonical(FilePath(text: path))
        guard (try? FileStatus(at: place).kind) == .folder else {
            throw ImageError(.system(errno: ENOTDIR), path: path, "is no directory, and nothing can be mounted on it")
        }
        return place
    }

    /// Mounts it; `note` is given what is to be kept in mind, before and after. Answers what people should know; throws why
    /// it cannot be mounted.
    package func mount(_ note: (AttachmentRecord.Mounted) throws(ImageError) -> Void) throws(ImageError) -> [String] {
        let journal = Self.journalOptions[type]
        // Only these tell in one place of their superblock that the journal has something.
        if let journal, ["ext3", "ext4", "btrfs"].contains(type), hasOpenJournal {
            try mount(with: [journal], note)
            return [Self.lostChanges(journal)]
        }
        // Another disk with the same file system may be mounted: a copy, or a snapshot.
        let own = type == "xfs" ? ["nouuid"] : []
        do throws(ImageError) {
            try mount(with: own, note)
            return []
        } catch {
            guard let journal, !["ext3", "ext4"].contains(type), (try? mount(with: own + [journal], note)) != nil
            else { throw error }
            return [Self.lostChanges(journal)]
        }
    }

    private static func lostChanges(_ option: String) -> String {
        "the file system was in use when the image was made, and its journal is left alone (\(option)): the last changes "
            + "before that may be missing, or done by half"
    }

    private func mount(
        with special: [String], _ note: (AttachmentRecord.Mounted) throws(ImageError) -> Void
    ) throws(ImageError) {
        let all = Self.usualOptions + special + options
        var mounted = AttachmentRecord.Mounted(
            mountpoint: mountpoint.text, device: device, type: type, options: all.joined(separator: ","))
        try note(mounted)
        let program = try ChildProgram("mount", package: "mount")
        // Of NTFS there are two drivers of the kernel and one of FUSE, which mount(8) tries.
        let typeOption = type == "ntfs" ? [] : ["-t", type]
        let result = try program.run(typeOption + ["-o", mounted.options, "--", device, mountpoint.text])
        guard result.status == 0 else {
            let reason = result.message.replacing(text: "mount: \(mountpoint.text): ", with: "")
            throw ImageError(.unsupported, path: mountpoint.text, "mount(8): \(quoting: reason)")
        }
        mounted.mountID = try MountTable().entries.last { $0.mountpoint == mountpoint && $0.source == device }?.id
        try note(mounted)
    }

    /// Whether the superblock says that the journal, or the log tree of btrfs, has changes that are not in their place.
    private var hasOpenJournal: Bool {
        func bytes(_ count: Int, at offset: Int64) -> [UInt8] {
            guard let file = try? FileDescriptor.open(FilePath(device), .readOnly, options: .closeOnExec) else {
                return []
            }
            defer { try? file.close() }
            var bytes = [UInt8](repeating: 0, count: count)
            // Safe: read writes at most as many bytes as the array has.
            let got = unsafe bytes.withUnsafeMutableBytes {
                unsafe try? file.read(fromAbsoluteOffset: offset, into: $0)
            }
            return got == count ? bytes : []
        }
        // ext4: bit 2 (RECOVER) of s_feature_incompat, at 0x60 of the superblock, which is at 1024. btrfs: log_root, at 0x60
        // of the superblock, which is at 64 KiB.
        return type == "btrfs"
            ? bytes(8, at: 0x10060).contains { $0 != 0 } : bytes(4, at: 1024 + 0x60).first.map { $0 & 4 != 0 } ?? false
    }
}
