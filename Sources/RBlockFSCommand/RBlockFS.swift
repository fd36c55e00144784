import ArgumentParser
import Arguments
import BlockImage
import Completion
import Encryption
import Fuse
import Glibc
import HostStorage
import ImageFS
import ImageFormats
import Logging
import SystemPackage

/// The program.
package enum MountProgram {
    /// Does what the arguments of the process say. Returns when the mount is gone; ends the process where there is none.
    package static func main() {
        Completer(RBlockFS.self).answer(ProgramArguments.strings)
        do {
            var command = try RBlockFS.parseAsRoot(ProgramArguments.strings)
            try command.run()
        } catch {
            RBlockFS.end(error)
        }
    }
}

/// The command: parses its arguments, and mounts in the background or serves in the foreground.
struct RBlockFS: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblockfs",
        abstract: "Mount a folder of virtual-machine disk images as flat raw disks.",
        usage: "rblockfs [options] IMAGES MOUNTPOINT",
        discussion: """
            Every \(ImageFormat.imageNames) of IMAGES and its subfolders, or the one image that it is, becomes a folder \
            of MOUNTPOINT with a flat disk.raw, its partitions, map.json and stats.json in it; an .ova a folder with one \
            for each of its disks. Images are read, never written; with --overlay what is written to their disks goes elsewhere. \
            The command returns when the mount answers; the server goes on in the background, and logs to syslog.

            Only the user who mounts can look, and no one else: root cannot look at the mount of another user. With \
            -o allow_other everybody can, as far as --uid, --gid and --umask let them.

            'fusermount3 -u MOUNTPOINT' unmounts, and so does umount(8) for root. While a file is open both say that it is \
            busy; with -z, or 'umount -l', the mount goes out of sight at once, and the server ends when the last file is \
            closed. A mount whose server was killed is removed by the next rblockfs there.

            MOUNT OPTIONS
            Those of this program, with -o, for mount(8) and in fstab(5):

              allow_path=DIR
                  as --allow-path, repeatable
              overlay=DIR, overlay_options=NAME=VALUE, overlay_plaintext, no_lock
                  as --overlay, --overlay-options (repeatable, one each),
                  --overlay-plaintext and --no-lock
              cache_size=SIZE
                  as --cache-size; 48M by default
              log_level=LEVEL
                  as --log-level; notice by default
              secret=IMAGE=file:PATH, secret=IMAGE=env:VARIABLE
                  as --secret, repeatable
              kernel_path=auto, kernel_path=off, kernel_path=require,
              kernel_path=map
                  as --kernel-path; auto by default
              slow_keys, raw_img, probe, ignore_parent_id, drop_privileges
                  as the options of these names
              uid=USER, gid=GROUP, umask=MODE, pid_file=FILE
                  as the options of these names
              setuid=USER
                  as --user

            Those of FUSE, of which others are passed on as well:

              allow_other
                  every user can look, as far as owner and permissions let them; an
                  ordinary user needs user_allow_other in /etc/fuse.conf
              allow_root
                  root can look, and no other user
              auto_unmount
                  unmount however the server ends; for root
              default_permissions
                  the kernel compares owner and permissions: always on

            Those that tell mount(8) and systemd how to mount, as noauto, nofail, user, _netdev and x-systemd.automount, \
            do no harm. With ro nothing can be written, and what was written to overlays before is shown; without --overlay no mount can \
            be written.

            EXAMPLES
              # mount a folder, look into it, unmount it
              rblockfs ~/images /mnt/rb
              cat /mnt/rb/foo.qcow2/stats.json
              losetup -f --show -r -P --direct-io=on /mnt/rb/foo.qcow2/disk.raw
              fusermount3 -u /mnt/rb
              # the files of a guest, also of one that runs or has crashed: with rblock,
              # or by hand, for ext4; XFS takes norecovery, btrfs rescue=nologreplay
              rblock mount foo.qcow2:1 /mnt/guest
              mount -o loop,ro,noload /mnt/rb/foo.qcow2/partitions/p1.raw /mnt/guest
              # one image whose backing file lies elsewhere, and one on a volume
              rblockfs --allow-path /srv/base overlay.qcow2 /mnt/rb
              rblockfs --format qcow2 /dev/vg/vm-100-disk-0 /mnt/rb
              # disks that can be written, over images that stay as they are
              rblockfs --overlay ~/scratch ~/images /mnt/rb
              losetup -f --show -P /mnt/rb/foo.qcow2/disk.raw
              # an encrypted image
              rblockfs --secret db.qcow2=file:/root/db.key ~/images /mnt/rb
              # for the users of a group
              rblockfs -o allow_other,uid=qemu,gid=kvm,umask=027 ~/images /mnt/rb
              # as a service
              rblockfs -f --drop-privileges --pid-file /run/rb.pid ~/images /mnt/rb
              # by mount(8), and as a line of /etc/fstab
              mount -t fuse.rblockfs /srv/images /mnt/rb -o ro,allow_other
              /srv/images  /mnt/rb  fuse.rblockfs  ro,nofail,allow_other  0 0

            KERNEL PATHS
            A disk that one regular file has as it is, from the first byte to the last, is read by the kernel itself, as fast \
            as the file: a raw image, a flat VMDK of one file, a QCOW2 with a raw data file. That is FUSE passthrough, and \
            needs Linux 6.9 and root, without --drop-privileges and --user. For other disks, and elsewhere, the kernel asks \
            this program for each read; stats.json says why. The values of --kernel-path:

              auto
                  disks are read so where they can be
              off
                  they are not: all reads are counted, and fail where an image was
                  written to while it was open
              require
                  as auto, and nothing is mounted where no disk could be read so
              map
                  as auto; and disks that lie in their files in pieces (QCOW2,
                  sparse VMDK, chains of them) are read by maps of the pieces,
                  which need Linux 6.12 with EROFS. What is compressed or
                  encrypted comes through this program, asked by the kernel. No
                  direct I/O (O_DIRECT) while a map is open

            The kernel writes to no image either, nor changes when it was last read. A disk that is open while its file \
            is written to reads as what is in the file; when it is opened after that, it is read through this program.

            OVERLAYS
            With --overlay DIR every disk.raw and every file of partitions can be written. The images stay as they are: what is \
            written to IMAGE goes to DIR/IMAGE.overlay.qcow2, a QCOW2 overlay of clusters of 64 KiB with subclusters, which QEMU \
            5.2 and later opens as it is; --overlay-options extended_l2=off makes it one for older versions. It is made at the first write. A later mount with the same DIR shows what was \
            written; without --overlay the mount shows the images.

            'rblock unmount MOUNTPOINT' returns when the server has ended, and the overlays have all that was written. 'rblock commit' \
            writes an overlay into its image, and 'rblock discard' throws it away.

            An overlay belongs to the disk that it was made over, and keeps its size, time of change, and a digest in mind. Where \
            the image, or one under it, was changed since, its disk cannot be read, and stats.json says why; \
            --ignore-parent-id reads it all the same. DIR is for one server of a host at a time, and in no folder of images. QEMU's locks \
            are taken on overlays that are written to, and on the images under them; on file systems without locks, as some of NFS, \
            --no-lock does without, and nothing keeps a machine from the same files then.

            What was written is on the disk when fsync(2) or close(2) returns. What was not synced is written to the overlay \
            within a second; a power cut, or a server that is killed, leaves a sound overlay. A full disk under DIR is ENOSPC to \
            who writes. A disk keeps its size: truncate(2) is EPERM, a write past its end ENOSPC. Holes that are punched, as \
            fstrim(8) and blkdiscard(8) do by loop devices, read as zeros. Snapshots, layers and volumes \
            cannot be written, nor encrypted disks without --overlay-plaintext: overlays are not encrypted. The kernel reads no disk \
            by itself then.

            SIGNALS
              SIGTERM, SIGINT, SIGHUP
                  unmount without waiting for open files, and end the server with
                  status 0; what was written is in the overlays then

            ENVIRONMENT
              NOTIFY_SOCKET
                  where systemd learns that the mount answers
              JOURNAL_STREAM
                  standard error is the journal, and messages have priorities

            FILES
              MOUNTPOINT/IMAGE/disk.raw
                  the disk, flat; of an appliance MOUNTPOINT/APPLIANCE.ova/DISK/disk.raw
              MOUNTPOINT/IMAGE/partitions/p1.raw
                  a partition
              MOUNTPOINT/IMAGE/volumes/VG-LV.raw
                  a volume of LVM
              MOUNTPOINT/IMAGE/snapshots/NAME/
                  the disk as an internal snapshot keeps it, and its partitions
              MOUNTPOINT/IMAGE/layers/1.raw
                  the disk as an image of the backing chain has it; 0 is the image itself
              MOUNTPOINT/IMAGE/map.json
                  where the disk is stored, as 'rblock map' prints it
              MOUNTPOINT/IMAGE/stats.json
                  what is known of the image, and what is wrong with it
              MOUNTPOINT/stats.json
                  what is known of the mount: reads, errors, caches, what is not shown
              /dev/fuse
                  the device of FUSE
              /etc/fuse.conf
                  what ordinary users may do: user_allow_other
              /etc/rblockfs/
                  settings of the systemd unit rblockfs@.service

            EXIT STATUS
              0    mounted; in the foreground: unmounted again
              64   wrong usage
              66   IMAGES, a folder of --allow-path or a key of --secret cannot be read
              69   FUSE is not available: no /dev/fuse, or the kernel lacks what --kernel-path requires
              70   anything else went wrong
              73   MOUNTPOINT cannot be mounted on, or --pid-file not written
              77   not permitted, also what --kernel-path requires
              127  a shared library, as libfuse3, is missing: the system says which

            SEE ALSO
              fusermount3(1), rblock(1), rblock-mount(1), fstab(5), rblock-json(5), rblock-formats(7),
              rblock-guide(7), rblock-names(7), losetup(8), mount(8), mount.fuse3(8)
            """,
        version: versionText(of: "rblockfs", others: [FuseLibrary.version]))

    @Flag(name: .shortAndLong, help: "Serve in the foreground, and log to standard error.")
    var foreground = false

    @Option(
        name: .customLong("allow-path"),
        help: ArgumentHelp(
            "A folder outside IMAGES whose files images may name (backing files, extents). Repeatable.",
            valueName: "dir"),
        completion: .directory)
    var allowPaths: [String] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The most memory for tables and decompressed clusters; 48M by default.", valueName: "size"),
        transform: ByteSize.parse)
    var cacheSize = ByteSize(count: 48 << 20)

    @Option(
        help: ArgumentHelp(
            "The least that is logged: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel = LogLevel.notice

    @Option(
        name: .customLong("secret"),
        help: ArgumentHelp(
            "The passphrase of an encrypted image, by its file name or path: all bytes of a file, or an environment "
                + "variable. Repeatable.",
            valueName: "image=file:path|image=env:variable"))
    var secrets: [SecretSource] = []

    @Flag(
        help: ArgumentHelp(
            "Unlock also where the key slots ask for more hashing than a few seconds' (\(LUKS1Header.usualWorkLimit) HMACs)."
        ))
    var slowKeys = false

    @Option(
        help: ArgumentHelp(
            "The format of the one image that IMAGES is: \(ImageFormat.names(before: "or")); by default what its name says, else its "
                + "content.",
            valueName: "format"))
    var format: ImageFormat?

    @Flag(help: "Take every .img for a raw disk, and do not look at its content.")
    var rawImg = false

    @Flag(
        help: """
            Show files without a known extension as well, where their content is that of an image. They may name other \
            files only where an image of their folder names them as its backing file, with a format.
            """)
    var probe = false

    @Flag(
        name: [.customLong("ignore-parent-id"), .customLong("ignore-cid")],
        help:
            "Read an image although its parent was changed after it was made (its CID or UUID is another, or an overlay says so)."
    )
    var ignoreParentID = false

    @Option(
        help: ArgumentHelp(
            "What the kernel may read by itself: auto (default), off, require, map; see KERNEL PATHS.",
            valueName: "what"))
    var kernelPath = KernelPath.auto

    @Option(
        help: ArgumentHelp(
            "A folder for QCOW2 overlays, which is made if need be: every disk.raw and partition can be written, and what is written "
                + "goes there. See OVERLAYS.",
            valueName: "dir"),
        completion: .directory)
    var overlay: String?

    @OptionGroup
    var overlays: OverlayOptions

    @Option(
        name: .customShort("o"),
        help: ArgumentHelp(
            "Mount options, as FUSE programs take them: see MOUNT OPTIONS. Repeatable.",
            valueName: "option,..."),
        completion: .custom { _, _, text in CommaList(text).words(MountCommandOption.offered) })
    var mountOptions: [String] = []

    @OptionGroup
    var service: ServiceOptions

    @Option(help: ArgumentHelp(visibility: .private))
    var backgroundFd: CInt?

    @Argument(
        help: ArgumentHelp("A folder of images, or one image: a file or a block device.", valueName: "IMAGES"),
        completion: .file())
    var images: String

    @Argument(help: ArgumentHelp("A directory to mount on.", valueName: "MOUNTPOINT"), completion: .directory)
    var mountpoint: String

    mutating func validate() throws {
        try takeOwnMountOptions()
        if overlay != nil, kernelPath == .require || kernelPath == .map {
            throw ValidationError(
                "--kernel-path \(kernelPath.rawValue): with --overlay the kernel reads no disk by itself")
        }
        try overlays.check(with: overlay)
        try service.checkReadyFd(foreground: foreground)
    }

    func run() throws {
        let settings = try overlays.settings()
        do throws(MountFailure) {
            if let reason = ProgramArguments.missingProc { throw MountFailure(.software, reason) }
            if foreground {
                try Server(self, overlaying: settings).run()
            } else {
                try Background.mount(at: FilePath(text: mountpoint))
            }
        } catch {
            error.report()
            throw ExitCode(error.status)
        }
    }

    /// Whether disks are not written to, although there is a folder of overlays. Of several options the last one counts.
    var isReadOnly: Bool { mountOptions.last { ["ro", "rw"].contains($0) } == "ro" }

    /// Takes those of the `-o` options that are this command's own; the rest is left for FUSE.
    private mutating func takeOwnMountOptions() throws {
        var rest: [String] = []
        for option in mountOptions.flatMap({ $0.split(separator: ",").map(String.init) }) {
            let parts = option.split(separator: "=", maxSplits: 1).map(String.init)
            switch (parts[0], parts.count > 1 ? parts[1] : nil) {
            case ("allow_path", let value?): allowPaths.append(value)
            case ("overlay", let value?): overlay = value
            case ("cache_size", let value?):
                do {
                    cacheSize = try ByteSize.parse(value)
                } catch let error as ValidationError {
                    throw ValidationError("-o cache_size: '\(value)': \(error.message)")
                }
            case ("log_level", let value?):
                guard let level = LogLevel(rawValue: value) else {
                    throw ValidationError("-o log_level: '\(value)' is no level")
                }
                logLevel = level
            case ("kernel_path", let value?):
                guard let path = KernelPath(rawValue: value) else {
                    let forms = KernelPath.allCases.map(\.rawValue).joined(separator: ", ")
                    throw ValidationError("-o kernel_path: '\(value)' is none of \(forms)")
                }
                kernelPath = path
            case ("secret", let value?):
                guard let secret = SecretSource(argument: value) else {
                    throw ValidationError("-o secret: write IMAGE=file:PATH or IMAGE=env:VARIABLE")
                }
                secrets.append(secret)
            case ("slow_keys", nil): slowKeys = true
            case ("raw_img", nil): rawImg = true
            case ("probe", nil): probe = true
            case ("ignore_parent_id", nil), ("ignore_cid", nil): ignoreParentID = true
            case (let name, let value):
                if try service.take(name, value) || overlays.take(name, value) || MountCommandOption.isIrrelevant(name)
                {
                    break
                }
                rest.append(option)
            }
        }
        mountOptions = rest
    }
}

extension ImageFormat: ExpressibleByArgument {}

extension KernelPath: ExpressibleByArgument {}

/// The levels of swift-log, as arguments.
enum LogLevel: String, ExpressibleByArgument, CaseIterable {
    case trace, debug, info, notice, warning, error, critical

    var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .notice }
}
