import BlockImage
import FormatCore
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

@testable import QCOW2

@Suite(.enabled(if: Tool.areThere("qemu-img") && (Tool.isRoot || Tool.skip("mounting needs root"))))
struct `A host file system that is full` {
    @Test func `refuses what does not fit, and has all the rest`() throws {
        let system = try HostFileSystem("tmpfs", size: 3 << 20)
        let path = system.file("disk.qcow2")
        try Data().write(to: URL(fileURLWithPath: path))
        let image = QCOW2Overlay.image(size: 64 << 20, over: nil)
        try QCOW2Overlay.create(image, in: LocalWritableFile(at: FilePath(path)))
        try Data(count: 1 << 20).write(to: URL(fileURLWithPath: system.file("ballast")))
        let layer = try openWritable(LocalWritableFile(at: FilePath(path)))
        var written: [Int: [UInt8]] = [:]
        var refused = 0
        // More than fits by far, each in a cluster of its own.
        for number in 0..<400 {
            let bytes = [UInt8].noise(8192, salt: UInt64(number))
            do {
                try layer.write(bytes, at: UInt64(number) << 17)
                written[number] = bytes
            } catch {
                #expect(error.code == .system(errno: ENOSPC))
                refused += 1
            }
        }
        #expect(written.count > 20 && refused > 20, "\(written.count) were written, \(refused) refused")
        // The tables have no space either: that is said, and is no reason to give up.
        #expect(throws: ImageError.self) { try layer.flush() }
        for (number, bytes) in written {
            #expect(try areSame(layer.read(number << 17..<number << 17 + 8192, below: nil), bytes))
        }
        try FileManager.default.removeItem(atPath: system.file("ballast"))
        try layer.flush()
        let more = [UInt8].noise(8192, salt: 1000)
        try layer.write(more, at: 399 << 17)
        written[399] = more
        try layer.close()
        let check = try QemuImg.check(path, format: "qcow2")
        #expect(check.status == 0, "\(check)")
        let again = try openWritable(LocalWritableFile(at: FilePath(path)))
        for (number, bytes) in written {
            #expect(try areSame(again.read(number << 17..<number << 17 + 8192, below: nil), bytes), "\(number)")
        }
    }
}
