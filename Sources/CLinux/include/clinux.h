// The Linux calls that Swift's Glibc module does not show, because it is built without _GNU_SOURCE.
#pragma once
#include <stdint.h>
#include <sys/types.h>

/// SEEK_DATA and SEEK_HOLE of lseek(2).
extern const int clinux_SEEK_DATA;
extern const int clinux_SEEK_HOLE;
/// O_PATH of open(2).
extern const int clinux_O_PATH;

/// openat2(2) with O_PATH | O_CLOEXEC and RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS: finds `path`
/// below the folder `directory` without following any link and without opening what it finds.
/// Returns a descriptor, or -1 with errno set.
int clinux_find_beneath(int directory, const char *path);
