#include "faultfs.h"
#include <dirent.h>

static int get_attributes(const char *path, fuse_ino_t inode, struct stat *attributes)
{
    if (fstatat(folder, relative(path), attributes, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    attributes->st_ino = inode;
    struct fault *reported;
    if ((reported = find_fault("tell", "size", path, 0, 0)))
        attributes->st_size = (off_t)reported->value;
    if ((reported = find_fault("tell", "blocks", path, 0, 0)))
        attributes->st_blocks = (blkcnt_t)reported->value;
    if ((reported = find_fault("tell", "links", path, 0, 0)))
        attributes->st_nlink = (nlink_t)reported->value;
    if ((reported = find_fault("tell", "mtime", path, 0, 0)))
        attributes->st_mtim.tv_sec = (time_t)reported->value;
    if ((reported = find_fault("tell", "nanoseconds", path, 0, 0)))
        attributes->st_mtim.tv_nsec = (long)reported->value;
    return 0;
}

static void reply_look_up(struct pending *pending)
{
    struct fuse_entry_param entry = {.ino = inode_of(pending->path)};
    int error = get_attributes(pending->path, entry.ino, &entry.attr);
    if (error != 0)
        fuse_reply_err(pending->request, error);
    else
        fuse_reply_entry(pending->request, &entry);
}

static void reply_open(struct pending *pending)
{
    if ((pending->info.flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(pending->request, EROFS);
        return;
    }
    int file = openat(folder, pending->path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    pending->info.fh = (uint64_t)file;
    if (file < 0)
        fuse_reply_err(pending->request, errno);
    else if (fuse_reply_open(pending->request, &pending->info) != 0)
        close(file);
}

static void reply_read(struct pending *pending)
{
    struct fault *cut = find_fault("cut", "read", pending->path, 0, 0);
    size_t count = pending->count;
    if (cut && pending->offset + (long long)count > cut->value)
        count = pending->offset < cut->value ? (size_t)(cut->value - pending->offset) : 0;
    char *bytes = checked(malloc(count + 1));
    ssize_t got = pread((int)pending->info.fh, bytes, count, pending->offset);
    if (got < 0)
        fuse_reply_err(pending->request, errno);
    else
        fuse_reply_buf(pending->request, bytes, (size_t)got);
    free(bytes);
}

/// Lists everything at once, into memory that `releasedir` frees.
static void reply_list(struct pending *pending)
{
    int file = openat(folder, relative(pending->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = file < 0 ? NULL : fdopendir(file);
    if (!stream) {
        fuse_reply_err(pending->request, errno);
        return;
    }
    char *listing = NULL;
    size_t size = 0;
    FILE *text = checked(open_memstream(&listing, &size));
    struct dirent *entry;
    while ((entry = readdir(stream)))
        fprintf(text, "%c%s%c", entry->d_type + 1, entry->d_name, 0);
    fputc(0, text);
    fclose(text);
    closedir(stream);
    pending->info.fh = (uint64_t)(uintptr_t)listing;
    if (fuse_reply_open(pending->request, &pending->info) != 0)
        free(listing);
}

void reply(struct pending *pending)
{
    struct stat attributes;
    int error;
    switch (pending->operation) {
    case LOOK_UP: reply_look_up(pending); break;
    case GET_ATTRIBUTES:
        error = get_attributes(pending->path, pending->inode, &attributes);
        if (error != 0)
            fuse_reply_err(pending->request, error);
        else
            fuse_reply_attr(pending->request, &attributes, 0);
        break;
    case OPEN: reply_open(pending); break;
    case READ: reply_read(pending); break;
    case CLOSE: fuse_reply_err(pending->request, 0); break;
    case LIST: reply_list(pending); break;
    }
}
