import BlockImage
import Catalog
import ImageFormats
import Logging
import SystemPackage
import Testing

@testable import ImageFS

@Suite("The way on which the kernel gets a disk")
struct OpenPathsTests {
    private let paths = KernelPaths(.off, logger: Logger(label: "tests"))
    private let node = ImageNode(number: EntryNumbers().next(), at: "/nowhere/a.raw", format: .raw) { _ in Self.image()
    }

    private static func image() -> OpenedImage {
        OpenedImage(failure: ImageError(.system(errno: 2), path: "/nowhere/a.raw", "is not there"))
    }

    private func path(in disks: ImageDisks, for use: PathUse) throws -> DiskPath {
        try node.path(of: .current, OpenedDisk(.failure(Self.image().disk.error!)), in: disks, by: paths, for: use)
    }

    @Test("is the same for all readers")
    func readers() throws {
        let disks = ImageDisks(of: Self.image())
        let first = try path(in: disks, for: .opening)
        #expect(try path(in: disks, for: .opening) === first)
        #expect(try path(in: disks, for: .openingPastCache) === first)
        #expect(try path(in: disks, for: .describing) === first)
    }

    @Test("is not settled by a description of the disk")
    func described() throws {
        let disks = ImageDisks(of: Self.image())
        let described = try path(in: disks, for: .describing)
        let opened = try path(in: disks, for: .opening)
        #expect(opened !== described)
        #expect(try path(in: disks, for: .describing) === opened)
    }

    @Test("stays that of the readers while what the image was before is described")
    func describedLate() throws {
        let (old, new) = (ImageDisks(of: Self.image()), ImageDisks(of: Self.image()))
        let opened = try path(in: new, for: .opening)
        #expect(try path(in: old, for: .describing) !== opened)
        #expect(try path(in: new, for: .opening) === opened)
    }
}
