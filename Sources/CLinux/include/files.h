// What files of the host have besides their bytes.
#pragma once
#include <stdint.h>
#include <sys/types.h>

/// The names of the extended attributes of what is called `name` in `folder`, each with a NUL, which for a link are its own. At most
/// `size` bytes go to `names`; the result: how many, or -1 and errno.
ssize_t clinux_attribute_names(int folder, const char *name, void *names, size_t size);

/// The value of its attribute `attribute`, in the same way.
ssize_t clinux_attribute(int folder, const char *name, const char *attribute, void *value, size_t size);

/// The numbers that `device` is made of.
uint32_t clinux_major(uint64_t device);
uint32_t clinux_minor(uint64_t device);
