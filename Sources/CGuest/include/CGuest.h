// The Linux calls of rblock-guest, the first process of a machine of QEMU's, that Swift's Glibc module does not show. Apart from
// CLinux, which uses what a program without shared libraries cannot.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/xattr.h>

/// What statx(2) says of a file. Times: modified, accessed, changed, born.
struct cguest_status {
    uint32_t mode, user, group, links;
    uint64_t size, blocks, inode, device;
    uint32_t major, minor;
    int64_t seconds[4];
    uint32_t nanoseconds[4];
    int has_born;
};

/// statx(2) of `name` in `directory`, or, where `name` is empty, of the file that is open as `directory`; follows no link.
/// Returns 0, or -1 with errno set.
int cguest_status(int directory, const char *name, struct cguest_status *status);

/// openat2(2) with `flags`, O_CLOEXEC, O_NOFOLLOW and RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS; O_PATH where `is_path`. Returns a descriptor, or
/// -1 with errno set.
int cguest_open_inside(int directory, const char *path, int flags, int is_path);

/// SEEK_DATA and SEEK_HOLE of lseek(2).
extern const int cguest_SEEK_DATA;
extern const int cguest_SEEK_HOLE;

/// getdents64(2).
ssize_t cguest_entries(int directory, void *bytes, size_t count);

/// finit_module(2); `is_compressed`: the kernel is to decompress it. Returns 0, or -1 with errno set.
int cguest_load_module(int descriptor, int is_compressed);

/// mknodat(2) with the numbers of a device. Returns 0, or -1 with errno set.
int cguest_make_node(int directory, const char *name, mode_t mode, unsigned major, unsigned minor);

/// syncfs(2). Returns 0, or -1 with errno set.
int cguest_sync_file_system(int descriptor);

/// BTRFS_IOC_SCAN_DEV of ioctl(2): has btrfs know the device at `path`. Returns 0, or -1 with errno set.
int cguest_scan_btrfs(const char *path);

/// mount(2) with what no file of a stranger needs: no devices, no set-user-ID, no programs, no times of access, no links
/// followed. Returns 0, or -1 with errno set.
int cguest_mount_guest(const char *device, const char *folder, const char *type, const char *options, int is_writable);

/// The version of the kernel, in `text`, which has `size` bytes.
void cguest_kernel_version(char *text, size_t size);

/// Switches the machine off; returns only where that is not possible.
void cguest_power_off(void);
