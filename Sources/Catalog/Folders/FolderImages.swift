import BlockImage
import Glibc
import HostStorage
import ImageFormats
import SystemPackage

/// The images and containers of disks in a folder of the host and in the folders below it, and what else is there. May be
/// used from any thread.
package final class FolderImages: Sendable {
    /// The most images that are found, and the most names that are looked at: what comes after them in the order of the
    /// names is not looked for, which is said.
    private static let limits = (images: 100_000, names: 1_000_000)
    /// How many milliseconds the files of a folder are waited for.
    private static let filePatience = 1000
    /// How long a folder is waited for to be listed; one that does not answer by then is passed over.
    private static let patience = Duration.seconds(1)
    /// Of how many folders it is remembered what did not answer.
    private static let listerLimit = 1024

    /// What makes a file an image.
    let rules: FolderRules
    private let location: FilePath
    private let listings = SharedWork<FilePath, Listing?>(threadLimit: 16)
    private let listers = Guarded<[FilePath: FolderLister]>([:])

    /// The names in a folder, and when it was last changed before they were listed.
    private struct Listing: Sendable {
        var entries: [FolderListing.Entry]
        var time: FileTime?
    }

    /// An image, or a container.
    package struct Found: Sendable {
        /// Its path below the folder, as a name: see `exportName`.
        package var name: String
        /// Where it is.
        package var location: FilePath
        /// Its format, where another image says it, and its own name says none.
        package var format: ImageFormat?
    }

    /// What was found, and what is not shown.
    package struct Look: Sendable {
        package var found: [Found] = []
        package var skipped = SkippedFiles()
        /// The folders that did not answer in time, as what the names of images in them begin with: "" is the folder itself.
        package var unanswered: [String] = []
        fileprivate var names = 0
    }

    /// Those of `folder`, canonical, that are what `rules` say.
    package init(_ folder: FilePath, _ rules: FolderRules) {
        location = folder
        self.rules = rules
    }

    /// What is there now, in the order of the names' bytes.
    package func look() -> Look {
        var look = Look()
        list(location, named: "", below: [], into: &look)
        return look
    }

    /// `ancestors`: the folders that `folder` lies in. A link back to one of them would make the tree endless.
    private func list(_ folder: FilePath, named prefix: String, below ancestors: [FilePath], into look: inout Look) {
        let items: [FolderItem]
        do throws(ImageError) {
            items = try self.items(in: folder)
        } catch {
            if error.code == .system(errno: ETIMEDOUT) { look.unanswered.append(prefix) }
            return look.skipped.add(prefix.isEmpty ? "." : prefix, .unreadable)
        }
        for item in items {
            guard look.found.count < Self.limits.images, look.names < Self.limits.names else {
                return look.skipped.add(prefix + exportName(item.name), .beyondLimit)
            }
            look.names += 1
            let name = prefix + exportName(item.name)
            switch item.kind {
            case .folder(let place):
                guard item.isCertain else {
                    look.unanswered.append("\(name)/")
                    look.skipped.add(name, .unreadable)
                    continue
                }
                guard place != folder, !ancestors.contains(place) else { continue }
                list(place, named: "\(name)/", below: ancestors + [folder], into: &look)
            case .image(let format, let source):
                let said = source == .content ? format : nil
                look.found.append(Found(name: name, location: item.location, format: said))
            case .container:
                look.found.append(Found(name: name, location: item.location))
            case .skipped(let reason):
                look.skipped.add(name, reason)
            }
        }
    }

    /// What is in `folder`. Throws `system` with ETIMEDOUT where it does not answer, and `denied` where it cannot be listed.
    private func items(in folder: FilePath) throws(ImageError) -> [FolderItem] {
        let found = try listings.value(for: folder, of: .named("folder"), within: Self.patience) { [rules] in
            let time = (try? FileStatus(at: folder, followingLinks: false))?.modified
            return rules.policy.list(folder).map { Listing(entries: $0.entries, time: time) }
        }
        guard let listing = found else {
            throw ImageError(.denied, path: folder.text, "cannot be listed")
        }
        let lister = listers.withLock { listers -> FolderLister in
            if let known = listers[folder] { return known }
            if listers.count >= Self.listerLimit { listers = [:] }
            let lister = FolderLister(of: folder, rules, patience: Self.filePatience)
            listers[folder] = lister
            return lister
        }
        return lister.items(in: listing.entries, changed: listing.time).items
    }
}
