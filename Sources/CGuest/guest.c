#define _GNU_SOURCE
#include "CGuest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

// Of finit_module(2), since Linux 5.17.
#define MODULE_COMPRESSED 4

const int cguest_SEEK_DATA = SEEK_DATA;
const int cguest_SEEK_HOLE = SEEK_HOLE;

static void keep_time(struct cguest_status *status, int index, struct statx_timestamp time) {
    status->seconds[index] = time.tv_sec;
    status->nanoseconds[index] = time.tv_nsec;
}

int cguest_status(int directory, const char *name, struct cguest_status *status) {
    struct statx found;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(directory, name, flags, STATX_BASIC_STATS | STATX_BTIME, &found) < 0)
        return -1;
    status->mode = found.stx_mode;
    status->user = found.stx_uid;
    status->group = found.stx_gid;
    status->links = found.stx_nlink;
    status->size = found.stx_size;
    status->blocks = found.stx_blocks;
    status->inode = found.stx_ino;
    status->device = (uint64_t)found.stx_dev_major << 32 | found.stx_dev_minor;
    status->major = found.stx_rdev_major;
    status->minor = found.stx_rdev_minor;
    keep_time(status, 0, found.stx_mtime);
    keep_time(status, 1, found.stx_atime);
    keep_time(status, 2, found.stx_ctime);
    keep_time(status, 3, found.stx_btime);
    status->has_born = (found.stx_mask & STATX_BTIME) != 0;
    return 0;
}

int cguest_open_inside(int directory, const char *path, int flags, int is_path) {
    struct open_how how = {
        .flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW | (is_path ? O_PATH : 0),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

ssize_t cguest_entries(int directory, void *bytes, size_t count) {
    return syscall(SYS_getdents64, directory, bytes, count);
}

int cguest_load_module(int descriptor, int is_compressed) {
    return (int)syscall(SYS_finit_module, descriptor, "", is_compressed ? MODULE_COMPRESSED : 0);
}

int cguest_make_node(int directory, const char *name, mode_t mode, unsigned major, unsigned minor) {
    return mknodat(directory, name, mode, makedev(major, minor));
}

int cguest_sync_file_system(int descriptor) {
    return syncfs(descriptor);
}

int cguest_scan_btrfs(const char *path) {
    struct btrfs_ioctl_vol_args arguments = {0};
    strncpy(arguments.name, path, sizeof arguments.name - 1);
    int control = open("/dev/btrfs-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return -1;
    int result = ioctl(control, BTRFS_IOC_SCAN_DEV, &arguments);
    close(control);
    return result < 0 ? -1 : 0;
}

int cguest_mount_guest(
    const char *device, const char *folder, const char *type, const char *options, int is_writable) {
    unsigned long flags = MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_NOSYMFOLLOW;
    return mount(device, folder, type, flags | (is_writable ? 0 : MS_RDONLY), options);
}

void cguest_kernel_version(char *text, size_t size) {
    struct utsname name;
    if (size == 0)
        return;
    text[0] = 0;
    if (uname(&name) == 0)
        strncat(text, name.release, size - 1);
}

void cguest_power_off(void) {
    reboot(RB_POWER_OFF);
}
