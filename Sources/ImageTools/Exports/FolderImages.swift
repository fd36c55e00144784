import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

/// The images and appliances in a folder of the host and in the folders below it, found as a mount finds them. May be used from any
/// thread.
struct FolderImages {
    /// The most images that are found: what comes after them in the order of the names is not looked for.
    static let limit = 100_000

    /// What may be opened: the folder, and what was allowed besides.
    let confines: ConfinedOpenPolicy

    /// The images of `folder`, which may also name files of the folders `allowed`. Throws `system` where one of these
    /// cannot be opened.
    init(_ folder: FilePath, allowed: [FilePath]) throws(ImageError) {
        confines = try ConfinedOpenPolicy(images: try canonical(folder), allowed: allowed)
    }

    /// What is there now: the path below the folder as a name, and where it is. A file whose name is not UTF-8 has none.
    func list() -> [(name: String, location: FilePath)] {
        var found: [(String, FilePath)] = []
        list(confines.images, named: "", below: [], into: &found)
        return found
    }

    /// `ancestors`: the folders that `folder` lies in. A link back to one of them would make the tree endless.
    private func list(
        _ folder: FilePath, named prefix: String, below ancestors: [FilePath], into found: inout [(String, FilePath)]
    ) {
        let entries = confines.list(folder)?.entries ?? []
        let parts = DiskParts(among: entries.map(\.name)) { name in
            try? confines.openImage(at: folder.appending(FilePath(bytes: name).components))
        }
        for entry in entries.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
            guard found.count < Self.limit, !parts.contains(entry.name),
                let name = String(validating: entry.name, as: UTF8.self)
            else { continue }
            let location = folder.appending(FilePath(bytes: entry.name).components)
            let isImage = ImageFormat.naming(of: entry.name) != nil || ImageFormat.isAppliance(entry.name)
            guard entry.kind != .file else {
                if isImage { found.append((prefix + name, location)) }
                continue
            }
            guard let place = confines.place(of: location) else { continue }
            if place.kind == .folder {
                guard place.location != folder, !ancestors.contains(place.location) else { continue }
                list(place.location, named: "\(prefix)\(name)/", below: ancestors + [folder], into: &found)
            } else if isImage {
                found.append((prefix + name, location))
            }
        }
    }
}
