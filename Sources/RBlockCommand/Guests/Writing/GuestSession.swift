import BlockImage
import Catalog
import FormatCore
import Glibc
import GuestFiles
import GuestKernel
import HostStorage
import ImageFormats
import SystemPackage

/// The changing of files of the guests on one image: by a kernel that has its file systems mounted, and in such a way that the image
/// has all of it in the end, or nothing. For use by one thread.
final class GuestSession {
    /// The image, as it was named.
    let image: String
    /// The overlay that has what was changed; nil: the image has.
    var overlay: String? { target.overlay?.text }
    /// Whether nothing was changed, so that there is nothing to store.
    var isUnchanged = false
    private let target: GuestTarget
    private let helper = KernelHelper(isWritable: true)
    private var volumes: [GuestVolume] = []
    private var trees: [GuestPlace.Selector: GuestTree] = [:]

    private init(_ image: String, _ guest: GuestOptions, _ writing: WritingOptions) throws {
        self.image = image
        let named = try guest.options.image(image)
        guard named.place == DiskPlace() else {
            throw Failure("\(image): only files of the disk that the image has itself are changed", status: 64)
        }
        target = try GuestTarget(named, writing)
    }

    /// Looks for its file systems. Throws why the disk cannot be read.
    private func look() throws(ImageError) {
        guard let opened = target.opened else { return }
        _ = try opened.disk.result.get()
        volumes = ImageDisks(of: opened).guestVolumes(of: nil, helper: helper)
    }

    /// Whether it is that of the image that is called `name`.
    func isOf(_ name: String) -> Bool {
        func identity(_ name: String) -> FileIdentity? { (try? FileStatus(at: FilePath(text: name)))?.identity }
        return name == image || identity(name).map { $0 == identity(image) } ?? false
    }

    /// The files that `selector` means.
    func tree(_ selector: GuestPlace.Selector) throws(ImageError) -> GuestTree {
        if let known = trees[selector] { return known }
        let tree = try GuestTree(selector, of: volumes, image: image)
        trees[selector] = tree
        return tree
    }

    /// Has `body` change files of the guest on `image`, and stores that. Throws what `body` throws; then nothing of it is stored,
    /// unless an overlay was named, which has a part.
    static func change<Result>(
        _ image: String, _ guest: GuestOptions, _ writing: WritingOptions, _ body: (GuestSession) throws -> Result
    ) throws -> Result {
        let session = try GuestSession(image, guest, writing)
        do {
            try session.look()
            let result = try body(session)
            session.forget()
            guard !session.isUnchanged else {
                session.helper.kill()
                session.target.abandon()
                return result
            }
            try session.helper.end()
            try session.store()
            return result
        } catch let fault as StoreFault {
            // Where it was not begun, the image is as it was.
            session.target.abandon()
            throw fault.error
        } catch {
            session.forget()
            session.helper.kill()
            session.target.abandon()
            throw said(error, session)
        }
    }

    /// What went wrong while the image got what was changed: what it says of that is all there is to say.
    private struct StoreFault: Error {
        let error: ImageError
    }

    /// Has the image have what was changed. What asks this process to end is not heeded for that long.
    private func store() throws(StoreFault) {
        let bar = ProgressBar("store in \(image)")
        for number in [SIGINT, SIGTERM, SIGHUP] { signal(number, SIG_IGN) }
        do throws(ImageError) {
            try target.finish { _ in bar.update(part: 0) }
        } catch {
            throw StoreFault(error: error)
        }
    }

    /// `error`, with what it left.
    private static func said(_ error: any Error, _ session: GuestSession) -> any Error {
        let fault = (error as? GuestImport.WriteFault)?.error ?? error
        let rest =
            session.overlay.map { "\($0) has a part of what was to be changed" }
            ?? "\(session.image) is as it was, and nothing was changed"
        switch fault {
        case let fault as Failure: return Failure("\(fault.message); \(rest)", status: fault.status, code: fault.code)
        case var fault as ImageError:
            fault.hint = fault.hint ?? rest
            return fault
        default: return fault
        }
    }

    /// Forgets all that uses the disk.
    private func forget() { (trees, volumes) = ([:], []) }
}
