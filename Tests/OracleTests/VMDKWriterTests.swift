import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing
import VMDK

@Suite(.enabled(if: canAskBothReaders))
struct `VMDK disks that are written are read by everybody` {
    /// A disk that is written, and read by everybody.
    struct Written {
        let oracle: Oracle
        var new: NewVMDK
        var name = "disk.vmdk"
        /// Its bytes, also of those that its parent has.
        var disk: [UInt8]
        var parent: [UInt8] = []

        init(_ subformat: NewVMDK.Subformat, _ disk: [UInt8], in oracle: Oracle) {
            self.oracle = oracle
            self.disk = disk
            new = NewVMDK(size: UInt64(disk.count))
            new.subformat = subformat
        }

        /// Writes it, and answers what the image says of itself.
        @discardableResult
        func write(seed: UInt64) throws -> VMDKDescription {
            var random = SeededRandom(seed: seed)
            let writer = try VMDKWriter(new, named: name, in: FolderFiles(oracle.folder.path))
            try writer.write(disk: disk, over: parent, random: &random)
            return try description()
        }

        private func description() throws -> VMDKDescription {
            let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: oracle.folder.file(name))))
            return try VMDKDescription.describe(MemoryFile(bytes))
        }

        /// Whether everybody reads it, no check finds anything, and qemu-img says what was asked for.
        func judge(qemu: Verdict = .same, second: Verdict = .same) throws {
            let sectors = disk + [UInt8](repeating: 0, count: (512 - disk.count % 512) % 512)
            try oracle.expect(name, is: sectors, qemu: qemu, second: second, count: 100)
            let path = oracle.folder.file(name)
            let (ours, findings) = try CheckVerdict.ours(path, .vmdk)
            #expect(ours.status == 0 && findings == [], "\(findings)")
            #expect(try CheckVerdict.theirs(path, .vmdk).status == 0)
            let info = try QemuImg.info(path, format: "vmdk")
            let facts = (info["format-specific"] as? [String: Any])?["data"] as? [String: Any]
            #expect(facts?["create-type"] as? String == new.subformat.rawValue)
            let description = try description()
            #expect(facts?["cid"] as? UInt32 == description.cid)
            #expect(facts?["parent-cid"] as? UInt32 == new.parent?.cid ?? UInt32.max)
            let files = (facts?["extents"] as? [[String: Any]])?.compactMap { $0["filename"] as? String }
            #expect(files == description.extents.compactMap { $0.name.map { oracle.folder.file($0.text) } })
            #expect(description.entries.first { $0.key == "ddb.adapterType" }?.value == new.adapterType.rawValue)
        }
    }

    /// Runs of grains with and without data, one of them incompressible; not always whole sectors.
    private func randomDisk(_ random: inout SeededRandom) -> [UInt8] {
        // A grain table reaches 32 MiB.
        let size = Bool.random(using: &random) ? Int.random(in: 1...3 << 20, using: &random) : 33 << 20
        let grainSize = [512, 4096, 65536].randomElement(using: &random) ?? 65536
        let model = GrainModel(
            size: (size + 511) / 512 * 512, grainSize: grainSize, seed: random.next(), of: [.absent, .zero, .data],
            longestRun: max(8, size / grainSize / 12))
        var disk = Array(model.disk().prefix(size))
        for index in disk.indices.prefix(65536) { disk[index] = UInt8(truncatingIfNeeded: random.next()) }
        return disk
    }

    @Test(arguments: NewVMDK.Subformat.allCases, 1...3 as ClosedRange<UInt64>)
    func `whatever is on them`(subformat: NewVMDK.Subformat, seed: UInt64) throws {
        var random = SeededRandom(seed: seed &* 16 &+ UInt64(subformat.rawValue.utf8.count))
        var written = Written(subformat, randomDisk(&random), in: try Oracle(try TemporaryFolder()))
        written.new.adapterType = NewVMDK.AdapterType.allCases.randomElement(using: &random) ?? .ide
        written.new.hardwareVersion = Int.random(in: 4...21, using: &random)
        written.new.compressionLevel = Int.random(in: 1...12, using: &random)
        try written.write(seed: seed)
        try written.judge()
    }

    @Test(arguments: NewVMDK.Subformat.allCases)
    func `with nothing on them, or a single byte`(subformat: NewVMDK.Subformat) throws {
        for disk in [[UInt8](repeating: 0, count: 100_000), [7]] {
            let written = Written(subformat, disk, in: try Oracle(try TemporaryFolder()))
            try written.write(seed: 1)
            try written.judge()
        }
    }

    @Test(arguments: NewVMDK.Subformat.allCases)
    func `under names that are not plain`(subformat: NewVMDK.Subformat) throws {
        let oracle = try Oracle(try TemporaryFolder())
        for name in ["größe 磁盘.vmdk", "no suffix", "a=b;c,d#e%20'f'.vmdk", "RW 1 ZERO.vmdk"] {
            var written = Written(subformat, [UInt8](repeating: 3, count: 70_000), in: oracle)
            written.name = name
            try written.write(seed: 1)
            try written.judge()
        }
    }

    @Test(arguments: [NewVMDK.Subformat.monolithicSparse, .twoGbMaxExtentSparse, .streamOptimized], [false, true])
    func `as deltas of deltas`(subformat: NewVMDK.Subformat, hasZeroedGrains: Bool) throws {
        if hasZeroedGrains && subformat == .streamOptimized { return }
        let oracle = try Oracle(try TemporaryFolder())
        var random = SeededRandom(seed: 7)
        var parent = Written(.monolithicSparse, randomDisk(&random), in: oracle)
        parent.disk.removeLast(parent.disk.count % 65536)
        parent.new.size = UInt64(parent.disk.count)
        parent.name = "level0.vmdk"
        var cid = try #require(try parent.write(seed: 1).cid)
        for level in 1...3 {
            var delta = parent
            delta.name = "level\(level).vmdk"
            delta.new.subformat = subformat
            delta.new.hasZeroedGrains = hasZeroedGrains
            delta.new.parent = NewVMDK.Parent(name: parent.name, cid: cid)
            delta.parent = parent.disk
            for grain in 0..<delta.disk.count / 65536 {
                let content: UInt8
                switch Int.random(in: 0..<6, using: &random) {
                case 0: content = 0
                case 1: content = UInt8(level)
                default: continue
                }
                let bytes = [UInt8](repeating: content, count: 65536)
                delta.disk.replaceSubrange(grain * 65536..<(grain + 1) * 65536, with: bytes)
            }
            cid = try #require(try delta.write(seed: UInt64(level)).cid)
            try delta.judge()
            parent = delta
        }
    }

    @Test func `and qemu-io writes to sparse ones, where there was nothing and where there was something`() throws {
        for subformat in [NewVMDK.Subformat.monolithicSparse, .twoGbMaxExtentSparse] {
            var random = SeededRandom(seed: 3)
            var written = Written(subformat, randomDisk(&random), in: try Oracle(try TemporaryFolder()))
            written.disk += [UInt8](repeating: 0, count: (40 << 20) - written.disk.count)
            written.new.size = 40 << 20
            try written.write(seed: 1)
            try QemuImg.io(
                written.oracle.folder.file("disk.vmdk"), format: "vmdk", ["write -P 5 0 70k", "write -P 6 39M 1M"])
            written.disk.replaceSubrange(0..<70 << 10, with: [UInt8](repeating: 5, count: 70 << 10))
            written.disk.replaceSubrange(39 << 20..<40 << 20, with: [UInt8](repeating: 6, count: 1 << 20))
            try written.judge()
        }
    }

    @Test(arguments: NewVMDK.Subformat.allCases, [(2 << 30) + 1536, (4 << 30) + 65536] as [UInt64])
    func `of more than 2 GiB, and of more than 4`(subformat: NewVMDK.Subformat, size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let raw = oracle.folder.file("raw")
        try QemuImg.create(raw, format: "raw", size: size)
        var new = NewVMDK(size: size)
        new.subformat = subformat
        let writer = try VMDKWriter(new, named: "disk.vmdk", in: FolderFiles(oracle.folder.path))
        let file = try #require(FileHandle(forWritingAtPath: raw))
        // Across the border of the first two files, and at the end.
        for start in [0, (2047 << 20) - 65536, size / 65536 * 65536 - 65536] as [UInt64] {
            let count = Int(min(2 * 65536, size - start))
            let bytes = (start / 512..<(start + UInt64(count)) / 512).flatMap { Pattern.sector($0, salt: 1) }
            try writer.write(bytes.span.bytes, at: GuestOffset(start), stored: nil)
            try file.seek(toOffset: start)
            try file.write(contentsOf: bytes)
        }
        try file.close()
        try writer.finish()
        try QemuImg.run("compare", "-f", "raw", "-F", "vmdk", raw, oracle.folder.file("disk.vmdk"))
        if subformat == .twoGbMaxExtentSparse {
            let second = oracle.folder.file("second.raw")
            let (isRead, why) = try SecondReader.reads(oracle.folder.file("disk.vmdk"), into: second)
            #expect(isRead, "\(why)")
            try QemuImg.run("compare", "-f", "raw", "-F", "raw", raw, second)
        }
        let opened = oracle.open("disk.vmdk", as: .vmdk)
        let image = try opened.disk.result.get()
        #expect(try image.firstDifference(from: raw) == nil)
        #expect(try oracle.differencesOfInfo(opened, .vmdk) == [])
        #expect(try oracle.differencesOfMap(opened, image, .vmdk) == [])
        let (ours, findings) = try CheckVerdict.ours(oracle.folder.file("disk.vmdk"), .vmdk)
        #expect(ours.status == 0 && findings == [], "\(findings)")
    }
}
