import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `Wrong usage of a verb` {
    /// Values of -o that no image can have, each by itself or all together, and what is said of them.
    private static let settings = [
        ("cluster_size=3k", "option cluster_size: is 3072, but must be a power of two from 512 to 2097152"),
        ("cluster_size=4M", "option cluster_size: is 4194304, but must be"),
        ("cluster_size=8E", "option cluster_size: is \"8E\", but must be less than 8 EiB"),
        ("cluster_size=-1", "option cluster_size: is \"-1\", but must be 0 or more"),
        ("cluster_size=4k,extended_l2=on", "option cluster_size: is 4096, but must be at least 16384 for extended_l2"),
        ("refcount_bits=3", "option refcount_bits: is 3, but must be a power of two from 1 to 64"),
        ("compat=0.10,lazy_refcounts=on", "option lazy_refcounts: needs compat=1.1"),
        ("compat=0.10,compression_type=zstd", "option compression_type: zstd needs compat=1.1"),
        ("compat=9", "option compat: is \"9\", but must be 0.10 (or v2) or 1.1 (or v3)"),
        ("nothing=1", "option nothing: qcow2 has none of this name; it has compat, cluster_size"),
    ]

    private static func json(_ arguments: [String]) throws -> JSONValue {
        try JSONValue(parsing: try RBlock.run(arguments + ["--output", "json"]).output)
    }

    @Test(arguments: settings)
    func `a value of -o that cannot be has the status 64, and is named`(setting: String, words: String) throws {
        let folder = try TemporaryFolder()
        try QemuImg.create(folder.file("a.qcow2"), size: 1 << 20)
        for arguments in [
            ["create", "-o", setting, "new.qcow2", "1M"], ["convert", "-o", setting, "a.qcow2", "new.qcow2"],
            ["measure", "-O", "qcow2", "-o", setting, "a.qcow2"],
            ["measure", "-O", "qcow2", "-o", setting, "--size", "1M"],
            ["delta", "-o", setting, "a.qcow2", "a.qcow2", "new.qcow2"],
        ] {
            let result = try RBlock.run(arguments, in: folder.path)
            #expect(result.status == 64 && result.output.isEmpty, "\(arguments): \(result.status) \(result.errors)")
            #expect(result.errors.contains(words) && !result.errors.contains("new.qcow2:"), "\(result.errors)")
            let json = try RBlock.run([arguments[0], "--output", "json"] + arguments.dropFirst(), in: folder.path)
            #expect(json.status == 64)
            #expect(try JSONValue(parsing: json.output)["error", "code"]?.text == "usage", "\(json.text)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["a.qcow2"])
    }

    @Test(arguments: [
        (["create", "-o", "zeroed_grain=on,subformat=monolithicFlat", "new.vmdk", "1M"], "option zeroed_grain: "),
        (["create", "-o", "hwversion=0", "new.vmdk", "1M"], "option hwversion: is 0, but must be 1 to 999"),
        (["create", "-b", "base.vmdk", "-o", "subformat=monolithicFlat", "new.vmdk"], "option subformat: is \"mono"),
        (["create", "new.vmdk", "0"], "size is 0, but must be at least 1"),
        (["create", "-o", "cluster_size=512", "new.qcow2", "1P"], "it needs a larger cluster_size"),
        (["measure", "-O", "qcow2", "-o", "cluster_size=512", "--size", "1P"], "it needs a larger cluster_size"),
        (["create", "-o", "preallocation=full", "-b", "base.vmdk", "new.qcow2"], "option preallocation: is \"full\""),
        (["create", "-o", "backing_fmt=raw", "new.qcow2", "1M"], "-b names it"),
        (["create", "-F", "raw", "new.qcow2", "1M"], "-b names it"),
        (["convert", "-c", "-o", "preallocation=full", "base.vmdk", "new.qcow2"], "option preallocation: is \"full\""),
    ])
    func `so have options that do not go together, and a size that cannot be`(arguments: [String], words: String) throws
    {
        let folder = try TemporaryFolder()
        try QemuImg.run("create", "-q", "-f", "vmdk", folder.file("base.vmdk"), "1M")
        let result = try RBlock.run(arguments, in: folder.path)
        #expect(result.status == 64 && result.errors.contains(words), "\(arguments): \(result.status) \(result.errors)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["base.vmdk"])
    }

    @Test(arguments: [
        ("8E", "it must be less than 8 EiB"), ("99999999999999999999999", "it must be less than 8 EiB"),
        ("0xffffffffffffffff", "it must be less than 8 EiB"), ("-1", "it must be 0 or more"),
        ("-99999999999999999999999G", "it must be 0 or more"), ("1Z", "it must be a number of bytes, as 1048576"),
        ("-", "it must be a number of bytes"), ("", "it must be a number of bytes"),
    ])
    func `a size says what it must be`(size: String, words: String) throws {
        for arguments in [
            ["measure", "--size", size], ["read", "--offset", size, "a"],
            ["read", "--length", size, "a"], ["map", "--start-offset", size, "a"], ["map", "--max-length", size, "a"],
            ["delta", "--cluster-size", size, "a", "b", "c"],
        ] {
            let result = try RBlock.run(arguments)
            #expect(
                result.status == 64 && result.errors.contains("The value '\(size)' is invalid for '--"), "\(result)")
            #expect(result.errors.contains(words), "\(result.errors)")
        }
    }

    @Test(arguments: [
        (["map", "--depth", "-1", "a"], "--depth: must be 0"),
        (["diff", "--sector-size", "-1", "a", "b"], "--sector-size is -1, and must be 512 or 4096"),
        (["inspect", "--limit", "-1", "a"], "The value '-1' is invalid for '--limit"),
    ])
    func `a number below 0 is no missing value`(arguments: [String], words: String) throws {
        let result = try RBlock.run(arguments)
        #expect(result.status == 64 && result.errors.contains(words), "\(result.errors)")
    }

    @Test(arguments: ["hash", "info", "map", "inspect", "check", "read", "convert", "diff", "delta"])
    func `bytes that come from a pipe are no image, which is said`(verb: String) throws {
        let folder = try TemporaryFolder()
        let more = ["convert": " new.raw", "diff": " a", "delta": " a new.qcow2"][verb] ?? ""
        for (name, words) in [
            ("-", "-: No such file or directory; standard input is no image: images are read at any offset"),
            ("/dev/stdin", "/dev/stdin: is a FIFO, and an image must be a regular file or a block device; images are"),
            ("fifo", "fifo: is a FIFO, and an image must be a regular file or a block device; images are read at any"),
        ] {
            let result = try Shell.run(
                "cd \"$3\"; [ -p fifo ] || mkfifo fifo; echo | \"$1\" $2 \(name)\(more)", Tool.rblock, verb, folder.path
            )
            #expect(result.status == (verb == "diff" ? 2 : 1) && result.output.isEmpty, "\(result)")
            #expect(
                result.errors.contains(words) && result.errors.contains("write its bytes to a file"), "\(result.errors)"
            )
        }
        // A file on standard input is an image as any.
        if verb == "hash" {
            let result = try Shell.run(
                "cd \"$2\"; truncate -s 4k a.raw; \"$1\" hash /dev/stdin <a.raw", Tool.rblock, folder.path)
            #expect(result.status == 0, "\(result)")
        }
    }

    @Test(arguments: [
        (["help", "bogus"], "There is no subcommand 'bogus'"), (["help", "inspct"], "did you mean 'inspect'?"),
        (["help", "inspect", "bogus"], "'bogus' is one argument too many"),
        (["help", "inspect", "map"], "'map' is one argument too many"),
        (["help", "--bogus"], "Unknown option '--bogus'"), (["bogus"], "There is no subcommand 'bogus'"),
    ])
    func `help is for one verb that there is`(arguments: [String], words: String) throws {
        let result = try RBlock.run(arguments)
        #expect(result.status == 64 && result.output.isEmpty && result.errors.contains(words), "\(result)")
        #expect(try RBlock.run(["help", "inspect"]).text == RBlock.run(["inspect", "--help"]).text)
    }

    @Test(arguments: [
        ["create", "-f", "qcow2"], ["create", "a.vmdk"], ["convert", "-O", "raw", "a", "b"], ["measure", "-O", "vmdk"],
        ["delta", "a", "b", "c"],
    ])
    func `the options of a format are a document where one is asked for`(arguments: [String]) throws {
        let text = try RBlock.run(arguments + ["-o", "help"])
        let document = try Self.json(arguments + ["-o", "help"])
        let options = document["options"]?.array ?? []
        #expect(text.status == 0 && document["schema"]?.number == 1 && !options.isEmpty)
        let names = options.compactMap { $0["name"]?.text }
        #expect(names == text.text.split(separator: "\n").map { String($0.prefix { $0 != " " }) })
        let format = document["format"]?.text
        #expect(
            format
                == (["convert": "raw", "delta": "qcow2"][arguments[0]] ?? (names.contains("compat") ? "qcow2" : "vmdk"))
        )
        let choices = options.first { $0["name"]?.text == "preallocation" }?["values"]?.array?.compactMap(\.text)
        #expect(format == "vmdk" || choices?.contains("full") == true)
        let unknown = try Self.json(["create", "-o", "help"])
        #expect(unknown["error", "code"]?.text == "usage")
    }
}
