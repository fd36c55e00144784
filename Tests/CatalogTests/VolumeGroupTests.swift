import BlockImage
import Foundation
import HostTools
import ImageFormats
import LVM
import SystemPackage
import TestImages
import Testing

@testable import Catalog

/// What is put together of the images of a folder, and what is not.
struct `A group of volumes`: GroupFolders {
    @Test func `lies on images that agree on it`() throws {
        let folder = try TemporaryFolder()
        try write("a", group(["a", "b", "c"]), to: "a.raw", in: folder)
        try write("b", group(["a", "b", "c"]), to: "b.raw", in: folder)
        try write("c", nil, to: "c.raw", in: folder, areas: [])
        for file in ["a.raw", "b.raw", "c.raw"] {
            #expect(try look(file, in: folder) == ["vg-on_a": "a", "vg-on_b": "b", "vg-on_c": "c"], "\(file)")
        }
    }

    @Test func `is what its newest metadata says, also of another image`() throws {
        let folder = try TemporaryFolder()
        try write("a", group(["a", "b"], sequence: 3), to: "a.raw", in: folder)
        var newer = group(["a", "b"], sequence: 4)
        newer.add("new", BuiltGroup.segment(0, 1, [("pv1", 0)]))
        try write("b", newer, to: "b.raw", in: folder)
        #expect(try look("a.raw", in: folder) == ["vg-on_a": "a", "vg-on_b": "b", "vg-new": "b"])
        let notes = try volumes("a.raw", in: folder).groups[0].notes.map(\.description)
        #expect(notes == ["not all copies of its metadata have the newest number, 4, whose is used"])
        // Two that contradict each other.
        try write("a", group(["a", "b"], sequence: 4), to: "a.raw", in: folder)
        let found = try look("a.raw", in: folder)
        #expect(found.values.allSatisfy { $0.contains("descriptions with the number 4 that differ") }, "\(found)")
    }

    @Test(arguments: [
        ("of its own group", "h", ["b"]), ("of its own group of the same name and number", "g", ["b"]),
        ("of no group, with a place for metadata", "", []),
    ])
    func `does not take another guest's disk`(what: String, id: String, members: [String]) throws {
        let folder = try TemporaryFolder()
        // A guest that knows the identifiers of another one.
        try write("a", group(["a", "b"], sequence: 99), to: "a.raw", in: folder)
        try write("b", id.isEmpty ? nil : group(members, id: id), to: "b.raw", in: folder)
        let found = try look("a.raw", in: folder)
        #expect(found["vg-on_a"] == "a")
        #expect(
            found["vg-on_b"]?.contains(
                "which is on another image, b.raw, whose own metadata does not say that this disk is in its group")
                == true,
            "\(what): \(found)")
        #expect(try look("b.raw", in: folder) == (id.isEmpty ? [:] : ["vg-on_b": "b"]))
    }

    @Test func `does not take a disk without metadata that is another guest's`() throws {
        let folder = try TemporaryFolder()
        try write("a", group(["a", "c"]), to: "a.raw", in: folder)
        try write("b", group(["b", "c"], id: "h", name: "other"), to: "b.raw", in: folder)
        try write("c", nil, to: "c.raw", in: folder, areas: [])
        for (file, volume) in [("a.raw", "vg-on_c"), ("b.raw", "other-on_c")] {
            let found = try look(file, in: folder)
            #expect(
                found[volume]?.contains("without metadata, and other images have it in a group without this disk")
                    == true)
        }
        #expect(try look("c.raw", in: folder).isEmpty)
        #expect(
            try volumes("c.raw", in: folder).notes.contains {
                $0.description.contains("2 groups of the folder claim it")
            })
    }

    @Test func `of the same name as another one on the disk has volumes of other names`() throws {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk.raw")
        var content = Data(count: 1 << 20)
        for (letter, id) in [("a", "g"), ("b", "h")] {
            try write(letter, group([letter], id: id), to: letter, in: folder)
            content += try Data(contentsOf: URL(fileURLWithPath: folder.file(letter)))
        }
        try content.write(to: URL(fileURLWithPath: disk))
        try Shell.check("printf '2048,2048,8e\\n4096,2048,8e\\n' | sfdisk -q --no-reread \"$1\"", disk)
        #expect(try look("disk.raw", in: folder) == ["vg-on_a~gggggg": "a", "vg-on_b~hhhhhh": "b"])
        // And where both have one physical volume, neither is taken.
        let twice = content.prefix(2 << 20) + content[1 << 20..<2 << 20]
        try twice.write(to: URL(fileURLWithPath: disk))
        try Shell.check("printf '2048,2048,8e\\n4096,2048,8e\\n' | sfdisk -q --no-reread \"$1\"", disk)
        #expect(try look("disk.raw", in: folder)["vg-on_a"]?.contains("which the partitions 1 and 2 both are") == true)
    }

    @Test func `has names with hyphens doubled`() {
        #expect(DiskVolumes.name("home-1", of: "rack-a") == "rack--a-home--1")
        #expect(DiskPlace(Array("/rack--a-home--1".utf8))?.part == .volume("rack--a-home--1"))
        #expect(DiskPlace(Array("@s/vg-lv".utf8))?.part == .volume("vg-lv"))
        for name in ["/vg", "/-lv", "/vg-", "/vg-lv/p1", "vg-lv", "/"] { #expect(DiskPlace(Array(name.utf8)) == nil) }
    }
}
