// A program that runs beside this process, and no longer than it.
#pragma once
#include <sys/types.h>

/// A file in memory without a name. Returns a descriptor, or -1 with errno set.
int clinux_memory_file(const char *name);

/// Starts the program at `path`. It has nothing to read; what it prints goes to `output`; and it has, from 3 on, the `count`
/// `descriptors`, and no others. It is killed when the thread ends that started it, and is the first of a session of its own.
/// Returns its process ID, or -1 with errno set.
pid_t clinux_start_kept(
    const char *path, char *const *arguments, int output, const int *descriptors, int count);

/// How often the processor's time stamp counter (RDTSC) counts in a millisecond, as it is measured within some milliseconds; 0 where there is none.
unsigned clinux_time_stamp_rate(void);
