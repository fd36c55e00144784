import BlockImage
import FormatCore
import Glibc
import HostStorage
import ImageFormats
import QCOW2
import Synchronization
import SystemPackage

/// What is written over one image: a QCOW2 overlay, which is made when something is written for the first time. Every method
/// may be called from any thread.
public final class OverlayDisk: Sendable {
    /// What was done, since the process began.
    public struct Counters: Hashable, Sendable {
        public var writes: UInt64 = 0
        public var bytesWritten: UInt64 = 0
        public var zeroings: UInt64 = 0
        public var bytesZeroed: UInt64 = 0
        public var flushes: UInt64 = 0
    }

    /// An overlay that is open.
    struct Open: Sendable {
        let layer: WritableQCOW2
        let file: LocalWritableFile
        /// What it was made over.
        let base: BaseIdentity
    }

    private struct State {
        var open: Open?
        var modified: FileTime?
        /// When something was changed last; nil: not since `modified` was noted.
        var unnotedChange: ContinuousClock.Instant?
        var counters = Counters()
        /// When something was changed last; nil: not since all was written back.
        var changedAt: ContinuousClock.Instant?
        /// Since when there is something that was not written back.
        var unwrittenSince: ContinuousClock.Instant?
        var isWritingBack = false
        /// What went wrong when it was written back last.
        var fault: ImageError?
    }

    /// Where the overlay is, or will be.
    public let location: FilePath
    /// The folder of overlays.
    private let folder: FolderLock
    private let isFree: Bool
    /// How it is written over.
    let settings: OverlaySettings
    private let state = Guarded(State())
    /// Held while the overlay is opened or made.
    private let opening = Guarded(())
    /// The same layer as in `state`, for reads.
    private let written = OnceReference<WritableQCOW2>()
    private let writeCount = Atomic<UInt64>(0)
    private let byteCount = Atomic<UInt64>(0)
    /// Whether that it cannot be written to is worth a message: a full disk has every request of a guest fail.
    package let failureNotice = SeldomNotice()

    /// `isFree`: whether no other image has its overlay there.
    init(at location: FilePath, in folder: FolderLock, isFree: Bool, settings: OverlaySettings) {
        self.location = location
        self.folder = folder
        self.isFree = isFree
        self.settings = settings
    }

    /// What was written; nil: nothing yet.
    var layer: WritableQCOW2? { written.load() }

    /// Whether something was written, now or before; costs next to nothing.
    public var isThere: Bool { layer != nil }

    /// A number that another one follows whenever something was changed.
    public var changeCount: UInt64 {
        let counters = counters
        return counters.writes &+ counters.zeroings
    }

    /// The bytes that the overlay takes on the host; nil where there is none.
    public var allocatedSize: UInt64? {
        // The host may not answer, and the lock is for all.
        let file = state.withLock { $0.open?.file }
        return file?.allocatedSize
    }

    /// Whether something was written that may be in the memory of this process only.
    public var isDirty: Bool { state.withLock { $0.changedAt != nil } }

    /// What was done.
    public var counters: Counters {
        var counters = state.withLock { $0.counters }
        counters.writes = writeCount.load(ordering: .relaxed)
        counters.bytesWritten = byteCount.load(ordering: .relaxed)
        return counters
    }

    /// Opens the overlay over `base`, if there is one.
    ///
    /// Throws `corrupt` where it was made over something else, or the base was changed since, unless `ignoresChanges`; and
    /// why it cannot be written to.
    func open(over base: OverlayBase, ignoresChanges: Bool) throws(ImageError) {
        guard isFree else {
            throw ImageError(
                .denied, path: location.text, "is the overlay of another image of the same name",
                hint: "one of both must be written to under another name, or with another folder")
        }
        try opening.withLock { _ throws(ImageError) in
            if let open = state.withLock({ $0.open }) {
                try check(open.base, against: base, ignoresChanges: ignoresChanges)
                return
            }
            guard try folder.status(of: location) != nil else { return }
            if settings.takesLocks { try base.lock() }
            _ = try load(over: base, ignoresChanges: ignoresChanges)
        }
    }

    /// The layer that is written to: made where there is none.
    func layer(over base: OverlayBase) throws(ImageError) -> WritableQCOW2 {
        if let layer { return layer }
        return try opening.withLock { _ throws(ImageError) in
            if let layer { return layer }
            try base.checkCanHaveOverlay(settings, isNew: true)
            if settings.takesLocks { try base.lock() }
            // It may be there already, of a try whose end failed.
            let isNew = try folder.status(of: location) == nil
            if isNew { try make(over: base) }
            return try load(over: base, ignoresChanges: false, isNew: isNew).layer
        }
    }

    /// Makes an overlay of which nothing is written yet: it has its name only when it is complete, and on the disk.
    private func make(over base: OverlayBase) throws(ImageError) {
        if let gone = base.image.files.first(where: { !$0.isCurrent }) {
            throw ImageError(
                .system(errno: EIO), path: gone.path,
                "was moved, replaced or written to: nothing is written over it any more")
        }
        var missing: [FilePath] = []
        var parent = location.removingLastComponent()
        while parent != folder.location, try folder.status(of: parent) == nil {
            missing.append(parent)
            parent = parent.removingLastComponent()
        }
        for folder in missing.reversed() { try OverlayFolder.makeFolder(folder) }
        var image = settings.image(size: base.image.virtualSize)
        image.backing = try base.backing(of: location)
        image.baseIdentity = try BaseIdentity(of: base.layers).bytes
        var options = DestinationOptions()
        options.what = "overlay"
        options.sources = Set(base.image.files.flatMap(\.identities))
        let destination = try FolderDestination(at: location, options)
        try QCOW2Writer(image, in: destination.file(named: destination.imageName)).finish()
        try destination.place()
    }

    /// Opens the overlay. `isNew`: it was made just now.
    private func load(over base: OverlayBase, ignoresChanges: Bool, isNew: Bool = false) throws(ImageError) -> Open {
        let file = try LocalWritableFile(at: location)
        // Without links that came meanwhile.
        guard try folder.status(of: location)?.identity == file.identity else {
            throw ImageError(
                .system(errno: Errno.staleNFSFileHandle.rawValue), path: location.text, "was replaced meanwhile")
        }
        // Nothing is in it yet: what will be is for those alone that the image is for.
        if isNew { try file.setPermissions(asOf: base.image.files.first?.descriptor) }
        if settings.takesLocks { try file.lock() }
        let description = try QCOW2Description(file)
        if let refusal = description.refusal { throw refusal }
        guard let stored = description.extensions.baseIdentity, var identity = BaseIdentity(parsing: stored) else {
            throw ImageError(
                .denied, path: location.text,
                "is no overlay of this program, and stands where that of this image belongs",
                hint: "move it away")
        }
        try check(identity, against: base, ignoresChanges: ignoresChanges)
        if identity.isBeingCommitted, !ignoresChanges {
            // As far as can be seen that commit has written nothing to the image; `isPartlyInBase` stays.
            identity.isBeingCommitted = false
            try description.replaceBaseIdentity(with: identity.bytes, in: file)
        }
        guard description.header.virtualSize >= base.image.virtualSize else {
            throw ImageError(
                .corrupt, path: location.text,
                "has \(counted(description.header.virtualSize, "byte")), and the image under it \(base.image.virtualSize)"
            )
        }
        let layer = try WritableQCOW2(
            description, file: file, below: base.image, resources: LayerResources(cacheSize: 1 << 20))
        let open = Open(layer: layer, file: file, base: identity)
        state.withLock { ($0.open, $0.modified) = (open, file.modified) }
        _ = written.storeIfNil(layer)
        return open
    }

    private func check(_ made: BaseIdentity, against base: OverlayBase, ignoresChanges: Bool) throws(ImageError) {
        guard !ignoresChanges else { return }
        let hint = "--ignore-parent-id uses it all the same"
        switch try made.state(over: base.layers) {
        case .unchanged: return
        case .committing:
            throw ImageError(
                .corrupt, path: location.text,
                "'rblock commit' has written a part of it to the image under it, and did not come to its end: do that again, "
                    + "nothing is lost", hint: hint)
        case .changed(let change):
            throw ImageError(
                .corrupt, path: location.text,
                "\(change.fault): both together are no disk. Put it back as it was, or move the overlay away",
                hint: change.hint.map { "\($0); \(hint)" } ?? hint)
        }
    }

    /// Has the disk hold `bytes` at `start`.
    func write(_ bytes: RawSpan, at start: GuestOffset, over base: OverlayBase) throws(ImageError) {
        let layer = try layer(over: base)
        // Before it, since a flush may see it, and after it, since one may not.
        noteChange()
        defer {
            noteChange()
            writeCount.add(1, ordering: .relaxed)
        }
        try layer.write(bytes, at: start)
        byteCount.add(UInt64(bytes.byteCount), ordering: .relaxed)
    }

    /// Has the `count` bytes at `start` read as zeros; `mayUnmap`: their space is given back.
    func zero(_ count: UInt64, at start: GuestOffset, mayUnmap: Bool, over base: OverlayBase) throws(ImageError) {
        let layer = try layer(over: base)
        noteChange()
        defer { noteZeroing(count) }
        try layer.zero(count, at: start, mayUnmap: mayUnmap)
    }

    /// Gives back the space of the `count` bytes at `start`, as far as that needs nothing to be written: those read as zeros.
    func discard(_ count: UInt64, at start: GuestOffset, over base: OverlayBase) throws(ImageError) {
        let layer = try layer(over: base)
        noteChange()
        defer { noteZeroing(count) }
        try layer.discard(count, at: start)
    }

    private func noteZeroing(_ count: UInt64) {
        noteChange()
        state.withLock { state in
            state.counters.zeroings += 1
            state.counters.bytesZeroed &+= count
        }
    }

    /// Returns when all that was written before the call is on stable storage.
    public func flush() throws(ImageError) {
        guard let layer else { return }
        let begin = ContinuousClock.now
        try layer.flush()
        try checkIsThere()
        state.withLock { state in
            state.counters.flushes += 1
        }
        noteWritten(before: begin)
    }

    private func noteChange() {
        let now = ContinuousClock.now
        state.withLock { state in
            (state.changedAt, state.unnotedChange) = (now, now)
            state.unwrittenSince = state.unwrittenSince ?? now
        }
    }

    /// How long nothing is written before what is in memory only is written back, and how long that is put off at most.
    private static let idleTime = Duration.milliseconds(300)
    private static let longestTime = Duration.milliseconds(700)

    /// Takes up writing back, where it is time for that and it is not under way: `writeBack` must follow.
    func beginWriteBack() -> Bool {
        let now = ContinuousClock.now
        return state.withLock { state in
            func isPast(_ time: ContinuousClock.Instant?, _ patience: Duration) -> Bool {
                time.map { $0.duration(to: now) > patience } ?? false
            }
            guard !state.isWritingBack,
                isPast(state.unnotedChange, Self.idleTime) || isPast(state.unwrittenSince, Self.longestTime)
            else { return false }
            state.isWritingBack = true
            return true
        }
    }

    /// Has the file hold all that was written. Throws what went wrong, once where it goes wrong in the same way again.
    package func writeBack() throws(ImageError) {
        let begin = ContinuousClock.now
        defer { state.withLock { $0.isWritingBack = false } }
        guard let layer else { return }
        do throws(ImageError) {
            try layer.writeBack()
            try checkIsThere()
            noteWritten(before: begin)
            let change = state.withLock { state in
                state.fault = nil
                return state.unnotedChange
            }
            if let change, change.duration(to: begin) > Self.idleTime { noteModified() }
        } catch {
            let isNew = state.withLock { state in
                defer { state.fault = error }
                return state.fault != error
            }
            if isNew { throw error }
        }
    }

    /// All that was changed before `time` is in the file.
    private func noteWritten(before time: ContinuousClock.Instant) {
        state.withLock { state in
            guard let changed = state.changedAt else { return }
            (state.changedAt, state.unwrittenSince) = changed < time ? (nil, nil) : (changed, time)
        }
    }

    /// Flushes, and leaves the file as one that was closed.
    func close() throws(ImageError) {
        guard let layer else { return }
        let begin = ContinuousClock.now
        try layer.close()
        try checkIsThere()
        noteWritten(before: begin)
    }

    /// Throws `system` with EIO where the file has lost its name: the next server would not find what was written.
    private func checkIsThere() throws(ImageError) {
        guard let file = state.withLock({ $0.open?.file }),
            try folder.status(of: location)?.identity != file.identity
        else { return }
        throw ImageError(
            .system(errno: EIO), path: location.text,
            "was moved or removed, and has what was written: without it, that is lost when the server ends",
            hint: "put it back; or copy the disk from the mount, and then 'rblock unmount --lazy' ends that")
    }

    /// When something was written to the overlay last, as of `noteModified`; nil where there is none.
    public var modified: FileTime? { state.withLock { $0.modified } }

    /// Has `modified` be what the overlay's file says now. Not after each write: the kernel forgets all pages of a file whose time
    /// has changed.
    public func noteModified() {
        let (open, change) = state.withLock { ($0.open, $0.unnotedChange) }
        // The host may not answer, and the lock is for all.
        guard change != nil, let time = open?.file.modifiedNow else { return }
        state.withLock { state in
            // Another thread may have noted a later time.
            guard state.unnotedChange != nil else { return }
            state.modified = time
            if state.unnotedChange == change { state.unnotedChange = nil }
        }
    }
}
