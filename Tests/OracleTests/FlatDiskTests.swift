import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite("Disks that one file has byte for byte", .enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct FlatDiskTests {
    /// How an image is made beside `base.raw` of 4 MiB, its name and format, and the file that has its disk; or else words
    /// of the reason why none has.
    static let images: [(script: String, name: String, format: ImageFormat, file: String?, words: String)] = [
        ("true", "base.raw", .raw, "base.raw", ""),
        ("truncate -s +1 base.raw", "base.raw", .raw, "base.raw", ""),
        ("qemu-img convert -O vmdk -o subformat=monolithicFlat base.raw a.vmdk", "a.vmdk", .vmdk, "a-flat.vmdk", ""),
        (
            "qemu-img convert -O vmdk -o subformat=monolithicFlat base.raw a.vmdk; truncate -s +512 a-flat.vmdk",
            "a.vmdk", .vmdk, nil, "none of its files has its size"
        ),
        (
            "qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentFlat b.vmdk 4G", "b.vmdk", .vmdk, nil,
            "none of its files has its size"
        ),
        (
            "qemu-img create -q -f qcow2 -o data_file=$PWD/d,data_file_raw=on a.qcow2 4M", "a.qcow2", .qcow2, "d", ""
        ),
        (
            "qemu-img create -q -f qcow2 -o data_file=$PWD/d,data_file_raw=on a.qcow2 4M; "
                + "qemu-io -c 'write -q -P 1 64k 1M' -c 'write -q -z -u 256k 128k' a.qcow2", "a.qcow2", .qcow2, "d", ""
        ),
        (
            "qemu-img create -q -f qcow2 -o data_file=$PWD/d,data_file_raw=on a.qcow2 4M; "
                + "qemu-io -c 'write -q -P 1 64k 1M' -c 'write -q -z -u 256k 128k' a.qcow2; "
                + "printf x | dd of=d bs=1 seek=300000 conv=notrunc status=none", "a.qcow2", .qcow2, nil,
            "is zeros, and"
        ),
        ("qemu-img create -q -f qcow2 -F raw -b base.raw a.qcow2", "a.qcow2", .qcow2, "base.raw", ""),
        (
            "qemu-img create -q -f qcow2 -F raw -b base.raw a.qcow2; qemu-io -c 'write -q 1M 64k' a.qcow2", "a.qcow2",
            .qcow2, nil, "what it has at 0x100000 lies at"
        ),
        (
            "qemu-img create -q -f qcow2 -F raw -b base.raw a.qcow2 8M", "a.qcow2", .qcow2, nil,
            "none of its files has its size"
        ),
        ("qemu-img convert -c -O qcow2 base.raw a.qcow2", "a.qcow2", .qcow2, nil, "none of its files has its size"),
        (
            "yes | head -c 4M >base.raw; qemu-img convert -c -O qcow2 base.raw a.qcow2; truncate -s 4M a.qcow2",
            "a.qcow2", .qcow2, nil,
            "is compressed"
        ),
    ]

    @Test("are found, and of others it is said why not", arguments: images.indices)
    func found(index: Int) throws {
        let (script, name, format, file, words) = Self.images[index]
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("base.raw"), size: 4 << 20, seed: 6)
        try Shell.check("cd \"$1\" && { \(script); }", folder.path)
        let disk = try Oracle(folder).open(name, as: format).disk
        do {
            let found = try disk.flatFile()
            #expect(found.path == file.map(folder.file), "\(script)")
            let image = try #require(disk.image)
            #expect(try image.firstDifference(from: found.path) == nil, "\(script)")
            // A part of it is no file.
            #expect(throws: ImageError.self) { try image.slice(from: GuestOffset(0), size: 1 << 20).flatFile() }
            #expect(throws: ImageError.self) { try image.slice(from: GuestOffset(512), size: 4 << 20).flatFile() }
        } catch let error as ImageError {
            #expect(file == nil && error.description.contains(words), "\(script): \(error)")
        }
    }

    @Test("that is a part of it is found with its place, unless what follows it in the file would come with it")
    func partsOfFiles() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("base.raw"), size: 4 << 20, seed: 6)
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 -o data_file=$PWD/d,data_file_raw=on holes.qcow2 4M
            qemu-io -c 'write -q -z -u 0 512k' -c 'write -q -P 1 1M 64k' -c 'write -q -z -u 1M 64k' holes.qcow2
            qemu-img create -q -f qcow2 -o data_file=$PWD/e,data_file_raw=on bytes.qcow2 4M
            qemu-io -c 'write -q -z -u 0 512k' bytes.qcow2; printf x | dd of=e bs=1 seek=5000 conv=notrunc status=none
            """, folder.path)
        let oracle = try Oracle(folder)
        let raw = try #require(oracle.open("base.raw", as: .raw).disk.image)
        let part = try raw.slice(from: GuestOffset(512), size: 1 << 20).flatPlace()
        #expect(part.offset == 512 && part.file.path == folder.file("base.raw"))
        // The first bytes that are stored say where the disk begins; what is zeros before and after them is in the file, too.
        let holes = try #require(oracle.open("holes.qcow2", as: .qcow2).disk.image)
        let place = try holes.slice(from: GuestOffset(65536), size: 2 << 20).flatPlace()
        #expect(place.offset == 65536 && place.file.path == folder.file("d"))
        let bytes = try #require(oracle.open("bytes.qcow2", as: .qcow2).disk.image)
        #expect(throws: ImageError.self) { try bytes.flatPlace() }
        #expect(try bytes.slice(from: GuestOffset(65536), size: 2 << 20).flatPlace().offset == 65536)
        let file = try #require(raw.files.first)
        let slice = try FileSlice(of: file, offset: HostOffset(4096), size: 8192, path: "part")
        #expect(try Image(layer: RawLayer(file: slice)).flatPlace().offset == 4096)
        #expect(throws: ImageError.self) { try Image(layer: LongLayer(file: slice)).flatPlace() }
        #expect(throws: ImageError.self) { try Image(layer: LongLayer(file: file)).flatPlace() }
    }
}

/// A layer that claims one byte more than its file has, as an extent does whose file was cut.
private final class LongLayer: ImageLayer {
    let file: any HostFile
    var files: [any HostFile] { [file] }
    var virtualSize: UInt64 { file.size + 1 }

    init(file: any HostFile) { self.file = file }

    func extent(at start: GuestOffset, limit: UInt64) -> Extent {
        let count = min(limit, virtualSize - start.rawValue)
        return Extent(start: start, count: count, storage: .data(file: file, offset: HostOffset(start.rawValue)))
    }
}
