/// What is converted into what. The raw value is its name on the command line and in JSON.
enum Conversion: String, CaseIterable {
    case rawToQCOW2 = "raw-qcow2"
    case qcow2ToRaw = "qcow2-raw"
    case rawToVHDX = "raw-vhdx"
    case zlib, zstd

    /// What the table calls it.
    var title: String {
        switch self {
        case .rawToQCOW2: "raw → qcow2"
        case .qcow2ToRaw: "qcow2 → raw"
        case .rawToVHDX: "raw → vhdx"
        case .zlib: "raw → qcow2, zlib"
        case .zstd: "raw → qcow2, zstd"
        }
    }

    /// The format that is read.
    var source: String { self == .qcow2ToRaw ? "qcow2" : "raw" }

    /// The format that is written.
    var target: String {
        switch self {
        case .qcow2ToRaw: "raw"
        case .rawToVHDX: "vhdx"
        case .rawToQCOW2, .zlib, .zstd: "qcow2"
        }
    }

    /// How its clusters are compressed, if they are.
    var compression: String? { self == .zlib || self == .zstd ? rawValue : nil }

    /// How many times as fast as qemu-img `rblock` is to be.
    var aim: Double { compression == nil ? 1.5 : 2 }
}

/// A program that converts, and whether it waits until the image is on the disk. The raw value is its name on the command
/// line and in JSON; the order is that of the table.
enum Converter: String, CaseIterable {
    case rblock
    /// With the cache mode that flushes at the end.
    case qemuFlushing = "qemu-img-flush"
    case rblockWithoutSync = "rblock-no-sync"
    /// With its default cache mode, which never flushes.
    case qemu = "qemu-img"

    /// What the table calls it.
    var title: String {
        switch self {
        case .rblock: "rblock"
        case .qemuFlushing: "qemu-img -t writeback"
        case .rblockWithoutSync: "rblock --no-sync"
        case .qemu: "qemu-img"
        }
    }

    /// The one of QEMU that makes the same promise; nil where it is that itself.
    var peer: Converter? {
        switch self {
        case .rblock: .qemuFlushing
        case .rblockWithoutSync: .qemu
        case .qemuFlushing, .qemu: nil
        }
    }

    /// The command that does `conversion` from `source` to `target`, a file that there is not.
    func command(_ conversion: Conversion, _ source: String, _ target: String, rblock: String) -> [String] {
        let formats = ["-f", conversion.source, "-O", conversion.target]
        let files = [source, target]
        switch self {
        case .rblock, .rblockWithoutSync:
            let compression = conversion.compression.map { ["--compress", $0] } ?? []
            let sync = self == .rblockWithoutSync ? ["--no-sync"] : []
            return [rblock, "convert"] + formats + compression + sync + files
        case .qemuFlushing, .qemu:
            // The most that it does at once, in any order.
            let parallel = ["-W", "-m", "16"]
            let compression = conversion.compression.map { ["-c", "-o", "compression_type=\($0)"] } ?? []
            let cache = self == .qemuFlushing ? ["-t", "writeback"] : []
            return ["qemu-img", "convert", "-q"] + parallel + formats + compression + cache + files
        }
    }
}
