import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// What lies on a device, as blkid(8) finds it.
package struct FileSystemProbe: Sendable {
    /// Its type, as "ext4" or "LVM2_member".
    package let type: String
    /// "filesystem", "raid", "crypto" or "other".
    let usage: String
    package let label: String?
    package let uuid: String?

    /// What is on the device at `path`; nil where nothing is that is known.
    package init?(of path: String) throws(ImageError) {
        let blkid = try ChildProgram("blkid", package: "util-linux")
        let result = try blkid.run(["-p", "-o", "export", path])
        // 2: it has nothing that is known.
        if result.status == 2 { return nil }
        guard result.status == 0 else {
            let reason = result.status == 8 ? "has signatures of several file systems" : result.message
            throw ImageError(.unsupported, path: path, "blkid: \(quoting: reason)")
        }
        var values: [String: String] = [:]
        for line in result.output.split(separator: UInt8(ascii: "\n")) {
            let parts = nameText(line).split(separator: "=", maxSplits: 1).map(String.init)
            if parts.count == 2 { values[parts[0]] = Self.plain(parts[1]) }
        }
        guard let type = values["TYPE"] else { return nil }
        self.type = type
        usage = values["USAGE"] ?? "other"
        (label, uuid) = (values["LABEL"], values["UUID"])
    }

    /// Undoes the escapes of what is made for a shell: a backslash in front of a character.
    private static func plain(_ value: String) -> String {
        var isEscaped = false
        return String(
            value.filter { letter in
                isEscaped = letter == "\\" && !isEscaped
                return !isEscaped
            })
    }

    /// Whether it can be mounted.
    package var isFileSystem: Bool { usage == "filesystem" }

    /// What can be done with what cannot be mounted by itself, on `device`.
    package func advice(_ device: String) -> String {
        switch type {
        case "LVM2_member":
            "is a physical volume of LVM: 'rblock info' lists its volumes, which are mounted as IMAGE/VG-LV; to have LVM make them, "
                + "attach it: 'vgchange -ay --readonly' and 'lvs' make and list them"
        case "linux_raid_member":
            "is a member of a Linux RAID: attach it, and 'mdadm --assemble --readonly' makes the array of all members"
        case "crypto_LUKS", "BitLocker":
            "is encrypted (\(type)): attach it, and 'cryptsetup open --readonly \(device) NAME' opens it"
        case "swap", "swsuspend": "is swap space, which has no files"
        case "zfs_member": "is a member of a ZFS pool: attach it, and 'zpool import -o readonly=on' imports the pool"
        default: "has \(type), which is no file system"
        }
    }
}
