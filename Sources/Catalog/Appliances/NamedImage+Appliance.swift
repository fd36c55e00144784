import BlockImage
import Glibc
import HostStorage
import ImageFormats
import OVA
import SystemPackage

extension NamedImage {
    /// Where an appliance is, and which of its disks is meant.
    package struct AppliancePlace {
        /// The archive.
        package var archive: FilePath
        /// The disk's name, as a mount has it for its folder; nil: the appliance itself, or its only disk.
        package var disk: [UInt8]?
    }

    /// The appliance that is meant, or that the disk is in: its path is `x.ova` or `x.ova/DISK`, where `x.ova` is a file. Nil
    /// for an image that is a file of its own, and where a person says that the archive is a raw disk.
    package var appliancePlace: AppliancePlace? {
        let parent = path.removingLastComponent()
        if let name = path.lastComponent, name.kind == .regular, Self.isAppliance(parent) {
            return AppliancePlace(archive: parent, disk: FilePath(root: nil, [name]).bytes)
        }
        guard format != .raw, Self.isAppliance(path) else { return nil }
        return AppliancePlace(archive: path)
    }

    /// Whether it is a disk of an appliance, or an appliance, and so no file of its own.
    package var isInAppliance: Bool { appliancePlace != nil }

    /// Whether it is an appliance as a whole.
    package var isAppliance: Bool { appliancePlace.map { $0.disk == nil } ?? false }

    /// The disks of an appliance called `name`, with the names that a mount has for them, `x.ova/DISK`; of any other image,
    /// itself. Throws why the appliance cannot be opened.
    package func disks(called name: String) throws(ImageError) -> [(name: String, image: NamedImage)] {
        guard let place = appliancePlace, place.disk == nil else { return [(name, self)] }
        return try openAppliance(place).appliance.disks.map { disk in
            ("\(name)/\(exportName(disk.folderName))", named(disk, in: place))
        }
    }

    /// The same, of one of its disks.
    package func named(_ disk: ApplianceDisk, in place: AppliancePlace) -> NamedImage {
        var image = self
        image.path = place.archive.appending(FilePath(bytes: disk.folderName).components)
        return image
    }

    private static func isAppliance(_ path: FilePath) -> Bool {
        guard let name = path.lastComponent, ImageFormat.isAppliance(FilePath(root: nil, [name]).bytes) else {
            return false
        }
        return (try? FileStatus(at: path).kind) == .regular
    }

    /// The appliance at `place`: as it was opened before, unless it has changed since.
    package func openAppliance(_ place: AppliancePlace) throws(ImageError) -> OpenAppliance {
        try appliances.open(at: place.archive) { () throws(ImageError) in
            if let confines { return try confines.openImage(at: place.archive) }
            let location = try canonical(place.archive)
            return try ConfinedOpenPolicy(images: location.removingLastComponent()).openImage(at: location)
        }
    }

    /// What a check of the manifest has found wrong with the disk, in sentences, where it is one of an appliance and was
    /// checked since.
    package func manifestNotes() -> [ErrorText] {
        guard let place = appliancePlace, let open = try? openAppliance(place),
            let disk = try? open.disk(place)
        else { return [] }
        return open.notes(of: disk)
    }

    /// The file of the disk at `place`. Throws where there is no such disk, or it cannot be read.
    package func openDisk(_ place: AppliancePlace) throws(ImageError) -> OwnFile {
        let open = try openAppliance(place)
        let disk = try open.disk(place)
        return OwnFile(
            file: try disk.file.get(), policy: open.appliance.policy, formatOfName: disk.format())
    }
}

extension OpenAppliance {
    /// The disk that is meant: the named one, or the only one.
    package func disk(_ place: NamedImage.AppliancePlace) throws(ImageError) -> ApplianceDisk {
        let archive = place.archive.text
        if let name = place.disk {
            if let disk = disk(called: name) { return disk }
            throw ImageError(
                .system(errno: ENOENT), path: "\(archive)/\(nameText(name))",
                "the appliance has no such disk", hint: names(in: archive))
        }
        if let only = appliance.disks.first, appliance.disks.count == 1 { return only }
        throw ImageError(
            .outOfRange, path: archive,
            appliance.disks.isEmpty
                ? "the appliance has no disk"
                : "the appliance has several disks, of which one must be named",
            hint: appliance.disks.isEmpty ? nil : names(in: archive))
    }

    /// What its disks are called, in words.
    private func names(in archive: String) -> String {
        let limit = 16
        let names = appliance.disks.prefix(limit).map { "\(archive)/\(nameText($0.folderName))" }
        let more = appliance.disks.count - names.count
        if names.isEmpty { return "it has none" }
        return "it has \(names.joined(separator: ", "))\(more > 0 ? " and \(more) more" : "")"
    }
}
