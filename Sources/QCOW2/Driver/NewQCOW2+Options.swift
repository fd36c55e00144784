import BlockImage
import FormatCore

extension NewQCOW2 {
    static let options: [ImageOption<Self>] = [
        ImageOption(
            name: "compat", help: "the version: 1.1 or v3, by default; 0.10 or v2 for QEMU before 1.1",
            values: ["0.10", "1.1"]
        ) {
            (new, value) throws(OptionFault) in
            switch value.text {
            case "0.10", "v2": new.version = 2
            case "1.1", "v3": new.version = 3
            default: throw value.fault("0.10 (or v2) or 1.1 (or v3)")
            }
        },
        ImageOption(name: "cluster_size", help: "the bytes of a cluster: a power of two from 512 to 2M; 64k") {
            (new, value) throws(OptionFault) in new.clusterSize = try value.size()
        },
        ImageOption(name: "refcount_bits", help: "the bits of a refcount: a power of two from 1 to 64; 16") {
            (new, value) throws(OptionFault) in new.refcountBits = try value.number()
        },
        ImageOption(name: "extended_l2", help: "on: clusters have 32 subclusters", values: OptionValue.flags) {
            (new, value) throws(OptionFault) in new.hasExtendedL2 = try value.flag()
        },
        ImageOption(
            name: "compression_type", help: "how clusters are compressed, if they are: zlib or zstd",
            values: CompressionType.allCases.map(\.rawValue)
        ) {
            (new, value) throws(OptionFault) in new.compressionType = try value.choice()
        },
        ImageOption(
            name: "lazy_refcounts", help: "on: whoever writes to the image may put off its refcounts",
            values: OptionValue.flags
        ) {
            (new, value) throws(OptionFault) in new.hasLazyRefcounts = try value.flag()
        },
        ImageOption(
            name: "preallocation", help: "off, metadata, falloc (set space aside) or full (write zeros)",
            values: Preallocation.allCases.map(\.rawValue)
        ) {
            (new, value) throws(OptionFault) in new.preallocation = try value.choice()
        },
    ]
}
