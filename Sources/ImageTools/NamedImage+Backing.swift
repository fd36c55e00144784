import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

extension NamedImage {
    /// The image that is to lie under this one by a person's word; nil where that was not said.
    func givenBacking() throws(ImageError) -> ImageOpener.GivenBacking? {
        guard let backing else { return nil }
        let own = try NamedImage(backing).openFile()
        return ImageOpener.GivenBacking(own.file, format: own.formatOfName)
    }

    /// The folders whose files that image may name.
    func backingFolders() throws(ImageError) -> [FilePath] {
        guard let backing else { return [] }
        let name = try PathByName(NamedImage(backing).appliancePlace?.archive ?? backing)
        return [name.location.removingLastComponent()] + name.folders
    }

    /// Throws where an image was given to lie under one that has no place for it.
    func checkBacking(of opened: OpenedImage) throws(ImageError) {
        guard backing != nil, let top = opened.layers.first else { return }
        let isNamed =
            switch top.facts {
            case .qcow2(let description, _): description.backingFile != nil
            case .vmdk(let description, _): description.parent != nil
            case .raw: top.format != .raw || opened.disk.error != nil
            }
        guard !isNamed else { return }
        throw ImageError(
            .unsupported, path: top.file.path,
            "names no backing file and no parent, so that none can be given in its place (--backing)")
    }
}
