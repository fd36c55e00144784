import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import VHDX

struct `A VHDX disk that is written` {
    private func image(_ seed: UInt64, using random: inout SeededRandom) -> NewVHDX {
        var image = NewVHDX(size: UInt64.random(in: 1...9 << 20, using: &random))
        image.subformat = seed % 3 == 0 ? .fixed : .dynamic
        image.chosenBlockSize = [nil, 1 << 20, 2 << 20, 256 << 20][Int(seed % 4)]
        image.logSize = UInt64.random(in: 1...3, using: &random) << 20
        image.marksZeros = Bool.random(using: &random)
        image.logicalSectorSize = seed % 5 == 0 ? 4096 : 512
        return image
    }

    @Test(arguments: UInt64(1)...12)
    func `is sound, and is read as it was by us and by QEMU`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let image = image(seed, using: &random)
        let folder = try TemporaryFolder()
        // Runs of patterns and of zeros.
        var disk: [UInt8] = []
        while disk.count < Int(image.diskSize) {
            let count = Int.random(in: 1...300, using: &random) * 4096
            let first = UInt64(disk.count / 512)
            if Bool.random(using: &random) {
                disk += (first..<first + UInt64(count / 512)).flatMap { Pattern.sector($0, salt: seed) }
            } else {
                disk += repeatElement(0, count: count)
            }
        }
        disk.removeLast(disk.count - Int(image.diskSize))
        let path = folder.file("written.vhdx")
        try image.writer(named: "written.vhdx", in: FolderFiles(folder.path)).write(disk: disk, random: &random)
        let bytes = try contents(path)
        let comment: Comment = "seed \(seed): \(image)"
        let file = MemoryFile(bytes)
        #expect(try areSame(openVHDX(file).wholeDisk(), disk), comment)
        var check = VHDXCheck(VHDXLayer(try VHDXDescription(of: file), resources: LayerResources()))
        #expect(try check.run { _ in }.findings.map(\.message) == [], comment)
        if image.subformat == .fixed { #expect(UInt64(bytes.count) == image.fullyAllocatedSize, comment) }
        // QEMU reads no disks of 4096-byte sectors.
        if image.logicalSectorSize == 512 {
            let raw = folder.file("raw")
            let (isRead, errors) = try QemuImg.reads(path, format: "vhdx", into: raw)
            #expect(isRead, "\(comment): \(errors)")
            if isRead { #expect(try areSame(contents(raw), disk), comment) }
            let status = try QemuImg.check(path, format: "vhdx")
            #expect(status.status == 0, "\(comment): \(status)")
            // QEMU can write to it as well.
            try QemuImg.io(path, format: "vhdx", ["write -P 7 0 512"])
            #expect(
                try openVHDX(MemoryFile(contents(path))).bytes(512, at: 0) == Array(repeating: 7, count: 512), comment)
        }
        // In other pieces it is the same file.
        try image.writer(named: "again.vhdx", in: FolderFiles(folder.path)).write(disk: disk, random: &random)
        #expect(try areSame(contents(folder.file("again.vhdx")), bytes), comment)
    }

    @Test func `has identifiers that follow from its content, but for one that is chosen`() throws {
        let folder = try TemporaryFolder()
        var random = SeededRandom(seed: 1)
        func identifiers(_ disk: [UInt8], _ change: (inout NewVHDX) -> Void = { _ in }) throws -> [String] {
            var image = NewVHDX(size: UInt64(disk.count))
            change(&image)
            try image.writer(named: "x.vhdx", in: FolderFiles(folder.path)).write(disk: disk, random: &random)
            let description = try VHDXDescription(of: MemoryFile(contents(folder.file("x.vhdx"))))
            return ["\(description.header.dataWriteID)", "\(description.metadata.diskID)"]
        }
        let disk = Pattern.sector(1, salt: 1) + [UInt8](repeating: 0, count: 7680)
        let first = try identifiers(disk)
        #expect(try identifiers(disk) == first && Set(first).count == 2)
        let second = try identifiers(Pattern.sector(2, salt: 1) + [UInt8](repeating: 0, count: 7680))
        #expect(Set(first + second).count == 4)
        let chosen = "01234567-89ab-4def-8123-456789abcdef"
        let third = try identifiers(disk) { $0.diskID = ImageIdentity(text: chosen) }
        #expect(third[1] == chosen && third[0] == first[0])
    }

    @Test func `is refused where readers would refuse it`() {
        func fault(_ options: String, size: UInt64 = 1 << 20) -> String {
            var list = ImageOptionList()
            do throws(OptionFault) {
                try list.add(options)
                let new = try VHDXDriver().newImage(size: size, list)
                return (new.optionFault ?? new.sizeFault)?.message ?? ""
            } catch {
                return error.message
            }
        }
        #expect(fault("") == "")
        #expect(fault("", size: 0).contains("size is 0") && fault("", size: 64 << 40 + 1).contains("64 TiB"))
        #expect(fault("block_size=3M").contains("power of two") && fault("block_size=512M").contains("power of two"))
        #expect(fault("log_size=1").contains("multiple of 1M") && fault("log_size=4G").contains("less than 4G"))
        #expect(fault("logical_sector_size=1024").contains("512 or 4096"))
        #expect(fault("logical_sector_size=4096,physical_sector_size=512").contains("at least"))
        #expect(fault("uuid=x").contains("a UUID") && fault("subformat=other").contains("one of"))
        #expect(fault("block_size=0,subformat=fixed,block_state_zero=off") == "")
        var new = NewVHDX(size: 1)
        #expect(throws: OptionFault.self) { try new.compress(nil, level: 1) }
        #expect(throws: OptionFault.self) { try new.setBacking(NewBacking(name: [65], format: "vhdx")) }
    }
}

func contents(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
