#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

const int clinux_O_NOATIME = O_NOATIME;
const int clinux_SEEK_DATA = SEEK_DATA;
const int clinux_SEEK_HOLE = SEEK_HOLE;

static int argument_count;
static char **arguments;

// glibc calls what runs before main with the arguments of main.
__attribute__((constructor)) static void keep_arguments(int count, char **values) {
    argument_count = count;
    arguments = values;
}

int clinux_argument_count(void) {
    return argument_count;
}

const char *clinux_argument(int index) {
    return index >= 0 && index < argument_count ? arguments[index] : NULL;
}

int clinux_has_proc(void) {
    return access("/proc/self/fd", X_OK) == 0;
}

int clinux_find_beneath(int directory, const char *path) {
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

int clinux_open_untouched(int descriptor) {
    int tree = (int)syscall(
        SYS_open_tree, descriptor, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return -1;
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME,
        .attr_clr = MOUNT_ATTR__ATIME,
    };
    int opened = -1;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0) {
        char name[32];
        snprintf(name, sizeof name, "/proc/self/fd/%d", tree);
        opened = open(name, O_RDONLY | O_CLOEXEC | O_DIRECT);
    }
    _Alignas(4096) char sector[512];
    if (opened >= 0 && pread(opened, sector, sizeof sector, 0) < 0) {
        int error = errno;
        close(opened);
        opened = -1;
        errno = error;
    }
    int error = errno;
    // The open file keeps the mount, of which nothing else is left.
    close(tree);
    errno = error;
    return opened;
}

void clinux_close_from(int first) {
    close_range((unsigned)first, ~0U, 0);
}

void clinux_close_between(int first, int last) {
    if (first <= last)
        close_range((unsigned)first, (unsigned)last, 0);
}

int clinux_keep_read_search(const char *name, uid_t user, gid_t group) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    // The set that bounds what a program that is started can have. Who may not change it has nothing to lose there.
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (capability != CAP_DAC_READ_SEARCH && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM)
            return -1;
    if (name) {
        // Without the first call, the last would take all capabilities.
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || initgroups(name, group) < 0 || setgid(group) < 0
            || setuid(user) < 0 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
            return -1;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capget, &header, sets) < 0)
        return -1;
    unsigned kept = sets[0].permitted & CAP_TO_MASK(CAP_DAC_READ_SEARCH);
    sets[0] = (struct __user_cap_data_struct){.effective = kept, .permitted = kept};
    sets[1] = (struct __user_cap_data_struct){0};
    return (int)syscall(SYS_capset, &header, sets);
}

void clinux_limit_arenas(int count) {
    mallopt(M_ARENA_MAX, count);
}

int clinux_is_locked(int descriptor, off_t start, off_t count) {
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = start,
        .l_len = count,
    };
    if (fcntl(descriptor, F_OFD_GETLK, &lock) != 0) {
        return -1;
    }
    return lock.l_type != F_UNLCK;
}

static int set_lock(int descriptor, short type, off_t start) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};
    return fcntl(descriptor, F_OFD_SETLK, &lock);
}

int clinux_lock_shared(int descriptor, off_t start) {
    return set_lock(descriptor, F_RDLCK, start);
}

int clinux_unlock(int descriptor, off_t start) {
    return set_lock(descriptor, F_UNLCK, start);
}

int clinux_is_on_fuse(int descriptor) {
    struct statfs status;
    return fstatfs(descriptor, &status) == 0 && status.f_type == FUSE_SUPER_MAGIC;
}

static int is_in_memory(int descriptor) {
    struct statfs status;
    return fstatfs(descriptor, &status) == 0 && (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

int clinux_is_prompt(int descriptor) {
    char byte;
    struct iovec room = {.iov_base = &byte, .iov_len = 1};
    return preadv2(descriptor, &room, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN || is_in_memory(descriptor);
}

ssize_t clinux_read_now(int descriptor, void *bytes, size_t count, off_t offset) {
    struct iovec room = {.iov_base = bytes, .iov_len = count};
    ssize_t result = preadv2(descriptor, &room, 1, offset, RWF_NOWAIT);
    if (result >= 0 || errno != EOPNOTSUPP)
        return result;
    if (is_in_memory(descriptor))
        return pread(descriptor, bytes, count, offset);
    errno = EAGAIN;
    return -1;
}

/// Whether mincore(2) tells this process the truth about a file: it does so to those who could find out otherwise, and
/// says to all others that everything is in memory.
static int may_know(int descriptor) {
    struct stat status;
    uid_t user = geteuid();
    return user == 0 || (fstat(descriptor, &status) == 0 && status.st_uid == user);
}

/// Reads all of it, to the same place over and over.
static int reads_now(int descriptor, off_t offset, size_t count) {
    enum { size = 16384, most = 256 };
    char bytes[size];
    struct iovec room[most];
    while (count > 0) {
        size_t sum = 0;
        int parts = 0;
        for (; parts < most && sum < count; parts++) {
            size_t part = count - sum < size ? count - sum : size;
            room[parts] = (struct iovec){.iov_base = bytes, .iov_len = part};
            sum += part;
        }
        if (preadv2(descriptor, room, parts, offset, RWF_NOWAIT) != (ssize_t)sum)
            return 0;
        offset += (off_t)sum;
        count -= sum;
    }
    return 1;
}

void *clinux_map_unread(int descriptor, size_t size) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY)
        return NULL;
    void *map = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    return map == MAP_FAILED ? NULL : map;
}

void clinux_unmap(void *map, size_t size) {
    munmap(map, size);
}

int clinux_is_cached(int descriptor, const void *map, off_t offset, size_t count) {
    enum { most = 4096 };
    unsigned char pages[most];
    char byte;
    struct iovec first = {.iov_base = &byte, .iov_len = 1};
    // Most of what is not in memory ends here, and files that must not be asked at all.
    if (count == 0 || preadv2(descriptor, &first, 1, offset, RWF_NOWAIT) != 1)
        return 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    off_t start = offset - offset % (off_t)page;
    size_t size = count + (size_t)(offset - start);
    size_t page_count = (size + page - 1) / page;
    if (map == NULL || page_count > most || !may_know(descriptor))
        return reads_now(descriptor, offset, count);
    int result = mincore((char *)map + start, size, pages) == 0;
    for (size_t index = 0; result && index < page_count; index++)
        result = pages[index] & 1;
    return result;
}

void clinux_trim_heap(void) {
    malloc_trim(0);
}

int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

int clinux_open_unnamed(const char *path, mode_t mode) {
    return open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
}

int clinux_link_unnamed(int descriptor, int directory, const char *name) {
    char path[sizeof "/proc/self/fd/" + 11];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    return linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW);
}

int clinux_rename_new(int directory, const char *from, const char *to) {
    return renameat2(directory, from, directory, to, RENAME_NOREPLACE);
}

int clinux_allocate(int descriptor, off_t start, off_t count) {
    return fallocate(descriptor, 0, start, count);
}

int clinux_zero_range(int descriptor, off_t start, off_t count) {
    return fallocate(descriptor, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, start, count);
}

int clinux_punch_hole(int descriptor, off_t start, off_t count) {
    return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, count);
}

int clinux_share(int descriptor, off_t to, int source, off_t from, off_t count) {
    struct file_clone_range range = {
        .src_fd = source,
        .src_offset = (uint64_t)from,
        .src_length = (uint64_t)count,
        .dest_offset = (uint64_t)to,
    };
    return ioctl(descriptor, FICLONERANGE, &range);
}

void clinux_begin_write_back(int descriptor) {
    sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int clinux_zero_device(int descriptor, uint64_t start, uint64_t count) {
    uint64_t range[2] = {start, count};
    return ioctl(descriptor, BLKZEROOUT, range);
}
