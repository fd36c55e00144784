import Foundation
import HostTools
import TestImages
import Testing

/// With --output json, a verb prints one document whatever happens: scripts need not read prose.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "setpriv")))
struct `A verb that fails` {
    /// The images of the matrix, by what is wrong with them, with the code of the error.
    private static let faults: [(name: String, code: String)] = [
        ("missing.qcow2", "not-found"), ("folder", "denied"), ("empty.qcow2", "corrupt"), ("text.img", "unsupported"),
        ("cut.qcow2", "corrupt"), ("wrong.vmdk", "corrupt"),
    ]

    private func makeImages() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 good.qcow2 4M; qemu-io -c 'write -P 7 0 4M' good.qcow2 >/dev/null
            mkdir folder; : >empty.qcow2; seq 1000 >text.img; head -c 200 good.qcow2 >cut.qcow2; cp good.qcow2 wrong.vmdk
            """, folder.path)
        return folder
    }

    /// The verbs with an image, and what they are asked besides; their results go to `out`.
    private func commands(on image: String, in folder: TemporaryFolder) -> [[String]] {
        let (good, out) = (folder.file("good.qcow2"), folder.file("out.qcow2"))
        return [
            ["info", image], ["info", "--allocation", image], ["map", image], ["inspect", image], ["check", image],
            ["diff", image, good], ["diff", good, image], ["hash", image], ["read", "--length", "512", image],
            ["measure", image],
            ["convert", image, out], ["delta", good, image, out], ["create", "-b", image, "-F", "qcow2", out],
        ]
    }

    @Test func `prints one document that says why, and the same words to people once`() throws {
        let folder = try makeImages()
        for (name, code) in Self.faults {
            for command in commands(on: folder.file(name), in: folder) {
                // By its content this one is QCOW2, which inspect goes by, and which the option says.
                if name == "wrong.vmdk", ["inspect", "create"].contains(command[0]) { continue }
                let result = try RBlock.run(command + ["--output", "json"])
                let wanted: ClosedRange<Int32> = command[0] == "diff" ? 2...2 : 1...2
                #expect(wanted.contains(result.status), "\(command): \(result.status) \(result.errors)")
                var document = try JSONValue(parsing: result.output)
                if command[0] == "hash" { document = try #require(document.array?.first) }
                // Structures that are shown have their faults beside them.
                if command[0] == "inspect", document["fault-count"] != nil { continue }
                if command[0] == "check", document["findings"] != nil { continue }
                let error = try #require(document["error"], "\(command): \(result.text)")
                // What a backing file is to be is known from its option, and not from its content.
                let isSaid = command[0] == "create" && name == "text.img"
                #expect(error["code"]?.text == code || isSaid, "\(command): \(result.text)")
                #expect(document["schema"]?.number == 1, "\(command)")
                let message = try #require(error["message"]?.text)
                let path = folder.file(name)
                #expect(message.components(separatedBy: path).count == 2, "\(command): \(message)")
                #expect(result.errors.components(separatedBy: message).count == 2, "\(command): \(result.errors)")
                #expect(result.errors.split(separator: "\n").count == 1, "\(command): \(result.errors)")
            }
        }
        #expect(!FileManager.default.fileExists(atPath: folder.file("out.qcow2")))
    }

    @Test func `keeps the place of what cannot be read among several images`() throws {
        let folder = try makeImages()
        let names = ["good.qcow2", "missing.qcow2", "cut.qcow2", "good.qcow2"].map { folder.file($0) }
        for verb in ["info", "check", "hash"] {
            let result = try RBlock.run([verb, "--output", "json"] + names)
            #expect(result.status == 1)
            let documents = try #require(try JSONValue(parsing: result.output).array)
            #expect(documents.map { $0["filename"]?.text } == names, "\(verb)")
            #expect(documents.map { $0["error"] == nil } == [true, false, false, true], "\(verb)")
            #expect(documents.allSatisfy { $0["schema"]?.number == 1 }, "\(verb)")
        }
    }

    @Test func `says what it is about, where, and what to do`() throws {
        let folder = try makeImages()
        let image = folder.file("text.img")
        let error = try #require(try JSONValue(parsing: RBlock.run(["map", "--output=json", image]).output)["error"])
        #expect(error["file"]?.text == image && error["hint"]?.text?.contains("--format raw") == true)
        try Shell.check(
            "printf '\\377' | dd of=\"$1\" bs=1 seek=40 conv=notrunc status=none", folder.file("good.qcow2"))
        let damaged = try RBlock.run(["map", "--output=json", folder.file("good.qcow2")])
        let place = try JSONValue(parsing: damaged.output)["error", "offset"]
        #expect(damaged.status == 1 && place?.number == 40, "\(damaged.text)")
    }

    @Test func `has a sentence for each kind of what is no image`() throws {
        let folder = try makeImages()
        try Shell.check(
            """
            cd "$1"; ln -s nowhere dangling.qcow2; mkfifo pipe.raw; seq 100 | iconv -t UTF-16 >wide.img; : >empty.vmdk
            printf '<?xml version="1.0"?>\n<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"/>\n' >app.ovf
            iconv -t UTF-16 app.ovf >wide.ovf
            """, folder.path)
        for (name, sentence) in [
            ("missing.qcow2", "No such file or directory"), ("none/deep/a.qcow2", "there is no folder \"none\""),
            ("dangling.qcow2", "is a link to \"nowhere\", which is not there"),
            ("http://host/a.qcow2", "a URL is not opened"),
            ("nbd://host/a", "nbdfuse(1)"), ("folder", "is a folder"), ("pipe.raw", "is a FIFO"),
            ("empty.qcow2", "is empty, and no image"), ("empty.vmdk", "is empty, and no image"),
            ("wide.img", "holds a text in UTF-16"),
            ("app.ovf", "holds an OVF descriptor"), ("wide.ovf", "the disks that it names are files of their own"),
            ("good.qcow2/x", "Not a directory"),
        ] {
            for verb in ["info", "map", "hash"] {
                let result = try RBlock.run([verb, name], in: folder.path)
                #expect(result.status == 1 && result.errors.contains(sentence), "\(verb) \(name): \(result.errors)")
                #expect(result.errors.split(separator: "\n").count == 1, "\(verb) \(name): \(result.errors)")
            }
        }
        let log = try Shell.run(
            """
            cd "$2"; trap 'kill $server' EXIT; "$1" serve --nbd unix:nbd good.qcow2 text.img missing.qcow2 || echo $?
            "$1" serve --nbd unix:nbd good.qcow2 empty.vmdk 2>log & server=$!
            for i in {1..300}; do grep 'cannot read' log && break; sleep 0.1; done
            """, Tool.rblock, folder.path)
        #expect(log.text.hasPrefix("1\n") && log.errors.contains("missing.qcow2: No such file"), "\(log)")
        #expect(log.text.contains("rblock: clients cannot read this: ") && log.text.contains("is empty"), "\(log.text)")
    }

    @Test func `prints one for wrong usage as well, and one where nothing may be opened`() throws {
        let folder = try makeImages()
        let good = folder.file("good.qcow2")
        for arguments in [
            ["map", "--output", "json"], ["info", "--output=json", "--frobnicate", good],
            ["convert", "--output", "json", "--level", "3", good, folder.file("out.raw")],
            ["hash", "--output", "json", "--algorithm", "crc", good],
            ["create", "--output", "json", good + ".none", "1M"],
        ] {
            let result = try RBlock.run(arguments)
            #expect(result.status == 64, "\(arguments)")
            let document = try JSONValue(parsing: result.output)
            #expect(document["error", "code"]?.text == "usage", "\(arguments): \(result.text)")
            #expect(document["error", "message"]?.text?.isEmpty == false && document["schema"]?.number == 1)
        }
        // What is not there, and what is there already, have codes of their own.
        for (arguments, code) in [
            (["create", good, "1M"], "exists"), (["convert", good, good], "denied"),
            (["inspect", "--svg", good, good], "denied"), (["map", "\(good).gone"], "not-found"),
            (["create", "-b", "gone.raw", "-f", "qcow2", "\(good).new"], "not-found"),
            (["convert", "\(good).gone", "a.raw"], "not-found"),
            (["create", "\(good)/new.raw", "1M"], "system"),
        ] {
            let result = try RBlock.run(arguments + ["--output", "json"])
            #expect(result.status == 1, "\(arguments)")
            #expect(
                try JSONValue(parsing: result.output)["error", "code"]?.text == code, "\(arguments): \(result.text)")
        }
        try Shell.check("chmod 0600 \"$1\" && chmod 0755 \"${1%/*}\"", good)
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        let result = try Tool.run(user[0], Array(user.dropFirst()) + [Tool.rblock, "info", "--output", "json", good])
        let error = try JSONValue(parsing: result.output)["error"]
        #expect(
            result.status == 1 && error?["code"]?.text == "system" && error?["file"]?.text == good, "\(result.text)")
    }
}
