import Foundation
import ImageFormats
import RBlockCommand
import RBlockFSCommand

/// Both programs with one format, and one of containers, more: `rblockfs` where the environment says RBLOCK_TOY=mount, else `rblock`.
@main
enum Program {
    static func main() {
        ImageFormat.add(ToyDriver())
        ContainerFormat.add(ToyBoxDriver())
        if ProcessInfo.processInfo.environment["RBLOCK_TOY"] == "mount" {
            MountProgram.main()
        } else {
            CommandProgram.main()
        }
    }
}
