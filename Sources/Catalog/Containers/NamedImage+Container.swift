import BlockImage
import FormatCore
import Glibc
import HostStorage
import ImageFormats
import SystemPackage

extension NamedImage {
    /// Where a container of disks is, and which of these is meant.
    package struct ContainerPlace {
        /// The container.
        package var archive: FilePath
        /// What its name says that it is.
        package var format: ContainerFormat
        /// The disk's name, as a mount has it for its folder; nil: the container itself, or its only disk.
        package var disk: [UInt8]?
    }

    /// The container that is meant, or that the disk is in: its path is `x.ova` or `x.ova/DISK`, where `x.ova` is a file. Nil
    /// for an image that is a file of its own, and where a person says that it is a raw disk.
    package var containerPlace: ContainerPlace? {
        let parent = path.removingLastComponent()
        if let name = path.lastComponent, name.kind == .regular, let format = Self.container(at: parent) {
            return ContainerPlace(archive: parent, format: format, disk: FilePath(root: nil, [name]).bytes)
        }
        guard format != .raw, let format = Self.container(at: path) else { return nil }
        return ContainerPlace(archive: path, format: format)
    }

    /// Whether it is a disk in a container, or a container, and so no file of its own.
    package var isInContainer: Bool { containerPlace != nil }

    /// Whether it is a container as a whole.
    package var isContainer: Bool { containerPlace.map { $0.disk == nil } ?? false }

    /// The disks of a container called `name`, with the names that a mount has for them, `x.ova/DISK`; of any other image,
    /// itself. Throws why the container cannot be opened.
    package func disks(called name: String) throws(ImageError) -> [(name: String, image: NamedImage)] {
        guard let place = containerPlace, place.disk == nil else { return [(name, self)] }
        return try openContainer(place).container.disks.map { disk in
            ("\(name)/\(exportName(disk.name))", named(disk, in: place))
        }
    }

    /// The same, of one of its disks.
    package func named(_ disk: ContainedDisk, in place: ContainerPlace) -> NamedImage {
        var image = self
        image.path = place.archive.appending(FilePath(bytes: disk.name).components)
        return image
    }

    private static func container(at path: FilePath) -> ContainerFormat? {
        guard let name = path.lastComponent, let format = ContainerFormat.naming(of: FilePath(root: nil, [name]).bytes)
        else { return nil }
        return (try? FileStatus(at: path).kind) == .regular ? format : nil
    }

    /// The container at `place`: as it was opened before, unless it has changed since.
    package func openContainer(_ place: ContainerPlace) throws(ImageError) -> OpenContainer {
        try containers.open(at: place.archive, as: place.format) { () throws(ImageError) in
            if let confines { return try confines.openImage(at: place.archive) }
            let location = try canonical(place.archive)
            return try ConfinedOpenPolicy(images: location.removingLastComponent()).openImage(at: location)
        }
    }

    /// What a check has found wrong with the digests of the disk, in sentences, where it is one of a container and was
    /// checked since.
    package func manifestNotes() -> [ErrorText] {
        guard let place = containerPlace, let open = try? openContainer(place),
            let disk = try? open.disk(place)
        else { return [] }
        return open.notes(of: disk)
    }

    /// The file of the disk at `place`. Throws where there is no such disk, or it cannot be read.
    package func openDisk(_ place: ContainerPlace) throws(ImageError) -> OwnFile {
        let open = try openContainer(place)
        let disk = try open.disk(place)
        return OwnFile(
            file: try disk.file.get(), policy: open.container.policy, formatOfName: disk.imageFormat())
    }
}

extension OpenContainer {
    /// The disk that is meant: the named one, or the only one.
    package func disk(_ place: NamedImage.ContainerPlace) throws(ImageError) -> ContainedDisk {
        let archive = place.archive.text
        if let name = place.disk {
            if let disk = disk(called: name) { return disk }
            throw ImageError(
                .system(errno: ENOENT), path: "\(archive)/\(nameText(name))",
                "the \(place.format.driver.noun) has no such disk", hint: names(in: archive))
        }
        if let only = container.disks.first, container.disks.count == 1 { return only }
        let noun = place.format.driver.noun
        throw ImageError(
            .outOfRange, path: archive,
            container.disks.isEmpty
                ? "the \(noun) has no disk"
                : "the \(noun) has several disks, of which one must be named",
            hint: container.disks.isEmpty ? nil : names(in: archive))
    }

    /// What its disks are called, in words.
    private func names(in archive: String) -> String {
        let limit = 16
        let names = container.disks.prefix(limit).map { "\(archive)/\(nameText($0.name))" }
        let more = container.disks.count - names.count
        if names.isEmpty { return "it has none" }
        return "it has \(names.joined(separator: ", "))\(more > 0 ? " and \(more) more" : "")"
    }
}
