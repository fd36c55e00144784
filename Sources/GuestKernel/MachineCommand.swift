import CLinux
import SystemPackage

/// The arguments of QEMU.
struct MachineCommand {
    /// What a kernel, its caches and the initial RAM disk fit in.
    private static let megabytes = 512

    var kernel: KernelFiles
    var accelerator: String
    var diskCount: Int

    /// The descriptors are 3: the initial RAM disk, 4: the agent, and from 5 on the disks.
    var arguments: [String] {
        let machine = Architecture.current
        var arguments = [
            "-M", machine.machine, "-accel", accelerator, "-cpu", "max", "-m", "\(Self.megabytes)", "-no-reboot",
            "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            // No other program, no other user, no other priority.
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-kernel", kernel.kernel.string, "-initrd", "/dev/fd/3", "-append",
            // An error in the kernel ends it: a request would get no answer.
            "console=\(machine.console) loglevel=5 rdinit=/init reboot=t panic=-1 oops=panic mitigations=off "
                // These two are for the environment of /init: Swift's runtime looks for a program beside it otherwise, before
                // /proc is there.
                + "SWIFT_ROOT=/ SWIFT_BACKTRACE=enable=no\(Self.clock)",
            "-chardev", "socket,id=agent,fd=4", "-device", "virtio-serial-device",
            "-device", "virtserialport,chardev=agent,name=rblock",
        ]
        for index in 0..<diskCount {
            arguments += [
                "-blockdev", "driver=nbd,node-name=disk\(index),server.type=fd,server.str=\(5 + index)",
                "-device",
                "virtio-blk-device,drive=disk\(index),serial=rblock-\(index),"
                    // On a full disk of the host, QEMU would have the machine wait for space.
                    + "rerror=report,werror=report",
            ]
        }
        return arguments
    }
}

extension MachineCommand {
    /// How fast the processor's counter is: on a busy host the kernel cannot measure that by the timers of QEMU, and then waits for an
    /// interrupt that this machine does not have.
    private static let clock: String = {
        let rate = clinux_time_stamp_rate()
        return rate == 0 ? "" : " tsc_early_khz=\(rate)"
    }()
}

/// How types of file systems are mounted: so that names are in UTF-8, and nothing depends on where that is.
enum MountOptions {
    private static let all: [String: String] = [
        // As a copy of it may be mounted.
        "xfs": "nouuid",
        "vfat": "iocharset=ascii,utf8=1,umask=022,tz=UTC", "msdos": "umask=022,tz=UTC",
        "exfat": "iocharset=utf8,umask=022", "ntfs3": "iocharset=utf8", "hfsplus": "nls=utf8",
        "jfs": "iocharset=utf8", "udf": "iocharset=utf8", "iso9660": "iocharset=utf8", "ufs": "ufstype=ufs2",
    ]

    /// The options of mount(8) for `type`.
    static func options(for type: String) -> String { all[type] ?? "" }
}
