import BlockImage
import FormatCore

/// Looks for the image with a certain identity in the folder of one that names it so, and in others beside that.
struct IdentitySearch {
    /// The most files of one folder that are looked into.
    static let fileLimit = 10_000
    /// The most images with one identity that are compared.
    private static let sameLimit = 16

    /// An image that was found.
    struct Found {
        /// Its file.
        var file: any HostFile
        /// Its format, by its name.
        var format: ImageFormat
        /// Its name, as the image would name it.
        var name: [UInt8]
    }

    /// The image.
    let image: any HostFile
    /// Opens the files beside it.
    let policy: any OpenPolicy
    /// The images that it lies under, itself among them.
    let above: Set<FileIdentity>
    /// What is known of folders.
    let index: IdentityIndex

    /// The image that `name` says the identity of; nil where there is none. Where several have it, the one that is called as
    /// the name says is meant; throws `denied` where none is.
    func find(_ name: BackingName) throws(ImageError) -> Found? {
        guard let wanted = name.identity, !wanted.isZero else { return nil }
        // The usual case, for which no folder need be looked through.
        if let last = name.sought.lastComponent, let found = open(last, wanted) { return found }
        let folders: [FileReference.Folder] = image.isLinked ? [.ofName, .ofFile] : [.ofName]
        for path in [[]] + name.folders {
            for folder in folders {
                let reference = FileReference(path, role: name.role, in: folder)
                if let found = try find(wanted, in: reference, called: name) { return found }
            }
        }
        return nil
    }

    private func find(
        _ wanted: ImageIdentity, in folder: FileReference, called name: BackingName
    ) throws(ImageError) -> Found? {
        let stamp = policy.stamp(ofFolder: folder, besides: image)
        if let known = stamp.flatMap({ index.names(in: $0) })?[wanted] {
            let found = known.prefix(Self.sameLimit).compactMap { open($0, in: folder, wanted) }
            if let one = try choose(found, name) { return one }
        }
        let names = names(in: folder)
        if let stamp { index.keep(names, of: stamp) }
        return try choose(
            (names[wanted] ?? []).prefix(Self.sameLimit).compactMap { open($0, in: folder, wanted) }, name)
    }

    /// The names of the images in `folder` by their identities.
    private func names(in folder: FileReference) -> IdentityIndex.Names {
        var names: IdentityIndex.Names = [:]
        var left = Self.fileLimit
        for name in policy.names(in: folder, besides: image).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            guard left > 0 else { break }
            guard let driver = Self.format(name)?.driver as? any IdentifiedFormat else { continue }
            left -= 1
            guard let file = try? policy.open(Self.reference(name, in: folder), namedBy: image),
                let identity = (try? driver.identity(of: file)) ?? nil
            else { continue }
            names[identity, default: []].append(name)
        }
        return names
    }

    /// The one of `found` that is meant; nil for none.
    private func choose(_ found: [Found], _ name: BackingName) throws(ImageError) -> Found? {
        var seen: Set<FileIdentity> = []
        let others = found.filter { $0.file.identity.map { seen.insert($0).inserted } ?? true }
        if others.count <= 1 { return others.first }
        let last = name.sought.lastComponent.map { nameText($0).lowercased() }
        let named = others.filter { nameText(Self.last($0.name)).lowercased() == last }
        if named.count == 1 { return named.first }
        let list = ErrorText(others.map { "\"\(path: nameText($0.name))\"" }, separator: " and ")
        throw ImageError(
            .denied, path: image.path,
            "\(name.role.rawValue) \"\(path: name.sought.text)\": \(list) have the UUID \(name.identity?.description ?? "") that "
                + "it must have, so that none of them is taken")
    }

    /// The image `name` of `folder`, if it has the identity `wanted` and is none of those above.
    private func open(
        _ name: [UInt8], in folder: FileReference = FileReference([], role: .parent), _ wanted: ImageIdentity
    ) -> Found? {
        let reference = Self.reference(name, in: folder)
        guard let format = Self.format(name), let driver = format.driver as? any IdentifiedFormat,
            let file = try? policy.open(reference, namedBy: image),
            !(file.identity.map(above.contains) ?? false), (try? driver.identity(of: file)) == wanted
        else { return nil }
        return Found(file: file, format: format, name: reference.name)
    }

    private static func reference(_ name: [UInt8], in folder: FileReference) -> FileReference {
        let path = folder.name.isEmpty ? name : folder.name + [UInt8(ascii: "/")] + name
        return FileReference(path, role: folder.role, in: folder.folder)
    }

    private static func format(_ name: [UInt8]) -> ImageFormat? {
        if case .format(let format)? = ImageFormat.naming(of: name) { return format }
        return nil
    }

    /// That no image has the identity by which alone `name` says what is meant.
    func missing(_ name: BackingName) -> ImageError {
        let wanted = name.identity?.description ?? ""
        let folders: [ErrorText] = name.folders.map { "\(path: nameText($0))" }
        let others = folders.isEmpty ? "" : ", or in \(ErrorText(folders, separator: " or ")) from there," as ErrorText
        return ImageError(
            .missing, path: image.path,
            "\(name.role.rawValue) \(wanted): no image beside it\(others) that may be opened has this UUID",
            hint: "--allow-path DIR allows files of another folder")
    }

    fileprivate static func last(_ name: [UInt8]) -> [UInt8] {
        name.lastIndex(of: UInt8(ascii: "/")).map { Array(name[($0 + 1)...]) } ?? name
    }
}

extension IdentitySearch.Found {
    /// What people should know of it: that it is not called as the image in `file`, which says `name`, has it. Nil where it is.
    func note(_ name: BackingName, in file: any HostFile) -> ErrorText? {
        guard let wanted = name.sought.lastComponent, let identity = name.identity else { return nil }
        guard nameText(wanted).lowercased() != nameText(IdentitySearch.last(self.name)).lowercased() else { return nil }
        return
            "\(path: file.path): the \(name.sought.place) names \"\(path: name.sought.text)\"; \(path: nameText(self.name)) is read, which has its UUID \(identity)"
    }
}
