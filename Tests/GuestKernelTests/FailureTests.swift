import BlockImage
import Foundation
import GuestFiles
import GuestProtocol
import HostTools
import SystemPackage
import TestImages
import Testing

@testable import GuestKernel

@Suite(.enabled(if: GuestVM.isThere && Tool.areThere("mkfs.ext4", "mkfs.xfs")))
struct `A machine that fails` {
    @Test func `is an error of every call afterwards, and of none that waits`() throws {
        let image = try HostImage("mkfs.ext4 -q", size: "16M")
        let machine = try GuestVM.reading([image.path], ["ext4"])
        let system = try machine.mount(type: "ext4")
        #expect(try system.find(path: "lost+found") != nil)
        kill(try #require(machine.processID), SIGKILL)
        var messages: Set<String> = []
        for _ in 0..<3 {
            do {
                _ = try system.usage()
                Issue.record("a machine that was killed answers")
            } catch {
                messages.insert("\(error)")
            }
        }
        #expect(messages.count == 1 && messages.first?.contains("the machine has ended") == true)
        #expect(throws: ImageError.self) { try system.list(system.root) { _ in true } }
        #expect(throws: ImageError.self) { try machine.mount(type: "ext4") }
        #expect(wait(seconds: 10) { machine.processID == nil })
        // Nothing was written that could be lost.
        try machine.end()
    }

    @Test func `is gone when it is let go of`() throws {
        let image = try HostImage("mkfs.ext4 -q", size: "16M")
        var machine: GuestMachine? = try GuestVM.reading([image.path], ["ext4"])
        let id = try #require(machine?.processID)
        machine = nil
        #expect(wait(seconds: 10) { !FileManager.default.fileExists(atPath: "/proc/\(id)") })
    }

    @Test func `says what does not mount`() throws {
        let image = try HostImage("mkfs.ext4 -q", size: "16M")
        let other = try HostImage("mkfs.xfs -q", size: "320M")
        // The UUID, under a check sum.
        try Shell.check("printf X | dd of=$1 bs=1 seek=40 conv=notrunc status=none", other.path)
        let machine = try GuestVM.reading([image.path, other.path], ["ext4", "xfs", "jfs"])
        for (index, type, words) in [
            (0, "xfs", "does not mount its xfs"), (1, "xfs", "XFS (vd"), (0, "jfs", "has no file system jfs"),
        ] {
            do {
                _ = try machine.mount(disk: index, type: type)
                Issue.record("\(type) is mounted")
            } catch {
                #expect("\(error)".contains(words))
            }
        }
        #expect(throws: ImageError.self) { try machine.mount(disk: 2, type: "xfs") }
        #expect(throws: ImageError.self) { try machine.mount(type: "btrfs") }
        #expect(try machine.mount(type: "ext4").find(path: "lost+found") != nil)
        try machine.end()
    }
}

@Suite struct `What a machine needs` {
    @Test func `is said where it is missing`() throws {
        let folder = try TemporaryFolder()
        #expect(message(folder.path, "/").contains("has no boot/vmlinuz-VERSION"))
        #expect(message(nil, folder.path).contains("none is installed; apt install qemu-system-"))
        // A kernel whose modules are not there is none.
        _ = try folder.makeFolder("boot")
        try folder.write([1], to: "boot/vmlinuz-6.1.0-9-amd64")
        #expect(message(nil, folder.path).contains("none is installed"))
    }

    @Test func `is the newest kernel with modules`() throws {
        let folder = try TemporaryFolder()
        _ = try folder.makeFolder("boot")
        for version in ["6.1.0-9-amd64", "6.1.0-10-amd64", "5.19.0", "6.1.0-2"] {
            try folder.write([1], to: "boot/vmlinuz-\(version)")
            _ = try folder.makeFolder("lib/modules/\(version)")
        }
        try folder.write([1], to: "boot/vmlinuz-7.0.0")
        #expect(try KernelFiles.find(in: FilePath(folder.path), or: "/").version == "6.1.0-10-amd64")
        #expect(try KernelFiles.find(in: nil, or: FilePath(folder.path)).version == "6.1.0-10-amd64")
    }

    private func message(_ folder: String?, _ root: String) -> String {
        do {
            return "\(try KernelFiles.find(in: folder.map { FilePath($0) }, or: FilePath(root)).version)"
        } catch {
            return "\(error)"
        }
    }
}

@Suite struct `An agent that does not keep to the protocol` {
    /// A channel to a program whose descriptor 4 is the other end.
    private func channel(_ script: String, patience: Duration = .seconds(20)) throws -> AgentChannel {
        let (socket, other) = try MachineSocket.pair()
        let process = try MachineProcess.start(
            "/bin/sh", ["-c", script], files: [try .inMemory([]), other])
        return AgentChannel(socket, process, DiskFaults(), patience: patience)
    }

    /// A greeting as printf(1) writes it.
    private func greeting(version: UInt32) -> String {
        var frame = GuestHello(kernel: "6").frame()
        frame[14] = UInt8(version)
        return frame.map { "\\" + String(repeating: "0", count: 3 - String($0, radix: 8).count) + String($0, radix: 8) }
            .joined()
    }

    @Test(arguments: [
        ("printf '\\377\\377\\377\\377' >&4; exec sleep 60", "a frame has 4294967295 bytes"),
        ("printf '\\005\\000\\000\\000abcde' >&4; exec sleep 60", "no message"),
        ("printf '\\005\\000\\000\\000ab' >&4", "has ended"), ("echo its last words", "its last words"),
        ("exit 1", "has ended"), ("exec sleep 60 4>&-", "has ended"),
    ])
    func `is an error, and ended`(script: String, words: String) throws {
        let channel = try channel(script)
        for words in [words, "has ended"] {
            do {
                _ = try channel.hello()
                Issue.record("it greets")
            } catch {
                #expect("\(error)".contains(words))
            }
        }
        #expect(channel.process.waitForEnd(seconds: 10))
        #expect(throws: ImageError.self) { try channel.exchange(.powerOff) }
    }

    @Test func `is not waited for without end`() throws {
        let silent = try channel("exec sleep 60", patience: .seconds(1))
        #expect(throws: ImageError.self) { try silent.hello() }
        #expect(silent.process.waitForEnd(seconds: 10))
        let other = try channel("printf '\(greeting(version: 99))' >&4; exec sleep 60")
        do {
            _ = try other.hello()
            Issue.record("an agent of another version is used")
        } catch {
            #expect("\(error)".contains("speaks version 99"))
        }
        // It greets, answers one request with something else, and then not at all.
        let late = try channel(
            "printf '\(greeting(version: 1))\\001\\000\\000\\000\\001' >&4; exec sleep 60", patience: .seconds(1))
        #expect(try late.hello().kernel == "6")
        #expect(try late.exchange(.powerOff) == .done)
        #expect(throws: ImageError.self) { try late.exchange(.powerOff) }
        #expect(late.process.waitForEnd(seconds: 10))
    }
}
