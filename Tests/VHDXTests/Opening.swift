import BlockImage
import FormatCore
import HostTools
import TestImages

@testable import VHDX

/// The disk of the image in `file`, over `backing` if there is one.
func openVHDX(
    _ file: any HostFile, backing: Image? = nil, resources: LayerResources = LayerResources()
) throws(ImageError) -> Image {
    Image(layer: VHDXLayer(try VHDXDescription(of: file), resources: resources), backing: backing)
}

/// The same of `pages`.
func openVHDX(_ pages: Pages, backing: Image? = nil) throws(ImageError) -> Image {
    try openVHDX(PagedFile(pages), backing: backing)
}

/// The error that opening the image `pages`, or reading the whole of it, ends with.
func failure(of pages: Pages) -> ImageError? {
    do {
        _ = try openVHDX(pages).wholeDisk()
        return nil
    } catch {
        return error
    }
}

/// What the check of the image in `pages` finds.
func check(_ pages: Pages) throws -> CheckResult {
    let layer = VHDXLayer(try VHDXDescription(of: PagedFile(pages)), resources: LayerResources())
    var check = VHDXCheck(layer)
    return try check.run { _ in }
}

extension VHDXBuilder {
    /// A disk of a few blocks of 1 MiB by chance: `seed` has what they are, and the size of the sectors.
    init(seed: UInt64, hasParent: Bool) {
        var random = SeededRandom(seed: seed)
        self.init(virtualSize: 0)
        sectorSize = seed % 2 == 0 ? 4096 : 512
        let count = UInt64.random(in: 1...6, using: &random)
        virtualSize = count << 20
        virtualSize -= UInt64.random(in: 0..<(1 << 20) / sectorSize, using: &random) * sectorSize
        if hasParent { parent = [("parent_linkage", "{20000000-0000-4000-8000-000000000002}")] }
        for block in 0..<count {
            switch Int.random(in: 0..<(hasParent ? 5 : 3), using: &random) {
            case 0: blocks[block] = .state(UInt64.random(in: 0...3, using: &random))
            case 1, 2: blocks[block] = .present(salt: seed)
            default:
                var isOwn = Bool.random(using: &random)
                let sectors = (0..<(1 << 20) / Int(sectorSize)).map { _ in
                    if UInt64.random(in: 0..<9, using: &random) == 0 { isOwn.toggle() }
                    return isOwn
                }
                blocks[block] = .partial(salt: seed, sectors: sectors)
            }
        }
    }
}
