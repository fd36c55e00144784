#define _GNU_SOURCE
#include "mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// glibc has functions for these since 2.36.
static int set_string(int context, const char *key, const char *value) {
    return (int)syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0);
}

static int set_descriptor(int context, const char *key, int descriptor) {
    char path[sizeof "/proc/thread-self/fd/" + 11];
    snprintf(path, sizeof path, "/proc/thread-self/fd/%d", descriptor);
    return set_string(context, key, path);
}

/// What the kernel has to say about `context`: its lines begin with a letter for their level and a blank.
static void take_message(int context, char *message, size_t size) {
    char line[256];
    ssize_t count;
    message[0] = 0;
    while ((count = read(context, line, sizeof line - 1)) > 0) {
        line[count] = 0;
        line[strcspn(line, "\n")] = 0;
        snprintf(message, size, "%s", strlen(line) > 2 ? line + 2 : line);
    }
}

/// Ends `context`: answers the root of what it mounts unless it has `failed`, with `attributes`.
static int finish(int context, int failed, unsigned attributes, char *message, size_t size) {
    int mount = -1;
    if (!failed && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    int error = errno;
    if (mount < 0)
        take_message(context, message, size);
    close(context);
    errno = error;
    return mount;
}

enum {
    sealed = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
};

int clinux_mount_erofs(int metadata, const int *devices, size_t count, char *message, size_t size) {
    message[0] = 0;
    int context = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);
    if (context < 0)
        return -1;
    int failed = set_descriptor(context, "source", metadata);
    for (size_t index = 0; index < count && !failed; index++)
        failed = set_descriptor(context, "device", devices[index]);
    failed = failed || syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "ro", NULL, 0);
    return finish(context, failed, sealed, message, size);
}

int clinux_mount_fuse(int device, const char *name, char *message, size_t size) {
    message[0] = 0;
    int context = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
    if (context < 0)
        return -1;
    char text[16];
    snprintf(text, sizeof text, "%d", device);
    int failed = set_string(context, "source", name) || set_string(context, "fd", text)
        || set_string(context, "rootmode", "40000") || set_string(context, "user_id", "0")
        || set_string(context, "group_id", "0") || syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "ro", NULL, 0);
    return finish(context, failed, sealed, message, size);
}

struct apart {
    const int *kept;
    size_t count;
    int (*body)(void *);
    void *argument;
    int socket;
    int error;
};

/// Closes all but `kept`, which is in order, and `socket`.
static int close_others(const int *kept, size_t count, int socket) {
    unsigned next = 0;
    for (size_t index = 0; index <= count; index++) {
        unsigned first = index < count ? (unsigned)kept[index] : ~0U;
        // The socket may lie between two of them.
        if ((unsigned)socket >= next && (unsigned)socket < first) {
            if ((unsigned)socket > next && close_range(next, (unsigned)socket - 1, 0) != 0)
                return -1;
            next = (unsigned)socket + 1;
        }
        if (first > next && close_range(next, first - 1, 0) != 0)
            return -1;
        next = first + 1;
    }
    return 0;
}

static int send_descriptor(int socket, int descriptor) {
    char byte = 0;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static int receive_descriptor(int socket) {
    char byte;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (count != 1) {
        if (count == 0)
            errno = EIO;
        return -1;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_type != SCM_RIGHTS) {
        errno = EMFILE;
        return -1;
    }
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
    return descriptor;
}

static void *run_apart(void *argument) {
    struct apart *apart = argument;
    int descriptor = -1;
    if (unshare(CLONE_FILES) == 0 && close_others(apart->kept, apart->count, apart->socket) == 0)
        descriptor = apart->body(apart->argument);
    if (descriptor < 0 || send_descriptor(apart->socket, descriptor) != 0)
        // A body may fail without a failed system call, and 0 would be success.
        apart->error = errno != 0 ? errno : EIO;
    return NULL;
}

int clinux_open_apart(const int *kept, size_t count, int (*body)(void *), void *argument) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return -1;
    struct apart apart = {
        .kept = kept, .count = count, .body = body, .argument = argument, .socket = sockets[1], .error = 0};
    pthread_t thread;
    int descriptor = -1;
    int error = pthread_create(&thread, NULL, run_apart, &apart);
    if (error == 0) {
        pthread_join(thread, NULL);
        error = apart.error;
    }
    // Then receiving from it ends, also where nothing was sent.
    close(sockets[1]);
    if (error == 0) {
        descriptor = receive_descriptor(sockets[0]);
        error = errno;
    }
    close(sockets[0]);
    errno = error;
    return descriptor;
}
