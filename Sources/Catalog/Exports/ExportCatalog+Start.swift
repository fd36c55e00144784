import BlockImage
import Dispatch
import ImageFormats

/// What an operator should know when a server starts.
extension ExportCatalog {
    /// What the folders hold and is not offered. Told on another thread: a folder may not answer.
    package func tellSkipped(to tell: @escaping @Sendable (SkippedFiles) -> Void) {
        DispatchQueue.global().async { [sources] in
            var skipped = SkippedFiles()
            for case .folder(let prefix, let folder, _) in sources { skipped.add(folder.look().skipped, named: prefix) }
            tell(skipped)
        }
    }

    /// Which of the images that were named, and are no folders, cannot be read. Told on another thread: one may not answer.
    package func tellUnreadable(to tell: @escaping @Sendable (ImageError) -> Void) {
        DispatchQueue.global().async { [sources] in
            for case .image(let name, let image) in sources {
                do throws(ImageError) {
                    for disk in try image.disks(called: name) {
                        do throws(ImageError) { _ = try disk.image.disk() } catch { tell(error) }
                    }
                } catch {
                    tell(error)
                }
            }
        }
    }
}

/// What is known of the exports without a look at a disk.
extension ExportCatalog {
    /// The names of the images that were named, and are neither folders nor containers.
    package var imageNames: [String] {
        sources.compactMap { if case .image(let name, let image) = $0, !image.isContainer { name } else { nil } }
    }

    /// Whether there is more: folders, or containers, which may have any number of disks.
    package var hasFurtherExports: Bool { imageNames.count < sources.count }
}
