import BlockImage
import Catalog
import FormatCore
import Glibc
import HostStorage
import ImageFormats
import SystemPackage

/// The images that lie over another one: what is written to that changes their disks.
package struct Dependents: Sendable {
    /// Where they are.
    package private(set) var paths: [String] = []
    /// Why it is not known of some whether they are.
    package private(set) var unknown: [ImageError] = []
    /// In which folders there are files that cannot be looked at, as links that lead elsewhere.
    package private(set) var unseen: [ImageError] = []
    private let identity: FileIdentity
    private let name: [UInt8]?

    /// Those of the image in the file at `base`, canonical, in `folders` and the folders below them, besides the files `others`. Images are
    /// opened for this, and name files of `folders` only.
    ///
    /// Throws where one of `folders`, or `base`, cannot be opened.
    package init(of base: FilePath, in folders: [FilePath], besides others: Set<FileIdentity>) throws(ImageError) {
        do throws(Errno) { identity = try FileStatus(at: base).identity } catch {
            throw ImageError(.system(errno: error.rawValue), path: base.text, "\(error)")
        }
        name = base.lastComponent.map { FilePath(root: nil, [$0]).bytes }
        var all: [FilePath] = []
        for folder in folders { all.append(try canonical(folder)) }
        // Those around others come first.
        all.sort { $0.components.count < $1.components.count }
        var outer: [FilePath] = []
        for folder in all where !outer.contains(where: { folder.starts(with: $0) }) { outer.append(folder) }
        for folder in outer {
            let policy = try ConfinedOpenPolicy(images: folder, allowed: outer.filter { $0 != folder })
            // An external snapshot may be called anything.
            let look = FolderImages(folder, FolderRules(policy, probesAll: true)).look()
            for found in look.found {
                var image = NamedImage(found.location, format: found.format)
                image.confines = policy
                add(image, besides: others)
            }
            for name in look.unanswered {
                unknown.append(ImageError(.system(errno: ETIMEDOUT), path: "\(folder.text)/\(name)", "does not answer"))
            }
            let unseen = look.skipped.count(.unreadable) + look.skipped.count(.beyondLimit)
            if unseen > 0 {
                self.unseen.append(
                    ImageError(
                        .denied, path: folder.text,
                        "\(counted(unseen, "file or folder", "files or folders")) cannot be looked at"))
            }
        }
    }

    private mutating func add(_ image: NamedImage, besides others: Set<FileIdentity>) {
        let opened: OpenedImage
        do throws(ImageError) { opened = try image.open() } catch {
            if error.code != .missing { unknown.append(error) }
            return
        }
        guard let top = opened.layers.first?.file else { return }
        guard top.identities.isDisjoint(with: others) else { return }
        if opened.layers.dropFirst().contains(where: { $0.files.contains { $0.identities.contains(identity) } }) {
            paths.append(image.path.text)
        } else if let error = opened.disk.error, let name = opened.layers.last?.image?.backing,
            error.code != .missing || name.sought.lastComponent == self.name
        {
            // What is not there is another image, unless that may have been moved here.
            unknown.append(error)
        }
    }
}
