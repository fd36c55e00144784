import ArgumentParser
import Attachment
import BlockImage
import Reports

/// `rblock unmount`: unmounts what `rblock mount`, or rblockfs, mounted.
struct Unmount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Unmount what 'rblock mount' or rblockfs mounted.",
        usage: "rblock unmount [<options>] <DIR>",
        discussion: """
            Returns when the image is free: the file system is unmounted, the device is gone, and the server, if there was one, \
            has ended. Where a file or a directory of it is in use it stays as it is.

            A mount of rblockfs is unmounted as by 'fusermount3 -u', which returns while the server still writes. This returns when \
            the server has ended: then the overlays of --overlay have all that was written. Where they cannot, as for want of space, it \
            stays mounted, and nothing is lost. 'sync DIR' asks the same. An ordinary user can unmount what that user \
            has mounted.

            EXAMPLES
              rblock unmount /mnt/guest
              rblock unmount /mnt/rb
              # by the name that 'rblock attached' shows
              rblock unmount disk.qcow2

            EXIT STATUS
              0   unmounted
              1   nothing is mounted there, it is in use, another file system is
                  mounted upon it, or what was written cannot be stored in its
                  overlay, and it stays mounted; or it is unmounted, and its server
                  goes on after two minutes
              2   unmounted, but what was read may be wrong: the image was written
                  to, or its server has died; or the server of rblockfs was not
                  found, or could not be asked whether all is stored
              64  wrong usage
              77  only root can unmount what 'rblock mount' mounted

            SEE ALSO
              fuser(1), fusermount3(1), rblock(1), rblock-attached(1), rblock-mount(1),
              rblockfs(1), rblock-json(5), umount(8)
            """)

    @OptionGroup var ending: LazyOption
    @Option(help: ArgumentHelp("human: nothing; or json: an object.", valueName: "form")) var output = OutputForm.human
    @Argument(
        help: ArgumentHelp("The directory, or the name.", valueName: "DIR"),
        completion: .attachments { $0.mounted != nil })
    var directory: String

    func run() throws {
        var isDoubtful = false
        try Failure.reported(as: output, filename: directory) {
            if let mount = try ServedMount(at: directory, isLazy: ending.lazy) {
                if let doubt = try mount.unmount(isLazy: ending.lazy) {
                    isDoubtful = true
                    Failure.say("\(directory): is unmounted; \(doubt)")
                }
                if output == .json {
                    try writeJSON(UnmountReport(directory, images: mount.images, server: mount.serverPID))
                }
                return
            }
            let folder = try AttachmentFolder.forRoot("can unmount")
            let outcome = try folder.unmount(directory, isLazy: ending.lazy)
            if let doubt = outcome.doubt {
                isDoubtful = true
                Failure.say("\(outcome.record.name): \(doubt)")
            }
            if output == .json {
                try writeJSON(AttachmentReport(outcome.record, .detached, notes: outcome.doubt.map { [$0] } ?? []))
            }
        }
        if isDoubtful { throw ExitCode(2) }
    }
}
