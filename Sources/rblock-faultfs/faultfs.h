// What the files of rblock-faultfs share; main.c says what the program is.

#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum operation { LOOK_UP, GET_ATTRIBUTES, OPEN, READ, CLOSE, LIST };

/// A request, with all that is needed to answer it, now or later.
struct pending {
    struct pending *next;
    enum operation operation;
    fuse_req_t request;
    fuse_ino_t inode;
    char *path; // of the file that it is about
    size_t count;
    off_t offset;
    struct fuse_file_info info;
};

/// One command.
struct fault {
    struct fault *next;
    char kind[8];
    char what[16];
    long long value;
    unsigned long long from, to;
    char name[4096];
};

// main.c
extern int folder; // the descriptor of FOLDER
extern struct fuse_session *session;
void *checked(void *memory);

// paths.c: the paths below the folder that inodes stand for. Inode 1 is the folder.
fuse_ino_t inode_of(const char *path);
const char *path_of(fuse_ino_t inode);
size_t inode_count(void);
const char *relative(const char *path);

// faults.c
struct fault *find_fault(
    const char *kind, const char *what, const char *path, unsigned long long from, size_t count);
void obey(const char *line);

// requests.c
extern const struct fuse_lowlevel_ops operations;
void take(struct pending pending);
bool is_held(fuse_ino_t inode);
int held_count(void);
void release_held(void);

// replies.c
void reply(struct pending *pending);
