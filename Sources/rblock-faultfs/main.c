// A folder whose files hang, fail and lie on demand: what tests have for a disk that does not answer, a network file
// system that is gone, and a file system that tells nonsense. Everything else of the folder is passed through, read-only.
//
// usage: rblock-faultfs FOLDER MOUNTPOINT       serves until its standard input ends, and never outlives who started it
//
// It writes "ready" when it is mounted. Then each line of standard input is a command, and each is answered with "ok"
// and the number of requests that hang at that moment:
//
//   KIND WHAT VALUE FROM TO NAME    from now on, as below, for NAME (its path in the folder, which may hold blanks; * for
//                                   every file)
//   clear                           no faults any more; what hangs is answered
//   held                            nothing but the answer
//
//   KIND  WHAT                          what happens
//   hang  stat, open, read, close,      such a request waits; of reads, those that touch the bytes from FROM up to TO.
//         list                          Nothing interrupts it: its caller cannot even be killed, unless it waits for the
//                                       page cache, as ordinary reads do
//   fail  the same                      it fails with the error number VALUE
//   cut   read                          reads find the end of the file at VALUE, whatever its size is said to be
//   tell  size, blocks, links, mtime,   stat tells VALUE
//         nanoseconds
//
// One thread answers everything: a request that hangs is kept in a list, and takes no thread.

#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum operation { LOOK_UP, TELL_ATTRIBUTES, OPEN, READ, CLOSE, LIST };

/// What commands call the operations.
static const char *const operation_names[] = {"stat", "stat", "open", "read", "close", "list"};

/// A request, with all that is needed to answer it, now or later.
struct pending {
    struct pending *next;
    enum operation operation;
    fuse_req_t request;
    fuse_ino_t inode;
    char *path; // of the file that it is about
    size_t count;
    off_t offset;
    struct fuse_file_info info;
};

/// One command.
struct fault {
    struct fault *next;
    char kind[8];
    char what[16];
    long long value;
    unsigned long long from, to;
    char name[4096];
};

static int folder;
static struct fuse_session *session;
static struct fault *faults;
static struct pending *held;
static int held_count;

/// The paths below the folder that inodes stand for: inode 1, at index 0, is the folder.
static char **paths;
static size_t path_count;

static void *checked(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static fuse_ino_t inode_of(const char *path)
{
    for (size_t index = 0; index < path_count; index++)
        if (strcmp(paths[index], path) == 0)
            return index + 1;
    paths = checked(realloc(paths, (path_count + 1) * sizeof *paths));
    paths[path_count++] = checked(strdup(path));
    return path_count;
}

static const char *path_of(fuse_ino_t inode)
{
    return inode - 1 < path_count ? paths[inode - 1] : "";
}

/// What openat and the like call the path.
static const char *relative(const char *path)
{
    return *path ? path : ".";
}

static struct fault *find_fault(const char *kind, const char *what, const char *path, unsigned long long from, size_t count)
{
    for (struct fault *fault = faults; fault; fault = fault->next)
        if (strcmp(fault->kind, kind) == 0 && strcmp(fault->what, what) == 0
            && (strcmp(fault->name, "*") == 0 || strcmp(fault->name, path) == 0) && from < fault->to
            && from + count >= fault->from && (count == 0 || from + count > fault->from))
            return fault;
    return NULL;
}

static int get_attributes(const char *path, fuse_ino_t inode, struct stat *attributes)
{
    if (fstatat(folder, relative(path), attributes, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    attributes->st_ino = inode;
    struct fault *lie;
    if ((lie = find_fault("tell", "size", path, 0, 0)))
        attributes->st_size = (off_t)lie->value;
    if ((lie = find_fault("tell", "blocks", path, 0, 0)))
        attributes->st_blocks = (blkcnt_t)lie->value;
    if ((lie = find_fault("tell", "links", path, 0, 0)))
        attributes->st_nlink = (nlink_t)lie->value;
    if ((lie = find_fault("tell", "mtime", path, 0, 0)))
        attributes->st_mtim.tv_sec = (time_t)lie->value;
    if ((lie = find_fault("tell", "nanoseconds", path, 0, 0)))
        attributes->st_mtim.tv_nsec = (long)lie->value;
    return 0;
}

static void answer_look_up(struct pending *pending)
{
    struct fuse_entry_param entry = {.ino = inode_of(pending->path)};
    int error = get_attributes(pending->path, entry.ino, &entry.attr);
    if (error != 0)
        fuse_reply_err(pending->request, error);
    else
        fuse_reply_entry(pending->request, &entry);
}

static void answer_open(struct pending *pending)
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

static void answer_read(struct pending *pending)
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
static void answer_list(struct pending *pending)
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

static void answer(struct pending *pending)
{
    struct stat attributes;
    int error;
    switch (pending->operation) {
    case LOOK_UP: answer_look_up(pending); break;
    case TELL_ATTRIBUTES:
        error = get_attributes(pending->path, pending->inode, &attributes);
        if (error != 0)
            fuse_reply_err(pending->request, error);
        else
            fuse_reply_attr(pending->request, &attributes, 0);
        break;
    case OPEN: answer_open(pending); break;
    case READ: answer_read(pending); break;
    case CLOSE: fuse_reply_err(pending->request, 0); break;
    case LIST: answer_list(pending); break;
    }
}

/// Answers a request, or keeps it while it is to hang.
static void take(struct pending pending)
{
    const char *what = operation_names[pending.operation];
    unsigned long long from = (unsigned long long)pending.offset;
    struct fault *failing = find_fault("fail", what, pending.path, from, pending.count);
    if (find_fault("hang", what, pending.path, from, pending.count)) {
        struct pending *kept = checked(malloc(sizeof *kept));
        *kept = pending;
        kept->next = held;
        held = kept;
        held_count++;
        return;
    }
    if (failing)
        fuse_reply_err(pending.request, (int)failing->value);
    else
        answer(&pending);
    free(pending.path);
}

static void about(enum operation operation, fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct pending pending = {
        .operation = operation, .request = request, .inode = inode, .path = checked(strdup(path_of(inode)))};
    if (info)
        pending.info = *info;
    take(pending);
}

/// Of background requests, as those that read ahead, the kernel sends no more than this says at a time: those
/// that hang must not keep others from being sent.
static void negotiate(void *context, struct fuse_conn_info *connection)
{
    (void)context;
    connection->max_background = UINT16_MAX;
    connection->congestion_threshold = UINT16_MAX;
}

static void look_up(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct pending pending = {.operation = LOOK_UP, .request = request, .inode = parent};
    const char *above = path_of(parent);
    if (asprintf(&pending.path, "%s%s%s", above, *above ? "/" : "", name) < 0)
        abort();
    take(pending);
}

static void tell_attributes(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    about(TELL_ATTRIBUTES, request, inode, info);
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    about(OPEN, request, inode, info);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t count, off_t offset, struct fuse_file_info *info)
{
    take((struct pending){
        .operation = READ, .request = request, .inode = inode, .path = checked(strdup(path_of(inode))),
        .count = count, .offset = offset, .info = *info});
}

static void flush_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    about(CLOSE, request, inode, info);
}

static void release_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    (void)inode;
    close((int)info->fh);
    fuse_reply_err(request, 0);
}

static void read_link(fuse_req_t request, fuse_ino_t inode)
{
    char target[4096];
    ssize_t count = readlinkat(folder, path_of(inode), target, sizeof target - 1);
    if (count < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    target[count] = 0;
    fuse_reply_readlink(request, target);
}

static void open_folder(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    about(LIST, request, inode, info);
}

static void read_folder(fuse_req_t request, fuse_ino_t inode, size_t capacity, off_t offset, struct fuse_file_info *info)
{
    (void)inode;
    const char *entry = (const char *)(uintptr_t)info->fh;
    for (off_t index = 0; index < offset && *entry; index++)
        entry += strlen(entry) + 1;
    char *buffer = checked(malloc(capacity));
    size_t used = 0;
    while (*entry) {
        struct stat attributes = {.st_ino = 1, .st_mode = (mode_t)(entry[0] - 1) << 12};
        size_t needed = fuse_add_direntry(request, buffer + used, capacity - used, entry + 1, &attributes, ++offset);
        if (needed > capacity - used)
            break;
        used += needed;
        entry += strlen(entry) + 1;
    }
    fuse_reply_buf(request, buffer, used);
    free(buffer);
}

static void release_folder(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    (void)inode;
    free((void *)(uintptr_t)info->fh);
    fuse_reply_err(request, 0);
}

/// The files that the kernel is to forget what it has read of.
struct dropping {
    sem_t done;
    size_t count;
    fuse_ino_t inodes[];
};

static void *drop(void *argument)
{
    struct dropping *dropping = argument;
    for (size_t index = 0; index < dropping->count; index++)
        fuse_lowlevel_notify_inval_inode(session, dropping->inodes[index], 0, 0);
    sem_post(&dropping->done);
    return NULL;
}

/// Has the kernel forget what it has read of every file. Not where it waits for a read: it would wait for that, too. Nor does
/// the thread that answers: for reads that are still to come out of the kernel's queue it would wait for ever.
static void drop_caches(void)
{
    struct dropping *dropping = checked(calloc(1, sizeof *dropping + path_count * sizeof *dropping->inodes));
    sem_init(&dropping->done, 0, 0);
    for (fuse_ino_t inode = 2; inode <= path_count; inode++) {
        bool is_held = false;
        for (struct pending *pending = held; pending; pending = pending->next)
            is_held = is_held || pending->inode == inode;
        if (!is_held)
            dropping->inodes[dropping->count++] = inode;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, drop, dropping) != 0)
        exit(1);
    pthread_detach(thread);
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 1;
    // Where it takes longer, such a read is to be answered first; the memory stays with the thread.
    if (sem_timedwait(&dropping->done, &deadline) == 0) {
        sem_destroy(&dropping->done);
        free(dropping);
    }
}

static void clear(void)
{
    while (faults) {
        struct fault *next = faults->next;
        free(faults);
        faults = next;
    }
    struct pending *waiting = held;
    held = NULL;
    held_count = 0;
    while (waiting) {
        struct pending *next = waiting->next;
        take(*waiting);
        free(waiting);
        waiting = next;
    }
}

static void obey(const char *line)
{
    struct fault fault = {0};
    int start = 0;
    if (strcmp(line, "clear") == 0) {
        clear();
    } else if (strcmp(line, "held") != 0) {
        int count = sscanf(
            line, "%7s %15s %lld %llu %llu %n", fault.kind, fault.what, &fault.value, &fault.from, &fault.to, &start);
        if (count != 5 || start == 0) {
            dprintf(STDOUT_FILENO, "no such command: %s\n", line);
            return;
        }
        snprintf(fault.name, sizeof fault.name, "%s", line + start);
        drop_caches();
        struct fault *added = checked(malloc(sizeof *added));
        *added = fault;
        added->next = faults;
        faults = added;
    }
    dprintf(STDOUT_FILENO, "ok %d\n", held_count);
}

/// Does what was written to standard input. False when that has ended.
static bool read_commands(void)
{
    static char text[16384];
    static size_t used;
    ssize_t got = read(STDIN_FILENO, text + used, sizeof text - 1 - used);
    if (got <= 0)
        return false;
    used += (size_t)got;
    text[used] = 0;
    char *start = text, *end;
    while ((end = strchr(start, '\n'))) {
        *end = 0;
        obey(start);
        start = end + 1;
    }
    used = strlen(start);
    memmove(text, start, used);
    return true;
}

static void serve(void)
{
    struct fuse_buf buffer = {0};
    struct pollfd files[] = {{.fd = fuse_session_fd(session), .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (!fuse_session_exited(session)) {
        if (poll(files, 2, -1) < 0 && errno != EINTR)
            break;
        if (files[1].revents != 0 && !read_commands())
            break;
        if (files[0].revents == 0)
            continue;
        int received = fuse_session_receive_buf(session, &buffer);
        if (received > 0)
            fuse_session_process_buf(session, &buffer);
        else if (received != -EINTR && received != -EAGAIN)
            break;
    }
    free(buffer.mem);
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s FOLDER MOUNTPOINT\n", arguments[0]);
        return 64;
    }
    folder = open(arguments[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        fprintf(stderr, "%s: %s: %s\n", arguments[0], arguments[1], strerror(errno));
        return 66;
    }
    inode_of("");
    const struct fuse_lowlevel_ops operations = {
        .init = negotiate,
        .lookup = look_up,
        .getattr = tell_attributes,
        .readlink = read_link,
        .open = open_file,
        .read = read_file,
        .flush = flush_file,
        .release = release_file,
        .opendir = open_folder,
        .readdir = read_folder,
        .releasedir = release_folder,
    };
    char *options[] = {arguments[0], (char *)"-oro,fsname=rblock-faultfs", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(2, options);
    session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    int status = 70;
    if (session && fuse_session_mount(session, arguments[2]) == 0) {
        dprintf(STDOUT_FILENO, "ready\n");
        serve();
        status = 0;
        fuse_session_unmount(session);
    }
    // What still hangs fails with the end of this process, which ends the connection.
    fuse_opt_free_args(&args);
    return status;
}
