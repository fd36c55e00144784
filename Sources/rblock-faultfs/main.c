// A folder whose files hang, fail and report false attributes on command: what tests have for a disk that does not
// respond, a network file system that is gone, and a file system whose attributes are wrong. Everything else of the
// folder is passed through, read-only.
//
// usage: rblock-faultfs FOLDER MOUNTPOINT       serves until its standard input ends, and never outlives its parent
//
// It writes "ready" when it is mounted. Then each line of standard input is a command, and each is answered with "ok"
// and the number of requests that hang at that moment:
//
//   KIND WHAT VALUE FROM TO NAME    from now on, as below, for NAME (its path in the folder, which may hold blanks; * for
//                                   every file)
//   clear                           no faults any more; what hangs is replied to
//   held                            nothing but the answer
//
//   KIND  WHAT                          what happens
//   hang  stat, open, read, close,      such a request waits; of reads, those that touch the bytes from FROM up to TO.
//         list                          Nothing interrupts it: its caller cannot even be killed, unless it waits for the
//                                       page cache, as ordinary reads do
//   fail  the same                      it fails with the error number VALUE
//   cut   read                          reads find the end of the file at VALUE, whatever size stat reports
//   tell  size, blocks, links, mtime,   stat reports VALUE
//         nanoseconds
//
// One thread serves everything: a request that hangs is kept in a list, and takes no thread.

#include "faultfs.h"
#include <poll.h>

int folder;
struct fuse_session *session;

void *checked(void *memory)
{
    if (!memory)
        abort();
    return memory;
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
