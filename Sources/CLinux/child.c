#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clinux.h"

// The most descriptors that a program is given.
#define MOST 64

// What the child does, in which other threads of the process are gone: calls only that may be made in a signal handler.
static void begin(
    const char *path, char *const *arguments, int output, const int *descriptors, int count, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setsid();
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_DFL);
    // What reaches past a limit of the sizes of files fails, and ends nothing.
    signal(SIGXFSZ, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    // First out of the way of where they go.
    int high[MOST], first = 3 + count;
    for (int index = 0; index < count; index++)
        if ((high[index] = fcntl(descriptors[index], F_DUPFD, first)) < 0)
            _exit(127);
    int out = fcntl(output, F_DUPFD, first), in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(127);
    for (int index = 0; index < count; index++)
        if (dup2(high[index], 3 + index) < 0)
            _exit(127);
    clinux_close_from(first);
    execv(path, arguments);
    static const char message[] = "the program cannot be started\n";
    if (write(2, message, sizeof message - 1) < 0)
        _exit(126);
    _exit(127);
}

pid_t clinux_start_kept(
    const char *path, char *const *arguments, int output, const int *descriptors, int count) {
    if (count > MOST) {
        errno = EINVAL;
        return -1;
    }
    pid_t parent = getpid();
    // A signal must not run a handler of this process in the child, before it has its own.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t child = fork();
    if (child == 0)
        begin(path, arguments, output, descriptors, count, parent);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return child;
}

int clinux_memory_file(const char *name) {
    return memfd_create(name, MFD_CLOEXEC);
}

#ifdef __x86_64__
// The counter, and the time of it in nanoseconds: of several tries the one that was interrupted the least.
static uint64_t stamp(int64_t *time) {
    uint64_t best = 0, least = ~0ULL;
    for (int turn = 0; turn < 20; turn++) {
        struct timespec now;
        uint64_t before = __builtin_ia32_rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        uint64_t after = __builtin_ia32_rdtsc();
        if (after - before < least) {
            least = after - before;
            best = before + least / 2;
            *time = now.tv_sec * 1000000000LL + now.tv_nsec;
        }
    }
    return best;
}

unsigned clinux_time_stamp_rate(void) {
    int64_t begin, end;
    uint64_t first = stamp(&begin);
    struct timespec pause = {.tv_nsec = 10000000};
    nanosleep(&pause, NULL);
    uint64_t last = stamp(&end);
    return end > begin ? (unsigned)((double)(last - first) * 1e6 / (double)(end - begin)) : 0;
}
#else
unsigned clinux_time_stamp_rate(void) {
    return 0;
}
#endif
