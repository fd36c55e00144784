import BlockImage
import Foundation
import HostTools
import SystemPackage

/// An image on the host, and the folder of its overlay: what a process writes to, and where states are put back.
package final class OverlayFiles: Sendable {
    /// What is made.
    package struct Shape: Sendable, CustomStringConvertible {
        /// The image.
        package var image = CrashImage.Shape()
        /// Whether it is raw; else it is QCOW2.
        package var isRaw = false
        /// Whether it lies in a folder of that of images.
        package var isNested = false
        /// Whether the folder of overlays is there.
        package var hasFolder = true

        package var description: String { "\(isRaw ? "raw sectors=\(image.sectors)" : "\(image)") nested=\(isNested)" }

        /// One of many, chosen by `seed`.
        package init(seed: UInt64) {
            var random = SeededRandom(seed: seed ^ 0xface_0ff)
            image = CrashImage.Shape(seed: seed)
            // What is put in place for each state should be small.
            image.sectors = min(image.sectors, 2048)
            if image.clusterSize > 1 << 16 { (image.clusterSize, image.hasExtendedL2) = (1 << 16, false) }
            (image.isNew, image.isRegular) = (false, false)
            isRaw = Int.random(in: 0..<3, using: &random) == 0
            if isRaw { image.backing = nil }
            isNested = Int.random(in: 0..<4, using: &random) == 0
            hasFolder = Int.random(in: 0..<4, using: &random) != 0
        }
    }

    /// What its sectors are marked with.
    package let run: UInt64
    /// The image, as it was at first.
    package let content: HostContent
    /// The disk under it, if there is one.
    package let backing: Image?
    private let shape: Shape
    private let folder: TemporaryFolder
    private let images: String
    private let times: [timespec]

    /// The path of the image.
    package let path: String
    /// The folder of overlays.
    package var overlays: String { folder.file("changes") }
    /// The path of its overlay.
    package let overlay: String

    /// Makes an image of this shape; `run` also chooses what is where.
    package init(_ shape: Shape, run: UInt64) throws {
        self.run = run
        self.shape = shape
        // In memory, where syncing costs nothing.
        folder = try TemporaryFolder(
            in: FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : "/var/tmp")
        images = try folder.makeFolder("images")
        let place = shape.isNested ? "inner/" : ""
        let name = place + (shape.isRaw ? "disk.raw" : "disk.qcow2")
        _ = try folder.makeFolder("images/\(place)")
        if shape.hasFolder { _ = try folder.makeFolder("changes") }
        path = folder.file("images/\(name)")
        overlay = folder.file("changes/\(name).overlay.qcow2")
        let image = try CrashImage(shape.image, run: run)
        backing = image.backing
        if let below = image.backingContent { try folder.write(below.bytes, to: "images/\(place)base.raw") }
        content = shape.isRaw ? CrashImage.rawContent(sectors: shape.image.sectors, run: run) : image.content
        try folder.write(content.bytes, to: "images/\(name)")
        var status = stat()
        guard stat(path, &status) == 0 else { throw ToolFailure(description: "\(path): errno \(errno)") }
        times = [status.st_mtim, status.st_mtim]
    }

    /// The disk, as it is written over.
    package func disk() throws -> OverlaidDisk {
        try Self.whenFree { try OverlaidDisk(path, of: images, overlays: overlays) }
    }

    /// The folders of the overlay, outermost first: that of all overlays, and those in it.
    package var folders: [String] {
        var folders: [String] = []
        var folder = (overlay as NSString).deletingLastPathComponent
        while folder != self.folder.path {
            folders.insert(folder, at: 0)
            folder = (folder as NSString).deletingLastPathComponent
        }
        return folders
    }

    /// What `rblock-crash overlay` gets to write to its disk.
    package var arguments: [String] { [path, images, overlays] }

    /// The sectors of the disk.
    package var sectorCount: Int { shape.image.sectors }

    /// The disk of the image where it has `content`, and what a check finds that a power cut must not leave.
    package func disk(of content: HostContent) throws -> (image: Image, faults: [String]) {
        guard !shape.isRaw else {
            return (Image(layer: RawLayer(file: ContentFile(content, path: "disk.raw"))), [])
        }
        let state = try QCOW2State(content, .init(run: run, backing: backing))
        return (state.disk, try state.faults())
    }

    /// The folder that the image may take files from besides its own.
    package var imageFolder: String { (path as NSString).deletingLastPathComponent }

    /// Has the image be `content`, in the same file. `isDated`: as if it had never been written to; else now.
    package func put(_ content: HostContent, isDated: Bool) throws {
        let file = try FileDescriptor.open(FilePath(path), .writeOnly)
        try file.closeAfter {
            _ = try file.writeAll(toAbsoluteOffset: 0, content.bytes)
            try file.resize(to: Int64(content.size))
        }
        if isDated, utimensat(AT_FDCWD, path, times, 0) != 0 {
            throw ToolFailure(description: "\(path): errno \(errno)")
        }
    }

    /// Has the overlay be `content`; nil: there is none, but where `leftover` is given, a file of this content that got no
    /// name. Of its folders there are the first `count`.
    package func putOverlay(_ content: HostContent?, leftover: HostContent? = nil, folders count: Int = .max) throws {
        try? FileManager.default.removeItem(atPath: overlays)
        for folder in folders.prefix(count) { mkdir(folder, 0o777) }
        if let content { try Data(content.bytes).write(to: URL(fileURLWithPath: overlay)) }
        guard content == nil, let leftover, let folder = folders.last, count >= folders.count else { return }
        try Data(leftover.bytes).write(to: URL(fileURLWithPath: "\(folder)/.rblock-leftover"))
    }

    /// The overlay; nil: there is none.
    package var overlayContent: HostContent? {
        (try? Data(contentsOf: URL(fileURLWithPath: overlay))).map { HostContent([UInt8]($0)) }
    }

    /// The image as it is.
    package func imageContent() throws -> HostContent {
        HostContent([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
    }

    /// Does what finds files locked for as long as another thread has still to close them.
    package static func whenFree<Result>(_ body: () throws -> Result) throws -> Result {
        for _ in 0..<20_000 {
            do { return try body() } catch let error as ImageError where error.code == .system(errno: EBUSY) {
                usleep(500)
            }
        }
        return try body()
    }
}
