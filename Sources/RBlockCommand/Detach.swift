import ArgumentParser
import Attachment
import BlockImage
import Reports

/// `rblock detach`: takes block devices away again.
struct Detach: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take away block devices that 'rblock attach' made.",
        usage: "rblock detach [<options>] <NAME> ...\nrblock detach [<options>] --all",
        discussion: """
            Returns when the image is free: the device and its partitions are gone, and the server, if there was one, has ended. \
            A device that is in use stays, and the message says by what; with --lazy it goes as soon as its last user ends, and \
            the command does not wait for that.

            Tells where what was read from the device may be wrong, and ends with status 2: the image was written to, the \
            server has died, or the device has lost its size.

            EXAMPLES
              rblock detach disk.qcow2
              rblock detach /dev/loop0
              rblock detach --all

            EXIT STATUS
              0   detached
              1   one of them is not attached, or is in use; the others are detached
              2   detached, but what was read from one of them may be wrong
              64  wrong usage
              77  only root can detach

            SEE ALSO
              rblock(1), rblock-attach(1), rblock-attached(1), rblock-unmount(1), rblock-json(5)
            """)

    @Flag(help: "Detach all that is attached, but not what 'rblock mount' has mounted.") var all = false
    @OptionGroup var ending: LazyOption
    @Option(help: ArgumentHelp("human: nothing; or json: an array of objects.", valueName: "form"))
    var output = OutputForm.human
    @Argument(
        help: ArgumentHelp("The names or devices.", valueName: "NAME"), completion: .attachments { $0.mounted == nil })
    var names: [String] = []

    func validate() throws {
        guard all != !names.isEmpty else {
            throw ValidationError(all ? "--all: goes without names" : "Missing expected argument 'NAME', or --all")
        }
    }

    func run() throws {
        var ending = AttachmentDocuments()
        try Failure.reported(as: output) {
            let folder = try AttachmentFolder.forRoot("can detach devices")
            var names = names
            if all {
                let (records, faults) = try folder.list()
                names = records.filter { $0.mounted == nil }.map(\.name)
                for fault in faults { ending.add(fault.error, about: fault.name) }
            }
            for name in names {
                ending.add(name) { () throws(ImageError) in try folder.detach(name, isLazy: self.ending.lazy) }
            }
            if output == .json { try writeJSON(ending.documents) }
        }
        try ending.finish()
    }
}

/// What is said to verbs that take devices away.
struct LazyOption: ParsableArguments {
    @Flag(
        name: .shortAndLong, help: "Do not wait for what uses it: it goes with the last program that does.")
    var lazy = false
}

/// What there is to say of several of them, as what has come of taking them away.
struct AttachmentDocuments {
    /// What is printed of one.
    enum Document: Encodable {
        case done(AttachmentReport)
        case failure(FailureReport)

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .done(let report): try report.encode(to: encoder)
            case .failure(let report): try report.encode(to: encoder)
            }
        }
    }

    private(set) var documents: [Document] = []
    private var hasFailed = false
    private var isDoubtful = false

    /// Has `report` be printed.
    mutating func add(_ report: AttachmentReport) { documents.append(.done(report)) }

    /// Reports that `error` is what there is of that called `name`.
    mutating func add(_ error: ImageError, about name: String) {
        hasFailed = true
        Failure.say(error.description)
        documents.append(.failure(FailureReport(filename: name, .image(error))))
    }

    /// Does `work` with what is called `name`, and reports what came of it.
    mutating func add(_ name: String, _ work: () throws(ImageError) -> AttachmentFolder.Outcome) {
        do throws(ImageError) {
            let outcome = try work()
            if let doubt = outcome.doubt {
                isDoubtful = true
                Failure.say("\(outcome.record.name): \(doubt)")
            }
            add(AttachmentReport(outcome.record, .detached, notes: outcome.doubt.map { [$0] } ?? []))
        } catch {
            add(error, about: name)
        }
    }

    /// Ends the program with what they came to.
    func finish() throws(ExitCode) {
        if hasFailed { throw ExitCode(1) }
        if isDoubtful { throw ExitCode(2) }
    }
}
