import ArgumentParser

/// What is said to verbs that change files of guests.
struct WritingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Leave IMAGE as it is: what is changed goes to this QCOW2 overlay over it, which is made where it is not there.",
            valueName: "file"),
        completion: .file(extensions: ["qcow2"]))
    var overlay: String?
    @Flag(help: "Change IMAGE although other images build on it. Their disks will be others, and may be of no use.")
    var ignoreDependents = false
}
