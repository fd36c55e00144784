import Foundation
import HostTools

/// A program that reads files of guests. The raw value is its name on the command line and in JSON; the order is that of the table.
enum GuestReaderKind: String, CaseIterable {
    case rblock
    case guestfish
    /// A loop device, mounted; root's, and of raw images only.
    case loopMount = "loop-mount"

    /// Whether it reads images of this kind.
    func reads(_ kind: ImageKind) -> Bool { self != .loopMount || (kind == .raw && Tool.isRoot) }
}

/// What runs them.
struct GuestReader {
    let kind: GuestReaderKind
    let rblock: String
    /// What guestfish needs in its environment here.
    let environment: String

    /// A command of sh(1) that has standard output get what `measure` is of `image`, whose file system is on partition 1. `file`:
    /// the one file that is read. The device of a loop mount is gone when it ends.
    func command(_ measure: GuestMeasure, _ image: DiskImage, file: String) -> String {
        switch kind {
        case .rblock: rblockCommand(measure, "'\(image.path):/", file)
        case .guestfish:
            "export \(environment); exec guestfish --ro --format=\(image.kind.format) -a '\(image.path)' run : "
                + "mount-ro /dev/sda1 / : " + guestfishCommand(measure, file)
        case .loopMount:
            """
            set -e; d=$(losetup -r -f --show -P '\(image.path)'); trap 'losetup -d $d' EXIT; partx -a $d 2>/dev/null || true
            unshare -m sh -e -c 'mount -o ro "$1"p1 /mnt; cd /mnt; \(loopCommand(measure, file))' - $d
            """
        }
    }

    private func rblockCommand(_ measure: GuestMeasure, _ root: String, _ file: String) -> String {
        switch measure {
        case .list, .many: "exec '\(rblock)' ls -lR \(root)'"
        case .file: "exec '\(rblock)' cat \(root)\(file)'"
        case .archive: "exec '\(rblock)' tar \(root)'"
        }
    }

    private func guestfishCommand(_ measure: GuestMeasure, _ file: String) -> String {
        switch measure {
        case .list, .many: "find /"
        case .file: "download '/\(file)' /dev/stdout"
        case .archive: "tar-out / -"
        }
    }

    private func loopCommand(_ measure: GuestMeasure, _ file: String) -> String {
        switch measure {
        case .list, .many: "ls -lRn"
        case .file: "cat \"\(file)\""
        case .archive: "tar -cf - --blocking-factor=2048 ."
        }
    }

    /// What guestfish needs to start here: where there is no kernel in /boot, the one that RBLOCK_KERNEL names, with an index of its
    /// modules, in `folder`; and emulation, where a machine does not start with the processor's help. Nil where it does not start.
    static func guestfishEnvironment(in folder: TemporaryFolder) throws -> String? {
        guard Tool.areThere("guestfish") else { return nil }
        let disk = folder.file("start.raw")
        try Shell.check("truncate -s 64M \"$1\"; mke2fs -q -F \"$1\"", disk)
        defer { unlink(disk) }
        var words = "LIBGUESTFS_BACKEND=direct"
        let own = try Shell.run("ls /boot/vmlinuz-*").status == 0
        if !own, let kernel = ProcessInfo.processInfo.environment["RBLOCK_KERNEL"] {
            let copy = try folder.makeFolder("kernel")
            let version = try Shell.check(
                """
                cp -a "$1/." "$2"; v=$(ls "$2/lib/modules"); depmod -b "$2" "$v"; [ -d /lib/modules ] || mkdir /lib/modules; echo "$v"
                """, kernel, copy
            ).trimmingCharacters(in: .whitespacesAndNewlines)
            words +=
                " SUPERMIN_KERNEL='\(copy)/boot/vmlinuz-\(version)' SUPERMIN_MODULES='\(copy)/lib/modules/\(version)'"
        }
        for further in ["", " LIBGUESTFS_BACKEND_SETTINGS=force_tcg"] {
            let command = "export \(words)\(further); exec guestfish --ro --format=raw -a \"$1\" run"
            if try Shell.run(command, disk).status == 0 { return words + further }
        }
        return nil
    }
}
