#define _GNU_SOURCE
#include "cbench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

const int cbench_O_DIRECT = O_DIRECT;

void cbench_add(struct cbench_sum *sum, const void *bytes, size_t count)
{
    uint64_t first = sum->first, second = sum->second, word;
    const char *at = bytes;
    for (; count >= sizeof word; at += sizeof word, count -= sizeof word) {
        memcpy(&word, at, sizeof word);
        first += word;
        second += first;
    }
    if (count > 0) {
        word = 0;
        memcpy(&word, at, count);
        first += word;
        second += first;
    }
    *sum = (struct cbench_sum){first, second};
}

uint64_t cbench_touch(const void *bytes, size_t count)
{
    uint64_t sum = 0, word;
    for (size_t at = 0; at + sizeof word <= count; at += 4096) {
        memcpy(&word, (const char *)bytes + at, sizeof word);
        sum += word;
    }
    return sum;
}

int cbench_is_zero(const void *bytes, size_t count)
{
    const char *at = bytes;
    return at[0] == 0 && memcmp(at, at + 1, count - 1) == 0;
}

uint64_t cbench_sum_of_block(const void *bytes, size_t count, uint64_t offset)
{
    struct cbench_sum sum = {0};
    cbench_add(&sum, bytes, count);
    // An odd factor loses nothing, and another offset is another factor.
    return (sum.first ^ sum.second) * (2 * offset + 1);
}

enum { BLOCK = 4096 };

/// Submits all of `requests`, and answers 0 or a negative errno.
static int submit(aio_context_t context, struct iocb **requests, long count)
{
    while (count > 0) {
        long done = syscall(SYS_io_submit, context, count, requests);
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (done > 0) {
            requests += done;
            count -= done;
        }
    }
    return 0;
}

void cbench_fill(void *bytes, size_t count, uint64_t offset)
{
    char *at = bytes;
    for (size_t done = 0; done < count; done += BLOCK) {
        uint64_t block = offset + done, state = block * 2 + 1;
        for (size_t word = 0; word < BLOCK; word += sizeof state) {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            memcpy(at + done + word, word == 0 ? &block : &state, sizeof state);
        }
    }
}

/// Puts into the block of `request`, which is filled, where it goes.
static void stamp(struct iocb *request)
{
    uint64_t offset = (uint64_t)request->aio_offset;
    memcpy((void *)(uintptr_t)request->aio_buf, &offset, sizeof offset);
}

/// Keeps `depth` requests in flight until all offsets are read, or written where there is no `sum`.
static int go_through(
    aio_context_t context, int file, const uint64_t *offsets, size_t count, unsigned depth, char *buffers,
    struct iocb *requests, uint64_t *sum)
{
    struct iocb *batch[depth];
    struct io_event events[depth];
    size_t next = 0, done = 0;
    long free_count = 0;
    for (; next < depth && next < count; next++) {
        requests[next] = (struct iocb){
            .aio_data = next,
            .aio_lio_opcode = sum ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
            .aio_fildes = (uint32_t)file,
            .aio_buf = (uint64_t)(uintptr_t)(buffers + next * BLOCK),
            .aio_nbytes = BLOCK,
            .aio_offset = (int64_t)offsets[next],
        };
        if (!sum)
            stamp(&requests[next]);
        batch[free_count++] = &requests[next];
    }
    int result = submit(context, batch, free_count);
    while (result == 0 && done < count) {
        long got = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
        if (got < 0 && errno != EINTR)
            return -errno;
        free_count = 0;
        for (long index = 0; index < got; index++) {
            struct iocb *request = &requests[events[index].data];
            if (events[index].res != BLOCK)
                return events[index].res < 0 ? (int)events[index].res : -ENODATA;
            if (sum)
                *sum += cbench_sum_of_block(
                    (const void *)(uintptr_t)request->aio_buf, BLOCK, (uint64_t)request->aio_offset);
            done++;
            if (next < count) {
                request->aio_offset = (int64_t)offsets[next++];
                if (!sum)
                    stamp(request);
                batch[free_count++] = request;
            }
        }
        result = submit(context, batch, free_count);
    }
    return result;
}

static int go_through_directly(int file, const uint64_t *offsets, size_t count, unsigned depth, uint64_t *sum)
{
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, depth, &context) < 0)
        return -errno;
    void *buffers = NULL;
    struct iocb *requests = calloc(depth, sizeof *requests);
    int result = posix_memalign(&buffers, BLOCK, (size_t)depth * BLOCK) == 0 && requests ? 0 : -ENOMEM;
    // What a block holds must not depend on which of them it is written from.
    for (unsigned index = 0; result == 0 && !sum && index < depth; index++)
        cbench_fill((char *)buffers + (size_t)index * BLOCK, BLOCK, 0);
    if (result == 0)
        result = go_through(context, file, offsets, count, depth, buffers, requests, sum);
    // Waits for what is still in flight, which would be written to the buffers.
    syscall(SYS_io_destroy, context);
    free(requests);
    free(buffers);
    return result;
}

int cbench_read_directly(int file, const uint64_t *offsets, size_t count, unsigned depth, uint64_t *sum)
{
    *sum = 0;
    return go_through_directly(file, offsets, count, depth, sum);
}

int cbench_write_directly(int file, const uint64_t *offsets, size_t count, unsigned depth)
{
    return go_through_directly(file, offsets, count, depth, NULL);
}
