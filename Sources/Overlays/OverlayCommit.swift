import BlockImage
import FormatCore
import HostStorage
import ImageFormats
import QCOW2
import SystemPackage

/// The writing of what an overlay has into the image under it.
///
/// The overlay has all of it until the image has it on stable storage, and is removed only then: at every moment both together
/// are the same disk, whatever ends the process, and the commit can be done again. From before the first change of the image on
/// the overlay says that a commit has begun, since its image is one that was changed from then on.
package struct OverlayCommit {
    /// What it came to.
    package struct Result: Sendable {
        /// The bytes that were written to the disk of the image, and those that became zeros.
        package var bytesWritten: UInt64 = 0
        package var bytesZeroed: UInt64 = 0
    }

    /// The most bytes that are read and written at once.
    private static let pieceSize = 1 << 20

    /// The image that is written to, and its format.
    package let baseLocation: FilePath
    package let baseFormat: ImageFormat
    /// The bytes of its disk.
    package let virtualSize: UInt64
    /// What there is to write; nil where that takes too long to tell.
    package var written: Allocation? { overlay.written }
    private let overlay: OverlayFile
    private let layer: WritableQCOW2
    private let target: CommitTarget

    /// The commit of `overlay`, which was opened with its chain as `opened`. Both files are locked, and nothing is changed yet.
    ///
    /// Throws why it cannot be done.
    package init(_ overlay: OverlayFile, _ opened: OpenedImage) throws(ImageError) {
        let path = overlay.location.text
        if let encrypted = opened.layers.dropFirst().first(where: \.isEncrypted) {
            throw ImageError(
                .unsupported, path: encrypted.file.path,
                "is encrypted, and what was written over it is not: nothing of that is written into it",
                hint:
                    "'rblock convert --secret IMAGE=file:KEY --allow-path DIR OVERLAY NEW-IMAGE' makes a new image of both, "
                    + "which is not encrypted")
        }
        // What is wrong with the image under it is said as a commit has it.
        if opened.disk.error != nil, opened.layers.count > 1 { try Self.checkBase(of: opened, path) }
        let image = try opened.disk.result.get()
        guard opened.layers.count > 1, opened.layers[0].file.identity == overlay.file.identity,
            let base = image.backing
        else {
            throw ImageError(.corrupt, path: path, "names no image under it")
        }
        let description = opened.layers[1]
        target = try CommitTarget(description, disk: base, takesLocks: overlay.takesLocks)
        try Self.checkBase(of: opened, path)
        layer = try overlay.layer(over: base)
        try Self.checkSize(of: layer, over: base, path)
        self.overlay = overlay
        (baseLocation, baseFormat, virtualSize) = (target.location, description.format, base.virtualSize)
    }

    /// Throws why a commit could not write to the image `opened`, which no overlay is over yet. Nothing is changed, and nothing locked.
    package static func checkTarget(_ opened: OpenedImage) throws(ImageError) {
        guard let top = opened.layers.first else { return }
        _ = try CommitTarget(top, disk: try opened.disk.result.get(), takesLocks: false)
    }

    /// Throws where the image under the overlay at `path` is not the one that it was made over.
    private static func checkBase(of opened: OpenedImage, _ path: String) throws(ImageError) {
        guard opened.changedFile == nil, let state = BaseState(opened.layers[0], in: opened) else {
            throw ImageError(
                .system(errno: Errno.staleNFSFileHandle.rawValue), path: path,
                "it, or an image under it, was written to meanwhile")
        }
        switch state {
        case .unchanged, .committing: break
        case .changed(let change):
            throw ImageError(
                .corrupt, path: path, "\(change.fault): both together are no disk, and nothing of it is written there",
                hint: change.hint
                    ?? "put the image back as it was, or throw away what was written with 'rblock discard'")
        case .missing(let error), .unknown(let error): throw error
        }
    }

    /// Throws where the overlay has something that does not belong to the disk of `base`: it has whole sectors, and zeros fill
    /// up the last one.
    private static func checkSize(of layer: WritableQCOW2, over base: Image, _ path: String) throws(ImageError) {
        let (size, baseSize) = (layer.virtualSize, base.virtualSize)
        let advice = CommitTarget.convertHint
        guard size >= baseSize, size - baseSize < 512 else {
            throw ImageError(
                .unsupported, path: path,
                "its disk has \(counted(size, "byte")), and the image under it \(baseSize), which stays as large as it is",
                hint: advice)
        }
        let tail = AlignedBuffer(capacity: Int(size - baseSize))
        try tail.fill(tail.capacity) { output throws(ImageError) in
            if size > baseSize { try Image(layer: layer).read(tail.capacity, at: GuestOffset(baseSize), into: &output) }
        }
        guard size == baseSize || tail.array.allSatisfy({ $0 == 0 }) else {
            throw ImageError(
                .unsupported, path: path,
                "something was written behind the end of the image under it, at \(GuestOffset(baseSize)), which stays as "
                    + "large as it is", hint: advice)
        }
    }

    /// Does it, and removes the overlay. `progress` gets how many bytes are written now and then.
    ///
    /// Throws why it could not be done: then the overlay has all that was written still.
    package func run(progress: (UInt64) -> Void) throws(ImageError) -> Result {
        var identity = overlay.identity
        (identity.isBeingCommitted, identity.isPartlyInBase) = (true, true)
        try overlay.store(identity)
        let result: Result
        do throws(ImageError) {
            result = try copy(progress)
            try target.close()
        } catch {
            throw failure(error)
        }
        do throws(ImageError) {
            try overlay.remove()
        } catch {
            var said = error
            said.detail += ": all of it is in \(path: baseLocation.text); remove it, or run the same command again"
            throw said
        }
        return result
    }

    private func copy(_ progress: (UInt64) -> Void) throws(ImageError) -> Result {
        var result = Result()
        var runs = DiskRuns(of: Image(layer: layer))
        let buffer = AlignedBuffer(capacity: Self.pieceSize)
        var position: UInt64 = 0
        while position < virtualSize {
            let found = try runs.run(at: position, limit: virtualSize - position)
            var run = runs.splitAtHoles(found)
            switch run.extent.storage {
            case .unallocated, .zero(explicit: false): break
            case _ where run.isZeros:
                try target.zero(run.count, at: position)
                result.bytesZeroed += run.count
            default:
                run = run.part(from: position, limit: UInt64(Self.pieceSize))
                try buffer.fill(buffer.capacity) { output throws(ImageError) in try run.read(into: &output) }
                try target.write(buffer.bytes, at: position)
                result.bytesWritten += run.count
                progress(result.bytesWritten)
            }
            position = run.end
        }
        return result
    }

    /// `error`, which ended the commit, with what comes of that. The overlay is put over the image as it is now, so that it can
    /// be used as before.
    private func failure(_ error: ImageError) -> ImageError {
        var said = error
        said.hint = "the overlay has all that was written, and nothing is lost: the same command can be run again"
        do throws(ImageError) {
            // A full disk has no space for its last tables either: then it has less of what was written, all of which the overlay
            // has, and is sound as after a power cut.
            do throws(ImageError) { try target.close() } catch { try target.file.sync() }
            var identity = try overlay.identity.over([try LocalWritableFile(at: baseLocation)])
            // What the header says of the image is not trusted before all of it is there.
            identity.isBeingCommitted = true
            try overlay.store(identity)
            identity.isBeingCommitted = false
            try overlay.store(identity)
        } catch {
            said.hint? += ", and must before the overlay is mounted"
        }
        return said
    }
}
