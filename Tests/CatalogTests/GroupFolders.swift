import BlockImage
import Foundation
import HostTools
import ImageFormats
import LVM
import SystemPackage
import TestImages

@testable import Catalog

/// Makes folders of images with physical volumes, and looks at the volumes on them.
protocol GroupFolders {}

extension GroupFolders {
    static func id(_ letter: String) -> String { String(repeating: letter, count: 32) }

    /// The image in a file that has a physical volume `letter` with `group`, which has volumes `on-…` on each of its members.
    func write(
        _ letter: String, _ group: BuiltGroup?, to file: String, in folder: TemporaryFolder, areas: [Range<Int>]? = nil
    ) throws {
        var disk = BuiltLVM(Self.id(letter), areas: areas ?? [4096..<65536])
        if let group { disk.setText(group.text) }
        disk.bytes.replaceSubrange(65536..<65536 + 4096, with: Array(repeating: Array(letter.utf8)[0], count: 4096))
        try Data(disk.bytes).write(to: URL(fileURLWithPath: folder.file(file)))
    }

    func group(_ members: [String], id: String = "g", name: String = "vg", sequence: Int = 1) -> BuiltGroup {
        var group = BuiltGroup(name, Self.id(id), members: members.map(Self.id))
        group.sequence = sequence
        for (index, member) in members.enumerated() {
            group.add("on_\(member)", BuiltGroup.segment(0, 1, [("pv\(index)", 0)]))
        }
        return group
    }

    func volumes(_ file: String, in folder: TemporaryFolder) throws -> DiskVolumes {
        ImageDisks(of: try NamedImage(FilePath(folder.file(file))).open()).volumes(of: nil)
    }

    /// The first byte of each volume of the image, or why it is not read.
    func look(_ file: String, in folder: TemporaryFolder) throws -> [String: String] {
        let found = try volumes(file, in: folder).volumes.map { volume in
            do {
                let buffer = AlignedBuffer(capacity: 1, alignment: 1)
                let image = try volume.result.get()
                try buffer.fill(1) { output throws(ImageError) in
                    try image.read(1, at: GuestOffset(0), into: &output)
                }
                return (volume.name, String(decoding: buffer.array, as: UTF8.self))
            } catch {
                return (volume.name, "\(error)")
            }
        }
        return Dictionary(uniqueKeysWithValues: found)
    }
}
