import ArgumentParser
import Arguments
import Dispatch
import ImageFormats

/// The command that looks into images, checks, compares and makes them.
struct RBlock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblock",
        abstract: "Look into virtual-machine disk images, and make them.",
        discussion: """
            Images are \(ImageFormat.names()); what they name (backing files, extents) is opened in the folder of the image, \
            and in those of --allow-path. APPLIANCE.ova/DISK is a disk in an OVA, as a mount names it; the only one needs \
            no name. IMAGE@SNAPSHOT, IMAGE/p1, IMAGE@SNAPSHOT/p1, IMAGE@SNAPSHOT/vmstate and IMAGE/layers/1 are disks in \
            an image.

            EXAMPLES
              rblock info disk.qcow2
              rblock info --output json --backing-chain disk.qcow2
              rblock map --output json disk.qcow2
              rblock inspect --l2 disk.qcow2
              rblock disk.qcow2 --inspect
              rblock check disk.qcow2
              rblock diff before.qcow2 after.qcow2
              rblock hash disk.qcow2
              rblock convert disk.qcow2@daily/p1 root.raw
              rblock read --length 512 --hex disk.qcow2
              rblock create disk.qcow2 20G
              rblock convert disk.vmdk disk.qcow2
              rblock measure -O qcow2 disk.vmdk
              rblock convert shop.ova/disk1.vmdk disk.qcow2
              rblock delta monday.qcow2 tuesday.qcow2 delta.qcow2
              rblock serve --rpc unix:/run/rblock.sock /srv/images
              rblock rpc /run/rblock.sock list

            EXIT STATUS
              0   done; check, inspect: nothing is wrong; diff: the disks are the same
              1   an image cannot be opened, read or written; diff: the disks differ
              2   check, inspect: something is wrong; diff: an image cannot be read;
                  convert: parts of the disk could not be read
              3   check: host space is wasted (leaks), and nothing else is wrong
              63  check: the format has nothing to check
              64  wrong usage
              70  /proc is not mounted

            What each verb means by them is said by its own help: rblock help VERB.
            """,
        version: rblockVersion,
        subcommands: [
            Info.self, Map.self, Inspect.self, Check.self, Diff.self, Hash.self, Read.self, Create.self, Convert.self,
            Delta.self, Measure.self, Serve.self, RPC.self,
        ])
}

/// The program. Its `main` is not async, since nothing async may begin where /proc is not mounted.
package enum CommandProgram {
    /// Does what the arguments of the process say, and ends it.
    package static func main() -> Never {
        if let reason = ProgramArguments.missingProc { RBlock.help(without: reason) }
        Task { @MainActor in
            await RBlock.main()
            RBlock.exit()
        }
        dispatchMain()
    }
}
