import BlockImage
import HostStorage
import ImageFormats
import Synchronization
import SystemPackage

/// How the images of a mount are opened.
struct ImageSource: Sendable {
    var policy: ConfinedOpenPolicy
    var opener: ImageOpener
}

/// What happened to an image through the mount, since it was mounted.
final class MountCounters: Sendable {
    /// How often `disk.raw` was opened.
    let opens = Atomic<UInt64>(0)
    /// How many reads of `disk.raw` the kernel asked for.
    let reads = Atomic<UInt64>(0)
    /// How many bytes they gave.
    let bytesRead = Atomic<UInt64>(0)
    /// How many of them failed.
    let readErrors = Atomic<UInt64>(0)
    /// What the layers count.
    let layers = ReadCounters()
}

/// One image of the mount, opened when it is first looked into. Every method may be called from any thread.
final class ImageNode: Sendable {
    /// How long a failure to open stands before it is tried again: long enough for one `ls`, short for a person who
    /// has just put the missing file there.
    private static let failureLifetime = Duration.seconds(1)

    private struct State {
        var opened: OpenedImage?
        var openedAt = ContinuousClock.now
        var handles = 0
        /// The files that what the kernel has cached of the disk was read from.
        var cached: [FileStamp]?
    }

    let member: ImageFolder.Member
    let counters = MountCounters()
    private let source: ImageSource
    private let state = Guarded(State())

    init(_ member: ImageFolder.Member, from source: ImageSource) {
        self.member = member
        self.source = source
    }

    /// The image: the one that is open, unless a file of it has changed since and nobody reads it.
    func opened() -> OpenedImage {
        state.withLock { opened(&$0) }
    }

    /// Opens the disk for a reader, who must call `closeDisk` in the end; `keepsCache`: whether what the kernel cached
    /// at an earlier opening is of the same content. Throws why there is no disk.
    func openDisk() throws(ImageError) -> (image: Image, keepsCache: Bool) {
        let (result, keepsCache) = state.withLock { state in
            let opened = opened(&state)
            guard opened.error == nil else { return (opened.result, false) }
            state.handles += 1
            let stamp = opened.stamp
            defer { state.cached = stamp }
            return (opened.result, state.cached == stamp)
        }
        let image = try result.get()
        counters.opens.add(1, ordering: .relaxed)
        return (image, keepsCache)
    }

    /// A reader is done.
    func closeDisk() {
        state.withLock { $0.handles -= 1 }
    }

    /// Closes the image's files unless somebody reads it, and answers whether they are closed.
    func closeIfIdle() -> Bool {
        state.withLock { state in
            guard state.handles == 0 else { return false }
            state.opened = nil
            return true
        }
    }

    private func opened(_ state: inout State) -> OpenedImage {
        if let opened = state.opened {
            if state.handles > 0 { return opened }
            let isFresh = state.openedAt.duration(to: .now) < Self.failureLifetime
            if opened.error == nil ? opened.isCurrent : isFresh { return opened }
        }
        let opened = open()
        state.opened = opened
        state.openedAt = .now
        return opened
    }

    private func open() -> OpenedImage {
        do throws(ImageError) {
            let file = try source.policy.openImage(at: member.location)
            return source.opener.open(file, as: member.format, counters: counters.layers)
        } catch {
            return OpenedImage(failure: error)
        }
    }
}

/// Keeps the number of open images within bounds: a mount of 10,000 images must not need 10,000 descriptors because
/// somebody ran `find` on it.
final class OpenImages: Sendable {
    private let limit: Int
    private let nodes = Guarded<[ObjectIdentifier: ImageNode]>([:])

    /// Lets `limit` images stay open that nobody reads.
    init(limit: Int) {
        self.limit = limit
    }

    /// `node` was opened; others that nobody reads are closed if there are too many. Must not be called by a node.
    func note(_ node: ImageNode) {
        nodes.withLock { nodes in
            nodes[ObjectIdentifier(node)] = node
            guard nodes.count > limit else { return }
            // All that are idle but this one: closing one by one would look through all at every opening.
            nodes = nodes.filter { $0.value === node || !$0.value.closeIfIdle() }
        }
    }
}
