import Foundation
import HostTools
import TestImages
import Testing

/// A chain of three images that name each other by absolute paths, as it was made, and where it was moved to.
private struct MovedChain {
    let folder: TemporaryFolder
    /// What sha256sum says of the disk of the topmost.
    let truth: String

    init() throws {
        folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1" && mkdir old restored
            qemu-img create -q -f qcow2 "$1/old/base.qcow2" 8M
            qemu-io -f qcow2 -c 'write -P 1 0 1M' old/base.qcow2 >/dev/null
            qemu-img create -q -f qcow2 -b "$1/old/base.qcow2" -F qcow2 old/mid.qcow2
            qemu-io -f qcow2 -c 'write -P 2 2M 1M' old/mid.qcow2 >/dev/null
            qemu-img create -q -f qcow2 -b "$1/old/mid.qcow2" -F qcow2 old/top.qcow2
            qemu-io -f qcow2 -c 'write -P 3 4M 1M' old/top.qcow2 >/dev/null
            qemu-img convert -O raw old/top.qcow2 truth.raw
            mv old/*.qcow2 restored && rmdir old
            """, folder.path)
        truth = try Self.hash(folder.file("truth.raw"))
    }

    static func hash(_ path: String) throws -> String {
        let text = try #require(String(data: try Tool.check("sha256sum", path), encoding: .utf8))
        return String(text.prefix(64))
    }
}

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "sha256sum", "bash")))
struct `A chain that was moved` {
    private func hash(_ arguments: String..., in folder: TemporaryFolder) throws -> (hash: String, result: ToolResult) {
        let result = try RBlock.run(["hash"] + arguments, in: folder.path)
        return (String(result.text.prefix(64)), result)
    }

    @Test func `is found beside the image, and that is said`() throws {
        let chain = try MovedChain()
        let (hash, result) = try hash("restored/top.qcow2", in: chain.folder)
        #expect(result.status == 0 && hash == chain.truth, "\(result.errors)")
        for name in ["mid.qcow2", "base.qcow2"] {
            #expect(
                result.errors.contains(
                    "the header names \"\(chain.folder.path)/old/\(name)\"; \(name) beside it is read"),
                "\(result.errors)")
        }
        let notes = try RBlock.json("info", "--backing-chain", "restored/top.qcow2", in: chain.folder.path)
        #expect(notes.array?[0]["rblock", "notes"]?.array?.first?.text?.contains("mid.qcow2 beside it is read") == true)
        // The format is what the header says.
        let copy = try RBlock.run(["convert", "restored/top.qcow2", "copy.raw"], in: chain.folder.path)
        #expect(copy.status == 0 && copy.errors.contains("warning: "))
        #expect(try MovedChain.hash(chain.folder.file("copy.raw")) == chain.truth)
    }

    @Test func `is where it says as long as that is there and allowed`() throws {
        let chain = try MovedChain()
        // Another disk under the old name, out of the confines.
        try Shell.check(
            """
            cd "$1" && mkdir old && cp restored/mid.qcow2 old/mid.qcow2
            qemu-img create -q -f qcow2 old/base.qcow2 8M
            """, chain.folder.path)
        // It is what the header means, and is not replaced by the one beside the image.
        let (_, refused) = try hash("restored/top.qcow2", in: chain.folder)
        #expect(
            refused.status == 1 && refused.errors.contains("--allow-path \(chain.folder.path)/old would allow it"),
            "\(refused.errors)")
        let allowed = try hash("--allow-path", "old", "restored/top.qcow2", in: chain.folder)
        #expect(allowed.result.status == 0 && allowed.hash != chain.truth && allowed.result.errors == "")
    }

    @Test func `is not mixed up with files of the same names beside the image`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1" && mkdir a b
            for name in a b; do qemu-img create -q -f qcow2 $name/base.qcow2 1M; truncate -s 1M $name/data.raw; done
            qemu-io -f qcow2 -c 'write -P 0x41 0 64k' a/base.qcow2 >/dev/null
            qemu-io -f qcow2 -c 'write -P 0x42 0 64k' b/base.qcow2 >/dev/null
            qemu-img create -q -f qcow2 -b "$1/b/base.qcow2" -F qcow2 a/top.qcow2
            qemu-img create -q -f qcow2 -b ../b/base.qcow2 -F qcow2 a/near.qcow2
            qemu-img create -q -f qcow2 -o data_file="$1/b/data.raw" a/disk.qcow2 1M
            """, folder.path)
        try folder.write(
            Array(
                """
                # Disk DescriptorFile
                version=1
                CID=12345678
                parentCID=ffffffff
                createType="monolithicFlat"
                RW 8 FLAT "\(folder.path)/b/data.raw" 0

                """.utf8), to: "a/disk.vmdk")
        for name in ["top.qcow2", "near.qcow2", "disk.qcow2", "disk.vmdk"] {
            let (_, refused) = try hash("a/\(name)", in: folder)
            #expect(refused.status == 1 && refused.errors.contains("would allow it"), "\(name): \(refused.errors)")
        }
    }

    @Test func `never comes back to itself`() throws {
        let chain = try MovedChain()
        // The backing file has the image's own name, in another folder that is not there any more.
        try Shell.check(
            """
            cd "$1/restored" && qemu-img rebase -u -b /gone/there/top.qcow2 -F qcow2 top.qcow2
            """, chain.folder.path)
        let (_, result) = try hash("restored/top.qcow2", in: chain.folder)
        #expect(result.status == 1 && result.errors.contains("/gone/there/top.qcow2"))
        #expect(!result.errors.contains("comes back"), "\(result.errors)")
        #expect(!result.errors.contains("would allow"), "\(result.errors)")
    }

    @Test func `is put together by hand`() throws {
        let chain = try MovedChain()
        try Shell.check(
            """
            cd "$1" && mkdir apart && mv restored/mid.qcow2 apart/renamed && mv restored/base.qcow2 apart/
            """, chain.folder.path)
        let (_, missing) = try hash("restored/top.qcow2", in: chain.folder)
        #expect(missing.status == 1 && missing.errors.contains("--backing FILE names it by hand"), "\(missing.errors)")
        let (hash, result) = try hash("--backing", "apart/renamed", "restored/top.qcow2", in: chain.folder)
        #expect(result.status == 0 && hash == chain.truth, "\(result.errors)")
        let same = try RBlock.run(
            ["diff", "--summary", "--backing-a", "apart/renamed", "restored/top.qcow2", "truth.raw"],
            in: chain.folder.path)
        #expect(same.status == 0, "\(same.text)\(same.errors)")
        let none = try self.hash("--backing", "truth.raw", "apart/base.qcow2", in: chain.folder).result
        #expect(none.status == 1 && none.errors.contains("names no backing file"), "\(none.errors)")
        #expect(try self.hash("--backing", "x", "a", "b", in: chain.folder).result.status == 64)
    }

    @Test func `has its data file beside it, too`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1" && mkdir old new && cd old
            qemu-img create -q -f qcow2 -o data_file="$1/old/disk.data" disk.qcow2 4M
            qemu-io -f qcow2 -c 'write -P 7 1M 1M' disk.qcow2 >/dev/null
            qemu-img convert -O raw disk.qcow2 ../truth.raw
            mv disk.qcow2 disk.data ../new
            """, folder.path)
        let (hash, result) = try hash("new/disk.qcow2", in: folder)
        #expect(try hash == MovedChain.hash(folder.file("truth.raw")), "\(result.errors)")
        #expect(result.errors.contains("disk.data beside it is read"))
    }

    @Test func `is only told to allow a folder where that helps`() throws {
        let chain = try MovedChain()
        try Shell.check(
            """
            cd "$1" && mkdir far alone && mv restored/*.qcow2 far/ && ln -s far near
            cd alone && qemu-img create -q -f qcow2 -u -b "$1/near/mid.qcow2" -F qcow2 helped.qcow2 8M
            qemu-img create -q -f qcow2 -u -b "$1/restored" -F qcow2 folder.qcow2 8M
            qemu-img create -q -f qcow2 -u -b /dev/zero -F raw device.qcow2 8M
            qemu-img create -q -f qcow2 -u -b /nowhere/x.qcow2 -F qcow2 gone.qcow2 8M
            """, chain.folder.path)
        let advised = try RBlock.run(["hash", "alone/helped.qcow2"], in: chain.folder.path)
        let words = advised.errors.split(separator: " ").map(String.init)
        let mark = try #require(words.firstIndex(of: "--allow-path"), "\(advised.errors)")
        #expect(words[(mark + 2)...].starts(with: ["would", "allow"]), "\(advised.errors)")
        let helped = try RBlock.run(
            ["hash", "--allow-path", words[mark + 1], "alone/helped.qcow2"], in: chain.folder.path)
        #expect(helped.status == 0, "\(helped.errors)")
        for name in ["folder", "device", "gone"] {
            let result = try RBlock.run(["hash", "alone/\(name).qcow2"], in: chain.folder.path)
            #expect(result.status == 1 && !result.errors.contains("would allow"), "\(result.errors)")
        }
    }

    @Test func `is read through a folder that is a link, by the names that it had there`() throws {
        let chain = try MovedChain()
        try Shell.check("cd \"$1\" && ln -s restored old", chain.folder.path)
        let (hash, result) = try hash("old/top.qcow2", in: chain.folder)
        #expect(result.status == 0 && hash == chain.truth && result.errors == "", "\(result.errors)")
    }
}
