import BlockImage
import FormatCore
import Foundation
import HostStorage
import HostTools
import ImageFormats
import SystemPackage
import TestImages
import Testing

@testable import Catalog

/// What of a group is taken from other images where not all of these can be read.
struct `The other images of a group of volumes`: GroupFolders {
    /// A, whose guest says that c is in its group; and c, which has no metadata and is of the group of b.
    private func theft() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try write("a", group(["a", "c"]), to: "a.raw", in: folder)
        try write("c", nil, to: "c.raw", in: folder, areas: [])
        return folder
    }

    private func expectRefused(
        _ found: [String: String], _ volume: String, _ message: String, _ location: SourceLocation = #_sourceLocation
    ) {
        #expect(found[volume]?.contains(message) == true, "\(found)", sourceLocation: location)
    }

    @Test func `give no disk without metadata on the word of the image that asks`() throws {
        let folder = try theft()
        let found = try look("a.raw", in: folder)
        #expect(found["vg-on_a"] == "a")
        expectRefused(found, "vg-on_c", "c.raw, without metadata, and no third image has it in this group")
        // An image that says so, too, but of another group with the same name.
        try write("d", group(["d", "c"], id: "h"), to: "d.raw", in: folder)
        expectRefused(
            try look("a.raw", in: folder), "vg-on_c", "other images have it in a group without this disk")
    }

    @Test(arguments: ["missing", "encrypted", "damaged"])
    func `give no disk without metadata while one may be of its true group`(state: String) throws {
        let folder = try theft()
        // The attacker has another guest that agrees.
        try write("a", group(["a", "c", "d"]), to: "a.raw", in: folder)
        try write("d", group(["a", "c", "d"]), to: "d.raw", in: folder)
        #expect(try look("a.raw", in: folder)["vg-on_c"] == "c")
        try write("b", group(["b", "c"], id: "h", name: "other"), to: "b.raw", in: folder)
        expectRefused(
            try look("a.raw", in: folder), "vg-on_c", "other images have it in a group without this disk")
        switch state {
        case "missing":
            try Shell.check(
                "cd \"$1\"; qemu-img create -q -f qcow2 -b b.raw -F raw b.qcow2; mv b.raw hidden", folder.path)
        case "encrypted":
            try Shell.check(
                """
                cd "$1"; qemu-img convert -q -O qcow2 --object secret,id=s,data=pass -o encrypt.format=luks,encrypt.iter-time=10 \\
                -o encrypt.key-secret=s b.raw b.qcow2; rm b.raw
                """, folder.path)
        default:
            try Shell.check("printf X | dd of=\"$1\"/b.raw bs=1 seek=4700 conv=notrunc status=none", folder.path)
        }
        let found = try look("a.raw", in: folder)
        expectRefused(found, "vg-on_c", "which is on another image, c.raw, ")
        let name = state == "damaged" ? "b.raw" : "b.qcow2"
        expectRefused(found, "vg-on_c", name)
        expectRefused(found, "vg-on_c", "cannot be read")
        // What agrees by itself is read but where one may be its clone.
        if state == "missing" {
            expectRefused(found, "vg-on_d", "and not read there, as the image b.qcow2 cannot be read")
        } else {
            #expect(found["vg-on_d"] == "d")
        }
        #expect(try look("c.raw", in: folder).isEmpty)
        let notes = try volumes("c.raw", in: folder).notes.map(\.description)
        #expect(notes.contains { $0.contains("is in no group that is known, as ") && $0.contains(name) }, "\(notes)")
    }

    @Test func `are all known though the folder has files that are no disks`() throws {
        let folder = try TemporaryFolder()
        try write("a", group(["a", "b"]), to: "a.raw", in: folder)
        try write("b", group(["a", "b"]), to: "b.raw", in: folder)
        try Shell.check(
            """
            cd "$1"; echo text >text.qcow2; echo text >text.img; : >empty.vmdk; mkfifo fifo.raw; mkdir folder.vhd
            ln -s nowhere link.raw; ln -s /dev/null null.raw; ln -s a.raw again.raw; ln b.raw hard.raw
            qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse split.vmdk 1M
            qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 1M
            """, folder.path)
        for file in ["a.raw", "b.raw"] { #expect(try look(file, in: folder) == ["vg-on_a": "a", "vg-on_b": "b"]) }
    }

    @Test(arguments: [
        ("mv b.raw hidden", "mv hidden b.raw"), ("cp b.raw x.raw", "rm x.raw"), ("cp a.raw x.raw", "rm x.raw"),
        ("qemu-img create -q -f qcow2 -b a.raw -F raw x.qcow2", "rm x.qcow2"), ("cp foreign b.raw", "cp agreed b.raw"),
        ("cp different b.raw", "cp agreed b.raw"),
        ("cp a.raw y; qemu-img create -q -f qcow2 -b y -F raw x.qcow2; rm y", "rm x.qcow2"),
    ])
    func `are looked at anew after a refusal`(fault: String, repair: String) async throws {
        let folder = try TemporaryFolder()
        try write("a", group(["a", "b"]), to: "a.raw", in: folder)
        try write("b", group(["a", "b"]), to: "agreed", in: folder)
        try write("b", group(["a", "b"], id: "h"), to: "foreign", in: folder)
        try write("b", group(["a", "b"], name: "renamed"), to: "different", in: folder)
        try Shell.check("cd \"$1\"; cp agreed b.raw; eval \"$2\"", folder.path, fault)
        let disks = ImageDisks(of: try NamedImage(FilePath(folder.file("a.raw"))).open())
        func isRead() -> Bool { disks.volumes(of: nil).volume("vg-on_b")?.isReadable == true }
        #expect(!isRead())
        try Shell.check("cd \"$1\"; eval \"$2\"", folder.path, repair)
        try await Task.sleep(for: .milliseconds(1100))
        #expect(isRead())
    }

    @Test func `are waited for once in a folder, and those of other folders are still looked at`() throws {
        let folder = try TemporaryFolder()
        let other = try TemporaryFolder()
        for folder in [folder, other] {
            for (first, second, id) in [
                ("a", "b", "g"), ("c", "d", "h"), ("e", "f", "i"), ("j", "k", "m"), ("n", "o", "p"),
            ] {
                for letter in [first, second] {
                    try write(letter, group([first, second], id: id), to: "\(letter).raw", in: folder)
                }
            }
        }
        try write("z", nil, to: "hung.raw", in: folder)
        let policy = HungPolicy(try ConfinedOpenPolicy(images: FilePath(folder.path)))
        defer { policy.end() }
        for letter in ["a", "b", "c", "d", "e", "f", "j", "k", "n", "o"] {
            let volumes = ImageDisks(of: try policy.open("\(letter).raw", in: folder)).volumes(of: nil).volumes
            let errors = volumes.compactMap { volume in
                if case .failure(let error) = volume.result { "\(error)" } else { nil }
            }
            #expect(volumes.count == 2 && errors.count == 1)
            #expect(errors.first?.contains("as the image hung.raw does not answer") == true, "\(errors)")
        }
        #expect(policy.count == 1)
        // One that answered at first.
        try Shell.check("rm \"$1\"/hung.raw; mv \"$1\"/b.raw \"$1\"/late.raw", folder.path)
        let late = ImageDisks(of: try policy.open("a.raw", in: folder)).volumes(of: nil).volume("vg-on_b")
        #expect(late.map { "\($0.result)".contains("it does not answer") } == true)
        #expect(policy.count == 2)
        #expect(try look("a.raw", in: other) == ["vg-on_a": "a", "vg-on_b": "b"])
    }
}

/// Never comes back from opening `hung.raw`, and `late.raw` for the second time, before its end.
private final class HungPolicy: OpenPolicy {
    private let policy: ConfinedOpenPolicy
    private let opened = Guarded(0)
    private let wasLate = Guarded(false)
    private let barrier = DispatchSemaphore(value: 0)

    init(_ policy: ConfinedOpenPolicy) {
        self.policy = policy
    }

    /// How often it was asked for.
    var count: Int { opened.withLock { $0 } }

    func end() {
        for _ in 0..<count { barrier.signal() }
    }

    func open(_ name: String, in folder: TemporaryFolder) throws -> OpenedImage {
        let resources = LayerResources(cacheSize: 6 << 20)
        return ImageOpener(policy: self, resources: resources)
            .open(try policy.openImage(at: FilePath(folder.file(name))), as: .raw, counters: resources.counters)
    }

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        let isSecond =
            reference.text == "late.raw"
            && wasLate.withLock { late in
                defer { late = true }
                return late
            }
        if reference.text == "hung.raw" || isSecond {
            opened.withLock { $0 += 1 }
            barrier.wait()
        }
        return try policy.open(reference, namedBy: file)
    }

    func names(besides file: any HostFile) -> [[UInt8]] { policy.names(besides: file) }
}
