import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

struct `A file that is changed in place` {
    private let folder: TemporaryFolder
    private let file: LocalWritableFile

    init() throws {
        folder = try TemporaryFolder()
        try folder.write(.noise(3 << 20, salt: 1), to: "file")
        file = try LocalWritableFile(at: FilePath(folder.file("file")))
    }

    private func content() throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("file"))))
    }

    @Test func `has what was written, and grows by that`() throws {
        var expected = [UInt8].noise(3 << 20, salt: 1)
        let bytes = [UInt8].noise(100_000, salt: 2)
        try file.write(bytes.span.bytes, at: HostOffset(777))
        expected.overwrite(from: 777, with: bytes)
        try file.write(bytes.span.bytes, at: HostOffset(4 << 20))
        expected += [UInt8](repeating: 0, count: 1 << 20) + bytes
        #expect(file.size == 3 << 20 && file.currentSize == 4 << 20 + 100_000)
        #expect(try areSame(file.bytes(3 << 20, at: HostOffset(0), of: "test"), expected[..<(3 << 20)]))
        try file.sync()
        #expect(try areSame(content(), expected))
    }

    @Test(arguments: [true, false])
    func `has zeros, with their space or without, and none past its end`(keepsSpace: Bool) throws {
        var expected = [UInt8].noise(3 << 20, salt: 1)
        let before = file.allocatedSize
        try file.zero(1 << 20, at: HostOffset(1 << 20), keepingSpace: keepsSpace)
        try file.zero(1000, at: HostOffset(5), keepingSpace: keepsSpace)
        try file.zero(1 << 20, at: HostOffset((3 << 20) - 100), keepingSpace: keepsSpace)
        try file.zero(1 << 20, at: HostOffset(9 << 20), keepingSpace: keepsSpace)
        expected.clear(1 << 20..<2 << 20)
        expected.clear(5..<1005)
        expected.clear((3 << 20) - 100..<3 << 20)
        #expect(try areSame(content(), expected))
        if !keepsSpace, before >= 3 << 20 { #expect(file.allocatedSize <= before - (1 << 20) + 8192) }
    }

    @Test func `is as long as it is made`() throws {
        try file.setSize(1000)
        try file.setSize(5000)
        #expect(file.currentSize == 5000)
        #expect(try areSame(content(), [UInt8].noise(1000, salt: 1) + [UInt8](repeating: 0, count: 4000)))
    }

    @Test func `is no link, no folder and no FIFO, and is there`() throws {
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("link"), withDestinationPath: folder.file("file"))
        _ = try folder.makeFolder("folder")
        #expect(mkfifo(folder.file("fifo"), 0o600) == 0)
        for name in ["link", "folder", "fifo", "missing"] {
            #expect(throws: ImageError.self) { try LocalWritableFile(at: FilePath(folder.file(name))) }
        }
    }

    @Test func `is another one when its name is`() throws {
        #expect(file.isCurrent)
        try FileManager.default.moveItem(atPath: folder.file("file"), toPath: folder.file("other"))
        try folder.write([1], to: "file")
        #expect(!file.isCurrent)
    }
}
