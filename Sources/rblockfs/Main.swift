import RBlockFSCommand

/// The program `rblockfs`.
@main
enum Program {
    static func main() { MountProgram.main() }
}
