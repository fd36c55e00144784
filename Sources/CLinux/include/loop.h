// Loop devices and partitions of block devices: ioctl(2)s whose structures Swift does not see.
#pragma once
#include <stdint.h>
#include <sys/types.h>

/// O_DIRECT of open(2).
extern const int clinux_O_DIRECT;

/// What LOOP_GET_STATUS64 says of a loop device.
struct clinux_loop {
    /// st_dev and st_ino of the file that it is over.
    uint64_t device, inode;
    /// Where in the file it begins, and how many bytes it has at most; 0: to the end of the file.
    uint64_t offset, size_limit;
    /// Whether it is for reading alone, is detached when the last program closes it, and reads past the page cache.
    int is_read_only, is_autoclear, is_direct;
    /// The text that it was given; ends in NUL.
    char name[65];
};

/// LOOP_CTL_GET_FREE: the number of a loop device that is free, or -1 with errno set. `control` is /dev/loop-control.
int clinux_loop_free(int control);

/// LOOP_CONFIGURE: has the loop device `device` show the `count` bytes at `offset` of the open file `file`, for reading
/// alone, with `name` for its text. Its sectors have `sector_size` bytes; with `is_direct` it reads past the page cache.
/// Returns 0, or -1 with errno set.
int clinux_loop_configure(int device, int file, uint64_t offset, uint64_t count, uint32_t sector_size, int is_direct,
                          const char *name);

/// Fills `status`. Returns 0, or -1 with errno set: ENXIO where it has no file.
int clinux_loop_status(int device, struct clinux_loop *status);

/// LOOP_CLR_FD: detaches it from its file, when the last program closes it. Returns 0, or -1 with errno set.
int clinux_loop_clear(int device);

/// Takes back what `clinux_loop_clear` did, if the device still has its file. Returns 0, or -1 with errno set.
int clinux_loop_keep(int device);

/// LOOP_SET_DIRECT_IO. Returns 0, or -1 with errno set.
int clinux_loop_set_direct(int device, int is_direct);

/// BLKGETSIZE64: the size of a block device in bytes, or -1 with errno set.
int64_t clinux_device_size(int device);

/// BLKPG_ADD_PARTITION and BLKPG_DEL_PARTITION: the partition `number` of a block device, the `count` bytes at `start`.
/// Return 0, or -1 with errno set.
int clinux_partition_add(int device, int number, int64_t start, int64_t count);
int clinux_partition_remove(int device, int number);
