import BlockImage
import Catalog
import FormatCore
import Fuse
import HostStorage
import ImageFormats
import SystemPackage

/// A container of disks in the mount, as an appliance (`.ova`) is, opened when it is first looked into: a folder with a folder for each disk in it.
/// Every method may be called from any thread.
final class ContainerNode: Entry, Closable {
    /// How long a failure to open stands before it is tried again, as for images.
    private static let failureLifetime = Duration.seconds(1)

    private struct State {
        var opened: Result<any DiskContainer, ImageError>?
        var openedAt = ContinuousClock.now
        /// The state of the archive that `disks` belong to.
        var stamp: FileStamp?
        var disks: [(name: [UInt8], node: ImageNode)] = []
    }

    private let id: EntryNumber
    var number: UInt64 { id.value }
    let location: FilePath
    let format: ContainerFormat
    /// Bounds the threads that serve it and its disks, which are all in one file.
    let gate: RequestGate? = RequestGate()
    private let source: ImageSource
    private let state = Guarded(State())

    init(at location: FilePath, as format: ContainerFormat, from source: ImageSource) {
        self.format = format
        id = source.numbers.next()
        self.location = location
        self.source = source
    }

    deinit {
        letGo()
    }

    /// What is in the archive, or why it cannot be read.
    func opened() -> Result<any DiskContainer, ImageError> {
        refreshed { _, opened in opened }
    }

    var kind: FileKind { .directory }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        NodeStatus(ofDirectoryFor: location)
    }

    /// Its disks, under the names of their folders.
    func children(in mount: ImageFileSystem) -> [NamedNode] {
        defer { mount.openImages.note(self) }
        let disks = refreshed { state, _ in state.disks }
        return [(NodeName.stats, ContainerStats(container: self))] + disks.map { ($0.name, $0.node) }
    }

    /// Lets go of the archive; the images in it that are open hold it themselves.
    func closeIfIdle() -> Bool {
        state.withLockIfAvailable { state in
            state.opened = nil
            return true
        } ?? false
    }

    /// The archive has lost its name.
    func letGo() {
        let disks = state.withLockIfAvailable { state in
            defer { state = State() }
            return state.disks
        }
        for (_, node) in disks ?? [] { node.letGo() }
    }

    /// What `work` answers of the archive as it is now, and of what came of opening it.
    private func refreshed<Answer>(_ work: (State, Result<any DiskContainer, ImageError>) -> Answer) -> Answer {
        let (answer, gone) = state.withLock { state in
            let known = state.disks
            let opened = opened(&state)
            let isSame = known.first?.node === state.disks.first?.node
            return (work(state, opened), isSame ? [] : known)
        }
        // Not under the lock: closing an image may take long, and the archive is looked into meanwhile.
        for (_, node) in gone { node.letGo() }
        return answer
    }

    private func opened(_ state: inout State) -> Result<any DiskContainer, ImageError> {
        switch state.opened {
        case .success(let container)? where container.file.isCurrent: return .success(container)
        case .failure(let error)? where state.openedAt.duration(to: .now) < Self.failureLifetime: return .failure(error)
        default: break
        }
        let opened: Result<any DiskContainer, ImageError>
        do throws(ImageError) {
            opened = .success(try format.open(try source.rules.policy.openImage(at: location)))
        } catch {
            opened = .failure(error)
        }
        state.opened = opened
        state.openedAt = .now
        let stamp = (try? opened.get()).map { FileStamp($0.file) }
        // The disks of an archive that is the same are the same.
        if stamp == nil || stamp != state.stamp {
            state.disks = (try? opened.get())?.disks.map { ($0.name, makeNode($0)) } ?? []
            state.stamp = stamp
        }
        return opened
    }

    private func makeNode(_ disk: ContainedDisk) -> ImageNode {
        let name = disk.name
        let format = disk.imageFormat(probesImg: source.rules.probesImg)
        let (source, container) = (self.source, self.format)
        return ImageNode(
            number: source.numbers.next(), at: location.appending(FilePath(bytes: name).components), in: location,
            format: format, gate: gate
        ) { [weak self] counters in
            guard let self else { return OpenedImage(failure: Self.gone(name, from: container)) }
            do throws(ImageError) {
                let opened = try self.opened().get()
                guard let disk = opened.disks.first(where: { $0.name == name }) else {
                    throw Self.gone(name, from: container)
                }
                let opener = source.opener.confined(to: opened.policy)
                return source.view(
                    of: opener.open(try disk.file.get(), as: format, counters: counters),
                    at: self.location.appending(FilePath(bytes: name).components), isFile: false)
            } catch {
                return OpenedImage(failure: error)
            }
        }
    }

    private static func gone(_ name: [UInt8], from container: ContainerFormat) -> ImageError {
        ImageError(
            .system(errno: Errno.noSuchFileOrDirectory.rawValue), path: nameText(name),
            "the \(container.driver.noun) has no such disk any more")
    }
}
