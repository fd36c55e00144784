#include "faultfs.h"

static char **paths;
static size_t path_count;

fuse_ino_t inode_of(const char *path)
{
    for (size_t index = 0; index < path_count; index++)
        if (strcmp(paths[index], path) == 0)
            return index + 1;
    paths = checked(realloc(paths, (path_count + 1) * sizeof *paths));
    paths[path_count++] = checked(strdup(path));
    return path_count;
}

const char *path_of(fuse_ino_t inode)
{
    return inode - 1 < path_count ? paths[inode - 1] : "";
}

size_t inode_count(void)
{
    return path_count;
}

/// What openat and the like call the path.
const char *relative(const char *path)
{
    return *path ? path : ".";
}
