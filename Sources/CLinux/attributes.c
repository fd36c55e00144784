#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char access_list[] = "system.posix_acl_access";

/// Whether the attribute `name` is about the file itself, and not about the bytes that it has.
static bool is_kept(const char *name) {
    if (strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0)
        return true;
    return strncmp(name, "security.", 9) == 0 && strcmp(name + 9, "capability") != 0 && strcmp(name + 9, "ima") != 0
        && strcmp(name + 9, "evm") != 0;
}

/// The value of the attribute `name` of the file at `path`, which the caller frees, and in `size` its bytes. NULL: it has
/// none (errno is ENODATA or EOPNOTSUPP), or it cannot be read.
static void *value_of(const char *path, const char *name, size_t *size) {
    for (int turn = 0; turn < 8; turn++) {
        ssize_t wanted = getxattr(path, name, NULL, 0);
        if (wanted < 0)
            return NULL;
        void *value = malloc((size_t)wanted + 1);
        if (!value)
            return NULL;
        ssize_t count = getxattr(path, name, value, (size_t)wanted);
        if (count >= 0) {
            *size = (size_t)count;
            return value;
        }
        free(value);
        // It has grown meanwhile.
        if (errno != ERANGE)
            return NULL;
    }
    return NULL;
}

/// Gives `to` the extended attributes of the file at `path` that it may have, but the access control list.
static void copy_attributes(const char *path, int to) {
    ssize_t size = listxattr(path, NULL, 0);
    char *names = size > 0 ? malloc((size_t)size) : NULL;
    if (!names)
        return;
    size = listxattr(path, names, (size_t)size);
    for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
        size_t count;
        void *value = is_kept(name) ? value_of(path, name, &count) : NULL;
        if (value)
            (void)!fsetxattr(to, name, value, count, 0);
        free(value);
    }
    free(names);
}

/// The permissions of `mode` for a file whose group, if not `keeps_group`, is another: who was of the old group is of the
/// others now, and the new group was of the others before.
static mode_t safe_mode(mode_t mode, bool keeps_owner, bool keeps_group) {
    if (!keeps_owner)
        mode &= ~(mode_t)S_ISUID;
    if (keeps_group)
        return mode;
    mode_t group = (mode >> 3) & 07, others = mode & 07, both = group & others;
    return (mode & 0700) | both << 3 | both;
}

int clinux_keep_attributes(int folder, const char *name, int to) {
    int found = openat(folder, name, O_PATH | O_CLOEXEC);
    if (found < 0)
        return errno == ENOENT ? 0 : -1;
    int result = -1;
    struct stat old;
    if (fstat(found, &old) < 0)
        goto end;
    if (!S_ISREG(old.st_mode)) {
        errno = EEXIST;
        goto end;
    }
    // O_PATH descriptors have no attributes, but this name of the file has.
    char path[sizeof "/proc/self/fd/" + 11];
    snprintf(path, sizeof path, "/proc/self/fd/%d", found);
    // No other user may read it until it is known who may.
    fremovexattr(to, access_list);
    (void)!fchmod(to, 0600);
    bool keeps_group = fchown(to, (uid_t)-1, old.st_gid) == 0;
    bool keeps_owner = fchown(to, old.st_uid, (gid_t)-1) == 0;
    copy_attributes(path, to);
    mode_t mode = safe_mode(old.st_mode & 07777, keeps_owner, keeps_group);
    size_t size;
    void *list = value_of(path, access_list, &size);
    if (list) {
        // Without the list, its mode says more than it allows: the bits of the group are those of the mask.
        if (!keeps_group || fsetxattr(to, access_list, list, size, 0) < 0)
            mode &= 0700;
        free(list);
    } else if (errno != ENODATA && errno != EOPNOTSUPP) {
        mode &= 0700;
    }
    // File systems without permissions have nothing to keep.
    result = fchmod(to, mode) == 0 || errno == EPERM || errno == EOPNOTSUPP ? 1 : -1;
end:;
    int reason = errno;
    close(found);
    errno = reason;
    return result;
}
