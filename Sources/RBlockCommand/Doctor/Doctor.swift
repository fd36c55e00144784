import ArgumentParser
import BlockImage
import Glibc
import GuestKernel
import Reports

/// `rblock doctor`: what works on this machine.
struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what works on this machine, and what is missing.",
        discussion: """
            Tries what rblock and rblockfs need of this machine: the mount (FUSE), block devices, locks, and the Linux kernel in QEMU that \
            reads and writes file systems of guests, which is started once. Changes nothing.

            EXAMPLES
              rblock doctor
              rblock doctor --output json | jq -r '.[] | select(.works | not) | .hint'

            EXIT STATUS
              0   all of it works
              1   something does not; the rest does
              64  wrong usage

            SEE ALSO
              rblock(1), rblockfs(1), rblock-json(5), rblock-guide(7)
            """)

    @Option(help: ArgumentHelp("human; or json: an array of objects.", valueName: "form")) var output = OutputForm.human

    func run() throws {
        var reports: [HostCheck.Report] = []
        for check in HostCheck.all {
            let report = check.report()
            reports.append(report)
            guard output == .human else { continue }
            let printer = StandardOutput()
            let hint = report.hint.map { "\n    \($0)" } ?? ""
            try printer.write("\(report.works ? "yes" : "no ")  \(report.name): \(printable(report.detail))\(hint)\n")
            try printer.flush()
        }
        if output == .json { try writeJSON(reports) }
        if reports.contains(where: { !$0.works }) { throw ExitCode(1) }
    }
}
