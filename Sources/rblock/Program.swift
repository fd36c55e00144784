import ArgumentParser
import Arguments
import Dispatch

/// The program. Its `main` is not async, since nothing async may begin where /proc is not mounted.
@main
enum Program {
    static func main() {
        if let reason = ProgramArguments.missingProc { RBlock.help(without: reason) }
        Task { @MainActor in
            await RBlock.main()
            RBlock.exit()
        }
        dispatchMain()
    }
}
