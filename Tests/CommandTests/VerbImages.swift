import HostTools
import TestImages

/// A folder with images of the kinds that `rblock info` and `rblock map` are shown. `base.raw` is always there.
struct VerbImages {
    enum Part: CaseIterable {
        /// `top.qcow2` over `middle.qcow2`, which has snapshots and a bitmap, over `base.raw`.
        case chain
        /// `locked.qcow2`, encrypted, over `base.raw`.
        case locked
        /// `split.qcow2`, whose clusters lie in `outside.data`.
        case split
        /// `small.qcow2`, compressed.
        case small
        /// Each kind of VMDK, under its name.
        case vmdk

        fileprivate var script: String {
            switch self {
            case .chain:
                """
                qemu-img create -q -f qcow2 -b base.raw -F raw middle.qcow2
                qemu-io -f qcow2 -c 'write -P 1 64k 192k' -c 'write -z 1M 128k' middle.qcow2 >/dev/null
                qemu-img snapshot -c 'before the update' middle.qcow2
                qemu-io -f qcow2 -c 'write -P 2 64k 64k' -c 'write -P 3 2M 64k' middle.qcow2 >/dev/null
                qemu-img snapshot -c 'a name that is longer than its column' middle.qcow2
                qemu-img bitmap --add -g 64k middle.qcow2 changes
                qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2 6M
                qemu-io -f qcow2 -c 'write -P 4 5M 64k' top.qcow2 >/dev/null
                """
            case .locked:
                """
                qemu-img create -q -f qcow2 --object secret,id=s,data=abc \
                  -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 -b base.raw -F raw locked.qcow2
                """
            case .split: "qemu-img create -q -f qcow2 -o data_file=\"$1/outside.data\",data_file_raw=on split.qcow2 1M"
            case .small: "qemu-img convert -O qcow2 -c -o compression_type=zstd base.raw small.qcow2"
            case .vmdk:
                """
                for kind in monolithicSparse twoGbMaxExtentSparse monolithicFlat twoGbMaxExtentFlat streamOptimized; do
                  qemu-img convert -O vmdk -o subformat=$kind base.raw $kind.vmdk
                done
                """
            }
        }
    }

    let folder: TemporaryFolder
    /// The folder.
    var path: String { folder.path }

    /// Has qemu-img make `parts`.
    init(_ parts: [Part] = Part.allCases) throws {
        folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("base.raw"), size: 5 << 20, seed: 11)
        for part in parts { try Shell.check("cd \"$1\"\n" + part.script, path) }
    }

    /// The images of all parts.
    static let names = [
        "base.raw", "middle.qcow2", "top.qcow2", "locked.qcow2", "split.qcow2", "small.qcow2", "monolithicSparse.vmdk",
        "twoGbMaxExtentSparse.vmdk", "monolithicFlat.vmdk", "twoGbMaxExtentFlat.vmdk", "streamOptimized.vmdk",
    ]
}
