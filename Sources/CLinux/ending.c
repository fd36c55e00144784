#include "ending.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/// A file to remove. Entries are never freed, since the handler may be looking at them; those without a path are used
/// again.
struct entry {
    _Atomic(char *) path;
    struct entry *next;
};

static _Atomic(struct entry *) entries;
static atomic_bool erases_line;
static atomic_bool is_ending;

static void end(int number) {
    atomic_store(&is_ending, true);
    if (atomic_load(&erases_line))
        (void)!write(STDERR_FILENO, "\r\033[K", 4);
    for (struct entry *entry = atomic_load(&entries); entry; entry = entry->next) {
        char *path = atomic_load(&entry->path);
        if (path)
            unlink(path);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static void handle_signals(void) {
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (unsigned index = 0; index < sizeof numbers / sizeof *numbers; index++) {
        struct sigaction before, action = {.sa_handler = end, .sa_flags = SA_RESTART};
        sigaction(numbers[index], NULL, &before);
        // Whoever started this process had it ignored, as nohup(1) does; or a server sees to it that it ends orderly.
        if (before.sa_handler == SIG_DFL)
            sigaction(numbers[index], &action, NULL);
    }
}

static void begin(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, handle_signals);
}

void clinux_ending_erase_line(void) {
    begin();
    atomic_store(&erases_line, true);
}

void *clinux_ending_remove(const char *path) {
    begin();
    char *copy = strdup(path);
    if (!copy)
        return NULL;
    struct entry *entry = atomic_load(&entries);
    for (; entry; entry = entry->next) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&entry->path, &none, copy))
            break;
    }
    if (!entry) {
        entry = malloc(sizeof *entry);
        if (!entry) {
            free(copy);
            return NULL;
        }
        atomic_init(&entry->path, copy);
        entry->next = atomic_load(&entries);
        while (!atomic_compare_exchange_weak(&entries, &entry->next, entry)) {
        }
    }
    // The handler may have gone over the entries before this one was there: then there must be no file for it.
    while (atomic_load(&is_ending))
        pause();
    return entry;
}

void clinux_ending_forget(void *pointer) {
    struct entry *entry = pointer;
    if (!entry)
        return;
    char *path = atomic_exchange(&entry->path, NULL);
    // The handler may be about to unlink it: the few bytes stay, and the process is about to end.
    if (!atomic_load(&is_ending))
        free(path);
}
