/// What the help of every verb for files of guests says.
enum GuestText {
    static let names = """
        IMAGE is what every verb takes, as disk.qcow2@snapshot or app.ova/disk.vmdk. IMAGE:/PATH is a file of the guest's root file \
        system, or of what its /etc/fstab mounts there from the same image; IMAGE:2:/PATH one of partition 2, and IMAGE:VG-LV:/PATH, \
        IMAGE:LABEL=NAME:/PATH and IMAGE:UUID=UUID:/PATH of others.
        """

    static let systems = """
        File systems that are read: ext2, ext3, ext4, FAT and exFAT. Of others the name is said. What a machine that runs writes at the same \
        time cannot be read: --force-share reads what is there, which may be no state that ever was.
        """
}
