// What Swift cannot say well of libfuse3's low-level API: macros, versioned functions, capability bits (whose C types
// change between releases), the table of refusals, and the worker thread.

#ifndef CFUSE3_H
#define CFUSE3_H

#define FUSE_USE_VERSION 314
#include <assert.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static_assert(sizeof(off_t) == 8, "offsets of disk images need 64 bits");

/// A session that serves `ops`. `options` is the text after -o. Returns NULL after logging the reason, which for an
/// option that libfuse does not know names the option. libfuse copies `ops`; `userdata` must outlive the session.
static inline struct fuse_session *cfuse3_session_new(
    const char *name, const char *options, const struct fuse_lowlevel_ops *ops, void *userdata)
{
    char *argv[] = {(char *)name, (char *)"-o", (char *)options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct fuse_session *session = fuse_session_new(&args, ops, sizeof *ops, userdata);
    fuse_opt_free_args(&args);
    return session;
}

// FUSE passthrough (Linux 6.9): the kernel reads an open file from a file of the host by itself. libfuse knows it from
// 3.17 on; what an older one lacks is a bit in its answer to FUSE_INIT, and the answer to an open with the number of the
// file. Both are in the kernel's own form (linux/fuse.h), which stays as it is. Another such bit (Linux 6.6) lets files that
// are read and written past the page cache be mapped into memory.

/// What libfuse hands back with each request.
struct cfuse3_connection {
    void *file_system;
    int handshakes;      // whether the answer to FUSE_INIT is still to come
    uint64_t init;       // the number of that request
    uint32_t wanted;     // what is asked for
    uint32_t agreed;     // what of that the kernel offers, and was answered that it is wanted
};

struct cfuse3_init_request {
    uint32_t length, opcode;
    uint64_t unique, node;
    uint32_t user, group, process, padding;
    uint32_t major, minor, max_readahead, flags, flags2;
};

struct cfuse3_answer_header {
    uint32_t length;
    int32_t error;
    uint64_t unique;
};

struct cfuse3_init_answer {
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_granularity;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth;
};

enum { CFUSE3_INIT = 26, CFUSE3_INIT_EXT = 1 << 30 };

static const uint32_t cfuse3_mapped_direct_io = 1U << 4, cfuse3_passthrough = 1U << 5;

static inline ssize_t cfuse3_read(int device, void *bytes, size_t count, void *context)
{
    ssize_t result = read(device, bytes, count);
    struct cfuse3_connection *connection = (struct cfuse3_connection *)context;
    struct cfuse3_init_request request;
    if (connection->handshakes && result >= (ssize_t)sizeof request) {
        memcpy(&request, bytes, sizeof request);
        if (request.opcode == CFUSE3_INIT && request.flags & CFUSE3_INIT_EXT && request.flags2 & connection->wanted) {
            connection->init = request.unique;
            connection->wanted &= request.flags2;
        }
    }
    return result;
}

static inline ssize_t cfuse3_writev(int device, struct iovec *parts, int count, void *context)
{
    struct cfuse3_connection *connection = (struct cfuse3_connection *)context;
    if (connection->handshakes && connection->init != 0 && count == 2) {
        const struct cfuse3_answer_header *header = (const struct cfuse3_answer_header *)parts[0].iov_base;
        struct cfuse3_init_answer *answer = (struct cfuse3_init_answer *)parts[1].iov_base;
        if (header->unique == connection->init && header->error == 0 && parts[1].iov_len >= sizeof *answer) {
            answer->flags |= CFUSE3_INIT_EXT;
            answer->flags2 |= connection->wanted;
            // Of the two levels that file systems may be stacked in, one stays for an overlayfs over the mount.
            if (connection->wanted & cfuse3_passthrough) answer->max_stack_depth = 1;
            connection->agreed = connection->wanted;
        }
    }
    return writev(device, parts, count);
}

/// Has the handshake of a mounted session ask for `wanted`, bits of the two above. Returns 0 or a negative errno.
static inline int cfuse3_ask_for(
    struct fuse_session *session, struct cfuse3_connection *connection, uint32_t wanted)
{
    const struct fuse_custom_io io = {.writev = cfuse3_writev, .read = cfuse3_read};
    connection->handshakes = 1;
    connection->wanted = wanted;
    return fuse_session_custom_io(session, &io, fuse_session_fd(session));
}

/// Lets the kernel read from the open file `file`. Returns the number for `cfuse3_reply_passthrough`, or a negative errno.
static inline int cfuse3_open_backing(int device, int file)
{
    struct { int32_t file; uint32_t flags; uint64_t padding; } map = {.file = file};
    int number = ioctl(device, _IOW(229, 1, map), &map);
    return number < 0 ? -errno : number;
}

static inline void cfuse3_close_backing(int device, int number)
{
    uint32_t id = (uint32_t)number;
    ioctl(device, _IOW(229, 2, id), &id);
}

/// A file in memory, for `cfuse3_open_backing` to be tried with. Returns a descriptor, or a negative errno.
static inline int cfuse3_memory_file(void)
{
    int file = (int)syscall(SYS_memfd_create, "rblockfs", 1U /* MFD_CLOEXEC */);
    return file < 0 ? -errno : file;
}

// Of linux/falloc.h.
static const int cfuse3_keep_size = 1, cfuse3_punch_hole = 2, cfuse3_zero_range = 16;

/// Whether who opens a file asks for reads past the page cache, with O_DIRECT.
static inline int cfuse3_is_direct(const struct fuse_file_info *info)
{
    return (info->flags & __O_DIRECT) != 0;
}

/// Answers an open as `fuse_reply_open` does, and has the kernel read the file `number` for it.
static inline int cfuse3_reply_passthrough(fuse_req_t request, uint64_t handle, int number)
{
    struct { uint64_t handle; uint32_t flags; int32_t backing; } answer = {handle, 1U << 7, number};
    return fuse_reply_buf(request, (const char *)&answer, sizeof answer);
}

/// Answers an open as `fuse_reply_open` does, and lets writes past the page cache be under way at the same time (Linux 6.2;
/// libfuse knows it from 3.15 on).
static inline int cfuse3_reply_parallel(fuse_req_t request, uint64_t handle, int is_direct, int keeps_cache)
{
    struct { uint64_t handle; uint32_t flags; int32_t backing; } answer = {
        handle, (is_direct ? 1U : 0) | (keeps_cache ? 1U << 1 : 0) | 1U << 6, 0};
    return fuse_reply_buf(request, (const char *)&answer, sizeof answer);
}

/// The `init` operation. The list of capabilities is exhaustive: what libfuse asks for by default and is not named here
/// (READDIRPLUS, which would look up, and so open, every image that a plain `ls` lists; ATOMIC_O_TRUNC; splicing, which
/// is slower than copying; exporting over NFS) is not asked for. max_readahead stays as the kernel offers it.
static inline void cfuse3_negotiate(void *userdata, struct fuse_conn_info *connection)
{
    (void)userdata;
    connection->want = connection->capable
        & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_AUTO_INVAL_DATA);
    connection->max_background = 1024;
    connection->congestion_threshold = 768;
}

#define CFUSE3_REFUSE(operation, ...)                                       \
    static inline void cfuse3_refuse_##operation(fuse_req_t request, __VA_ARGS__) \
    {                                                                       \
        fuse_reply_err(request, EROFS);                                     \
    }

CFUSE3_REFUSE(setattr, fuse_ino_t i, struct stat *a, int set, struct fuse_file_info *f)
CFUSE3_REFUSE(mknod, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
CFUSE3_REFUSE(mkdir, fuse_ino_t parent, const char *name, mode_t mode)
CFUSE3_REFUSE(remove, fuse_ino_t parent, const char *name)
CFUSE3_REFUSE(symlink, const char *target, fuse_ino_t parent, const char *name)
CFUSE3_REFUSE(rename, fuse_ino_t from, const char *name, fuse_ino_t to, const char *new_name, unsigned int flags)
CFUSE3_REFUSE(link, fuse_ino_t i, fuse_ino_t parent, const char *name)
CFUSE3_REFUSE(write, fuse_ino_t i, const char *bytes, size_t count, off_t offset, struct fuse_file_info *f)
CFUSE3_REFUSE(create, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *f)
CFUSE3_REFUSE(setxattr, fuse_ino_t i, const char *name, const char *value, size_t count, int flags)
CFUSE3_REFUSE(removexattr, fuse_ino_t i, const char *name)
CFUSE3_REFUSE(fallocate, fuse_ino_t i, int mode, off_t offset, off_t count, struct fuse_file_info *f)
CFUSE3_REFUSE(
    copy_file_range, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_file, fuse_ino_t to,
    off_t to_offset, struct fuse_file_info *to_file, size_t count, int flags)

#undef CFUSE3_REFUSE

/// Answers every operation that changes something with EROFS, so that a mount stays read-only even after
/// `mount -o remount,rw`, when the kernel no longer refuses by itself.
static inline void cfuse3_refuse_writes(struct fuse_lowlevel_ops *ops)
{
    ops->setattr = cfuse3_refuse_setattr;
    ops->mknod = cfuse3_refuse_mknod;
    ops->mkdir = cfuse3_refuse_mkdir;
    ops->unlink = cfuse3_refuse_remove;
    ops->rmdir = cfuse3_refuse_remove;
    ops->symlink = cfuse3_refuse_symlink;
    ops->rename = cfuse3_refuse_rename;
    ops->link = cfuse3_refuse_link;
    ops->write = cfuse3_refuse_write;
    ops->create = cfuse3_refuse_create;
    ops->setxattr = cfuse3_refuse_setxattr;
    ops->removexattr = cfuse3_refuse_removexattr;
    ops->fallocate = cfuse3_refuse_fallocate;
    ops->copy_file_range = cfuse3_refuse_copy_file_range;
}

/// Receives one request and answers it on the calling thread. Returns 1 when that was done, 0 when the session has
/// ended, or a negative errno.
static inline int cfuse3_answer_one(struct fuse_session *session)
{
    struct fuse_buf buffer = {0};
    int result;
    do
        result = fuse_session_receive_buf(session, &buffer);
    while (result == -EINTR);
    if (result > 0)
        fuse_session_process_buf(session, &buffer);
    free(buffer.mem);
    return result > 0 ? 1 : result;
}

/// What the threads that answer requests share.
struct cfuse3_pool {
    struct fuse_session *session;
    pthread_t owner; // gets a SIGTERM when a worker ends by itself, and a SIGURG when requests come while it sleeps
    int active;      // workers from this index on rest; atomic
    int watched;     // whether the owner looks after the pool from time to time; atomic
};

enum cfuse3_worker_state { CFUSE3_ANSWERING, CFUSE3_WAITING, CFUSE3_RESTING, CFUSE3_DONE };

/// One thread that answers requests.
struct cfuse3_worker {
    struct cfuse3_pool *pool;
    pthread_t thread;
    sem_t wanted; // posted when it is to stop resting
    int index;
    int number;             // as the kernel counts threads; atomic
    int state;              // of enum cfuse3_worker_state; atomic
    unsigned long answered; // how many requests; atomic
    char distance[128];     // of what the next one writes
};

static inline void cfuse3_prepare_worker(struct cfuse3_worker *worker, struct cfuse3_pool *pool, int index)
{
    *worker = (struct cfuse3_worker){.pool = pool, .index = index};
    sem_init(&worker->wanted, 0, 0);
}

static inline enum cfuse3_worker_state cfuse3_state(struct cfuse3_worker *worker)
{
    return (enum cfuse3_worker_state)__atomic_load_n(&worker->state, __ATOMIC_SEQ_CST);
}

static inline int cfuse3_thread_number(struct cfuse3_worker *worker)
{
    return __atomic_load_n(&worker->number, __ATOMIC_RELAXED);
}

static inline unsigned long cfuse3_answered(struct cfuse3_worker *worker)
{
    return __atomic_load_n(&worker->answered, __ATOMIC_RELAXED);
}

/// Lets `count` workers answer, and the rest rest after the request that they have or wait for. To be called by the
/// owner; `workers` are all.
static inline void cfuse3_set_active(struct cfuse3_pool *pool, struct cfuse3_worker *workers, int count)
{
    int before = pool->active;
    __atomic_store_n(&pool->active, count, __ATOMIC_RELEASE);
    for (int index = before; index < count; index++)
        sem_post(&workers[index].wanted);
}

/// Says whether the owner looks after the pool from now on, or sleeps until it is called.
static inline void cfuse3_set_watched(struct cfuse3_pool *pool, int watched)
{
    __atomic_store_n(&pool->watched, watched, __ATOMIC_SEQ_CST);
}

/// Calls the owner, if it sleeps. The worker's state is stored before that, and the owner reads the states once it has
/// said that it sleeps: one of them sees the other, by the order of all four.
static inline void cfuse3_call_owner(struct cfuse3_pool *pool)
{
    if (!__atomic_load_n(&pool->watched, __ATOMIC_SEQ_CST) && !__atomic_exchange_n(&pool->watched, 1, __ATOMIC_SEQ_CST))
        pthread_kill(pool->owner, SIGURG);
}

/// The body of a worker thread: answers requests until the session ends or the device fails. Returns an errno or 0.
static inline void *cfuse3_work(void *context)
{
    struct cfuse3_worker *worker = (struct cfuse3_worker *)context;
    struct cfuse3_pool *pool = worker->pool;
    struct fuse_buf buffer = {0};
    int received = 0;
    __atomic_store_n(&worker->number, (int)syscall(SYS_gettid), __ATOMIC_RELAXED);
    // The mask comes from whoever started this process: a thread of libdispatch, for one, blocks SIGURG.
    sigset_t waking;
    sigemptyset(&waking);
    sigaddset(&waking, SIGURG);
    pthread_sigmask(SIG_UNBLOCK, &waking, NULL);
    while (!fuse_session_exited(pool->session)) {
        if (worker->index >= __atomic_load_n(&pool->active, __ATOMIC_ACQUIRE)) {
            __atomic_store_n(&worker->state, CFUSE3_RESTING, __ATOMIC_RELEASE);
            sem_wait(&worker->wanted);
            continue;
        }
        __atomic_store_n(&worker->state, CFUSE3_WAITING, __ATOMIC_RELEASE);
        received = fuse_session_receive_buf(pool->session, &buffer);
        __atomic_store_n(&worker->state, CFUSE3_ANSWERING, __ATOMIC_SEQ_CST);
        if (received > 0) {
            cfuse3_call_owner(pool);
            fuse_session_process_buf(pool->session, &buffer);
            __atomic_store_n(&worker->answered, worker->answered + 1, __ATOMIC_RELAXED);
        } else if (received != -EINTR) {
            break;
        }
    }
    free(buffer.mem);
    pthread_kill(pool->owner, SIGTERM);
    __atomic_store_n(&worker->state, CFUSE3_DONE, __ATOMIC_RELEASE);
    return (void *)(intptr_t)(received < 0 && received != -EINTR ? -received : 0);
}

static inline void cfuse3_do_nothing(int signal)
{
    (void)signal;
}

/// Makes SIGURG interrupt a worker's wait. It is ignored by default, so that no other code is disturbed.
static inline void cfuse3_prepare_waking(void)
{
    struct sigaction action = {.sa_handler = cfuse3_do_nothing}; // without SA_RESTART
    sigaction(SIGURG, &action, NULL);
}

/// Once the session has ended: interrupts the worker if it waits for a request or rests, and tells whether it is done.
/// To be repeated until then, as a worker may be about to wait. (libfuse's loop uses pthread_cancel, which would unwind
/// the stack by force, and which the thread sanitizer does not survive.)
static inline int cfuse3_wake(struct cfuse3_worker *worker)
{
    enum cfuse3_worker_state state = cfuse3_state(worker);
    if (state == CFUSE3_WAITING)
        pthread_kill(worker->thread, SIGURG);
    else if (state == CFUSE3_RESTING)
        sem_post(&worker->wanted);
    return state == CFUSE3_DONE;
}

#endif
