import BlockImage
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

struct `What was found late in a folder` {
    private let folder = FilePath("/folder")
    private let time = FileTime(seconds: 5, nanoseconds: 6)

    private func entries(_ names: String...) throws -> [FolderListing.Entry] {
        let folder = try TemporaryFolder()
        for name in names { try folder.write([], to: name) }
        return try FolderListing(FilePath(folder.path)).entries
    }

    @Test func `is kept until the folder changes`() throws {
        let late = LateFindings<Int>(longerThan: .zero)
        let (one, other) = (try entries("a"), try entries("b"))
        #expect(late.look(at: one, in: folder, changed: time) { 1 } == 1)
        #expect(late.value(of: one, in: folder, changed: time) == 1)
        #expect(late.value(of: other, in: folder, changed: time) == nil)
        #expect(late.value(of: one, in: folder, changed: FileTime(seconds: 5, nanoseconds: 7)) == nil)
        #expect(late.value(of: one, in: folder, changed: nil) == nil)
        #expect(late.value(of: one, in: FilePath("/other"), changed: time) == nil)
        #expect(late.latest(of: folder) == 1)
    }

    @Test func `is not kept where it was found at once`() throws {
        let late = LateFindings<Int>(longerThan: .seconds(60))
        let one = try entries("a")
        #expect(late.look(at: one, in: folder, changed: time) { 1 } == 1)
        #expect(late.value(of: one, in: folder, changed: time) == nil && late.latest(of: folder) == nil)
    }
}
