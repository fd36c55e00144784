import ImageFormats

/// What the help of the command says, of which its page of the manual is made.
enum MountText {
    static let discussion = """
        Every \(ImageFormat.imageNames) of IMAGES and its subfolders, or the one image that it is, becomes a folder \
        of MOUNTPOINT with a flat disk.raw, its partitions, map.json and stats.json in it; an .ova a folder with one \
        for each of its disks. Images are read, never written; with --overlay what is written to their disks goes elsewhere. \
        The command returns when the mount answers; the server goes on in the background, and logs to syslog.

        Only the user who mounts can look, and no one else: root cannot look at the mount of another user. With \
        -o allow_other everybody can, as far as --uid, --gid and --umask let them.

        'fusermount3 -u MOUNTPOINT' unmounts, and so does umount(8) for root. While a file is open both say that it is \
        busy; with -z, or 'umount -l', the mount goes out of sight at once, and the server ends when the last file is \
        closed. A mount whose server was killed is removed by the next rblockfs there.

        MOUNT OPTIONS
        Those of this program, with -o, for mount(8) and in fstab(5):

          allow_path=DIR
              as --allow-path, repeatable
          overlay=DIR, overlay_options=NAME=VALUE, overlay_plaintext, no_lock
              as --overlay, --overlay-options (repeatable, one each),
              --overlay-plaintext and --no-lock
          cache_size=SIZE
              as --cache-size; 48M by default
          log_level=LEVEL
              as --log-level; notice by default
          secret=IMAGE=file:PATH, secret=IMAGE=env:VARIABLE
              as --secret, repeatable
          kernel_path=auto, kernel_path=off, kernel_path=require,
          kernel_path=map
              as --kernel-path; auto by default
          slow_keys, raw_img, probe, files, ignore_parent_id, drop_privileges
              as the options of these names
          uid=USER, gid=GROUP, umask=MODE, pid_file=FILE
              as the options of these names
          setuid=USER
              as --user

        Those of FUSE, of which others are passed on as well:

          allow_other
              every user can look, as far as owner and permissions let them; an
              ordinary user needs user_allow_other in /etc/fuse.conf
          allow_root
              root can look, and no other user
          auto_unmount
              unmount however the server ends; for root
          default_permissions
              the kernel compares owner and permissions: always on, but with --files
              only where everybody can look

        Those that tell mount(8) and systemd how to mount, as noauto, nofail, user, _netdev and x-systemd.automount, \
        do no harm. With ro nothing can be written, and what was written to overlays before is shown; without --overlay no mount can \
        be written.

        EXAMPLES
          # mount a folder, look into it, unmount it
          rblockfs ~/images /mnt/rb
          cat /mnt/rb/foo.qcow2/stats.json
          losetup -f --show -r -P --direct-io=on /mnt/rb/foo.qcow2/disk.raw
          fusermount3 -u /mnt/rb
          # the files of a guest, also of one that runs or has crashed: with rblock,
          # or by hand, for ext4; XFS takes norecovery, btrfs rescue=nologreplay
          rblock mount foo.qcow2:1 /mnt/guest
          mount -o loop,ro,noload /mnt/rb/foo.qcow2/partitions/p1.raw /mnt/guest
          # one image whose backing file lies elsewhere, and one on a volume
          rblockfs --allow-path /srv/base overlay.qcow2 /mnt/rb
          rblockfs --format qcow2 /dev/vg/vm-100-disk-0 /mnt/rb
          # disks that can be written, over images that stay as they are
          rblockfs --overlay ~/scratch ~/images /mnt/rb
          losetup -f --show -P /mnt/rb/foo.qcow2/disk.raw
          # the files of guests, without root
          rblockfs --files ~/images /mnt/rb
          diff -r /mnt/rb/foo.qcow2/files/etc /mnt/rb/bar.vmdk/files/etc
          # an encrypted image
          rblockfs --secret db.qcow2=file:/root/db.key ~/images /mnt/rb
          # for the users of a group
          rblockfs -o allow_other,uid=qemu,gid=kvm,umask=027 ~/images /mnt/rb
          # as a service
          rblockfs -f --drop-privileges --pid-file /run/rb.pid ~/images /mnt/rb
          # by mount(8), and as a line of /etc/fstab
          mount -t fuse.rblockfs /srv/images /mnt/rb -o ro,allow_other
          /srv/images  /mnt/rb  fuse.rblockfs  ro,nofail,allow_other  0 0

        KERNEL PATHS
        A disk that one regular file has as it is, from the first byte to the last, is read by the kernel itself, as fast \
        as the file: a raw image, a flat VMDK of one file, a QCOW2 with a raw data file. That is FUSE passthrough, and \
        needs Linux 6.9 and root, without --drop-privileges and --user. For other disks, and elsewhere, the kernel asks \
        this program for each read; stats.json says why. The values of --kernel-path:

          auto
              disks are read so where they can be
          off
              they are not: all reads are counted, and fail where an image was
              written to while it was open
          require
              as auto, and nothing is mounted where no disk could be read so
          map
              as auto; and disks that lie in their files in pieces (QCOW2,
              sparse VMDK, chains of them) are read by maps of the pieces,
              which need Linux 6.12 with EROFS. What is compressed or
              encrypted comes through this program, asked by the kernel. No
              direct I/O (O_DIRECT) while a map is open

        The kernel writes to no image either, nor changes when it was last read. A disk that is open while its file \
        is written to reads as what is in the file; when it is opened after that, it is read through this program.

        OVERLAYS
        With --overlay DIR every disk.raw and every file of partitions can be written. The images stay as they are: what is \
        written to IMAGE goes to DIR/IMAGE.overlay.qcow2, a QCOW2 overlay of clusters of 64 KiB with subclusters, which QEMU \
        5.2 and later opens as it is; --overlay-options extended_l2=off makes it one for older versions. It is made at the first write. A later mount with the same DIR shows what was \
        written; without --overlay the mount shows the images.

        'rblock unmount MOUNTPOINT' returns when the server has ended, and the overlays have all that was written. 'rblock commit' \
        writes an overlay into its image, and 'rblock discard' throws it away.

        An overlay belongs to the disk that it was made over, and keeps its size, time of change, and a digest in mind. Where \
        the image, or one under it, was changed since, its disk cannot be read, and stats.json says why; \
        --ignore-parent-id reads it all the same. DIR is for one server of a host at a time, and in no folder of images. QEMU's locks \
        are taken on overlays that are written to, and on the images under them; on file systems without locks, as some of NFS, \
        --no-lock does without, and nothing keeps a machine from the same files then.

        What was written is on the disk when fsync(2) or close(2) returns. What was not synced is written to the overlay \
        within a second; a power cut, or a server that is killed, leaves a sound overlay. A full disk under DIR is ENOSPC to \
        who writes. A disk keeps its size: truncate(2) is EPERM, a write past its end ENOSPC. Holes that are punched, as \
        fstrim(8) and blkdiscard(8) do by loop devices, read as zeros. Snapshots, layers and volumes \
        cannot be written, nor encrypted disks without --overlay-plaintext: overlays are not encrypted. The kernel reads no disk \
        by itself then.

        FILES OF GUESTS
        With --files the folder of an image, and that of a snapshot, has files/: the root file system of the guest with what its \
        /etc/fstab mounts from the same image, as 'rblock ls IMAGE:/' finds it; or the file system of a disk without partitions. partitions/p1/ and \
        volumes/VG-LV/ are single file systems. ext2, ext3, ext4, FAT and exFAT are read, by this program and not by the kernel; \
        journals are replayed in memory. Where it is not known which file system is the root, or it cannot be read, files.error says why, \
        and p1.error does so for a partition. File systems of other types have no folder; stats.json lists them all.

        A guest is looked at when the folder of its image is. Names, owners, permissions, times, link counts, holes and extended attributes are the \
        guest's, and nothing can be changed. Links lead where they lead in the guest, and never out of it: absolute ones are shown as relative ones. Devices cannot be \
        opened, and set-user-ID bits have no effect: the mount is nodev and nosuid, whatever -o says.

        Only the user that mounts can read the files, and then every one, also one that only root of the guest may read: that user can read \
        the whole disk anyway. With -o allow_other the kernel compares the guest's owners, by their numbers, and permissions with those of \
        the process, so that tar(1) and find(1) see them; root reads all, and others what a user of the same number may read in the guest. An ordinary user who mounts \
        so is one of these others. --uid, --gid and --umask are about the folders of images, through which all must go, and not about the files in guests.

        --files and --overlay do not go together: what is written to a disk would not show in its files.

        SIGNALS
          SIGTERM, SIGINT, SIGHUP
              unmount without waiting for open files, and end the server with
              status 0; what was written is in the overlays then

        ENVIRONMENT
          NOTIFY_SOCKET
              where systemd learns that the mount answers
          JOURNAL_STREAM
              standard error is the journal, and messages have priorities

        FILES
          MOUNTPOINT/IMAGE/disk.raw
              the disk, flat; of an appliance MOUNTPOINT/APPLIANCE.ova/DISK/disk.raw
          MOUNTPOINT/IMAGE/partitions/p1.raw
              a partition
          MOUNTPOINT/IMAGE/volumes/VG-LV.raw
              a volume of LVM
          MOUNTPOINT/IMAGE/files/, MOUNTPOINT/IMAGE/partitions/p1/
              with --files, the files of the guest, and those of one partition
          MOUNTPOINT/IMAGE/snapshots/NAME/
              the disk as an internal snapshot keeps it, and its partitions
          MOUNTPOINT/IMAGE/layers/1.raw
              the disk as an image of the backing chain has it; 0 is the image itself
          MOUNTPOINT/IMAGE/map.json
              where the disk is stored, as 'rblock map' prints it
          MOUNTPOINT/IMAGE/stats.json
              what is known of the image, and what is wrong with it
          MOUNTPOINT/stats.json
              what is known of the mount: reads, errors, caches, what is not shown
          /dev/fuse
              the device of FUSE
          /etc/fuse.conf
              what ordinary users may do: user_allow_other
          /etc/rblockfs/
              settings of the systemd unit rblockfs@.service

        EXIT STATUS
          0    mounted; in the foreground: unmounted again
          64   wrong usage
          66   IMAGES, a folder of --allow-path or a key of --secret cannot be read
          69   FUSE is not available: no /dev/fuse, or the kernel lacks what --kernel-path requires
          70   anything else went wrong
          73   MOUNTPOINT cannot be mounted on, or --pid-file not written
          77   not permitted, also what --kernel-path requires
          127  a shared library, as libfuse3, is missing: the system says which

        SEE ALSO
          fusermount3(1), rblock(1), rblock-mount(1), fstab(5), rblock-json(5), rblock-formats(7),
          rblock-guide(7), rblock-names(7), losetup(8), mount(8), mount.fuse3(8)
        """
}
