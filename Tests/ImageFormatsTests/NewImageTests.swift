import BlockImage
import FormatCore
import ImageFormats
import QCOW2
import Raw
import TestImages
import Testing
import VMDK

struct `What a new image is to be` {
    private func image(_ format: ImageFormat, _ options: String...) throws(OptionFault) -> NewImage {
        var list = ImageOptionList()
        for text in options { try list.add(text) }
        return try NewImage(format, size: 1 << 20, list)
    }

    @Test func `is said as to qemu-img`() throws {
        var qcow2 = NewQCOW2(size: 1 << 20)
        let usual = try #require(try image(.qcow2).image as? NewQCOW2Image)
        #expect(usual.new == qcow2 && usual.compressionLevel == nil)
        qcow2.version = 2
        qcow2.clusterSize = 4096
        qcow2.refcountBits = 8
        qcow2.hasExtendedL2 = true
        qcow2.compressionType = .zstd
        qcow2.hasLazyRefcounts = true
        qcow2.preallocation = .falloc
        let text =
            "compat=0.10,cluster_size=4k,refcount_bits=8,extended_l2=on,compression_type=zstd,lazy_refcounts=yes"
        let said = try image(.qcow2, text, "preallocation=falloc")
        #expect((said.image as? NewQCOW2Image)?.new == qcow2)
        var vmdk = NewVMDK(size: 1 << 20)
        vmdk.subformat = .twoGbMaxExtentSparse
        vmdk.adapterType = .legacyESX
        vmdk.hardwareVersion = 6
        vmdk.hasZeroedGrains = true
        #expect(
            try image(.vmdk, "subformat=twoGbMaxExtentSparse,adapter_type=legacyESX,compat6=on,zeroed_grain=on")
                .image as? NewVMDK == vmdk)
        let raw = try #require(try image(.raw, "preallocation=full").image as? NewRaw)
        #expect(raw.preallocation == .full && raw.size == 1 << 20)
    }

    @Test func `may say an option twice, of which the last holds`() throws {
        let said = try image(.qcow2, "cluster_size=4k,cluster_size=512", "cluster_size=0x1000").image
        #expect((said as? NewQCOW2Image)?.new.clusterSize == 4096)
    }

    @Test(
        arguments: [
            (.qcow2, "size", "none of this name"), (.qcow2, "=1", "name=value"),
            (.qcow2, "custer_size=1", "cluster_size"),
            (.qcow2, "cluster_size=", "512K"), (.qcow2, "cluster_size=-1", "512K"),
            (.qcow2, "cluster_size=64x", "512K"),
            (.qcow2, "refcount_bits=99999999999", "a number"), (.qcow2, "extended_l2=maybe", "on or off"),
            (.qcow2, "preallocation=some", "metadata, falloc"), (.qcow2, "compat=2", "0.10"),
            (.vmdk, "subformat=flat", "monolithicFlat"), (.vmdk, "cluster_size=64k", "subformat"),
            (.raw, "cluster_size=64k", "preallocation"), (.raw, "preallocation=metadata", "falloc"),
        ] as [(ImageFormat, String, String)])
    func `is refused with what it must be`(format: ImageFormat, text: String, hint: String) throws {
        let fault = #expect(throws: OptionFault.self) { _ = try image(format, text) }
        #expect(fault?.message.contains(hint) == true, "\(fault?.message ?? "")")
    }

    @Test func `has values with commas where they are doubled`() throws {
        var list = ImageOptionList()
        try list.add("backing_file=a,,b.qcow2,cluster_size=4k,,")
        #expect(!list.asksForHelp)
        #expect(list.take("backing_file") == "a,b.qcow2" && list.take("cluster_size") == "4k,")
        #expect(list.take("cluster_size") == nil)
        try list.add("compat=1.1,help")
        #expect(list.asksForHelp)
    }

    @Test func `is compressed by what the format can, as hard as that can`() throws {
        var qcow2 = try image(.qcow2)
        try qcow2.compress(.zstd, level: 19)
        let compressed = try #require(qcow2.image as? NewQCOW2Image)
        #expect(compressed.compressionLevel == 19 && compressed.new.compressionType == .zstd)
        #expect(throws: OptionFault.self) { try qcow2.compress(.zlib, level: 99) }
        #expect(throws: OptionFault.self) { try qcow2.compress(nil, level: 0) }
        var raw = try image(.raw)
        #expect(throws: OptionFault.self) { try raw.compress(.zlib, level: nil) }
        var sparse = try image(.vmdk)
        #expect(throws: OptionFault.self) { try sparse.compress(.zlib, level: nil) }
        var stream = try image(.vmdk, "subformat=streamOptimized")
        try stream.compress(nil, level: 9)
        #expect(throws: OptionFault.self) { try stream.compress(.zstd, level: nil) }
    }

    @Test(
        arguments: [
            ("0", 0), ("512", 512), ("64k", 65536), ("64K", 65536), ("2M", 2 << 20), ("3G", 3 << 30), ("1T", 1 << 40),
            ("2P", 2 << 50), ("0x200", 512), ("0X1k", 1024), ("", nil), ("k", nil), ("-1", nil), ("1.5G", 3 << 29),
            ("8192P", nil), ("9223372036854775807", 9_223_372_036_854_775_807), ("9223372036854775808", nil),
            ("18446744073709551616", nil), ("1 M", nil), ("10GiB", 10 << 30), ("10gib", 10 << 30),
            ("10GB", 10_000_000_000),
            ("1kB", 1000), ("0.5K", 512), ("0.0001M", 104), ("7.999999P", 9_007_198_128_841_085), ("1.5", nil),
            ("1.", nil),
            (".5G", nil), ("1.5.5G", nil), ("1.G", nil), ("8PB", 8_000_000_000_000_000), ("10B", nil), ("1KiBs", nil),
            ("1E", 1 << 60),
            ("7.999999E", 9_223_370_883_933_271_201), ("8E", nil), ("9EB", 9_000_000_000_000_000_000),
            ("0x1G", 1 << 30), ("0x1GB", nil), ("0x1B", 27), ("1e3", nil), ("९", nil),
        ] as [(String, UInt64?)])
    func `has sizes as people write them`(text: String, count: UInt64?) {
        #expect((try? byteCount(of: text)) == count)
    }
}
