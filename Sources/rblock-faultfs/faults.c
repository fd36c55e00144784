#include "faultfs.h"
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

static struct fault *faults;

struct fault *find_fault(const char *kind, const char *what, const char *path, unsigned long long from, size_t count)
{
    for (struct fault *fault = faults; fault; fault = fault->next)
        if (strcmp(fault->kind, kind) == 0 && strcmp(fault->what, what) == 0
            && (strcmp(fault->name, "*") == 0 || strcmp(fault->name, path) == 0) && from < fault->to
            && from + count >= fault->from && (count == 0 || from + count > fault->from))
            return fault;
    return NULL;
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
    struct dropping *dropping = checked(calloc(1, sizeof *dropping + inode_count() * sizeof *dropping->inodes));
    sem_init(&dropping->done, 0, 0);
    for (fuse_ino_t inode = 2; inode <= inode_count(); inode++) {
        if (!is_held(inode))
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
    release_held();
}

void obey(const char *line)
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
    dprintf(STDOUT_FILENO, "ok %d\n", held_count());
}
