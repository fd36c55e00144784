import Foundation
import HostTools
import TestImages
import Testing

@Suite("VMDK images of the hypervisors", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp")))
struct VMDKTests {
    /// A folder of images, and what their disks are.
    private struct Images {
        let folder: TemporaryFolder
        let images: String
        var expected: [(name: String, raw: String)] = []

        init() throws {
            folder = try TemporaryFolder()
            images = try folder.makeFolder("images")
        }

        /// Says what `name` holds.
        mutating func expect(_ disk: [UInt8], of name: String) throws {
            expected.append((name, try folder.write(disk, to: "\(name).raw")))
        }

        func write(_ bytes: [UInt8], to name: String) throws {
            try folder.write(bytes, to: "images/\(name)")
        }
    }

    private func addStream(to images: inout Images) throws {
        let model = GrainModel(size: 50 * 65536 + 512, seed: 1)
        var builder = StreamVMDKBuilder.whole(model)
        builder.progressInterval = 5
        try images.write(builder.build().bytes, to: "stream.vmdk")
        try images.expect(model.disk(), of: "stream.vmdk")
    }

    /// A thick base, and two deltas of ESX.
    private func addChain(to images: inout Images) throws {
        let base = GrainModel(size: 2 << 20, grainSize: 4096, seed: 2, of: [.absent, .data])
        var disk = base.disk()
        try images.write(disk, to: "vm-flat.vmdk")
        let line = VMDKDescriptorText.extent("VMFS", size: base.size, file: "vm-flat.vmdk")
        try images.write(VMDKDescriptorText("vmfs", [line], cid: 0x10).bytes(), to: "vm.vmdk")
        try images.expect(disk, of: "vm.vmdk")
        for level in 1...2 as ClosedRange<UInt32> {
            let model = GrainModel(
                size: base.size, grainSize: 512, seed: UInt64(10 + level), of: [.absent, .absent, .data], longestRun: 90
            )
            let name = "vm-00000\(level)"
            try images.write(COWDBuilder(model).build().bytes, to: "\(name)-delta.vmdk")
            let line = VMDKDescriptorText.extent("VMFSSPARSE", size: model.size, file: "\(name)-delta.vmdk")
            let parent = (name: level == 1 ? "vm.vmdk" : "vm-00000\(level - 1).vmdk", cid: 0x10 + level - 1)
            let descriptor = VMDKDescriptorText("vmfsSparse", [line], cid: 0x10 + level, parent: parent)
            try images.write(descriptor.bytes(), to: "\(name).vmdk")
            disk = model.disk(over: disk)
            try images.expect(disk, of: "\(name).vmdk")
        }
    }

    /// Sparse files, a part of a flat one, zeros, and a part that the machine may not see.
    private func addSplit(to images: inout Images) throws {
        var lines: [String] = []
        var disk: [UInt8] = []
        for index in 1...6 {
            let model = GrainModel(size: (200 + index) * 512, grainSize: 8192, seed: UInt64(20 + index))
            try images.write(SparseVMDKBuilder(model).build().bytes, to: "split-s00\(index).vmdk")
            lines.append(VMDKDescriptorText.extent("SPARSE", size: model.size, file: "split-s00\(index).vmdk"))
            disk += model.disk()
        }
        let flat = GrainModel(size: 100 * 512, grainSize: 512, seed: 30, of: [.data]).disk()
        try images.write(flat, to: "split-f001.vmdk")
        lines += [
            "RDONLY 50 FLAT \"split-f001.vmdk\" 30", "RW 70 ZERO", "NOACCESS 20 FLAT \"split-f001.vmdk\" 0",
        ]
        disk += flat[30 * 512..<80 * 512]
        disk += Array(repeating: 0, count: 90 * 512)
        try images.write(VMDKDescriptorText("custom", lines).bytes(), to: "split.vmdk")
        try images.expect(disk, of: "split.vmdk")
    }

    private func addSESparse(to images: inout Images) throws {
        let model = GrainModel(size: 20 << 20, grainSize: 4096, grains: [.data, .zero, .absent, .data])
        try images.write(SESparseBuilder(model).build().bytes, to: "snapshot-sesparse.vmdk")
        let line = VMDKDescriptorText.extent("SESPARSE", size: model.size, file: "snapshot-sesparse.vmdk")
        try images.write(VMDKDescriptorText("seSparse", [line]).bytes(), to: "snapshot.vmdk")
        try images.expect(model.disk(), of: "snapshot.vmdk")
    }

    @Test("Streams, deltas of ESX, seSparse and split disks have the bytes that they were made of")
    func content() throws {
        var images = try Images()
        try addStream(to: &images)
        try addChain(to: &images)
        try addSplit(to: &images)
        try addSESparse(to: &images)
        let mount = try Mount(images.images)
        for (name, raw) in images.expected {
            #expect(try Status(mount.disk(name)).size == Status(raw).size, "\(name)")
            let comparison = try Tool.run("cmp", [raw, mount.disk(name)])
            #expect(comparison.status == 0, "\(name): \(comparison.text)\(comparison.errors)")
            let stats = try mount.document(name)
            #expect(stats["error"] == nil, "\(name): \(String(describing: stats["error"]))")
            let sum = ["data", "compressed", "zero", "unallocated"].reduce(0) {
                $0 + (stats["rblockfs", "allocation", $1]?.number ?? 0)
            }
            #expect(Int64(sum) == (try Status(raw).size), "\(name)")
        }
        try mount.unmount()
    }

    @Test("Any read of a delta and of a split disk gives the right bytes")
    func randomReads() throws {
        var images = try Images()
        try addChain(to: &images)
        try addSplit(to: &images)
        let mount = try Mount(images.images)
        for (name, raw) in images.expected {
            let expected = [UInt8](try #require(FileManager.default.contents(atPath: raw)))
            let file = try OpenedFile(mount.disk(name))
            let seed = UInt64.random(in: 0 ... .max)
            var random = SeededRandom(seed: seed)
            for _ in 0..<400 {
                let start = Int.random(in: 0..<expected.count, using: &random)
                let count = Int.random(in: 1...(1 << Int.random(in: 1...18, using: &random)), using: &random)
                let bytes = try file.read(count, at: Int64(start))
                let end = min(start + count, expected.count)
                try #require(areSame(bytes, expected[start..<end]), "\(name): \(count) at \(start), seed \(seed)")
            }
        }
    }

    @Test("stats.json says what qemu-img info says, and what should be known of the image")
    func stats() throws {
        var images = try Images()
        try addStream(to: &images)
        try addChain(to: &images)
        try addSplit(to: &images)
        let mount = try Mount(images.images)
        for name in ["stream.vmdk", "vm.vmdk", "vm-000002.vmdk"] {
            let ours = try mount.document(name).leaves
            let theirs = try JSONValue(
                parsing: Tool.check("qemu-img", "info", "--output=json", "-f", "vmdk", "\(images.images)/\(name)"))
            // "children" came with QEMU 8.1.
            for (key, value) in theirs.leaves where !key.hasPrefix("children") {
                #expect(ours[key] == value, "\(name): \(key)")
            }
        }
        #expect(try mount.document("vm-000002.vmdk")["backing-filename"]?.text == "vm-000001.vmdk")
        let notes = try mount.document("split.vmdk")["rblockfs", "notes"]?.array ?? []
        #expect(notes.contains { $0.text?.contains("NOACCESS") == true }, "\(notes)")
    }

    @Test("A delta whose parent was changed since is refused, and says so")
    func changedParent() throws {
        var images = try Images()
        try addChain(to: &images)
        // What a machine does that is started from the base by mistake.
        let line = VMDKDescriptorText.extent("VMFS", size: 2 << 20, file: "vm-flat.vmdk")
        try images.write(VMDKDescriptorText("vmfs", [line], cid: 0x99).bytes(), to: "vm.vmdk")
        let mount = try Mount(images.images)
        for name in ["vm-000001.vmdk", "vm-000002.vmdk"] {
            let error = try mount.document(name)["error"]
            #expect(error?["code"]?.text == "corrupt", "\(String(describing: error))")
            #expect(error?["message"]?.text?.contains("parentCID") == true, "\(String(describing: error))")
            #expect(access(mount.disk(name), F_OK) != 0)
        }
        #expect(try Status(mount.disk("vm.vmdk")).size == 2 << 20)
    }
}
