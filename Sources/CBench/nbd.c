#include "cbench.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

// The NBD protocol's numbers, as its specification names them (NetworkBlockDevice/nbd, doc/proto.md).
enum { NBD_OPT_EXPORT_NAME = 1, NBD_FLAG_C_FIXED_NEWSTYLE = 1, NBD_FLAG_C_NO_ZEROES = 2 };
enum { NBD_CMD_READ = 0, NBD_CMD_WRITE = 1, NBD_CMD_FLUSH = 3 };
static const uint64_t NBDMAGIC = 0x4e42444d41474943, IHAVEOPT = 0x49484156454f5054;
static const uint32_t NBD_REQUEST_MAGIC = 0x25609513, NBD_SIMPLE_REPLY_MAGIC = 0x67446698;

enum { BLOCK = 4096 };

struct request {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
} __attribute__((packed));

struct reply {
    uint32_t magic, error;
    uint64_t cookie;
    char block[BLOCK];
} __attribute__((packed));

static int send_all(int socket, const void *bytes, size_t count)
{
    for (const char *at = bytes; count > 0;) {
        ssize_t sent = send(socket, at, count, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return -errno;
        if (sent > 0) {
            at += sent;
            count -= (size_t)sent;
        }
    }
    return 0;
}

static int receive_all(int socket, void *bytes, size_t count)
{
    ssize_t got = recv(socket, bytes, count, MSG_WAITALL);
    if (got < 0)
        return -errno;
    return (size_t)got == count ? 0 : -ECONNRESET;
}

int cbench_enter_nbd(int socket)
{
    struct {
        uint64_t magic, style;
        uint16_t flags;
    } __attribute__((packed)) greeting;
    struct {
        uint32_t flags;
        uint64_t magic;
        uint32_t option, length;
    } __attribute__((packed)) choice = {
        htobe32(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES), htobe64(IHAVEOPT), htobe32(NBD_OPT_EXPORT_NAME), 0};
    char description[10];
    int result = receive_all(socket, &greeting, sizeof greeting);
    if (result == 0 && (be64toh(greeting.magic) != NBDMAGIC || be64toh(greeting.style) != IHAVEOPT))
        result = -EPROTO;
    if (result == 0)
        result = send_all(socket, &choice, sizeof choice);
    return result == 0 ? receive_all(socket, description, sizeof description) : result;
}

/// Asks for the next `wanted` blocks, of which `*next` is the first, as far as there are so many.
static int ask(
    int socket, const uint64_t *offsets, size_t count, size_t *next, size_t wanted, struct request *requests)
{
    size_t asked = 0;
    for (; asked < wanted && *next < count; asked++, ++*next)
        requests[asked] = (struct request){
            .magic = htobe32(NBD_REQUEST_MAGIC),
            .type = htobe16(NBD_CMD_READ),
            .cookie = htobe64(*next),
            .offset = htobe64(offsets[*next]),
            .length = htobe32(BLOCK),
        };
    return send_all(socket, requests, asked * sizeof *requests);
}

/// Adds what a reply brought to `*sum`.
static int add(const struct reply *reply, const uint64_t *offsets, size_t count, uint64_t *sum)
{
    uint64_t cookie = be64toh(reply->cookie);
    if (be32toh(reply->magic) != NBD_SIMPLE_REPLY_MAGIC || cookie >= count)
        return -EPROTO;
    if (reply->error != 0)
        return -EIO;
    *sum += cbench_sum_of_block(reply->block, BLOCK, offsets[cookie]);
    return 0;
}

int cbench_read_nbd(int socket, const uint64_t *offsets, size_t count, unsigned depth, uint64_t *sum)
{
    struct reply *replies = malloc(depth * sizeof *replies);
    struct request *requests = malloc(depth * sizeof *requests);
    size_t next = 0, done = 0, held = 0;
    *sum = 0;
    int result = replies && requests ? ask(socket, offsets, count, &next, depth, requests) : -ENOMEM;
    while (result == 0 && done < count) {
        ssize_t got = recv(socket, (char *)replies + held, depth * sizeof *replies - held, 0);
        if (got <= 0) {
            result = got < 0 ? -errno : -ECONNRESET;
            break;
        }
        held += (size_t)got;
        // An error has no block behind it.
        if (held >= 16 && replies[0].error != 0)
            result = -EIO;
        size_t whole = held / sizeof *replies;
        for (size_t index = 0; result == 0 && index < whole; index++)
            result = add(&replies[index], offsets, count, sum);
        held -= whole * sizeof *replies;
        memmove(replies, replies + whole, held);
        done += whole;
        if (result == 0)
            result = ask(socket, offsets, count, &next, whole, requests);
    }
    free(requests);
    free(replies);
    return result;
}

/// Waits for one reply that brings no data.
static int receive_answer(int socket)
{
    struct {
        uint32_t magic, error;
        uint64_t cookie;
    } __attribute__((packed)) answer;
    int result = receive_all(socket, &answer, sizeof answer);
    if (result == 0 && be32toh(answer.magic) != NBD_SIMPLE_REPLY_MAGIC)
        result = -EPROTO;
    return result == 0 && answer.error != 0 ? -EIO : result;
}

int cbench_flush_nbd(int socket)
{
    struct request request = {.magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_FLUSH)};
    int result = send_all(socket, &request, sizeof request);
    return result == 0 ? receive_answer(socket) : result;
}

int cbench_write_nbd(
    int socket, const uint64_t *offsets, size_t count, uint32_t size, unsigned depth, int flushes)
{
    char *message = malloc(sizeof(struct request) + size);
    int result = message ? 0 : -ENOMEM;
    size_t in_flight = 0;
    if (result == 0)
        cbench_fill(message + sizeof(struct request), size, 0);
    for (size_t next = 0; result == 0 && next < count; next++) {
        if (in_flight == depth) {
            result = receive_answer(socket);
            in_flight--;
        }
        struct request request = {
            .magic = htobe32(NBD_REQUEST_MAGIC),
            .type = htobe16(NBD_CMD_WRITE),
            .cookie = htobe64(next),
            .offset = htobe64(offsets[next]),
            .length = htobe32(size),
        };
        memcpy(message, &request, sizeof request);
        for (uint32_t at = 0; at < size; at += BLOCK) {
            uint64_t block = offsets[next] + at;
            memcpy(message + sizeof request + at, &block, sizeof block);
        }
        if (result == 0)
            result = send_all(socket, message, sizeof request + size);
        in_flight++;
        for (; result == 0 && flushes && in_flight > 0; in_flight--)
            result = receive_answer(socket);
        if (result == 0 && flushes)
            result = cbench_flush_nbd(socket);
    }
    for (; result == 0 && in_flight > 0; in_flight--)
        result = receive_answer(socket);
    free(message);
    return result;
}
