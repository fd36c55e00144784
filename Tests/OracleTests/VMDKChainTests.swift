import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `Chains of VMDK images are read as qemu-img reads them` {
    /// Makes `name` over `parent`, and writes here and there in it.
    private func makeDelta(
        _ name: String, over parent: String, in oracle: Oracle, size: UInt64? = nil, options: [String] = [],
        byte: Int, at offsets: [Int]
    ) throws {
        let path = oracle.folder.file(name)
        try QemuImg.create(
            path, format: "vmdk", size: size, options: options,
            backing: (name: oracle.folder.file(parent), format: "vmdk"))
        var commands: [String] = []
        for (index, offset) in offsets.enumerated() {
            commands.append("write -P \(byte + index) \(offset) \(index % 2 == 0 ? 1536 : 200 << 10)")
        }
        if options.contains("zeroed_grain=on") { commands.append("write -z 1M 192k") }
        try QemuImg.io(path, format: "vmdk", commands)
    }

    @Test(arguments: [
        [], ["zeroed_grain=on"], ["subformat=twoGbMaxExtentSparse"],
        ["subformat=twoGbMaxExtentSparse", "zeroed_grain=on"],
    ])
    func `three levels, each changed before the next was made`(options: [String]) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: Disk.oddSize)
        try QemuImg.convert(source, to: oracle.folder.file("base.vmdk"), as: "vmdk")
        try makeDelta(
            "middle.vmdk", over: "base.vmdk", in: oracle, options: options, byte: 0x11, at: [0, 300 << 10, 2 << 20])
        try makeDelta(
            "top.vmdk", over: "middle.vmdk", in: oracle, options: options, byte: 0x55, at: [65024, 400 << 10, 2 << 20])
        for name in ["top.vmdk", "middle.vmdk", "base.vmdk"] { try oracle.agrees(on: name, as: .vmdk) }
        #expect(oracle.open("top.vmdk", as: .vmdk).layers.flatMap(\.notes) == [])
    }

    @Test(arguments: [2 << 20, 5 << 20] as [UInt64])
    func `a delta that is smaller or larger than its parent`(size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: Disk.oddSize)
        try QemuImg.convert(source, to: oracle.folder.file("base.vmdk"), as: "vmdk")
        try makeDelta("top.vmdk", over: "base.vmdk", in: oracle, size: size, byte: 1, at: [0, 1 << 20])
        try oracle.agrees(on: "top.vmdk", as: .vmdk)
    }

    @Test func `a QCOW2 overlay on a delta`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: Disk.oddSize)
        try QemuImg.convert(
            source, to: oracle.folder.file("base.vmdk"), as: "vmdk", options: ["subformat=monolithicFlat"])
        try makeDelta("middle.vmdk", over: "base.vmdk", in: oracle, byte: 0x21, at: [0, 1 << 20])
        try QemuImg.create(
            oracle.folder.file("top.qcow2"), size: nil, backing: (oracle.folder.file("middle.vmdk"), "vmdk"))
        try QemuImg.io(oracle.folder.file("top.qcow2"), ["write -P 9 128k 64k", "write -z 2M 64k"])
        try oracle.agrees(on: "top.qcow2")
    }

    @Test(arguments: ["base.vmdk", "./base.vmdk", "sub/../base.vmdk", "/nowhere/base.vmdk", "a:b.vmdk"])
    func `every way to name a parent, there or not, is reported alike`(hint: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        try QemuImg.create(oracle.folder.file("base.vmdk"), format: "vmdk", size: 1 << 20)
        try makeDelta("top.vmdk", over: "base.vmdk", in: oracle, byte: 1, at: [0])
        let path = oracle.folder.file("top.vmdk")
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let old = try #require(bytes.range(of: Data("Hint=\"\(oracle.folder.file("base.vmdk"))\"".utf8)))
        let new = Data("Hint=\"\(hint)\"\n".utf8)
        // Blank lines make up for what is shorter now.
        bytes.replaceSubrange(old, with: new + Data(repeating: 0x0a, count: old.count - new.count))
        try bytes.write(to: URL(fileURLWithPath: path))
        #expect(try oracle.differencesOfInfo(oracle.open("top.vmdk", as: .vmdk), .vmdk) == [])
    }

    @Test func `a parent that was changed is refused at once, where qemu-img fails at the first read`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        try QemuImg.create(oracle.folder.file("base.vmdk"), format: "vmdk", size: 1 << 20)
        try makeDelta("top.vmdk", over: "base.vmdk", in: oracle, byte: 1, at: [0])
        try oracle.agrees(on: "top.vmdk", as: .vmdk)
        try QemuImg.io(oracle.folder.file("base.vmdk"), format: "vmdk", ["write -P 2 512k 512"])
        let (isRead, _) = try QemuImg.reads(
            oracle.folder.file("top.vmdk"), format: "vmdk", into: oracle.folder.file("raw"))
        #expect(!isRead)
        #expect(oracle.open("top.vmdk", as: .vmdk).disk.error?.code == .corrupt)
    }
}
