import ArgumentParser
import Arguments
import BlockImage
import Catalog
import HostStorage
import ImageFormats
import ImageTools
import Overlays
import Reports
import SystemPackage

/// `rblock commit`: writes what an overlay has into the image under it.
struct Commit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write what 'rblockfs --overlay' has in an overlay into the image under it.",
        usage: "rblock commit [<options>] <OVERLAY>",
        discussion: """
            OVERLAY is a file of the folder that --overlay named. The image under it, raw or QCOW2, is written to: it is the disk that \
            the mount showed then, and OVERLAY is removed. What was discarded or zeroed in the mount takes no space in the image. The \
            image stays as large as it is.

            OVERLAY is removed when the image is on the disk. Whatever ends the command before that, a signal, a full file system, a \
            power cut: both together are the same disk as before, and the same command does the rest. Until it has, nothing else may \
            write to the image, and rblockfs does not show the disk, unless the command itself has said that it failed; in a QCOW2 image, space may be left that nothing uses.

            The image must lie in a folder of --allow-path, or beside OVERLAY, and be the one that OVERLAY was made over. It is refused \
            while a server has OVERLAY or its folder, while a machine or another program of QEMU has one of both, and where another \
            image builds on the image: of its folder, of that of OVERLAY, of those of --allow-path, and of the folders in these. Such \
            an image would have another disk than before. QCOW2 images of version 2, those with internal snapshots or dirty bitmaps, encrypted ones, and those of \
            other formats are refused as well: 'rblock convert --allow-path DIR OVERLAY NEW-IMAGE' makes a new image of both. Where it \
            cannot be known whether an image builds on it, it is refused as well, unless --ignore-dependents says so. Where a file system \
            has no locks, --no-lock does without.

            EXAMPLES
              rblockfs --overlay ~/changes ~/images /mnt/rb
              # ... repair a file system in /mnt/rb/disk.qcow2/disk.raw
              rblock unmount /mnt/rb
              rblock commit --allow-path ~/images ~/changes/disk.qcow2.overlay.qcow2

            EXIT STATUS
              0   the image has all of it, and OVERLAY is removed
              1   refused, and nothing was changed; or something could not be read or
                  written, and OVERLAY is there, with all that was written
              64  wrong usage; no terminal to ask, and no --yes

            SEE ALSO
              rblock(1), rblock-convert(1), rblock-discard(1), rblock-unmount(1),
              rblockfs(1), rblock-json(5), rblock-guide(7)
            """)

    @OptionGroup var allowing: AllowedPathsOption
    @OptionGroup var confirmation: ConfirmationOption
    @OptionGroup var locking: LockOption
    @OptionGroup var progress: ProgressOption
    @Flag(
        help:
            "Do it although other images build on the image under OVERLAY. Their disks will be others, and may be of no use."
    )
    var ignoreDependents = false
    @Option(help: ArgumentHelp("human, or json: what was written, and where.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The overlay.", valueName: "OVERLAY"), completion: .file()) var overlay: String

    func run() throws {
        progress.begin(output)
        try Failure.reported(as: output, filename: overlay) {
            let document = try commit()
            switch output {
            case .human:
                let output = StandardOutput()
                try output.write(
                    lines: "\(printable(document.base)): \(humanSize(document.bytesWritten)) written, "
                        + "\(humanSize(document.bytesZeroed)) zeroed; \(printable(overlay)) is removed\n")
                try output.flush()
            case .json: try writeJSON(document)
            }
        }
    }

    private func commit() throws -> CommitReport {
        let file = try OverlayFile(at: FilePath(text: overlay), takesLocks: !locking.noLock)
        var image = NamedImage(file.location, format: .qcow2)
        image.allowed = allowing.allowPaths.map { FilePath(text: $0) }
        image.onNote = { Failure.warn($0) }
        let opened = try image.open()
        let commit = try OverlayCommit(file, opened)
        try checkDependents(of: commit, file)
        let size = commit.written?.allocated
        let amount = size.map { humanSize($0) } ?? "all that was written"
        try confirmation.confirm("Write \(amount) to \(commit.baseLocation.text), which changes it for good?")
        let bar = ProgressBar("commit", total: size ?? file.allocatedSize)
        let result = try commit.run { bar.update($0) }
        bar.hide()
        return CommitReport(
            filename: overlay, base: commit.baseLocation.text, format: commit.baseFormat.rawValue,
            virtualSize: commit.virtualSize, result)
    }

    /// Throws where other images build on the one that is to be written to.
    private func checkDependents(of commit: OverlayCommit, _ file: OverlayFile) throws {
        let base = commit.baseLocation
        let folders =
            [base.removingLastComponent(), file.location.removingLastComponent()]
            + allowing.allowPaths.map { FilePath(text: $0) }
        let found = try Dependents(
            of: base, in: folders,
            besides: [try FileStatus(at: file.location).identity])
        let unknown = found.unknown + found.unseen
        for error in unknown {
            Failure.warn("whether this image builds on \(base.text) is not known: \(error)")
        }
        guard let first = found.paths.first else {
            guard unknown.isEmpty || ignoreDependents else {
                throw ImageError(
                    .denied, path: base.text, "other images may build on it, and would have other disks",
                    hint: "--ignore-dependents writes to it all the same")
            }
            return
        }
        let more = found.paths.count > 1 ? " and \(found.paths.count - 1) more" : ""
        let message = "\(first)\(more) builds on it, and would have another disk"
        guard ignoreDependents else {
            throw ImageError(
                .denied, path: base.text, "\(message)", hint: "--ignore-dependents writes to it all the same")
        }
        Failure.warn("\(base.text): \(message)")
    }
}
