/// A kind of image that is measured. The raw value is its name on the command line and in JSON.
enum ImageKind: String, CaseIterable {
    case raw, vmdk, vhdx, qcow2, scattered, zlib, zstd, extended, chain, vhd, vdi

    /// What the table calls it.
    var title: String {
        switch self {
        case .raw: "raw file"
        case .vmdk: "VMDK, monolithicSparse"
        case .vhdx: "VHDX, dynamic"
        case .qcow2: "QCOW2, written in order"
        case .scattered: "QCOW2, every cluster somewhere else"
        case .zlib: "QCOW2, compressed with zlib"
        case .zstd: "QCOW2, compressed with zstd"
        case .extended: "QCOW2, extended L2 entries"
        case .chain: "QCOW2, eight overlays over a base"
        case .vhd: "VHD, dynamic"
        case .vdi: "VDI, dynamic"
        }
    }

    /// The name that QEMU has for its format.
    var format: String {
        switch self {
        case .raw: "raw"
        case .vmdk: "vmdk"
        case .vhd: "vpc"
        case .vdi: "vdi"
        case .vhdx: "vhdx"
        default: "qcow2"
        }
    }

    private var isCompressed: Bool { self == .zlib || self == .zstd }

    /// Whether it is one of the formats that store a disk in large blocks under one table.
    private var isInBlocks: Bool { self == .vhd || self == .vhdx || self == .vdi }

    /// Whether the kernel can read it by a map: much of it is stored as it is, and not in one piece; in a VHD of QEMU's it
    /// does not begin at pages.
    var isMapped: Bool { !isCompressed && self != .raw && self != .vhd }

    /// What it is expected to do with it then.
    func mapTargets(for measure: Measure) -> [Target] {
        let isInOrder = self == .qcow2 || self == .vmdk || self == .vhdx || self == .vdi
        switch measure {
        case .sequential where isInOrder:
            return [Target(atLeast: 4, times: .storageDaemon), Target(atLeast: 0.4, times: .bareFile)]
        case .sequential: return [Target(atLeast: 0.3, times: .bareFile)]
        case .random1 where isInOrder:
            return [Target(atLeast: 6, times: .storageDaemon), Target(atLeast: 0.15, times: .bareFile)]
        case .random8 where isInOrder:
            return [Target(atLeast: 5, times: .storageDaemon), Target(atLeast: 0.15, times: .bareFile)]
        case .random1, .random8: return [Target(atLeast: 2, times: .rblockfs)]
        case .mapped, .random32, .loopDevice, .directLoopDevice, .copy: return []
        }
    }

    /// What the kernel is expected to do with it by itself.
    func passthroughTargets(for measure: Measure) -> [Target] {
        switch measure {
        case .sequential, .mapped, .random1, .random8:
            [Target(atLeast: 8, times: .storageDaemon), Target(atLeast: 0.9, times: .bareFile)]
        case .random32, .loopDevice, .directLoopDevice, .copy: []
        }
    }

    /// What is expected of it where it can be written to, and is not: what rblockfs does without that.
    func overlayTargets(for measure: Measure) -> [Target] {
        switch measure {
        case .sequential, .random1, .random8, .random32: [Target(atLeast: 0.95, times: .rblockfs)]
        case .mapped, .loopDevice, .directLoopDevice, .copy: []
        }
    }

    /// What rblockfs is expected to do with it: so many times the figure of another server.
    func targets(for measure: Measure) -> [Target] {
        if isInBlocks {
            switch measure {
            case .sequential: return [Target(atLeast: 3, times: .storageDaemon)]
            case .random1, .random8, .random32, .loopDevice, .directLoopDevice:
                return [Target(atLeast: 2, times: .storageDaemon)]
            case .mapped, .copy: return []
            }
        }
        switch measure {
        case .sequential:
            var targets = [Target(atLeast: isCompressed ? 3 : 4, times: .storageDaemon)]
            if !isCompressed && self != .chain { targets.append(Target(atLeast: 0.3, times: .bareFile)) }
            if self == .raw { targets.append(Target(atLeast: 0.9, times: .floor)) }
            return targets
        case .random1: return [Target(atLeast: 3, times: .storageDaemon)]
        case .random8:
            return [Target(atLeast: isCompressed || self == .chain ? 3 : 2.5, times: .storageDaemon)]
        case .random32:
            return [Target(atLeast: isCompressed || self == .chain ? 3 : 4, times: .storageDaemon)]
        case .loopDevice, .directLoopDevice: return [Target(atLeast: 2, times: .storageDaemon)]
        case .mapped, .copy: return []
        }
    }
}

/// That rblockfs's figure is at least so many times another server's.
struct Target {
    var atLeast: Double
    var times: ServerKind
}
