// Mounts that are attached to no folder, for files that map to parts of others.
#pragma once
#include <stddef.h>

/// Mounts the file `metadata`, of the format EROFS, with the files `devices` as its devices 1, 2, …, read-only. The
/// mount is in no folder: it ends when the descriptor that is returned, its root, and all that was opened in it are
/// closed. The kernel opens what the descriptors stand for, and looks up no path. Returns -1 with errno set on failure;
/// `message` (`size` bytes, at least one) then has what the kernel says about it, or nothing. Needs CAP_SYS_ADMIN,
/// Linux 6.12.
int clinux_mount_erofs(int metadata, const int *devices, size_t count, char *message, size_t size);

/// Mounts a FUSE file system, which is served by what is read from and written to `device`, read-only and in no folder, as
/// `clinux_mount_erofs` does.
int clinux_mount_fuse(int device, const char *name, char *message, size_t size);

/// Runs `body` on a thread whose descriptors are its own: those of `kept` (`count` of them, in ascending order), and what it
/// opens. Returns a descriptor of this process for the one that `body` returns, or -1 with the errno of its -1, or EIO where
/// that is 0.
///
/// For a process that serves a file system and uses a file of it: a thread that waits for an answer cannot be ended, not by
/// SIGKILL either, and would keep the descriptor open by which the answer comes, so that it would never be given up.
int clinux_open_apart(const int *kept, size_t count, int (*body)(void *), void *argument);
