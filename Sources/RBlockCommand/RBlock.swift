import ArgumentParser
import Arguments
import Completion
import Dispatch
import ImageFormats

/// The command that looks into images, checks, compares and makes them.
struct RBlock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblock",
        abstract: "Look into virtual-machine disk images, and make them.",
        discussion: """
            Images are \(ImageFormat.names()), and the disks of OVA appliances. What an image names (backing files, extents) \
            is opened in the folder of the image, and in those of --allow-path. Images are read and never written, but for commit, \
            which asks, and cp, rm and mkdir of files of guests; create, convert and delta make new ones. Results are for people, or JSON with --output json; a terminal gets long lines in \
            several, a file or a pipe as they are. Without a verb, 'rblock IMAGE' is 'rblock info IMAGE'; 'rblock help VERB' explains a verb.

            NAMES OF DISKS
            IMAGE is a file, a block device, or a disk that an image holds: IMAGE@SNAPSHOT, IMAGE/p1 (a partition), \
            IMAGE/VG-LV (a volume of LVM), IMAGE@SNAPSHOT/p1, IMAGE@SNAPSHOT/vmstate, and IMAGE/layers/1 (the image under it). \
            APPLIANCE.ova/DISK is a disk of an appliance; the only one needs no name. The same names are used by servers, and are paths in a mount: see \
            rblock-names(7).

            SIZES AND OFFSETS
            Sizes and offsets are in bytes, as 1048576, 0x100000, 1024K, 1M, 1.5G or 1GiB, also with T, P and E, of powers of \
            1024; and as 1GB of powers of 1000.

            COMPLETION
            'rblock --generate-completion-script SHELL' prints what has bash, zsh or fish complete command lines: verbs, \
            options and their values, files and the disks in them, snapshots and bitmaps of the image that is named.

            EXAMPLES
              # what is this image, what does it hold, and is it sound?
              rblock disk.qcow2
              rblock info --output json --backing-chain disk.qcow2
              rblock map disk.qcow2
              rblock inspect --l2 disk.qcow2
              rblock check disk.qcow2
              # disks beside each other
              rblock diff before.qcow2 after.qcow2
              rblock hash disk.qcow2
              rblock read --length 512 --hex disk.qcow2
              # new images
              rblock create disk.qcow2 20G
              rblock convert disk.vmdk disk.qcow2
              rblock measure -O qcow2 disk.vmdk
              rblock convert disk.qcow2@daily/p1 root.raw
              rblock convert shop.ova/disk1.vmdk disk.qcow2
              rblock delta monday.qcow2 tuesday.qcow2 delta.qcow2
              # files of a guest, without a mount
              rblock df disk.qcow2
              rblock ls -l disk.qcow2:/etc
              rblock cat disk.qcow2:/etc/fstab
              rblock cp -r disk.qcow2:/home/me copies
              rblock find --name '*.log' disk.qcow2:/var
              rblock du -sh disk.qcow2:/home
              rblock tar disk.qcow2:/etc > etc.tar
              # files put into a guest, and removed; is there what that takes?
              rblock mkdir -p disk.qcow2:/srv/data
              rblock rm disk.qcow2:/etc/machine-id
              rblock doctor --output json
              # the files of a guest by a mount, and a block device
              rblock mount disk.qcow2:1 /mnt/guest
              rblock unmount /mnt/guest
              rblock attach disk.vmdk
              rblock attached --output json
              rblock detach disk.vmdk
              # what was written through 'rblockfs --overlay changes images /mnt/rb'
              rblock unmount /mnt/rb
              rblock commit --allow-path images changes/disk.qcow2.overlay.qcow2
              rblock discard changes/disk.vmdk.overlay.qcow2
              # a server, and a client
              rblock serve --rpc unix:/run/rblock.sock /srv/images
              rblock rpc /run/rblock.sock list

            SIGNALS
              SIGUSR1
                  has a verb that takes long print once, on standard error, how far it
                  has got, as --progress does each second
              SIGINT, SIGTERM, SIGHUP, SIGPIPE
                  end a verb; of a new image that is not done nothing is left

            ENVIRONMENT
              NO_COLOR
                  where it is set and not empty, inspect, check and diff write no
                  colours to a terminal, unless --color says always

            EXIT STATUS
              0   done; check, inspect: nothing is wrong; diff: the disks are the same
              1   an image cannot be opened, read or written; diff: the disks differ
              2   check, inspect: something is wrong; diff: an image cannot be read;
                  other verbs: done, but for parts of the disk that could not be read
              3   check: host space is wasted (leaks), and nothing else is wrong;
                  mount: there are several file systems, which are listed
              63  check: the format has nothing to check
              64  wrong usage; commit, discard: no terminal to ask, and no --yes
              70  /proc is not mounted
              77  attach, attached, detach, mount, unmount: only root may

            The help of each verb says what they mean there.

            SEE ALSO
              qemu-img(1), rblockfs(1), rblock-json(5), rblock-formats(7),
              rblock-guide(7), rblock-names(7)
            """,
        version: versionText(of: "rblock"),
        subcommands: [
            Info.self, Map.self, Inspect.self, Check.self, Diff.self, Hash.self, Read.self, Create.self, Convert.self,
            Delta.self, Measure.self, Commit.self, Discard.self, Serve.self, RPC.self, Attach.self, Attached.self,
            Detach.self, Mount.self, Unmount.self, List.self, Cat.self, Copy.self, Find.self, Tar.self,
            DiskUsage.self, DiskFree.self, Remove.self, MakeDirectory.self,
            Doctor.self,
        ])
}

/// The program. Its `main` is not async, since nothing async may begin where /proc is not mounted.
package enum CommandProgram {
    /// Does what the arguments of the process say, and ends it.
    package static func main() -> Never {
        RBlock.completer.answer(ProgramArguments.strings)
        if let reason = ProgramArguments.missingProc { RBlock.help(without: reason) }
        Task { @MainActor in
            await RBlock.main()
            RBlock.exit()
        }
        dispatchMain()
    }
}
