// The Linux calls that Swift's Glibc module does not show, because it is built without _GNU_SOURCE.
#pragma once
#include <spawn.h>
#include <stdint.h>
#include <sys/types.h>

/// O_NOATIME of open(2).
extern const int clinux_O_NOATIME;

/// SEEK_DATA and SEEK_HOLE of lseek(2).
extern const int clinux_SEEK_DATA;
extern const int clinux_SEEK_HOLE;

/// openat2(2) with O_PATH | O_CLOEXEC and RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS: finds `path` below the folder
/// `directory` without opening what it finds. No link is followed, and `..` may not lead out of the folder. Returns a
/// descriptor, or -1 with errno set.
int clinux_find_beneath(int directory, const char *path);

/// Opens the regular file that is open as `descriptor` anew, for reading, and no other file: through a mount of its own
/// that nothing else sees (open_tree(2), mount_setattr(2)), is read-only and keeps no access times. What the kernel opens by
/// that descriptor can neither be written to, nor changes when the file was last read. Also finds out whether the file can
/// be read with O_DIRECT in sectors of 512 bytes, by reading the first one. Returns a descriptor that serves for nothing
/// else, or -1 with errno set: EINVAL where it cannot, as on disks with larger sectors.
int clinux_open_untouched(int descriptor);

/// Closes every descriptor from `first` on, with close_range(2).
void clinux_close_from(int first);

/// Closes every descriptor from `first` to `last`; none where `first` is the larger.
void clinux_close_between(int first, int last);

/// Gives up, for the calling thread and all that it starts, every capability but CAP_DAC_READ_SEARCH (which stays if it
/// was there), and sets no_new_privs: nothing that it runs can have more. If `name` is not NULL, the process is that of
/// the user `user` afterwards, with the group `group` and those that the system has for `name`. Returns 0, or -1 with
/// errno set; then some of it may be done.
int clinux_keep_read_search(const char *name, uid_t user, gid_t group);

/// Has malloc keep its memory in at most `count` arenas, with mallopt(3). By default each thread gets its own, and what
/// one thread frees there is of no use to the others.
void clinux_limit_arenas(int count);

/// Whether another process, or another opening of the file in this one, holds a record lock on any of the `count` bytes
/// at `start`, with F_OFD_GETLK of fcntl(2). 1: yes, 0: no, -1: errno says why that is not known.
int clinux_is_locked(int descriptor, off_t start, off_t count);

/// F_OFD_SETLK of fcntl(2): locks the byte at `start` together with others that read-lock it, until this opening of the file is
/// closed. Returns 0, or -1 with errno set: EAGAIN where another has it alone.
int clinux_lock_shared(int descriptor, off_t start);

/// Takes that lock back. Returns 0, or -1 with errno set.
int clinux_unlock(int descriptor, off_t start);

/// Whether a FUSE file system has the open file `descriptor`, by fstatfs(2).
int clinux_is_on_fuse(int descriptor);

/// Whether a file can be read without waiting for its disk: its file system knows RWF_NOWAIT of preadv2(2), or has all
/// in memory.
int clinux_is_prompt(int descriptor);

/// Reads as pread(2) does, but only what is in memory; -1 with EAGAIN where nothing of it is, or that is not known.
ssize_t clinux_read_now(int descriptor, void *bytes, size_t count, off_t offset);

/// Addresses for the first `size` bytes of a file, at which nothing can be read: they are for `clinux_is_cached`. NULL where
/// there are none, or this process may have only so many (RLIMIT_AS). `clinux_unmap` gives them back.
void *clinux_map_unread(int descriptor, size_t size);
void clinux_unmap(void *map, size_t size);

/// Whether all of the `count` bytes at `offset` are in memory, so that to read or to send them waits for no disk. 0 also
/// where that is not known. `map` has their addresses, as `clinux_map_unread` made them; NULL: there are none, and it takes
/// longer.
int clinux_is_cached(int descriptor, const void *map, off_t offset, size_t count);

/// Gives memory back to the system that was freed: glibc keeps it otherwise.
void clinux_trim_heap(void);

/// Has a program that posix_spawn(3) starts with `actions` begin without the descriptors from `first` on. 0, or an error
/// number.
int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

/// open(2) with O_TMPFILE: a file without a name in the folder `path`, for reading and writing, with the mode `mode` that
/// the umask takes from. Returns a descriptor, or -1 with errno set.
int clinux_open_unnamed(const char *path, mode_t mode);

/// Gives the file `to`, which is to replace the regular file `name` in the folder `folder`, that one's group, owner,
/// extended attributes, access control list and permissions, as far as this process may. What cannot be kept never gives
/// anybody more than the old file gave. Returns 1, 0 where there is no such file, or -1 with errno set.
int clinux_keep_attributes(int folder, const char *name, int to);

/// Gives the open file `descriptor`, which has no name, the name `name` in the folder `directory`, with linkat(2).
/// Returns 0, or -1 with errno set.
int clinux_link_unnamed(int descriptor, int directory, const char *name);

/// renameat2(2) with RENAME_NOREPLACE: renames `from` to `to`, both in the folder `directory`, unless that is there.
/// Returns 0, or -1 with errno set.
int clinux_rename_new(int directory, const char *from, const char *to);

/// fallocate(2): sets aside space for the `count` bytes at `start`, which the file then reaches. Returns 0, or -1 with
/// errno set.
int clinux_allocate(int descriptor, off_t start, off_t count);

/// fallocate(2) with FALLOC_FL_ZERO_RANGE: has the `count` bytes at `start` read as zeros and keep their space. The file does
/// not grow. Returns 0, or -1 with errno set.
int clinux_zero_range(int descriptor, off_t start, off_t count);

/// fallocate(2) with FALLOC_FL_PUNCH_HOLE: has the `count` bytes at `start` read as zeros, and gives their space back. The
/// file does not grow. Returns 0, or -1 with errno set.
int clinux_punch_hole(int descriptor, off_t start, off_t count);

/// FICLONERANGE of ioctl(2): shares the `count` bytes at `from` of the file `source` with `descriptor`, at `to`. Returns
/// 0, or -1 with errno set.
int clinux_share(int descriptor, off_t to, int source, off_t from, off_t count);

/// sync_file_range(2) with SYNC_FILE_RANGE_WRITE: begins to write what is dirty of the file, and does not wait for it.
void clinux_begin_write_back(int descriptor);

/// BLKZEROOUT of ioctl(2): makes the `count` bytes at `start` of a block device zeros, with as little work as the device
/// can do it with. Returns 0, or -1 with errno set.
int clinux_zero_device(int descriptor, uint64_t start, uint64_t count);

/// How many arguments this process was started with, its name among them, as `main` of a C program gets them. Swift takes
/// them from /proc, which need not be there.
int clinux_argument_count(void);

/// The argument `index` of this process, for as long as it runs; NULL where there are not so many.
const char *clinux_argument(int index);

/// Whether /proc is mounted. Files that were found are opened by their names there, and libdispatch traps without it.
int clinux_has_proc(void);
