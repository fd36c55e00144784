import ArgumentParser
import Attachment
import BlockImage
import Glibc
import Reports

/// `rblock attach`: a disk as a block device.
struct Attach: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a read-only block device of the disk of an image.",
        usage: "rblock attach [<options>] <IMAGE>",
        discussion: """
            Prints the device, as /dev/loop0. Its partitions are /dev/loop0p1 and so on; on a terminal they are listed below \
            it, and 'rblock attached' lists them anywhere. A partition that the kernel takes no device for is a loop device of \
            its own. IMAGE may be a partition, a snapshot, a layer or a disk of an appliance, as for every verb.

            A disk that lies as it is in one file, as a raw disk or a flat VMDK, is read by the kernel from that file; any \
            other is served by rblockfs in the background, whose file is read past the page cache where that works. Before the device is printed, both ends of it, and of each partition, are compared with the disk.

            Nothing can be written to the device. No lock is taken on the image: where another program is writing to it, by \
            QEMU's locks, nothing is attached, unless --force-share says so; 'rblock detach' tells where it was written to \
            meanwhile. The sectors of the device have 512 bytes, or 4096 where the partition table counts in those, or \
            the image says so and has no table. Bytes behind the last whole sector are not on the device, which is said.

            Only root can attach. For an ordinary user the message has the commands of rblockfs(1) that show the disk as a \
            file.

            EXAMPLES
              # a device, looked at, and detached
              rblock attach disk.qcow2
              lsblk /dev/loop0
              rblock detach disk.qcow2
              # under a name, for a script
              device=$(rblock attach --as work disk.vmdk)
              fsck -n "${device}p1"
              rblock detach work
              # a partition of a snapshot, and a disk of an appliance
              rblock attach disk.qcow2@daily/p1
              rblock attach shop.ova/disk1.vmdk

            ENVIRONMENT
              RBLOCK_RUN
                  the folder that keeps what is attached in mind; /run/rblock where it
                  is not set

            FILES
              /run/rblock/
                  what is attached, with a folder for each name, for root alone

            EXIT STATUS
              0   the device is there
              1   the image cannot be read, the name is taken, or the system refused it
              64  wrong usage
              77  only root can attach

            SEE ALSO
              rblock(1), rblock-attached(1), rblock-detach(1), rblock-mount(1),
              rblockfs(1), rblock-json(5), rblock-names(7), losetup(8)
            """)

    @OptionGroup var attaching: AttachmentOptions
    @Option(help: ArgumentHelp("human: the device; or json: name, device, partitions and more.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file()) var image: String

    func run() throws {
        try Failure.reported(as: output, filename: image) {
            try attaching.checkRoot(image, "can make block devices", "")
            let chosen = try attaching.disk(image)
            let folder = AttachmentFolder.usual
            var record = try folder.begin(chosen.wanted)
            do {
                try chosen.checkUnchanged()
                try folder.complete(&record)
            } catch {
                folder.abandon(record)
                throw error
            }
            AttachmentFolder.warn(record)
            switch output {
            case .human:
                let devices = isatty(STDOUT_FILENO) == 1 ? record.devices : Array(record.devices.prefix(1))
                let printer = StandardOutput()
                try printer.write(devices.map { "\($0)\n" }.joined())
                try printer.flush()
            case .json: try writeJSON(AttachmentReport(record, .attached))
            }
        }
    }
}
