import BlockImage
import Catalog
import Fuse
import Glibc
import HostStorage
import ImageFormats
import KernelMap
import Logging

/// What the kernel may read by itself, without asking this process: `--kernel-path`.
package enum KernelPath: String, CaseIterable, Sendable {
    /// As much as it can, and as this process may have it do.
    case auto
    /// Nothing.
    case off
    /// As `auto`; there is no mount where the kernel, or the rights of this process, allow nothing.
    case require
    /// As `auto`, and disks that lie in files in pieces, by maps of where these are.
    case map

    /// What is said where this process has not the rights for anything.
    package static let missingRights =
        "this process may not use FUSE passthrough: it needs CAP_SYS_ADMIN, which root has without --drop-privileges "
        + "and --user"
}

/// The way on which the kernel gets the bytes of one disk, for all who have it open at the same time: with FUSE, a file is
/// open in one way only.
final class DiskPath: Sendable {
    /// The ways, as `stats.json` names them.
    enum Kind: String, Encodable {
        /// The kernel reads the image's file.
        case passthrough
        /// It reads the image's files by a map of the disk.
        case map
        /// It asks this process for every read.
        case server
    }

    /// The file that the kernel reads by itself; nil: there is none.
    let backing: BackingFile?
    /// Why it is no better way; nil where there is none.
    let reason: ErrorText?

    let kind: Kind

    fileprivate init(through backing: BackingFile) {
        self.backing = backing
        kind = .passthrough
        reason = nil
    }

    /// `backing` is the file of a map; `reason`: why the disk is not read from one file.
    fileprivate init(byMap backing: BackingFile, because reason: ErrorText) {
        self.backing = backing
        kind = .map
        self.reason = reason
    }

    fileprivate init(because reason: ErrorText) {
        backing = nil
        kind = .server
        self.reason = reason
    }
}

/// What a way is asked for.
enum PathUse {
    /// The disk is opened.
    case opening
    /// It is opened to be read past the page cache.
    case openingPastCache
    /// It is described: no map is made, and no reader is bound to what is answered.
    case describing
}

/// Decides on the ways of all disks of a mount. Every method may be called from any thread.
final class KernelPaths: Sendable {
    private struct State {
        var passthrough: Passthrough?
        /// Why the kernel reads no disk of the mount by itself; the outer nil: not known yet.
        var refusal: (error: ErrorNumber, text: ErrorText)??
    }

    /// What was asked for.
    let setting: KernelPath
    let logger: Logger
    /// Of all images of the mount.
    let maps = MapBudget(limit: 256)
    private let state = Guarded(State())

    init(_ setting: KernelPath, logger: Logger) {
        self.setting = setting
        self.logger = logger
    }

    /// Whether disks are mapped that lie in files in pieces.
    var makesMaps: Bool { setting == .map && refusal == nil }

    /// The kernel has agreed on `passthrough`.
    func start(_ passthrough: Passthrough) {
        state.withLock { $0.passthrough = passthrough }
    }

    /// Why the kernel reads no disk of the mount by itself; nil: it may read some. Found out when it is first asked for, and
    /// kept: not to be asked for before this process has given up what rights it gives up.
    var refusal: (error: ErrorNumber, text: ErrorText)? {
        state.withLock { state in
            if let known = state.refusal { return known }
            let refusal = refusal(state.passthrough)
            state.refusal = .some(refusal)
            return refusal
        }
    }

    private func refusal(_ passthrough: Passthrough?) -> (error: ErrorNumber, text: ErrorText)? {
        guard setting != .off else { return (.notSupported, "--kernel-path is off") }
        guard let passthrough, passthrough.isAgreed else {
            return (
                .notSupported,
                "the kernel has no FUSE passthrough: Linux 6.9 and later have it, with CONFIG_FUSE_PASSTHROUGH"
            )
        }
        do throws(ErrorNumber) {
            try passthrough.check()
            return nil
        } catch {
            guard error.rawValue == EPERM else {
                return (error, "the kernel refuses FUSE passthrough: \(error.description)")
            }
            return (error, ErrorText(KernelPath.missingRights))
        }
    }

    /// Finds out what `path` needs to know of `disk` and may take long: it keeps the answer.
    func prepare(_ disk: OpenedDisk) {
        if refusal == nil { _ = try? disk.flatFile() }
    }

    /// The way of `disk`, which `mapped` is the map of where it is not one file; `written`: files that were written to while
    /// readers had them open.
    func path(
        of disk: OpenedDisk, mapped: Result<MappedDisk, ImageError>?, written: Set<FileIdentity>
    ) -> DiskPath {
        if let reason = reasonToAsk(for: disk, written: written) { return DiskPath(because: reason) }
        do throws(ImageError) {
            let file: any HostFile
            do throws(ImageError) {
                file = try disk.flatFile()
            } catch {
                guard let mapped else { throw error }
                return path(byMap: try mapped.get(), because: error.text)
            }
            return try file.withUntouchedDescriptor { descriptor in
                do throws(ErrorNumber) {
                    return DiskPath(through: try register(descriptor))
                } catch {
                    return DiskPath(because: Self.reason(error, file))
                }
            }
        } catch {
            return DiskPath(because: error.text)
        }
    }

    /// Why the kernel is not to read `disk` by itself, however it is stored; nil: it may.
    func reasonToAsk(for disk: OpenedDisk, written: Set<FileIdentity>) -> ErrorText? {
        refusal?.text ?? Self.mayChange(disk.image?.files ?? [], written: written)
    }

    private func path(byMap mapped: MappedDisk, because reason: ErrorText) -> DiskPath {
        do throws(ErrorNumber) {
            let path = DiskPath(byMap: try register(mapped.descriptor), because: reason)
            maps.use(mapped, by: path)
            return path
        } catch {
            return DiskPath(because: "the kernel does not read the map of the disk: \(error.description)")
        }
    }

    /// Why the kernel is not to read the disk of `files` by itself, since it does not see that one is written to: only this
    /// process refuses reads then.
    private static func mayChange(_ files: [any HostFile], written: Set<FileIdentity>) -> ErrorText? {
        for file in files {
            if !written.isDisjoint(with: file.identities) {
                return "\(path: file.path) was written to while it was open"
            }
            if file.imageLock == .writing { return "another program has \(path: file.path) open for writing" }
        }
        return nil
    }

    private func register(_ descriptor: CInt) throws(ErrorNumber) -> BackingFile {
        guard let passthrough = state.withLock({ $0.passthrough }) else { throw .notSupported }
        return try passthrough.register(descriptor)
    }

    private static func reason(_ error: ErrorNumber, _ file: any HostFile) -> ErrorText {
        error.rawValue == ELOOP
            ? "\(path: file.path) is on a file system that is stacked on others, as overlayfs is"
            : "the kernel does not read \(path: file.path) by itself: \(error.description)"
    }
}

/// The ways of the disks of one image that are open now. Every method may be called from any thread.
final class OpenPaths: Sendable {
    private struct Open {
        weak var path: DiskPath?
        /// What `path` was decided for: the image may be opened anew, and be another, when its last reader is gone and the
        /// path is not yet.
        weak var image: OpenedImage?
    }

    private let open = Guarded<[DiskID: Open]>([:])

    /// The way on which a disk of `image` is open; nil where it is not.
    func known(_ view: DiskID, in image: OpenedImage) -> DiskPath? {
        open.withLock { Self.known(view, in: image, $0) }
    }

    private static func known(_ view: DiskID, in image: OpenedImage, _ open: [DiskID: Open]) -> DiskPath? {
        guard let known = open[view], known.image === image else { return nil }
        return known.path
    }

    /// The way of a disk of `image` for one more who opens it: that on which it is open, as long as `DiskPath`s of it are kept;
    /// else what `decide` says. The kernel is done with a file before it says that it was closed.
    ///
    /// Only for a reader, for whom the image stays the same: who describes an image may have one of before, whose way would
    /// displace that of the readers.
    func path(of view: DiskID, in image: OpenedImage, else decide: () -> DiskPath) -> DiskPath {
        open.withLock { open in
            if let known = Self.known(view, in: image, open) { return known }
            let path = decide()
            open = open.filter { $0.value.path != nil }
            open[view] = Open(path: path, image: image)
            return path
        }
    }
}
