#define _GNU_SOURCE
#include "files.h"

#include <limits.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/// There is no call that takes the directory: its path is that of its descriptor.
static int path_of(int folder, const char *name, char *path, size_t size) {
    int length = snprintf(path, size, "/proc/self/fd/%d/%s", folder, name);
    return length < 0 || (size_t)length >= size ? -1 : 0;
}

ssize_t clinux_attribute_names(int folder, const char *name, void *names, size_t size) {
    char path[PATH_MAX];
    return path_of(folder, name, path, sizeof path) < 0 ? -1 : llistxattr(path, names, size);
}

ssize_t clinux_attribute(int folder, const char *name, const char *attribute, void *value, size_t size) {
    char path[PATH_MAX];
    return path_of(folder, name, path, sizeof path) < 0 ? -1 : lgetxattr(path, attribute, value, size);
}

uint32_t clinux_major(uint64_t device) { return major(device); }

uint32_t clinux_minor(uint64_t device) { return minor(device); }
