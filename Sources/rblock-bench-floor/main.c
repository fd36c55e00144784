// The least that a FUSE server of libfuse's low-level API can do: one flat file, a pread and a reply to each request.
// What rblockfs is slower than this is its own doing; what this is slower than the bare file is FUSE's.
//
// usage: rblock-bench-floor FILE MOUNTPOINT     serves MOUNTPOINT/disk.raw until it is unmounted or ended by a signal

#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char file_name[] = "disk.raw";
enum { FILE_INODE = 2 };
static const double forever = 1e9;

static int image;
static const char *mountpoint;

static int get_attributes(fuse_ino_t inode, struct stat *attributes)
{
    memset(attributes, 0, sizeof *attributes);
    if (inode == FUSE_ROOT_ID) {
        attributes->st_mode = S_IFDIR | 0555;
        attributes->st_nlink = 2;
    } else if (fstat(image, attributes) != 0) {
        return errno;
    } else {
        attributes->st_mode = S_IFREG | 0444;
    }
    attributes->st_ino = inode;
    return 0;
}

static void look_up(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.ino = FILE_INODE, .attr_timeout = forever, .entry_timeout = forever};
    int error = parent == FUSE_ROOT_ID && strcmp(name, file_name) == 0 ? 0 : ENOENT;
    if (error == 0)
        error = get_attributes(FILE_INODE, &entry.attr);
    if (error != 0)
        fuse_reply_err(request, error);
    else
        fuse_reply_entry(request, &entry);
}

static void tell_attributes(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    (void)info;
    struct stat attributes;
    int error = get_attributes(inode, &attributes);
    if (error != 0)
        fuse_reply_err(request, error);
    else
        fuse_reply_attr(request, &attributes, forever);
}

/// Has the kernel ask for 1 MiB at once when a file is read in order, as rblockfs does. It takes its default again when
/// the handshake is over, and so this waits for the first file that is opened.
static void raise_read_ahead(void)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, device[32], path[4096], setting[96];
    size_t capacity = 0;
    while (mounts && getline(&line, &capacity, mounts) > 0) {
        if (sscanf(line, "%*s %*s %31s %*s %4095s", device, path) != 2 || strcmp(path, mountpoint) != 0)
            continue;
        snprintf(setting, sizeof setting, "/sys/class/bdi/%s/read_ahead_kb", device);
        FILE *file = fopen(setting, "we");
        if (!file)
            continue;
        fputs("1024", file);
        fclose(file);
    }
    free(line);
    if (mounts)
        fclose(mounts);
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, raise_read_ahead);
    info->keep_cache = 1;
    if (inode != FILE_INODE)
        fuse_reply_err(request, EISDIR);
    else if ((info->flags & O_ACCMODE) != O_RDONLY)
        fuse_reply_err(request, EROFS);
    else
        fuse_reply_open(request, info);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t count, off_t offset, struct fuse_file_info *info)
{
    (void)inode;
    (void)info;
    // One buffer a thread for as long as it lives: memory that is given back is expensive to get again.
    static __thread void *buffer;
    static __thread size_t capacity;
    if (count > capacity) {
        free(buffer);
        capacity = posix_memalign(&buffer, 4096, count) == 0 ? count : 0;
        if (capacity == 0) {
            buffer = NULL;
            fuse_reply_err(request, ENOMEM);
            return;
        }
    }
    ssize_t got = pread(image, buffer, count, offset);
    if (got < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, buffer, (size_t)got);
}

static void seek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence, struct fuse_file_info *info)
{
    (void)inode;
    (void)info;
    // Nothing else uses the position of this descriptor.
    off_t found = lseek(image, offset, whence);
    if (found < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_lseek(request, found);
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s FILE MOUNTPOINT\n", arguments[0]);
        return 64;
    }
    image = open(arguments[1], O_RDONLY | O_CLOEXEC);
    if (image < 0) {
        fprintf(stderr, "%s: %s: %s\n", arguments[0], arguments[1], strerror(errno));
        return 66;
    }
    mountpoint = arguments[2];
    const struct fuse_lowlevel_ops operations = {
        .lookup = look_up,
        .getattr = tell_attributes,
        .open = open_file,
        .read = read_file,
        .lseek = seek,
    };
    char *options[] = {arguments[0], (char *)"-oro,default_permissions,fsname=rblock-bench-floor", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(2, options);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    int status = 70;
    if (session && fuse_set_signal_handlers(session) == 0) {
        if (fuse_session_mount(session, mountpoint) == 0) {
            struct fuse_loop_config *config = fuse_loop_cfg_create();
            status = fuse_session_loop_mt(session, config) < 0 ? 70 : 0;
            fuse_loop_cfg_destroy(config);
            fuse_session_unmount(session);
        }
        fuse_remove_signal_handlers(session);
    }
    if (session)
        fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return status;
}
