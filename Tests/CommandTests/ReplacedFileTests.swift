import Foundation
import HostTools
import TestImages
import Testing

/// What a new file keeps of the one that it replaces.
@Suite(.enabled(if: Tool.isRoot && Tool.areThere("python3", "setpriv", "stat")))
struct `A file that --force replaces` {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try Shell.check(
            "chmod 777 \"$1\"; head -c 100000 /dev/urandom >\"$1/src.raw\"; chmod 644 \"$1/src.raw\"", folder.path)
    }

    /// Makes the file `$1` with the owner `$2`, the group `$3` and the mode `$4`, and with an access control list in which
    /// user 777 may read where there is a `$5`.
    private static let make = """
        import os, struct, sys
        name, owner, group, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4], 8)
        open(name, "w").write("old")
        os.chown(name, owner, group)
        if len(sys.argv) > 5:
            entries = [(1, 6, -1), (2, 4, 777), (4, 0, -1), (16, 4, -1), (32, 4, -1)]
            value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
            os.setxattr(name, "system.posix_acl_access", value)
            os.setxattr(name, "user.note", b"mine")
        os.chmod(name, mode)
        """

    private func make(_ name: String, _ owner: Int, _ group: Int, _ mode: String, list: Bool = false) throws {
        let result = try Tool.run(
            "python3", ["-c", Self.make, folder.file(name), "\(owner)", "\(group)", mode] + (list ? ["list"] : []))
        #expect(result.status == 0, "\(result.errors)")
    }

    /// Owner, group and mode of `name`, and its attributes.
    private func rights(_ name: String) throws -> String {
        let script = """
            import os, sys
            status = os.stat(sys.argv[1])
            attributes = {name: os.getxattr(sys.argv[1], name) for name in sorted(os.listxattr(sys.argv[1]))}
            print(status.st_uid, status.st_gid, oct(status.st_mode & 0o7777), attributes)
            """
        return try Tool.run("python3", ["-c", script, folder.file(name)]).text
    }

    @Test(
        arguments: [
            ["convert", "src.raw", "new.qcow2"], ["create", "new.qcow2", "1M"],
            ["delta", "src.raw", "src.raw", "new.qcow2"],
            ["inspect", "--svg", "new.qcow2", "src.raw"],
        ])
    func `keeps its owner, group, mode, access control list and attributes`(verb: [String]) throws {
        for (mode, list) in [("640", false), ("604", false), ("640", true)] {
            try make("new.qcow2", 1000, 1001, mode, list: list)
            let before = try rights("new.qcow2")
            let result = try RBlock.run([verb[0], "--force"] + verb.dropFirst(), in: folder.path)
            #expect(result.status == 0, "\(result.errors)")
            #expect(try rights("new.qcow2") == before, "\(verb) \(mode)")
            #expect(try Shell.check("head -c 3 \"$1\"", folder.file("new.qcow2")) != "old")
        }
    }

    @Test func `keeps them file by file where an image has several`() throws {
        try make("new.vmdk", 1000, 1001, "644")
        try make("new-flat.vmdk", 1000, 1001, "600", list: true)
        let before = (try rights("new.vmdk"), try rights("new-flat.vmdk"))
        let arguments = ["convert", "--force", "-o", "subformat=monolithicFlat", "src.raw", "new.vmdk"]
        #expect(try RBlock.run(arguments, in: folder.path).status == 0)
        #expect(try rights("new.vmdk") == before.0 && rights("new-flat.vmdk") == before.1)
    }

    @Test(
        arguments: [
            // Neither owner nor group may be kept: what the group had more than the others is gone.
            (5, 6, "664", false, "1234 1234 0o644"), (5, 6, "640", false, "1234 1234 0o600"),
            (5, 6, "604", false, "1234 1234 0o600"), (5, 1234, "660", false, "1234 1234 0o660"),
            // An access control list that cannot be kept leaves the file to its owner.
            (5, 6, "644", true, "1234 1234 0o600"), (1234, 6, "640", false, "1234 1234 0o600"),
            (1234, 1234, "640", true, "1234 1234 0o640"),
        ])
    func `never gives more than it did where that may not be kept`(
        owner: Int, group: Int, mode: String, list: Bool, expected: String
    ) throws {
        try make("new.raw", owner, group, mode, list: list)
        let program = folder.file("rblock")
        let result = try Shell.run(
            "cp \"$1\" \"$2\" && chmod 755 \"$2\" && cd \"$3\" && exec setpriv --reuid 1234 --regid 1234 --clear-groups "
                + "--inh-caps=-all \"$2\" convert --force src.raw new.raw",
            Tool.rblock, program, folder.path)
        #expect(result.status == 0, "\(result.errors)")
        let found = try rights("new.raw")
        #expect(found.hasPrefix(expected + " "), "\(found)")
        #expect(try Shell.check("cmp \"$1/src.raw\" \"$1/new.raw\"", folder.path) == "")
    }
}
