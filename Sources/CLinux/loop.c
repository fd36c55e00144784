#define _GNU_SOURCE
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>

const int clinux_O_DIRECT = O_DIRECT;

int clinux_loop_free(int control) {
    return ioctl(control, LOOP_CTL_GET_FREE);
}

int clinux_loop_configure(int device, int file, uint64_t offset, uint64_t count, uint32_t sector_size, int is_direct,
                          const char *name) {
    struct loop_config config = {.fd = (uint32_t)file, .block_size = sector_size};
    config.info.lo_offset = offset;
    config.info.lo_sizelimit = count;
    // The kernel looks for partitions, where it can, and lets others be added.
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_PARTSCAN | (is_direct ? LO_FLAGS_DIRECT_IO : 0);
    strncpy((char *)config.info.lo_file_name, name, LO_NAME_SIZE - 1);
    return ioctl(device, LOOP_CONFIGURE, &config);
}

int clinux_loop_status(int device, struct clinux_loop *status) {
    struct loop_info64 info;
    if (ioctl(device, LOOP_GET_STATUS64, &info) != 0) return -1;
    memset(status, 0, sizeof *status);
    status->device = info.lo_device;
    status->inode = info.lo_inode;
    status->offset = info.lo_offset;
    status->size_limit = info.lo_sizelimit;
    status->is_read_only = (info.lo_flags & LO_FLAGS_READ_ONLY) != 0;
    status->is_autoclear = (info.lo_flags & LO_FLAGS_AUTOCLEAR) != 0;
    status->is_direct = (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
    memcpy(status->name, info.lo_file_name, LO_NAME_SIZE);
    return 0;
}

int clinux_loop_clear(int device) {
    return ioctl(device, LOOP_CLR_FD, 0);
}

int clinux_loop_keep(int device) {
    struct loop_info64 info;
    if (ioctl(device, LOOP_GET_STATUS64, &info) != 0) return -1;
    info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
    return ioctl(device, LOOP_SET_STATUS64, &info);
}

int clinux_loop_set_direct(int device, int is_direct) {
    return ioctl(device, LOOP_SET_DIRECT_IO, (unsigned long)is_direct);
}

int64_t clinux_device_size(int device) {
    uint64_t size = 0;
    if (ioctl(device, BLKGETSIZE64, &size) != 0) return -1;
    if (size > INT64_MAX) {
        errno = EOVERFLOW;
        return -1;
    }
    return (int64_t)size;
}

static int change_partition(int device, int operation, int number, int64_t start, int64_t count) {
    struct blkpg_partition partition = {.pno = number, .start = start, .length = count};
    struct blkpg_ioctl_arg argument = {.op = operation, .datalen = sizeof partition, .data = &partition};
    return ioctl(device, BLKPG, &argument);
}

int clinux_partition_add(int device, int number, int64_t start, int64_t count) {
    return change_partition(device, BLKPG_ADD_PARTITION, number, start, count);
}

int clinux_partition_remove(int device, int number) {
    return change_partition(device, BLKPG_DEL_PARTITION, number, 0, 0);
}
