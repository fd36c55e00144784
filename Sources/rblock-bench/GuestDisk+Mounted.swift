import Foundation
import HostTools

/// Disks whose files the kernel writes. They need root.
extension GuestDisk {
    /// Makes a disk of 1 GiB with ext4 that has `folders` folders of a thousand empty files each, in `folder`.
    init(emptyFiles folders: Int, in folder: TemporaryFolder) throws {
        self.init(path: folder.file("empty.raw"), size: 1 << 30)
        try fill(
            "mkfs.ext4 -q -F -N \(folders * 1010)",
            "for d in $(seq \(folders)); do mkdir \"$d\"; (cd \"$d\" && seq 1000 | xargs touch); done")
    }

    /// A disk of the same size, in `folder`, with a file system of `type` that has the same files.
    func copied(to type: String, in folder: TemporaryFolder) throws -> GuestDisk {
        let disk = GuestDisk(path: folder.file("disk.\(type).raw"), size: size)
        let source = try DeviceMount(try LoopDevice(path), partition: 1)
        try disk.fill("mkfs.\(type) -q", "cp -a '\(source.path)/.' .")
        return disk
    }

    /// Makes the disk, with one partition, a file system on that by the command `make`, and the files that `script` leaves in it.
    private func fill(_ make: String, _ script: String) throws {
        try Shell.check(
            "truncate -s \"$2\" \"$1\"; echo 'start=2048, type=83' | sfdisk -q -X dos \"$1\"", path, String(size))
        let device = try LoopDevice(path, isWritable: true)
        try Shell.check("\(make) \"$1\"p1 >/dev/null", device.path, timeout: 1800)
        let mount = try DeviceMount(device, partition: 1, options: "rw")
        try Shell.check("cd \"$1\"; \(script)", mount.path, timeout: 1800)
        try Tool.check("umount", mount.path, timeout: 1800)
    }
}
