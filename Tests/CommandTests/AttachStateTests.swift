import Foundation
import HostTools
import TestImages
import Testing

/// `state.json` of an attachment that is not as this version writes it.
@Suite(.enabled(if: Tool.canUseLoopDevices("qemu-img", "jq", "cmp", "python3")))
struct `What is kept in mind of a disk` {
    private static let images =
        "head -c 1M /dev/urandom >raw.raw; qemu-img convert -O qcow2 -c raw.raw small.qcow2; truncate -s 1M other.raw"

    /// What makes `state`, the state of the only disk, unreadable; `kept.json` is a copy.
    private static let ways = [
        "echo '{\"name\"' >$state", ": >$state", "jq '.source = \"later\"' kept.json >$state",
        "jq '.name = \"another\"' kept.json >$state",
        "rm $state; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"run/small.qcow2/state.json\")'",
    ]

    @Test func `stays with all of the disk where it cannot be read`() throws {
        let folder = try AttachmentFolder(Self.images)
        let device = try folder.check("attach", "small.qcow2")
        for way in Self.ways {
            try folder.shell("state=run/small.qcow2/state.json; cp $state kept.json; " + way)
            let listed = try folder.run("attached", "--output", "json")
            let documents = try #require(try JSONValue(parsing: listed.output).array)
            #expect(listed.status == 1 && listed.errors.contains("small.qcow2/state.json"), "\(way): \(listed.errors)")
            #expect(documents.map { $0["filename"]?.text } == ["small.qcow2"], "\(way): \(listed.text)")
            #expect(
                documents.first?["error"]?["file"]?.text?.hasSuffix("/state.json") == true, "\(way): \(listed.text)")
            for words in [["detach", "small.qcow2"], ["detach", "--all"], ["unmount", "small.qcow2"]] {
                let result = try folder.run(arguments: words)
                #expect(result.status == 1 && result.errors.contains("state.json"), "\(way): \(result.errors)")
            }
            let taken = try folder.run("attach", "--as", "small.qcow2", "other.raw")
            #expect(taken.status == 1 && taken.errors.contains("state.json"), "\(way): \(taken.errors)")
            // Others are attached and detached as ever.
            let other = try folder.run("attach", "other.raw")
            #expect(other.status == 0 && other.errors.contains("state.json"), "\(way): \(other.errors)")
            try folder.check("detach", "other.raw")
            try folder.shell(
                "cmp $1 raw.raw; rm run/small.qcow2/state.json; cp kept.json run/small.qcow2/state.json", device)
        }
        #expect(try folder.list().map { $0["device"]?.text } == [device])
        try folder.check("detach", "small.qcow2")
        #expect(try folder.left() == "")
    }

    @Test func `may lack what other versions do not write, and have more`() throws {
        let folder = try AttachmentFolder(Self.images)
        let device = try folder.check("attach", "raw.raw")
        try folder.shell(
            """
            jq 'del(.isDead, .isDirect, .partitions, .files, .source) + {later: 1}' run/raw.raw/state.json >new
            cp new run/raw.raw/state.json
            """)
        #expect(try folder.list().map { $0["device"]?.text } == [device])
        try folder.check("detach", "raw.raw")
        #expect(try folder.left() == "")
    }
}
