import Foundation
import HostTools
import TestImages
import Testing

/// What is left when processes are killed while disks are attached: the next command removes it.
@Suite(.serialized, .enabled(if: Tool.canUseLoopDevices("qemu-img", "mkfs.ext4", "strace", "jq", "pgrep")))
struct `After a crash` {
    private static let images = """
        truncate -s 8M fs.raw; mkfs.ext4 -q fs.raw; qemu-img convert -O qcow2 -c fs.raw crash.qcow2; mkdir mnt
        """

    /// Kills the server of the only disk that is attached, and waits until it is gone.
    private func killServer(_ folder: AttachmentFolder) throws {
        let server = try #require(try folder.list().first?["server-pid"]?.number)
        kill(pid_t(server), SIGKILL)
        #expect(wait(seconds: 20) { !Mount.isRunning(pid_t(server)) })
        // The kernel forgets what it knew of the file: then it tells less of the device.
        try folder.shell("while stat run/crash.qcow2/mnt/crash.qcow2/disk.raw >/dev/null 2>&1; do sleep 0.1; done")
    }

    @Test func `of the server its disk is removed, and can be attached again`() throws {
        let folder = try AttachmentFolder(Self.images)
        try folder.check("attach", "crash.qcow2")
        try killServer(folder)
        let listed = try folder.run("attached")
        #expect(listed.status == 0 && listed.text == "", "\(listed.text)")
        #expect(listed.errors.contains("crash.qcow2: its server is gone"), "\(listed.errors)")
        #expect(try folder.left() == "")
        let device = try folder.check("attach", "crash.qcow2")
        try folder.shell("cmp $1 fs.raw", device)
        try killServer(folder)
        // The name is free at once.
        let again = try folder.check("attach", "--as", "crash.qcow2", "crash.qcow2")
        try folder.shell("cmp $1 fs.raw", again)
        try killServer(folder)
        let detached = try folder.run("detach", "crash.qcow2")
        #expect(detached.status == 2 && detached.errors.contains("has failed"), "\(detached.errors)")
        #expect(try folder.left() == "")
    }

    @Test func `of the server a disk that is in use stays, and is said to be gone`() throws {
        let folder = try AttachmentFolder(Self.images)
        let device = try folder.check("attach", "crash.qcow2")
        let server = try #require(try folder.list().first?["server-pid"]?.number)
        let text = try folder.shell(
            """
            exec 9<$1; kill -9 $2; while [ -e /proc/$2/exe ]; do sleep 0.05; done
            "$rblock" attached --output json | jq -r '.[].state'; "$rblock" detach crash.qcow2 2>&1 || echo $?
            """, device, "\(server)")
        #expect(text.hasPrefix("server-gone\n") && text.contains("is in use by process"), "\(text)")
        #expect(text.hasSuffix("\n1"), "\(text)")
        #expect(try folder.run("detach", "crash.qcow2").status == 2)
        #expect(try folder.left() == "")
    }

    @Test func `of the server its mount is removed`() throws {
        let folder = try AttachmentFolder(Self.images)
        try folder.check("mount", "crash.qcow2", "mnt")
        try killServer(folder)
        #expect(try folder.run("unmount", "mnt").status == 2)
        #expect(try folder.left() == "")
        try folder.check("mount", "crash.qcow2", "mnt")
        #expect(try folder.shell("ls mnt") == "lost+found")
        try killServer(folder)
        #expect(try folder.check("attached") == "")
        #expect(try folder.left() == "")
    }

    @Test(arguments: ["attach", "mount"])
    func `of the command itself nothing stays, wherever it was`(verb: String) throws {
        let folder = try AttachmentFolder(Self.images)
        let words = verb == "mount" ? ["mount", "crash.qcow2", "mnt"] : ["attach", "crash.qcow2"]
        var endings: [String] = []
        for (calls, numbers) in [
            ("/^(rename|renameat2?)$", [1, 2, 3, 4, 5, 9]), ("ioctl", [2, 3, 5, 8]), ("/^mkdir(at)?$", [2, 3]),
        ] {
            for number in numbers {
                let ending = try folder.shell(
                    """
                    strace -f -b execve -qq -o /dev/null -e "trace=$1" -e "inject=$1:signal=KILL:when=$2" "$rblock" "${@:3}" \
                      >/dev/null 2>&1 && echo 0 || echo $?
                    """, arguments: [calls, "\(number)"] + words)
                endings.append(ending)
                // What was attached in full is no leftover.
                let listed = try folder.list()
                #expect(listed.count == (ending == "0" ? 1 : 0) || listed.count == 1, "\(calls) \(number)")
                for record in listed {
                    #expect(["attached", "mounted"].contains(record["state"]?.text), "\(calls) \(number): \(record)")
                    try folder.check(verb == "mount" ? "unmount" : "detach", try #require(record["name"]?.text))
                }
                #expect(try folder.left() == "", "\(calls) \(number)")
            }
        }
        #expect(Set(endings).contains("137") && endings.contains("0"), "\(endings)")
    }

    @Test func `of the command while its server starts nothing stays`() throws {
        let folder = try AttachmentFolder(Self.images)
        for delay in ["0.02", "0.06", "0.1", "0.15", "0.2", "0.3"] {
            try folder.shell(
                "\"$rblock\" attach crash.qcow2 >/dev/null 2>&1 & sleep $1; kill -9 $! || true; wait $! || true", delay)
            let listed = try folder.list()
            for record in listed { try folder.check("detach", try #require(record["name"]?.text)) }
            #expect(try folder.left() == "", "\(delay)")
        }
    }

    @Test func `of a loop device that another program detached nothing stays`() throws {
        let folder = try AttachmentFolder(Self.images)
        let device = try folder.check("attach", "crash.qcow2")
        try folder.shell("losetup -d $1", device)
        let listed = try folder.run("attached")
        #expect(listed.status == 0 && listed.text == "" && listed.errors.contains("its device was detached"))
        #expect(try folder.left() == "")
        // Of one state was never written, and a folder that another user could write to.
        try folder.shell("mkdir run/half")
        #expect(try folder.check("attached") == "")
        #expect(try folder.left() == "")
        try folder.shell("chmod 777 run")
        let open = try folder.run("attached")
        #expect(open.status == 1 && open.errors.contains("that no other may write to"), "\(open.errors)")
    }
}
