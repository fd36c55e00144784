// What is undone when SIGINT, SIGTERM, SIGHUP or SIGPIPE ends this process. In C, since what a signal handler may do is
// little, and defined for C only. A signal that the process was started to ignore stays ignored.
#pragma once

/// Has the file at `path`, absolute, removed when a signal ends this process. Returns what `clinux_ending_forget` takes,
/// or NULL when there is no memory. When a signal is ending the process already, it does not return.
void *clinux_ending_remove(const char *path);

/// Takes back what `clinux_ending_remove` was told. Does nothing with NULL.
void clinux_ending_forget(void *entry);

/// Has the line of the terminal that the cursor is in erased, on standard error, when a signal ends this process.
void clinux_ending_erase_line(void);
