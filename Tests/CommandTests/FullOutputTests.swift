import HostTools
import TestImages
import Testing

/// What cannot be written to standard output is no success.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `Where standard output is full` {
    private static let verbs = [
        "info", "map", "check", "inspect", "hash", "read --hex --length 512", "measure", "diff a.qcow2",
        "create -f qcow2 -o help",
        "create new.qcow2 1M --force", "convert a.qcow2 new.qcow2 --force",
        "delta a.qcow2 a.qcow2 new.qcow2 --force",
    ]

    private func run(_ command: String, in folder: TemporaryFolder, input: String = "") throws -> ToolResult {
        try Shell.run("cd \"$1\"; printf %s \"$2\" | \(command) >/dev/full", folder.path, input)
    }

    @Test func `every verb has another status than 0, and says why`() throws {
        let folder = try TemporaryFolder()
        try QemuImg.create(folder.file("a.qcow2"), size: 1 << 20)
        for verb in Self.verbs {
            let hasImage = !verb.contains("new.qcow2") && !verb.contains("help")
            for form in ["human", "json"] where !(verb.contains("--hex") && form == "json") {
                let result = try run(
                    "\(Tool.rblock) \(verb)\(hasImage ? " a.qcow2" : "") --output \(form)", in: folder)
                let status: Int32 = verb.hasPrefix("diff") ? 2 : 1
                #expect(result.status == status, "\(verb) \(form): \(result.status) \(result.errors)")
                let said = "rblock: standard output: No space left on device\n"
                #expect(result.errors.hasSuffix(said), "\(verb) \(form): \(result.errors)")
            }
        }
        // What prints nothing has nothing to say.
        #expect(try run("\(Tool.rblock) create -q --force new.qcow2 1M", in: folder).status == 0)
        let failed = try run("\(Tool.rblock) map --output json gone.qcow2", in: folder)
        #expect(
            failed.status == 1 && failed.errors.contains("No such file")
                && failed.errors.contains("standard output: No space"))
    }

    @Test(arguments: [
        "--version", "--help", "help", "help info", "info --help", "--experimental-dump-help",
        "--generate-completion-script bash", "--generate-completion-script=zsh",
    ])
    func `so have the version, help and scripts, of both programs`(arguments: String) throws {
        let folder = try TemporaryFolder()
        for (tool, name) in [(Tool.rblock, "rblock"), (Tool.rblockfs, "rblockfs")] {
            guard name == "rblock" || arguments.hasPrefix("--") else { continue }
            let result = try run("\(tool) \(arguments)", in: folder)
            #expect(result.status == 1, "\(name) \(arguments)")
            #expect(result.errors.hasSuffix("standard output: No space left on device\n"), "\(result.errors)")
            let usual = try Shell.run("\(tool) \(arguments)")
            #expect(usual.status == 0 && usual.errors.isEmpty && usual.text.hasSuffix("\n"), "\(name) \(arguments)")
        }
    }

    @Test func `so has a server on standard input and output, and one that cannot say its address`() throws {
        let folder = try TemporaryFolder()
        try QemuImg.create(folder.file("a.qcow2"), size: 1 << 20)
        let request = "{\"method\": \"list\", \"id\": 1}\n"
        let result = try run("\(Tool.rblock) serve --rpc stdio a.qcow2", in: folder, input: request)
        #expect(result.status == 1, "\(result.errors)")
        #expect(result.errors.contains("serving has failed: standard output: No space left"), "\(result.errors)")
        let address = try run("\(Tool.rblock) serve --nbd unix:nbd --output json a.qcow2", in: folder)
        #expect(address.status == 1 && address.errors.contains("standard output: No space left"), "\(address.errors)")
        // All answers are there when it ends, and a client that takes none any more is no failure.
        let many = String(repeating: "{\"method\": \"read\", \"params\": [0, 524288], \"id\": 1}\n", count: 8)
        let answers = try Shell.run(
            "cd \"$1\"; printf %s \"$2\" | \"$3\" serve --rpc stdio a.qcow2 | wc -l; echo ${PIPESTATUS[1]}",
            folder.path, many,
            Tool.rblock)
        #expect(answers.text == "8\n0\n", "\(answers)")
        let left = try Shell.run(
            "cd \"$1\"; printf %s \"$2\" | \"$3\" serve --rpc stdio a.qcow2 | head -c 10; echo ${PIPESTATUS[1]}",
            folder.path, many,
            Tool.rblock)
        #expect(left.text.hasSuffix("0\n") && !left.errors.contains("serving has failed"), "\(left)")
    }
}
