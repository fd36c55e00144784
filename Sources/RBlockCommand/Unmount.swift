import ArgumentParser
import Attachment
import BlockImage
import Reports

/// `rblock unmount`: unmounts what `rblock mount` mounted.
struct Unmount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Unmount what 'rblock mount' mounted, and detach its image.",
        usage: "rblock unmount [<options>] <DIR>",
        discussion: """
            Returns when the image is free: the file system is unmounted, the device is gone, and the server, if there was one, \
            has ended. Where a file or a directory of it is in use it stays as it is.

            EXAMPLES
              rblock unmount /mnt/guest
              # by the name that 'rblock attached' shows
              rblock unmount disk.qcow2

            EXIT STATUS
              0   unmounted
              1   nothing is mounted there, it is in use, or another file system is
                  mounted upon it
              2   unmounted, but what was read may be wrong: the image was written
                  to, or its server has died
              64  wrong usage
              77  only root can unmount

            SEE ALSO
              fuser(1), rblock(1), rblock-attached(1), rblock-mount(1), rblock-json(5),
              umount(8)
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
