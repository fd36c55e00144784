import BlockImage

/// Opens, for the images in an appliance, other members of the same archive, and nothing else: the extents of a disk that
/// is split, or the backing file of one that is an overlay. May be used from any thread.
package struct ApplianceOpenPolicy: OpenPolicy {
    private let appliance: Appliance

    /// For the images in `appliance`.
    package init(_ appliance: Appliance) {
        self.appliance = appliance
    }

    /// Opens the file that the image in `file` names; a relative name is looked for in the reference's folder. Of the
    /// name, the last component counts, because folders are those of the machine that exported the appliance; the
    /// member is looked for beside the image, then in the whole archive.
    ///
    /// Throws `denied` where the archive has no such member, or several of which none is beside the image, and what is
    /// wrong with the member where that cannot be read in place; all are about `file`.
    package func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        let subject: ErrorText = "\(reference.role.rawValue) \"\(path: String(reference.text.prefix(200)))\""
        guard !reference.name.isEmpty, !reference.name.contains(0) else {
            throw ImageError(.corrupt, path: file.path, "\(subject): an empty name, or one with a NUL byte")
        }
        guard firstIndex(of: Array("://".utf8), in: reference.name.prefix(32)) == nil,
            !reference.name.starts(with: Array("json:".utf8))
        else {
            throw ImageError(
                .denied, path: file.path,
                "\(subject): is no plain file name, and an image in an archive may name only members of that archive")
        }
        let index = try member(reference.name, subject, namedBy: file)
        switch appliance.files[index] {
        case .success(let found): return found
        case .failure(let error):
            throw ImageError(
                error.code, path: file.path, "\(subject): \(error.subject): \(error.detail)", hint: error.hint)
        case nil: throw ImageError(.denied, path: file.path, "\(subject): is no file")
        }
    }

    /// The member that the image in `file` calls `name`.
    private func member(
        _ name: [UInt8], _ subject: ErrorText, namedBy file: any HostFile
    ) throws(ImageError) -> Int {
        let last = lastComponent(of: name)
        var found = appliance.names.members(lastComponent: last)
        if found.isEmpty, let separator = last.lastIndex(of: UInt8(ascii: "\\")) {
            // A path of Windows.
            found = appliance.names.members(lastComponent: Array(last[(separator + 1)...]))
        }
        if found.count > 1, let beside = folder(of: file) {
            found = found.filter { folder(appliance.members[$0].name) == beside }
        }
        guard let index = found.first, found.count == 1 else {
            let several = found.count > 1 || !appliance.names.members(lastComponent: last).isEmpty
            throw ImageError(
                .denied, path: file.path,
                several
                    ? "\(subject): the archive has several members of this name, none of them in the folder of this image"
                    : "\(subject): the archive has no such member, and an image in an archive may name nothing else")
        }
        return index
    }

    /// The folder in the archive of the image in `file`, without a leading `./`; nil where it is no member.
    private func folder(of file: any HostFile) -> [UInt8]? {
        let isImage = { (result: Result<any HostFile, ImageError>?) in (try? result?.get())?.id == file.id }
        if let index = appliance.files.firstIndex(where: isImage) { return folder(appliance.members[index].name) }
        let disk = appliance.disks.first { isImage($0.file) }
        return disk?.memberNames.first.map(folder)
    }

    private func folder(_ name: [UInt8]) -> [UInt8] {
        let plain = withoutDot(name)
        guard let slash = plain.lastIndex(of: UInt8(ascii: "/")) else { return [] }
        return Array(plain[...slash])
    }
}
