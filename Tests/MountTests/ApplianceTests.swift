import Foundation
import HostTools
import TestImages
import Testing

@Suite("Appliances", .enabled(if: Tool.canMount("qemu-img", "cmp", "tar", "split", "sha256sum", "gzip")))
struct ApplianceTests {
    /// An OVF descriptor with one disk in a file, and one in chunks of 100,000 bytes.
    private static let descriptor = """
        <?xml version="1.0" encoding="UTF-8"?>
        <Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
          <References>
            <File ovf:id="file1" ovf:href="disk%201.vmdk"/>
            <File ovf:id="file2" ovf:href="big.vmdk" ovf:chunkSize="100000"/>
          </References>
          <DiskSection>
            <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^20"
              ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
            <Disk ovf:diskId="vmdisk2" ovf:fileRef="file2" ovf:capacity="3145728"/>
            <Disk ovf:diskId="swap" ovf:capacity="1024"/>
          </DiskSection>
          <VirtualSystem ovf:id="vm"><Name>A machine</Name></VirtualSystem>
        </Envelope>
        """

    /// A folder with `disk.raw` and `images/vm.ova`, which `format` of tar holds it twice in.
    private func makeFolder(_ format: String) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("disk.raw"), size: 3 << 20, seed: 3)
        _ = try folder.makeFolder("images")
        try folder.write(Array(Self.descriptor.utf8), to: "vm.ovf")
        try Shell.check(
            """
            cd "$1"; qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw "disk 1.vmdk"
            qemu-img convert -O vmdk disk.raw big.vmdk
            split -d -a 9 -b 100000 big.vmdk big.vmdk.; rm big.vmdk
            sha256sum --tag vm.ovf disk*.vmdk | sed 's/ (/(/; s/) =/)=/' > vm.mf
            tar --format=$2 -cf images/vm.ova vm.ovf vm.mf disk*.vmdk big.vmdk.*
            """, folder.path, format)
        return folder
    }

    @Test("An OVA is a folder with a folder for each disk, whole or in chunks", arguments: ["ustar", "pax", "gnu"])
    func disks(format: String) throws {
        let folder = try makeFolder(format)
        let mount = try Mount(folder.file("images"))
        #expect(try Shell.check("ls \"$1\"/vm.ova", mount.path) == "big.vmdk\ndisk 1.vmdk\nstats.json")
        for name in ["disk 1.vmdk", "big.vmdk"] {
            try Tool.check("cmp", folder.file("disk.raw"), mount.disk("vm.ova/\(name)"))
            let document = try mount.document("vm.ova/\(name)")
            #expect(document["filename"]?.text?.hasSuffix("vm.ova/\(name)") == true)
            #expect(document["virtual-size"]?.number == 3 << 20)
            #expect(document["error"] == nil)
        }
        #expect(try Shell.check("find \"$1\" -newermt 2100-01-01 | wc -l", mount.path) == "0")
        let times = try Shell.check(
            "cd \"$1\"; stat -c %y vm.ova vm.ova/big.vmdk \"$2\" | uniq", mount.path, folder.file("images/vm.ova"))
        #expect(times.split(separator: "\n").count == 1, "A folder has the time of the archive: \(times)")
    }

    @Test("Its stats.json lists the descriptor's disks, the files, and the digests of the manifest")
    func facts() throws {
        let folder = try makeFolder("ustar")
        let mount = try Mount(folder.file("images"))
        let document = try mount.document("vm.ova")
        #expect(document["format"]?.text == "ova")
        let disks = try #require(document["ova", "disks"]?.array)
        #expect(disks.map { $0["disk-id"]?.text } == ["vmdisk1", "vmdisk2", "swap"])
        #expect(disks.map { $0["capacity"]?.number } == [3 << 20, 3 << 20, 1024])
        #expect(disks.map { $0["folder"]?.text } == ["disk 1.vmdk", "big.vmdk", nil])
        let files = try #require(document["ova", "files"]?.array)
        let disk = try #require(files.first { $0["name"]?.text == "disk 1.vmdk" })
        let digest = try Shell.check("sha256sum < \"$1\" | cut -d' ' -f1", folder.file("disk 1.vmdk"))
        #expect(disk["digest", "sha256"]?.text == digest)
        let offset = try #require(disk["offset"]?.number)
        try Shell.check(
            "cmp -n 4096 -i $3:0 \"$1\" \"$2\"", folder.file("images/vm.ova"), folder.file("disk 1.vmdk"),
            "\(UInt64(offset))")
        let size = try Status(mount.stats("vm.ova")).size
        #expect(try Shell.check("wc -c < \"$1\"", mount.stats("vm.ova")) == "\(size)")
    }

    @Test("One that is cut shows what is there; one that is compressed, or none at all, says so")
    func damaged() throws {
        let folder = try makeFolder("ustar")
        try Shell.check(
            """
            cd "$1"/images; head -c 100000 vm.ova > cut.ova; gzip -c vm.ova > packed.ova
            head -c 10000 /dev/urandom > noise.ova; : > empty.ova
            """, folder.path)
        let mount = try Mount(folder.file("images"))
        #expect(try mount.document("cut.ova")["error", "code"]?.text == "truncated")
        #expect(try Shell.check("ls \"$1\"/cut.ova", mount.path).contains("disk 1.vmdk"))
        #expect(try mount.document("cut.ova/disk 1.vmdk")["error"] != nil)
        #expect(try mount.document("packed.ova")["error", "message"]?.text?.contains("gzip") == true)
        #expect(try mount.document("noise.ova")["error", "code"]?.text == "corrupt")
        #expect(try mount.document("empty.ova")["error"] != nil)
        try Tool.check("cmp", folder.file("disk.raw"), mount.disk("vm.ova/big.vmdk"))
    }

    @Test("One that is replaced has new disks, and readers of an old one go on with it")
    func replaced() throws {
        let folder = try makeFolder("ustar")
        let other = try makeFolder("gnu")
        try Pattern.writeDisk(other.file("other.raw"), size: 2 << 20, seed: 9)
        try Shell.check(
            """
            cd "$1"; qemu-img convert -O vmdk -o subformat=streamOptimized other.raw "disk 1.vmdk"
            tar -cf images/new.ova vm.ovf "disk 1.vmdk"
            """, other.path)
        let mount = try Mount(folder.file("images"))
        let disk = [UInt8](try #require(FileManager.default.contents(atPath: folder.file("disk.raw"))))
        let reader = try OpenedFile(mount.disk("vm.ova/disk 1.vmdk"))
        #expect(try reader.read(4096, at: 0) == Array(disk[..<4096]))
        try Shell.check("mv \"$1\"/images/new.ova \"$2\"/images/vm.ova", other.path, folder.path)
        #expect(wait(seconds: 60) { (try? Status(mount.disk("vm.ova/disk 1.vmdk")).size) == 2 << 20 })
        try Tool.check("cmp", other.file("other.raw"), mount.disk("vm.ova/disk 1.vmdk"))
        #expect(try reader.read(1 << 20, at: 1 << 20) == Array(disk[1 << 20..<2 << 20]))
    }
}
