import BlockImage
import Dispatch
import Glibc
import HostStorage
import SystemPackage

/// A folder with the overlays of the images of another: what is written to their disks goes there. One process at a time has
/// it. Every method may be called from any thread.
public final class OverlayFolder: Sendable {
    /// Images that are written over: those of a folder, or one that is in it.
    public struct Images: Sendable {
        fileprivate let folder: FilePath
        fileprivate let place: FilePath
        fileprivate let only: FilePath?

        /// Those of `folder`, canonical, whose overlays go to the folder `place` below that of all.
        public init(of folder: FilePath, in place: FilePath = "") {
            (self.folder, self.place, only) = (folder, place, nil)
        }

        /// The image, or the container of images, at `location`.
        public init(only location: FilePath) {
            (folder, place, only) = (location.removingLastComponent(), "", location)
        }

        fileprivate func has(_ location: FilePath) -> Bool { location.starts(with: only ?? folder) }
    }

    private struct State {
        var disks: [FilePath: OverlayDisk] = [:]
        /// Where the overlays of these are.
        var places: Set<FilePath> = []
    }

    /// What comes after the name of an image in that of its overlay.
    static let suffix = Array(".overlay.qcow2".utf8)

    /// Where it is, without links.
    public var location: FilePath { lock.location }
    private let images: [Images]
    private let settings: OverlaySettings
    private let lock: FolderLock
    private let state = Guarded(State())

    /// The folder `path`, which is made where there is none, for the images of the folder `images`, or for the one image
    /// `image` of it. `images` is canonical.
    ///
    /// Throws `denied` where one of the folders lies in the other, which would make overlays be images, and where another
    /// process has it; and `system` where it cannot be made, or opened.
    public convenience init(
        at path: FilePath, for images: FilePath, isForOne: Bool, settings: OverlaySettings
    ) throws(ImageError) {
        try self.init(at: path, for: isForOne ? [] : [Images(of: images)], settings: settings)
    }

    /// The same, for `images` of several folders.
    public init(at path: FilePath, for images: [Images], settings: OverlaySettings) throws(ImageError) {
        self.settings = settings
        let isThere = (try? FileStatus(at: path)) != nil
        let found = isThere ? try canonical(path) : try Self.place(ofNew: path)
        for folder in images.filter({ $0.only == nil }).map(\.folder)
        where found.starts(with: folder) || folder.starts(with: found) {
            throw ImageError(
                .denied, path: path.text,
                "overlays and images must be in folders apart, and \(path: folder.text) is "
                    + (found == folder ? "the same" : found.starts(with: folder) ? "around it" : "in it"),
                hint: "name another folder")
        }
        if !isThere { try Self.makeFolder(found) }
        lock = try FolderLock(found, for: .server)
        self.images = images
    }

    /// The overlay `file` alone, which may be there or will be made, of the one image at `image`, canonical. Other programs may work
    /// at other overlays of its folder, which must be there.
    public init(ofFile file: FilePath, over image: FilePath, settings: OverlaySettings) throws(ImageError) {
        (self.settings, images) = (settings, [Images(only: image)])
        let place = try Self.place(ofNew: file)
        lock = try FolderLock(place.removingLastComponent(), for: .tool)
        let disk = OverlayDisk(at: place, in: lock, isFree: true, settings: settings)
        state.withLock { $0.disks[image] = disk }
    }

    /// Throws `system` where this process may make no overlays, as one that has become another user.
    public func checkWritable() throws(ImageError) { try lock.checkWritable() }

    /// What is written over the image at `location`, which is one of those that this is for. Of two images whose overlays would
    /// have one name, the second cannot be used.
    public func disk(over location: FilePath) -> OverlayDisk {
        state.withLock { state in
            if let known = state.disks[location] { return known }
            let place = FilePath(bytes: self.location.pushing(name(of: location)).bytes + Self.suffix)
            let isFree = state.places.insert(place).inserted
            let disk = OverlayDisk(at: place, in: lock, isFree: isFree, settings: settings)
            state.disks[location] = disk
            return disk
        }
    }

    /// The name of the image at `location`, below the folder that is nearest to it; one that is meant alone has its own.
    private func name(of location: FilePath) -> FilePath {
        let found = images.filter { $0.has(location) }
        var name = location
        let nearest = found.first { $0.only != nil } ?? found.max { $0.folder.length < $1.folder.length }
        guard let nearest, name.removePrefix(nearest.folder) else {
            return FilePath(root: nil, location.components.suffix(1))
        }
        return nearest.place.pushing(name)
    }

    /// Has every overlay to which nothing was written for a moment, or something was a while ago, hold all of it, soon; those whose files do not answer keep none of the
    /// others waiting. `report` gets what went wrong, on any thread.
    public func writeBack(_ report: @escaping @Sendable (ImageError) -> Void) {
        for disk in state.withLock({ Array($0.disks.values) }) where disk.beginWriteBack() {
            DispatchQueue(label: "overlay").async {
                do throws(ImageError) { try disk.writeBack() } catch { report(error) }
            }
        }
    }

    /// Flushes and closes all overlays; ends when none is done for as long as `patience`. Answers why what was written to some of them may
    /// be lost.
    public func close(patience: Duration = .seconds(300)) -> [ImageError] {
        onAll(patience) { disk throws(ImageError) in try disk.close() }
    }

    /// Returns when all that was written to any overlay before the call is on stable storage, or none was flushed for as long as
    /// `patience`. Answers of which that is not known, and why.
    public func flush(patience: Duration = .seconds(300)) -> [ImageError] {
        onAll(patience) { disk throws(ImageError) in try disk.flush() }
    }

    /// Does `work` with all overlays at once; ends when none is through for as long as `patience`. Answers what it throws.
    private func onAll(
        _ patience: Duration, _ work: @escaping @Sendable (OverlayDisk) throws(ImageError) -> Void
    ) -> [ImageError] {
        let disks = state.withLock { Array($0.disks.values) }
        let results = Guarded<[FilePath: ImageError?]>([:])
        let group = DispatchGroup()
        for disk in disks {
            // Its disk may not answer: it waits on a thread of its own.
            DispatchQueue(label: "overlay").async(group: group) {
                var fault: ImageError?
                do throws(ImageError) { try work(disk) } catch { fault = error }
                results.withLock { $0[disk.location] = .some(fault) }
            }
        }
        var done = -1
        // Many may take long together.
        while results.withLock({ $0.count }) > done {
            done = results.withLock { $0.count }
            if group.wait(timeout: .now() + Double(patience.components.seconds)) == .success { break }
        }
        return results.withLock { results in
            disks.compactMap { disk in
                results[disk.location]
                    ?? ImageError(.system(errno: ETIMEDOUT), path: disk.location.text, "does not answer")
            }
        }
    }

    /// Where a folder or file `path`, which is not there, will be.
    private static func place(ofNew path: FilePath) throws(ImageError) -> FilePath {
        guard let name = path.lastComponent, name.kind == .regular else {
            throw ImageError(.system(errno: ENOENT), path: path.text, "there is no such folder")
        }
        let parent = path.removingLastComponent()
        return try canonical(parent.isEmpty ? "." : parent).appending(name)
    }

    /// Makes the folder `path`; the one that it is in must be there.
    static func makeFolder(_ path: FilePath) throws(ImageError) {
        // Safe: the string ends in NUL.
        guard unsafe path.withPlatformString({ unsafe mkdir($0, 0o777) }) == 0 || errno == EEXIST else {
            let error = Errno(rawValue: errno)
            throw ImageError(.system(errno: error.rawValue), path: path.text, "make the folder: \(error)")
        }
        // A power cut must not take it away with what is in it.
        guard
            let parent = try? FileDescriptor.open(
                path.removingLastComponent(), .readOnly, options: [.directory, .closeOnExec])
        else { return }
        fsync(parent.rawValue)
        try? parent.close()
    }
}
