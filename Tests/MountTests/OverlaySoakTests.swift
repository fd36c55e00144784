import Foundation
import HostTools
import TestImages
import Testing

/// `make soak` has these run for long.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "python3", "sfdisk", "cmp")))
struct `What is written over images, again and again` {
    @Test func `goes on where qemu-io writes in turn with the mount`() throws {
        let folder = try OverlaidFolder(
            """
            for name in a b c; do head -c 12M /dev/urandom >../$name; done
            qemu-img convert -f raw -O qcow2 ../a a.qcow2; qemu-img convert -f raw -O vmdk ../b b.vmdk; cp ../c c.raw
            """)
        let disks = [("a", "a.qcow2"), ("b", "b.vmdk"), ("c", "c.raw")]
        try Soak.keeping(folder.folder) {
            var random = SeededRandom(seed: Soak.seed)
            let turns = Soak.count(3, long: 500)
            for turn in 1...turns {
                let mount = try folder.mount()
                var digests: [String] = []
                for (model, image) in disks {
                    let target = RandomRequests.Target(path: mount.disk(image), size: 12 << 20)
                    let requests = RandomRequests(model: folder.folder.file(model), targets: [target])
                    try #require(try requests.run(20, seed: random.next()) == "", "turn \(turn): \(image)")
                    try Tool.check("cmp", mount.disk(image), folder.folder.file(model))
                    digests.append(try folder.digest(image, mount))
                }
                try folder.end(mount)
                for ((model, image), digest) in zip(disks, digests) {
                    try #require(try folder.digestByQEMU(image) == digest, "turn \(turn): \(image)")
                    let writes = (0..<20).map { _ in Self.randomWrite(12 << 20, &random) }
                    try QemuImg.io(folder.overlay(image), format: "qcow2", writes)
                    try QemuImg.io(folder.folder.file(model), format: "raw", writes)
                }
                try folder.checkOverlays()
                if turn % 25 == 0 || turn == turns {
                    Soak.note("\(turn) of \(turns) turns of 20 requests to a mount and 20 by qemu-io, to 3 disks")
                }
            }
            let mount = try folder.mount()
            for (model, image) in disks { try Tool.check("cmp", mount.disk(image), folder.folder.file(model)) }
            try folder.end(mount)
        }
    }

    /// A command of qemu-io that writes to a disk of `size` bytes.
    private static func randomWrite(_ size: Int, _ random: inout SeededRandom) -> String {
        let count = [512, 4096, 65536, 199_680].randomElement(using: &random) ?? 512
        let at = Int.random(in: 0...(size - count) / 512, using: &random) * 512
        switch Int.random(in: 0..<5, using: &random) {
        case 0: return "write -z \(at) \(count)"
        case 1: return "write -z -u \(at) \(count)"
        default: return "write -P \(Int.random(in: 1...255, using: &random)) \(at) \(count)"
        }
    }

    /// An image with two partitions, made of the raw disk `disk`, in the folder above.
    enum Base: String, CaseIterable {
        case chain = """
            qemu-img convert -c -f raw -O qcow2 ../disk base.qcow2; qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
            qemu-io -f qcow2 -c 'write -P 7 5M 3M' -c 'write -z 20M 1M' a.qcow2 >/dev/null
            """
        case vmdk = "qemu-img convert -f raw -O vmdk ../disk a.vmdk"
        case raw = "cp --sparse=always ../disk a.raw"
        case ova = """
            qemu-img convert -f raw -O vmdk -o subformat=streamOptimized ../disk disk1.vmdk
            { echo '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
              echo "<File ovf:id='f' ovf:href='disk1.vmdk'/></References><DiskSection>"
              echo "<Disk ovf:diskId='d' ovf:fileRef='f' ovf:capacity='41943040'/></DiskSection>"
              echo '<VirtualSystem ovf:id="vm"><Name>A machine</Name></VirtualSystem></Envelope>'; } >vm.ovf
            tar -cf a.ova vm.ovf disk1.vmdk; rm vm.ovf disk1.vmdk
            """

        var image: String {
            switch self {
            case .chain: "a.qcow2"
            case .vmdk: "a.vmdk"
            case .raw: "a.raw"
            case .ova: "a.ova/disk1.vmdk"
            }
        }
    }

    @Test(arguments: Base.allCases) func `is what a plain file is, whatever is done to both`(base: Base) throws {
        let folder = try OverlaidFolder(
            """
            truncate -s 40M ../disk
            for at in 0 3 17 30; do head -c 2M /dev/urandom | dd of=../disk bs=1M seek=$at conv=notrunc status=none; done
            printf 'label: gpt\\nstart=2048, size=20480\\nstart=32775, size=30001\\n' | sfdisk -q ../disk
            \(base.rawValue)
            """)
        let model = folder.folder.file("disk")
        try Soak.keeping(folder.folder) {
            if base == .chain {
                try Tool.check("qemu-img", "convert", "-O", "raw", "\(folder.images)/a.qcow2", model)
            }
            var random = SeededRandom(seed: Soak.seed + UInt64(base.image.utf8.count))
            let end = Date.now.addingTimeInterval(Soak.seconds(minutes: 15))
            var count = 0
            repeat {
                let mount = try folder.mount()
                let partitions = mount.file("\(base.image)/partitions")
                let targets: [RandomRequests.Target] = [
                    // Without the partition tables: the guest's would change.
                    .init(path: mount.disk(base.image), offset: 1 << 20, offsetInModel: 1 << 20, size: 38 << 20),
                    .init(path: "\(partitions)/p1.raw", offsetInModel: 2048 * 512, size: 20480 * 512, isMapped: false),
                    .init(path: "\(partitions)/p2.raw", offsetInModel: 32775 * 512, size: 30001 * 512, isMapped: false),
                ]
                let said = try RandomRequests(model: model, targets: targets).run(750, seed: random.next())
                try #require(said == "", "\(said)")
                try Tool.check("cmp", mount.disk(base.image), model)
                count += 750
                // QEMU does not open what lies over a disk of an appliance.
                let isForQEMU = base != .ova
                try folder.end(mount, isForQEMU: isForQEMU)
                if isForQEMU {
                    try Tool.check("qemu-img", "compare", "-f", "qcow2", "-F", "raw", folder.overlay(base.image), model)
                }
                if count % 15000 == 0 { Soak.note("\(count) random requests over \(base.image)") }
            } while Date.now < end
            Soak.note("\(count) random requests over \(base.image), the last")
        }
    }
}
