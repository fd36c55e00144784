/// What the help of every verb for files of guests says.
enum GuestText {
    static let names = """
        IMAGE is what every verb takes, as disk.qcow2@snapshot or app.ova/disk.vmdk. IMAGE:/PATH is a file of the guest's root file \
        system, or of what its /etc/fstab mounts there from the same image; IMAGE:2:/PATH one of partition 2, and IMAGE:VG-LV:/PATH, \
        IMAGE:LABEL=NAME:/PATH and IMAGE:UUID=UUID:/PATH of others.
        """

    static let writing = """
        IMAGE is raw or QCOW2, in one file; other programs are kept from it. What is changed goes to an overlay first, and from there into \
        IMAGE when all is done: until then it is as it was. With --overlay, and where other images build on IMAGE, the overlay stays, and \
        IMAGE is as it was. A Linux kernel in QEMU does it, of ext2, ext3, ext4, FAT, exFAT, XFS, btrfs and F2FS; 'rblock doctor' says \
        whether there is one. \(names)
        """

    static let systems = """
        File systems that are read: ext2, ext3, ext4, FAT and exFAT by this program, and XFS, btrfs, F2FS, EROFS, SquashFS and HFS+ by a \
        Linux kernel in QEMU, where there is one ('rblock doctor'), which takes two seconds to start. Of others the name is said. What a machine that runs writes at the same \
        time cannot be read: --force-share reads what is there, which may be no state that ever was.
        """
}
