import BlockImage
import Catalog
import GuestFiles

/// What is known of a place of an image that may have a file system of its guest: the members that `rblock df` prints.
package struct GuestVolumeReport: Encodable, Sendable {
    package private(set) var name: String
    package private(set) var type: String?
    package private(set) var label: String?
    package private(set) var uuid: String?
    package private(set) var size: UInt64
    package private(set) var used: UInt64?
    package private(set) var available: UInt64?
    package private(set) var files: UInt64?
    package private(set) var freeFiles: UInt64?
    package private(set) var notes: [ErrorText]?
    package private(set) var error: ImageError?

    private enum CodingKeys: String, CodingKey {
        case name, type, label, uuid, size, used, available, files, notes, error
        case freeFiles = "free-files"
    }

    /// That of `volume`, whose file system is opened if it was not.
    package init(_ volume: GuestVolume) {
        (name, type, size) = (volume.name, volume.type, volume.size)
        do throws(ImageError) {
            let info = try volume.info.get()
            (label, uuid) = (info?.label, info?.uuid)
            guard let fileSystem = try volume.fileSystem() else { return }
            let usage = try fileSystem.usage()
            size = usage.size(of: usage.blocks)
            used = usage.size(of: usage.blocks - min(usage.freeBlocks, usage.blocks))
            available = usage.size(of: usage.availableBlocks)
            (files, freeFiles) = (usage.files, usage.freeFiles)
            notes = fileSystem.notes.isEmpty ? nil : fileSystem.notes
        } catch {
            self.error = error
        }
    }
}
