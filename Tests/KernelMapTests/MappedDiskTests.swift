import BlockImage
import Foundation
import HostTools
import ImageFormats
import Synchronization
import TestImages
import Testing

@testable import KernelMap

@Suite(.enabled(if: canMap))
struct `The kernel reads of a map what qemu-img reads of the image` {
    /// A shell script that makes `image` of `source`, and what the map of it must be like.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var format = ImageFormat.qcow2
        /// No multiple of any cluster or grain, nor of a page.
        var size: UInt64 = 3 << 20 | 7 * 512
        var script: String
        /// The most that may come from the fallback, in a hundred parts of the data.
        var fallback = 0.0
        var least = 0.0
        var blockBits = 12
    }

    static let chain = """
        head -c 2000384 source >base.raw
        qemu-img create -q -f qcow2 -b base.raw -F raw -o cluster_size=4096 middle.qcow2 2500096
        qemu-io -f qcow2 -c 'write -q -P 6 500k 70k' -c 'write -q -P 5 1900k 300k' middle.qcow2
        qemu-img convert -O vmdk -o subformat=monolithicSparse middle.qcow2 middle.vmdk
        qemu-img create -q -f qcow2 -b middle.$bottom -F $bottom image 3149312
        qemu-io -f qcow2 -c 'write -q -P 7 100k 70k' -c 'write -q -z 1M 300k' -c 'write -q -P 8 2700k 3k' image
        """

    static let cases: [Case] = [
        // The last cluster ends with the file, and the last page is not whole.
        Case(testDescription: "clusters of 64 KiB", script: "qemu-img convert -O qcow2 source image", fallback: 3),
        Case(
            testDescription: "a whole number of clusters", size: 4 << 20,
            script: "qemu-img convert -O qcow2 source image"),
        Case(
            testDescription: "clusters of 512 bytes",
            script: "qemu-img convert -O qcow2 -o cluster_size=512 source image", blockBits: 9),
        Case(
            testDescription: "clusters of 4 KiB",
            script: "qemu-img convert -O qcow2 -o cluster_size=4096 source image", fallback: 1),
        Case(
            testDescription: "clusters of 2 MiB", size: 5 << 20 | 512,
            script: "qemu-img convert -O qcow2 -o cluster_size=2M source image", fallback: 100),
        Case(
            testDescription: "subclusters",
            script: "qemu-img convert -O qcow2 -o extended_l2=on,cluster_size=64k source image", fallback: 2),
        Case(
            testDescription: "clusters in another order than the disk's",
            script: """
                qemu-img create -q -f qcow2 image 3149312
                for cluster in $(seq 0 47 | shuf --random-source=source); do
                    echo "write -q -s part$cluster $((cluster * 65536)) 65536"
                    dd if=source of=part$cluster bs=64k skip=$cluster count=1 status=none
                done >commands; qemu-io -f qcow2 image <commands
                """, fallback: 3),
        Case(
            testDescription: "compressed clusters among others", size: 4 << 20,
            script: """
                qemu-img create -q -f qcow2 image 4M
                qemu-io -f qcow2 -c 'write -q -P 7 0 1M' -c 'write -q -c -P 8 1M 64k' -c 'write -q -c -P 9 3M 64k' \
                    -c 'write -q -P 5 3200k 512k' image
                """, fallback: 20, least: 1),
        Case(
            testDescription: "a chain of QCOW2 and raw, shorter at the bottom", script: "bottom=qcow2\n\(chain)",
            fallback: 25),
        Case(testDescription: "a chain of QCOW2 and VMDK", script: "bottom=vmdk\n\(chain)", fallback: 25),
        Case(
            testDescription: "monolithicSparse", format: .vmdk,
            script: "qemu-img convert -O vmdk -o subformat=monolithicSparse source image", fallback: 5),
        Case(
            testDescription: "streamOptimized", format: .vmdk,
            script: "qemu-img convert -O vmdk -o subformat=streamOptimized source image", fallback: 100, least: 100),
        Case(
            testDescription: "extents in two files", format: .vmdk,
            script: """
                qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse image 2148532224
                qemu-io -f vmdk -c 'write -q -P 1 0 100k' -c 'write -q -P 2 2047M 1M' -c 'write -q -P 3 2048M 900k' image
                """),
        Case(
            testDescription: "twoGbMaxExtentFlat", format: .vmdk, size: 3 << 20 | 7 * 512,
            script: "qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat source image", fallback: 3),
    ]

    @Test(arguments: cases)
    func `every format, cluster size and layout`(_ given: Case) throws {
        let judge = try MapJudge()
        try Pattern.writeDisk(judge.folder.file("source"), size: given.size, seed: 5)
        try Shell.check("cd \"$1\"; \(given.script)", judge.folder.path)
        let image = try judge.open("image", as: given.format)
        let raw = try judge.convert("image", as: given.format)
        guard given.least < 100 else {
            #expect(throws: ImageError.self) { try ExtentMap(of: image) }
            return
        }
        let (map, disk) = try judge.map(image, fallback: raw)
        #expect(try judge.difference(disk, by: map, from: raw) == nil)
        #expect(map.directSize + map.zeroSize + map.fallbackSize == map.size)
        let share = Double(map.fallbackSize) * 100 / Double(map.directSize + map.fallbackSize)
        #expect(share <= given.fallback && share >= given.least, "\(map)")
        #expect(map.blockBits == given.blockBits)
    }

    /// Here, in the process that is asked for the bytes: what reads is another one.
    @Test func `what only the image can read is asked of it by the kernel`() throws {
        let judge = try MapJudge()
        let size = 4 << 20 | 3 * 512
        try Pattern.writeDisk(judge.folder.file("source"), size: UInt64(size), seed: 6)
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 image $2
            qemu-io -f qcow2 -c 'write -q -s source 0 1M' -c 'write -q -c -s source 1M 64k' \
                -c 'write -q -c -s source 3M 64k' -c 'write -q -P 5 4M 512' image
            """, judge.folder.path, "\(size)")
        let image = try judge.open("image", as: .qcow2)
        let raw = try judge.convert("image", as: .qcow2)
        let reads = Atomic(0)
        let map = try ExtentMap(of: image)
        var disk: MappedDisk? = try MappedDisk(map, of: image) {
            count, offset, output throws(ImageError) in
            reads.add(1, ordering: .relaxed)
            try image.read(count, at: GuestOffset(offset), into: &output)
        }
        let descriptor = try #require(disk?.descriptor)
        #expect(map.needsFallback)
        try Shell.check("cmp /proc/$1/fd/$2 \"$3\"", "\(getpid())", "\(descriptor)", judge.folder.file(raw))
        #expect(reads.load(ordering: .relaxed) > 0)
        // What serves it ends with it.
        disk = nil
        let isOver = wait(seconds: 10) {
            (try? Shell.check("! readlink /proc/$1/fd/* | grep -q /dev/fuse", "\(getpid())")) != nil
        }
        #expect(isOver)
    }

    @Test func `disks of snapshots`() throws {
        let judge = try MapJudge()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 image 2M
            qemu-io -f qcow2 -c 'write -q -P 1 0 700k' image; qemu-img snapshot -c one image
            qemu-io -f qcow2 -c 'write -q -P 2 500k 700k' image; qemu-img snapshot -c two image
            qemu-io -f qcow2 -c 'write -q -P 3 0 2M' image
            """, judge.folder.path)
        for (index, name) in ["one", "two"].enumerated() {
            let raw = try judge.convert("image", as: .qcow2, options: "-l \(name)")
            let (map, disk) = try judge.map(
                try judge.open("image", as: .qcow2, snapshot: index), fallback: raw)
            #expect(try judge.difference(disk, by: map, from: raw) == nil)
        }
    }

    @Test func `grains that are aligned to sectors only, in small and in large blocks`() throws {
        let judge = try MapJudge()
        let path = judge.folder.file("image")
        try Pattern.writeDisk(judge.folder.file("source"), size: 4 << 20, seed: 9)
        try QemuImg.convert(judge.folder.file("source"), to: path, as: "vmdk", options: ["subformat=monolithicSparse"])
        let raw = try judge.convert("image", as: .vmdk)
        // The grains one sector further on, and the entries of the grain tables with them.
        try Shell.check(
            """
            python3 - "$1" <<'END'
            import struct, sys
            image = bytearray(open(sys.argv[1], 'rb').read())
            capacity, grain, _, _, entries, redundant, directory, overhead = struct.unpack('<QQQQIQQQ', image[12:72])
            end = overhead * 512
            for table in (redundant, directory):
                for index in range((capacity + grain * entries - 1) // (grain * entries)):
                    place = struct.unpack_from('<I', image, table * 512 + index * 4)[0] * 512
                    for entry in range(place, place + entries * 4, 4):
                        grain_at = struct.unpack_from('<I', image, entry)[0]
                        if grain_at > 1: struct.pack_into('<I', image, entry, grain_at + 1)
            open(sys.argv[1], 'wb').write(image[:end] + bytes(512) + image[end:])
            END
            """, path)
        let (map, disk) = try judge.map(try judge.open("image", as: .vmdk), fallback: raw)
        #expect(map.blockBits == 9 && map.fallbackSize == 0)
        #expect(try judge.difference(disk, by: map, from: raw) == nil)
    }

    @Test func `other bytes in the files than the image had are noticed before the map is used`() throws {
        let judge = try MapJudge()
        let source = judge.folder.file("source")
        try Pattern.writeDisk(source, size: 1 << 20, seed: 2)
        try QemuImg.convert(source, to: judge.folder.file("image"))
        let image = try judge.open("image", as: .qcow2)
        let map = try ExtentMap(of: image)
        let samples = try MapSample.all(of: map, as: image)
        let metadata = try MetadataFile(map, in: "/var/tmp")
        // Another file in the place of the image, as a mistake in the order of the devices would have it.
        let other = try OpenedFile(source)
        let opening = MapOpening(
            metadata: metadata.descriptor, devices: [other.descriptor], fallback: nil, samples: samples,
            blockSize: 4096)
        let fault = #expect(throws: MapFault.self) { try opening.open() }
        #expect(fault?.error.code == .corrupt)
    }

    @Test func `a file system in memory takes no map, and another folder is found`() throws {
        let judge = try MapJudge()
        try Pattern.writeDisk(judge.folder.file("source"), size: 1 << 20, seed: 2)
        try QemuImg.convert(judge.folder.file("source"), to: judge.folder.file("image"))
        let memory = try HostFileSystem("tmpfs", size: 1 << 20)
        let image = try judge.open("image", as: .qcow2)
        let map = try ExtentMap(of: image)
        #expect(throws: MapFault.self) {
            let metadata = try MetadataFile(map, in: memory.path)
            _ = try MapOpening(
                metadata: metadata.descriptor, devices: map.files.compactMap(\.descriptor), fallback: nil,
                samples: [], blockSize: 4096
            ).open()
        }
        let error = #expect(throws: ImageError.self) {
            try MappedDisk(map, of: image, fallback: nil, folders: [memory.path, "/nowhere"])
        }
        #expect(error?.code == .system(errno: ENOTBLK))
        #expect(error?.message.contains("\(memory.path): ") == true && error?.message.contains("/nowhere: ") == true)
        let disk = try MappedDisk(map, of: image, fallback: nil, folders: [memory.path, judge.folder.path])
        #expect(try judge.difference(disk, by: map, from: "source") == nil)
    }
}
