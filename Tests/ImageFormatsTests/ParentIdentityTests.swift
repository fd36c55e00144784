import BlockImage
import Foundation
import HostStorage
import HostTools
import ImageFormats
import SystemPackage
import TestImages
import Testing

/// A folder of VHDs and VDIs that lie over each other.
private struct Family {
    let folder: Folder

    init() throws {
        folder = try Folder()
    }

    /// The VHD `name`, whose block 0 is all `byte`, with this identity.
    func vhd(_ name: String, of byte: UInt8, identity: UInt8, timeStamp: UInt32 = 700_000_000) throws {
        var builder = VHDBuilder(size: 8192)
        builder.identity = [UInt8](repeating: identity, count: 16)
        builder.timeStamp = timeStamp
        builder.blocks[0] = VHDBuilder.Block(
            written: [Bool](repeating: true, count: 8), bytes: [UInt8](repeating: byte, count: 4096))
        try folder.folder.write(builder.build().bytes, to: name)
    }

    /// A VHD of nothing over the parent with this identity, which it calls `parentName`.
    func child(
        _ name: String, over identity: UInt8, called parentName: String, identity own: UInt8 = 99, timeStamp: UInt32 = 0
    ) throws {
        var builder = VHDBuilder(size: 8192)
        builder.kind = 4
        builder.identity = [UInt8](repeating: own, count: 16)
        builder.parent = ([UInt8](repeating: identity, count: 16), timeStamp, "")
        builder.locators = [("W2ku", parentName.utf16LittleBytes)]
        try folder.folder.write(builder.build().bytes, to: name)
    }

    /// The VDI `name`, whose first block is all `byte` unless it is over a parent.
    func vdi(
        _ name: String, of byte: UInt8 = 0, identity: UInt8, modification: UInt8 = 1, over parent: (UInt8, UInt8)? = nil
    )
        throws
    {
        var builder = VDIBuilder(size: 8192)
        builder.blocks = [parent == nil ? .data([UInt8](repeating: byte, count: 4096)) : .free, .free]
        builder.identity = [UInt8](repeating: identity, count: 16)
        builder.modification = [UInt8](repeating: modification, count: 16)
        if let parent {
            builder.kind = 4
            builder.parent = ([UInt8](repeating: parent.0, count: 16), [UInt8](repeating: parent.1, count: 16))
        }
        try folder.folder.write(builder.build(), to: name)
    }

    func first(_ name: String) throws -> UInt8? { try folder.firstByte(of: name) }
    func error(_ name: String) throws -> ImageError? { try folder.open(name).disk.error }
}

/// Opens the images of a folder with the same caches, as a mount does.
private struct SharedOpener {
    private let folder: String
    private let policy: ConfinedOpenPolicy
    private let resources = LayerResources(cacheSize: 1 << 20)

    init(_ folder: String) throws {
        self.folder = folder
        policy = try ConfinedOpenPolicy(images: FilePath(folder))
    }

    func firstByte(_ name: String) throws -> UInt8? {
        let file = try policy.openImage(at: FilePath("\(folder)/\(name)"))
        let opened = ImageOpener(policy: policy, resources: resources)
            .open(file, as: .vhd, counters: ReadCounters())
        return try opened.disk.result.get().bytes(1, at: 0).first
    }
}

struct `A parent that is named by its identity` {
    @Test func `is the image of the folder that has it, whatever that is called`() throws {
        let family = try Family()
        try family.vhd("a.vhd", of: 1, identity: 1)
        try family.vhd("base.vhd", of: 2, identity: 2)
        try family.vhd("renamed.vhd", of: 3, identity: 3)
        try family.child("child.vhd", over: 2, called: "C:\\vm\\base.vhd")
        #expect(try family.first("child.vhd") == 2)
        #expect(try family.folder.open("child.vhd").layers[0].notes.isEmpty)
        // The name leads to another image, the UUID to the right one.
        try family.child("other.vhd", over: 3, called: ".\\base.vhd")
        let opened = try family.folder.open("other.vhd")
        #expect(try opened.disk.result.get().bytes(1, at: 0) == [3])
        #expect(
            opened.layers[0].notes.first?.contains("renamed.vhd is read, which has its UUID") == true,
            "\(opened.layers[0].notes)")
        #expect(opened.layers.map(\.format) == [.vhd, .vhd])
    }

    @Test func `may have its parent named so as well`() throws {
        let family = try Family()
        try family.vhd("bottom.vhd", of: 5, identity: 1)
        try family.child("middle.avhd", over: 1, called: "C:\\x.vhd", identity: 2)
        try family.child("top.avhd", over: 2, called: "C:\\y.vhd", identity: 3)
        #expect(try family.first("top.avhd") == 5)
        #expect(try family.folder.open("top.avhd").layers.count == 3)
    }

    @Test func `is looked for by its name where no image of the folder has it, and refused then`() throws {
        let family = try Family()
        try family.vhd("base.vhd", of: 2, identity: 2)
        try family.child("child.vhd", over: 7, called: "C:\\vm\\base.vhd")
        let error = try #require(try family.error("child.vhd"))
        #expect(error.code == .corrupt && error.offset == HostOffset(512 + 40))
        #expect(error.hint == "--ignore-parent-id reads it all the same")
        #expect(error.message.contains("07070707-0707-0707-0707-070707070707"))
        let ignoring = try family.folder.open("child.vhd", ignoresParentID: true)
        #expect(try ignoring.disk.result.get().bytes(1, at: 0) == [2])
        #expect(ignoring.layers.flatMap(\.notes).contains { $0.contains("it is read all the same") })
        // Of the same name, in another folder: nothing there may be opened.
        try family.child("alone.vhd", over: 7, called: "none.vhd")
        #expect(try family.error("alone.vhd")?.code == .system(errno: ENOENT))
    }

    @Test func `that was made after the image is refused`() throws {
        let family = try Family()
        try family.vhd("base.vhd", of: 2, identity: 2, timeStamp: 1000)
        for (time, isRefused) in [(999, false), (1000, false), (5000, false), (900, true)] as [(UInt32, Bool)] {
            try family.child("child.vhd", over: 2, called: "base.vhd", timeStamp: time)
            let error = try family.error("child.vhd")
            #expect((error != nil) == isRefused, "\(time)")
            if isRefused { #expect(error?.message.hasPrefix("parent time stamp: is 900") == true) }
        }
    }

    @Test func `is not chosen among several, unless it is called as the image says`() throws {
        let family = try Family()
        for (name, byte) in [("a.vhd", 1), ("copy.vhd", 2), ("base.vhd", 3)] as [(String, UInt8)] {
            try family.vhd(name, of: byte, identity: 4)
        }
        try family.child("child.vhd", over: 4, called: "C:\\BASE.VHD")
        #expect(try family.first("child.vhd") == 3)
        try family.child("other.vhd", over: 4, called: "C:\\gone.vhd")
        let error = try #require(try family.error("other.vhd"))
        #expect(
            error.code == .denied && error.message.contains("\"a.vhd\" and \"base.vhd\" and \"copy.vhd\""), "\(error)")
    }

    @Test func `is never the image itself, nor one over it`() throws {
        let family = try Family()
        try family.child("child.vhd", over: 99, called: "child.vhd")
        #expect(try family.error("child.vhd")?.code == .corrupt)
        try family.child("a.vhd", over: 2, called: "b.vhd", identity: 1)
        try family.child("b.vhd", over: 1, called: "a.vhd", identity: 2)
        #expect(try family.error("a.vhd")?.message.contains("backing chain") == true)
    }

    @Test func `is found again when the folder changes`() throws {
        let family = try Family()
        let policyFolder = family.folder.folder.path
        try family.vhd("old.vhd", of: 2, identity: 2)
        try family.child("child.vhd", over: 2, called: "C:\\base.vhd")
        let opener = try SharedOpener(policyFolder)
        // As if it had been so for long: only then is what was found kept.
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1_000_000)], ofItemAtPath: policyFolder)
        for _ in 0..<2 { #expect(try opener.firstByte("child.vhd") == 2) }
        try FileManager.default.moveItem(atPath: policyFolder + "/old.vhd", toPath: policyFolder + "/new.vhd")
        #expect(try opener.firstByte("child.vhd") == 2)
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1_000_000)], ofItemAtPath: policyFolder)
        // The folder looks as it did before, and what is in its files is looked at all the same.
        try family.vhd("new.vhd", of: 4, identity: 5)
        try family.vhd("third.vhd", of: 6, identity: 2)
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1_000_000)], ofItemAtPath: policyFolder)
        #expect(try opener.firstByte("child.vhd") == 6)
    }

    @Test func `of a VDI is beside it, in Snapshots, or above that`() throws {
        let family = try Family()
        _ = try family.folder.folder.makeFolder("Snapshots")
        try family.vdi("disk.vdi", of: 7, identity: 1, modification: 9)
        try family.vdi("Snapshots/{a}.vdi", identity: 2, modification: 8, over: (1, 9))
        try family.vdi("Snapshots/{b}.vdi", identity: 3, modification: 7, over: (2, 8))
        #expect(try family.first("Snapshots/{b}.vdi") == 7)
        #expect(try family.folder.open("Snapshots/{b}.vdi").layers.count == 3)
        try family.vdi("current.vdi", identity: 4, over: (3, 7))
        #expect(try family.first("current.vdi") == 7)
        try family.vdi("changed.vdi", identity: 5, over: (1, 3))
        let error = try #require(try family.error("changed.vdi"))
        #expect(error.code == .corrupt && error.offset == HostOffset(440), "\(error)")
        try family.vdi("lost.vdi", identity: 6, over: (77, 3))
        let lost = try #require(try family.error("lost.vdi"))
        #expect(lost.code == .system(errno: ENOENT) && lost.message.contains("4d4d4d4d-"), "\(lost)")
    }
}
