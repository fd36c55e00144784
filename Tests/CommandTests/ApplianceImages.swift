import HostTools
import TestImages

/// A folder with `one.ova`, of one disk, and `two.ova`, of two, and what is in them.
struct ApplianceImages {
    let folder: TemporaryFolder
    /// The folder.
    var path: String { folder.path }

    init() throws {
        folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("one.raw"), size: 6 << 20, seed: 21)
        try Pattern.writeDisk(folder.file("two.raw"), size: 4 << 20, seed: 22)
        try Shell.check(
            """
            cd "$1"
            qemu-img convert -O vmdk -o subformat=streamOptimized one.raw disk1.vmdk
            qemu-img convert -O qcow2 two.raw disk2.qcow2
            ovf() {
              echo '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
              for name in "$@"; do echo "<File ovf:id='$name' ovf:href='$name'/>"; done
              echo '</References><DiskSection>'
              for name in "$@"; do echo "<Disk ovf:diskId='$name' ovf:fileRef='$name' ovf:capacity='6'/>"; done
              echo '</DiskSection><VirtualSystem ovf:id="vm"><Name>A machine</Name></VirtualSystem></Envelope>'
            }
            digests() { for name in "$@"; do echo "SHA2-256 ( $name )=$(sha256sum < $name | cut -c 1-64)"; done; }
            ovf disk1.vmdk > vm.ovf; digests vm.ovf disk1.vmdk > vm.mf; tar -cf one.ova vm.ovf vm.mf disk1.vmdk
            ovf disk1.vmdk disk2.qcow2 > vm.ovf; digests vm.ovf disk1.vmdk disk2.qcow2 > vm.mf
            tar -cf two.ova vm.ovf disk1.vmdk disk2.qcow2 vm.mf
            """, path)
    }

    /// Runs `rblock` in the folder.
    func run(_ arguments: String...) throws -> ToolResult { try RBlock.run(arguments, in: path) }

    /// Changes a byte in the middle of `member` in the archive.
    func damage(_ member: String, of archive: String) throws {
        try Shell.check(
            """
            cd "$1"
            python3 - "$2" "$3" <<'END'
            import sys, tarfile
            with tarfile.open(sys.argv[1]) as archive: member = archive.getmember(sys.argv[2])
            with open(sys.argv[1], "r+b") as file:
                file.seek(member.offset_data + member.size // 2)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))
            END
            """, path, archive, member)
    }
}
