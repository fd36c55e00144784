import BlockImage
import Catalog
import FormatCore
import Glibc
import HostStorage
import ImageFormats
import ImageTools
import Overlays
import SystemPackage

/// Where what is written to the disk of an image goes: to an overlay that stays, or to one from which the image gets it when all is
/// done, so that the image is as it was where that does not come to its end.
///
/// For use by one thread.
final class GuestTarget {
    /// The image, opened, with what is written over it; nil once that was stored.
    private(set) var opened: OpenedImage?
    /// The overlay that has what was written, where it stays.
    let overlay: FilePath?
    private let location: FilePath
    /// The folders of --allow-path.
    private let allowed: [FilePath]
    private var folder: OverlayFolder?
    /// Where the overlay is that goes into the image.
    private let staging: FilePath?
    /// Keeps other programs from the image.
    private var lock: LocalWritableFile?

    /// What is appended to the name of an image for the folder with what goes into it.
    private static let suffix = Array(".rblock".utf8)

    /// That of `image`, which is opened. Throws why it cannot be written to.
    init(_ image: NamedImage, _ writing: WritingOptions) throws {
        guard image.containerPlace == nil || writing.overlay != nil else {
            throw ImageError(
                .unsupported, path: image.path.text, "is a disk of an appliance, which stays as it is",
                hint: Self.overlayHint)
        }
        let place = image.containerPlace
        let file = try PathByName(place?.archive ?? image.path).location
        location = file.appending(FilePath(bytes: place?.disk ?? []).components)
        if place == nil { try Self.checkWhole(location) }
        let base = try image.open()
        allowed = image.allowed
        try Self.checkUse(of: base)
        if writing.overlay == nil {
            try Self.check(base)
            // What is left of a process that was killed is no image that builds on this one.
            try Self.removeStaging(Self.staging(of: location), of: location)
        }
        let stays =
            try writing.overlay
            ?? Self.defaultOverlay(
                over: location, image.allowed, ignoresDependents: writing.ignoreDependents)
        overlay = stays.map { FilePath(text: $0) }
        if let overlay {
            staging = nil
            folder = try OverlayFolder(ofFile: overlay, over: location, settings: OverlaySettings())
        } else {
            // Before anything is changed, and until all is.
            let lock = try LocalWritableFile(at: location)
            try lock.lock()
            for lower in base.layers.dropFirst().flatMap(\.files) { try lower.lockAgainstWriters() }
            let staging = Self.staging(of: location)
            let settings = try OverlaySettings(options: [], allowsPlaintext: false, takesLocks: false)
            folder = try OverlayFolder(at: staging, for: [.init(only: location)], settings: settings)
            (self.lock, self.staging) = (lock, staging)
        }
        opened = folder?.disk(over: location).view(
            of: base, at: location, isFile: place == nil, ignoresChanges: image.options.ignoresParentID)
    }

    /// Throws where another program is writing to a file of `base`.
    private static func checkUse(of base: OpenedImage) throws(ImageError) {
        guard let file = base.layers.flatMap(\.files).first(where: { $0.imageLock == .writing }) else { return }
        throw ImageError(
            .system(errno: EBUSY), path: file.path, "another program is writing to it",
            hint: "end that one first, as the machine that has this disk")
    }

    /// Throws where the image opened as `base` is not one that a commit writes to.
    private static func check(_ base: OpenedImage) throws(ImageError) {
        do throws(ImageError) {
            try OverlayCommit.checkTarget(base)
        } catch {
            var said = error
            if error.code == .unsupported { said.hint = overlayHint }
            throw said
        }
    }

    private static let overlayHint = "--overlay FILE.qcow2 has what is changed go there"

    /// The overlay that is written to where other images build on the one at `location`; nil where none does.
    private static func defaultOverlay(
        over location: FilePath, _ allowed: [FilePath], ignoresDependents: Bool
    ) throws -> String? {
        guard !ignoresDependents else { return nil }
        let folders = [location.removingLastComponent()] + allowed
        // Links to elsewhere and what no image can be are often beside one: they are not looked at.
        var found = try Dependents(of: location, in: folders, besides: [])
        // On a busy machine a file may not answer in time.
        for _ in 0..<2 where found.unknown.contains(where: { $0.code == .system(errno: ETIMEDOUT) }) {
            found = try Dependents(of: location, in: folders, besides: [])
        }
        if let unknown = found.unknown.first, found.paths.isEmpty {
            throw ImageError(
                .denied, path: location.text, "whether other images build on it is not known: \(unknown)",
                hint: "--overlay FILE.qcow2 leaves it as it is, and --ignore-dependents writes to it all the same")
        }
        guard let first = found.paths.first else { return nil }
        let overlay = FilePath(bytes: location.bytes + Array(".overlay.qcow2".utf8))
        Failure.warn(
            "\(location.text): \(first) builds on it, so that it stays as it is, and what is changed goes to \(overlay.text)"
        )
        return overlay.text
    }

    // MARK: The end

    /// Has the image have all that was written, or the overlay that stays. `progress` gets how many bytes the image has.
    ///
    /// The view of the disk must not be used any more. Throws why the image has not; with what it is then.
    func finish(progress: (UInt64) -> Void) throws(ImageError) {
        let written = try close()
        guard let staging else { return }
        if let written {
            let file = try OverlayFile(at: written, takesLocks: false)
            var image = NamedImage(file.location, format: .qcow2)
            image.allowed = [location.removingLastComponent()] + allowed
            let commit = try OverlayCommit(file, try image.open())
            try checkSpace(for: commit)
            do throws(ImageError) { _ = try commit.run(progress: progress) } catch {
                var said = error
                if Self.isBegun(staging, of: location, ifBusy: true) { said.hint = commitHint(written) }
                throw said
            }
        }
        try? Self.remove(staging, of: location)
        lock = nil
    }

    /// Throws where the image may not have space for what was written: on a full disk it would be a mixture.
    private func checkSpace(for commit: OverlayCommit) throws(ImageError) {
        var space = statvfs()
        // Safe: the string ends in NUL, and the structure is there during the call.
        guard let needed = commit.written?.allocated,
            unsafe location.withPlatformString({ unsafe statvfs($0, &space) }) == 0
        else { return }
        let (free, overflow) = UInt64(space.f_bavail).multipliedReportingOverflow(by: UInt64(space.f_frsize))
        guard !overflow, free < needed else { return }
        throw ImageError(
            .system(errno: ENOSPC), path: location.text,
            "may take \(humanSize(needed)) more, and its disk has \(humanSize(free))")
    }

    private func commitHint(_ overlay: FilePath) -> String {
        let folders = ([location.removingLastComponent()] + allowed).map { "--allow-path \(shellWord($0.text))" }
        return
            "'rblock commit \(folders.joined(separator: " ")) \(shellWord(overlay.text))' stores the rest, and the image is of no use before"
    }

    /// Closes the overlay, and lets go of its folder. The result: where it is; nil where nothing was written.
    private func close() throws(ImageError) -> FilePath? {
        defer { (opened, folder) = (nil, nil) }
        guard let folder else { return nil }
        if let fault = folder.close().first { throw fault }
        let disk = folder.disk(over: location)
        return disk.isThere ? disk.location : nil
    }

    /// Forgets what was written, where it has not begun to go into the image.
    func abandon() {
        opened = nil
        folder = nil
        guard let staging, !Self.isBegun(staging, of: location, ifBusy: true) else { return }
        try? Self.remove(staging, of: location)
    }

    // MARK: What is left of a process that was killed

    private static func staging(of location: FilePath) -> FilePath {
        let name = location.lastComponent.map { FilePath(root: nil, [$0]).bytes } ?? []
        return location.removingLastComponent().pushing(FilePath(bytes: [UInt8(ascii: ".")] + name + suffix))
    }

    private static func overlay(in staging: FilePath, of location: FilePath) -> FilePath {
        let name = FilePath(root: nil, location.components.suffix(1)).bytes + Array(".overlay.qcow2".utf8)
        return staging.pushing(FilePath(bytes: name))
    }

    /// Whether what is in the folder has begun to go into the image.
    /// `ifBusy`: where a program is at work there.
    private static func isBegun(_ staging: FilePath, of location: FilePath, ifBusy: Bool) -> Bool {
        let overlay = overlay(in: staging, of: location)
        guard (try? FileStatus(at: overlay, followingLinks: false)) != nil else { return false }
        do throws(ImageError) {
            return try OverlayFile(at: overlay, takesLocks: false).isPartlyInBase
        } catch {
            // What is not known may be so.
            return error.code == .system(errno: EBUSY) ? ifBusy : true
        }
    }

    /// Throws where a change of the image at `location` was interrupted while it went into it: the image is a mixture.
    static func checkWhole(_ location: FilePath) throws(ImageError) {
        let staging = staging(of: location)
        guard (try? FileStatus(at: staging, followingLinks: false)) != nil,
            isBegun(staging, of: location, ifBusy: false)
        else {
            return
        }
        let overlay = overlay(in: staging, of: location)
        throw ImageError(
            .system(errno: EBUSY), path: location.text,
            "a change of its files was interrupted while it was stored, and the rest of it is in \(path: overlay.text)",
            hint:
                "'rblock commit --allow-path \(shellWord(location.removingLastComponent().text)) \(shellWord(overlay.text))' stores that"
        )
    }

    /// Removes what an earlier process left that has changed nothing of the image.
    private static func removeStaging(_ staging: FilePath, of location: FilePath) throws(ImageError) {
        guard let found = try? FileStatus(at: staging, followingLinks: false) else { return }
        guard found.kind == .folder else {
            throw ImageError(
                .denied, path: staging.text, "is \(found.kind.text), and must not be there", hint: "move it away")
        }
        try checkWhole(location)
        // Another process may be at work: its folder is locked.
        _ = try OverlayFolder(
            at: staging, for: [.init(only: location)],
            settings: OverlaySettings())
        do { try remove(staging, of: location) } catch {
            throw ImageError(
                .system(errno: (error as? Errno)?.rawValue ?? EIO), path: staging.text,
                "is left of an earlier process, and cannot be removed: \(error)")
        }
    }

    /// Removes the folder `staging` with the overlay in it. What else is in it stays, and then the folder does.
    private static func remove(_ staging: FilePath, of location: FilePath) throws {
        let name = FilePath(root: nil, location.components.suffix(1)).bytes
        for entry in try FolderListing(staging).entries where entry.kind == .file {
            // An overlay that is being made is called so, with something before it and after it.
            let isOurs = [name, Array(".overlay.qcow2".utf8)].allSatisfy { part in
                entry.name.indices.contains { entry.name[$0...].starts(with: part) }
            }
            guard isOurs else { continue }
            unsafe try call(staging.pushing(FilePath(bytes: entry.name))) { unsafe unlink($0) }
        }
        unsafe try call(staging) { unsafe rmdir($0) }
    }

    private static func call(_ path: FilePath, _ work: (UnsafePointer<CChar>) -> CInt) throws(Errno) {
        // Safe: the string ends in NUL and is there during the call.
        guard unsafe path.withPlatformString({ unsafe work($0) }) == 0 || errno == ENOENT else {
            throw Errno(rawValue: errno)
        }
    }
}
