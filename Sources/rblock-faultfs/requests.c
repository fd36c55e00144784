#include "faultfs.h"

/// What commands call the operations.
static const char *const operation_names[] = {"stat", "stat", "open", "read", "close", "list"};

static struct pending *held;
static int held_requests;

/// Replies to a request, or keeps it while it is to hang.
void take(struct pending pending)
{
    const char *what = operation_names[pending.operation];
    unsigned long long from = (unsigned long long)pending.offset;
    struct fault *failing = find_fault("fail", what, pending.path, from, pending.count);
    if (find_fault("hang", what, pending.path, from, pending.count)) {
        struct pending *kept = checked(malloc(sizeof *kept));
        *kept = pending;
        kept->next = held;
        held = kept;
        held_requests++;
        return;
    }
    if (failing)
        fuse_reply_err(pending.request, (int)failing->value);
    else
        reply(&pending);
    free(pending.path);
}

/// Whether a request about `inode` hangs.
bool is_held(fuse_ino_t inode)
{
    for (struct pending *pending = held; pending; pending = pending->next)
        if (pending->inode == inode)
            return true;
    return false;
}

/// How many requests hang.
int held_count(void)
{
    return held_requests;
}

/// Takes the requests that hang once more.
void release_held(void)
{
    struct pending *waiting = held;
    held = NULL;
    held_requests = 0;
    while (waiting) {
        struct pending *next = waiting->next;
        take(*waiting);
        free(waiting);
        waiting = next;
    }
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

static void get_attributes(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    about(GET_ATTRIBUTES, request, inode, info);
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

const struct fuse_lowlevel_ops operations = {
    .init = negotiate,
    .lookup = look_up,
    .getattr = get_attributes,
    .readlink = read_link,
    .open = open_file,
    .read = read_file,
    .flush = flush_file,
    .release = release_file,
    .opendir = open_folder,
    .readdir = read_folder,
    .releasedir = release_folder,
};
