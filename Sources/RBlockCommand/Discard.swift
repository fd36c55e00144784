import ArgumentParser
import Arguments
import BlockImage
import HostStorage
import Overlays
import Reports
import SystemPackage

/// `rblock discard`: throws away what was written to a disk.
struct Discard: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Throw away what 'rblockfs --overlay' has in an overlay.",
        discussion: """
            OVERLAY, a file of the folder that --overlay named, is removed: the disk is that of the image under it again. The image is \
            not opened, and may be missing. Only overlays of rblockfs are removed, and none that a server or QEMU uses.

            After a commit that did not come to its end, also for want of space, the image under OVERLAY may have a part of what was \
            written: then OVERLAY is not thrown away, and 'rblock commit' can be run again.

            EXAMPLES
              rblock discard ~/changes/disk.qcow2.overlay.qcow2
              # in a script
              rblock discard --yes --output json changes/disk.raw.overlay.qcow2

            EXIT STATUS
              0   it is removed
              1   refused; nothing was changed
              64  wrong usage; no terminal to ask, and no --yes

            SEE ALSO
              rblock(1), rblock-commit(1), rblockfs(1), rblock-json(5), rblock-guide(7)
            """)

    @OptionGroup var confirmation: ConfirmationOption
    @OptionGroup var locking: LockOption
    @Option(help: ArgumentHelp("human, or json: what was thrown away.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The overlay.", valueName: "OVERLAY"), completion: .file()) var overlay: String

    func run() throws {
        try Failure.reported(as: output, filename: overlay) {
            let file = try OverlayFile(at: FilePath(text: overlay), takesLocks: !locking.noLock)
            guard !file.isPartlyInBase else {
                throw ImageError(
                    .denied, path: overlay,
                    "'rblock commit' has begun to write it to \(path: file.baseLocation.text), which may be no disk without it: "
                        + "do that again")
            }
            let document = DiscardReport(
                filename: overlay, base: file.baseLocation.text, file.written, actualSize: file.allocatedSize)
            let amount = document.bytesWritten.map { humanSize($0) } ?? humanSize(document.actualSize)
            try confirmation.confirm("Throw away the \(amount) that were written over \(document.base)?")
            try file.remove()
            switch output {
            case .human:
                let output = StandardOutput()
                try output.write(lines: "\(printable(overlay)): \(amount) thrown away\n")
                try output.flush()
            case .json: try writeJSON(document)
            }
        }
    }
}
