import NIOCore
import TestImages

extension FuzzTarget {
    /// Good inputs to begin with, made here; the folder `Fixtures/fuzz/TARGET` has those that other programs made, and what
    /// the fuzzer found. Small: a fuzzer gets nowhere with megabytes.
    func seeds() throws -> [[UInt8]] {
        switch self {
        case .qcow2: Self.qcow2Seeds()
        case .qcow1: Self.clusterSeeds(.qcow1, 9)
        case .qed: Self.clusterSeeds(.qed, 12)
        case .parallels: Self.clusterSeeds(.parallels, 9) + Self.clusterSeeds(.parallelsExtended, 9)
        case .vmdkDescriptor: try Self.descriptorSeeds()
        case .vmdkSparse: try Self.sparseSeeds()
        case .vmdkStream: try Self.streamSeeds()
        case .vhd: Self.vhdSeeds()
        case .vdi: Self.vdiSeeds()
        case .vhdx: VHDXShape.seeds()
        case .nbd: Self.nbdSeeds()
        case .rpc: Self.rpcSeeds.map { Array($0.utf8) }
        case .lvm: Self.groupSeeds
        case .manifest: Self.manifestSeeds.map { Array($0.utf8) }
        case .ewf, .ova, .ovf, .partitions, .luks, .ext, .fat, .exFAT, .iso: []
        }
    }

    private static var groupSeeds: [[UInt8]] {
        var group = BuiltGroup(
            "vg", String(repeating: "g", count: 32), members: ["a", "b"].map { String(repeating: $0, count: 32) })
        group.extentSize = 1
        let empty = group
        group.add("linear", BuiltGroup.segment(0, 9, [("pv0", 5)]), BuiltGroup.segment(9, 2, [("pv1", 0)]))
        group.add("striped", BuiltGroup.segment(0, 16, [("pv0", 20), ("pv1", 20)], stripeSize: 2))
        group.add("thin", "start_extent = 0\nextent_count = 4\ntype = \"thin\"\nthin_pool = \"pool\"")
        group.add("snapshot0", "start_extent = 0\nextent_count = 4\ntype = \"snapshot\"\ncow_store = \"striped\"")
        return [empty, group].map { Array($0.text.utf8) }
    }

    private static func qcow2Seeds() -> [[UInt8]] {
        let kinds = QCOW2Builder.Cluster.allCases
        return (0..<6).map { number in
            var builder = QCOW2Builder(size: 0x3_0200, clusterBits: number < 4 ? 9 : 12)
            if number == 1 { builder.version = 2 }
            if number == 3 { builder.compressionType = 1 }
            let usable = number == 1 ? kinds.filter { $0 != .zero && $0 != .preallocatedZero } : kinds
            builder.clusters = (0..<24).map { usable[$0 % usable.count] }
            return builder.build(seed: UInt64(number)).bytes
        }
    }

    private static func clusterSeeds(_ format: ClusterImageBuilder.Format, _ bits: Int) -> [[UInt8]] {
        [bits, 12].map { bits in
            let builder = ClusterImageBuilder(format, size: 20 << UInt64(bits) | 512, clusterBits: bits)
            return builder.build(seed: UInt64(bits)).bytes
        }
    }

    private static func descriptorSeeds() throws -> [[UInt8]] {
        let flat = VMDKDescriptorText.extent("FLAT", size: 1 << 20, file: "image-flat.vmdk", offset: 0)
        var texts = [
            VMDKDescriptorText("monolithicFlat", [flat]),
            VMDKDescriptorText(
                "twoGbMaxExtentFlat",
                [
                    flat, VMDKDescriptorText.extent("ZERO", size: 65536),
                    VMDKDescriptorText.extent("VMFS", size: 512, file: "b"),
                ]),
            VMDKDescriptorText("monolithicFlat", [flat], parent: (name: "C:\\vm\\parent.vmdk", cid: 7)),
        ]
        texts[1].encoding = "windows-1252"
        texts[1].lineEnd = "\r\n"
        return try texts.map { try $0.bytes() }
    }

    private static func sparseSeeds() throws -> [[UInt8]] {
        let model = GrainModel(size: 0x1_4200, grainSize: 4096, seed: 5)
        var zeroed = SparseVMDKBuilder.whole(model)
        zeroed.version = 2
        zeroed.hasZeroedGrains = true
        zeroed.tableEntryCount = 8
        let esx = GrainModel(size: 0x1_4000, grainSize: 4096, seed: 6)
        return [
            try SparseVMDKBuilder.whole(model).build().bytes, try zeroed.build().bytes,
            SESparseBuilder(esx).build().bytes,
            COWDBuilder(GrainModel(size: 0x4000, grainSize: 512, seed: 7)).build().bytes,
        ]
    }

    private static func streamSeeds() throws -> [[UInt8]] {
        let model = GrainModel(size: 0x1_4200, grainSize: 4096, seed: 8)
        return try StreamVMDKBuilder.Directory.allCases.flatMap { directory in
            var builder = StreamVMDKBuilder.whole(model, directory)
            let whole = try builder.build().bytes
            builder.isLastGrainCut = true
            builder.alignment = 8
            return [whole, try builder.build().bytes, Array(whole.dropLast(1536))]
        }
    }

    private static func vhdSeeds() -> [[UInt8]] {
        [2, 3, 4].flatMap { (kind: UInt32) in
            [512, 511].map { footerSize in
                var builder = VHDBuilder(size: 3 * 4096 + 512)
                builder.kind = kind
                builder.footerSize = footerSize
                builder.parent = kind == 4 ? (Array(2...17), 0, "base.raw") : nil
                builder.locators = kind == 4 ? [("W2ru", ".\\base.raw".utf16LittleBytes)] : []
                builder.blocks[0] = VHDBuilder.Block(
                    written: [true, false, true, true, true, true, true, false],
                    bytes: [UInt8](repeating: 7, count: 4096))
                return builder.build().bytes
            }
        }
    }

    private static func vdiSeeds() -> [[UInt8]] {
        [1, 2].map { (kind: UInt32) in
            var builder = VDIBuilder(size: 4 * 4096 + 512)
            builder.kind = kind
            builder.extraSize = kind == 2 ? 512 : 0
            let data = [UInt8](repeating: 7, count: 4096)
            builder.blocks = [.data(data), kind == 2 ? .data(data) : .free, .zero, .data(data), .free]
            return builder.build()
        }
    }

    /// A client's flags and options, and requests behind them; the first two bytes say how they are fed.
    private static func nbdSeeds() -> [[UInt8]] {
        var options = ByteBuffer(integer: UInt32(3))
        let query = ByteBuffer(bytes: [0, 0, 0, 1, 0x61, 0, 1, 0, 3])
        let contexts = ByteBuffer(bytes: [0, 0, 0, 1, 0x61, 0, 0, 0, 1, 0, 0, 0, 5] + Array("base:".utf8))
        for (number, data) in [
            (8, ByteBuffer()), (11, ByteBuffer()), (3, ByteBuffer()), (9, contexts), (10, contexts), (6, query),
            (7, query),
        ] {
            options.writeInteger(UInt64(0x4948_4156_454f_5054))
            options.writeInteger(UInt32(number))
            options.writeInteger(UInt32(data.readableBytes))
            options.writeImmutableBuffer(data)
        }
        var requests = ByteBuffer()
        for command in UInt16(0)..<9 {
            requests.writeMultipleIntegers(
                UInt32(0x2560_9513), UInt16(0), command, UInt64(command), UInt64(512), UInt32(16))
            if command == 1 { requests.writeRepeatingByte(7, count: 16) }
        }
        return [[255, 0], [6, 1]].flatMap { how in [options, requests].map { how + Array($0.readableBytesView) } }
    }

    private static let rpcSeeds = [
        #"{"jsonrpc":"2.0","id":1,"method":"read","params":{"image":"a.qcow2","offset":0,"length":512}}"#,
        #"[{"id":"x","method":"list"},{"id":null,"method":"rpc.discover","params":[]},{"method":"cancel","params":{"id":1}}]"#,
        #"{"id":-1.5e+10,"method":"\u00e9\ud83d\ude00","params":[true,false,null,[[{}]],"\\\"\/\b\f\n\r\t"]}"#,
    ]

    private static let manifestSeeds = [
        "SHA256(disk1.vmdk)= e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n",
        "SHA1 (a b.ovf) = da39a3ee5e6b4b0d3255bfef95601890afd80709\nSHA512(x)=00\n",
    ]
}
