import BlockImage
import Catalog
import GuestFiles

/// What is known of a place of an image that may have a file system of its guest: the members that `rblock df` prints.
package struct GuestVolumeReport: Encodable, Sendable {
    private var name: String
    private var type: String?
    private var label: String?
    private var uuid: String?
    private var size: UInt64
    private var used: UInt64?
    private var available: UInt64?
    private var files: UInt64?
    private var freeFiles: UInt64?
    private var notes: [ErrorText]?
    private var error: ImageError?

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
