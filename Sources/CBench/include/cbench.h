// The loops of rblock-bench that must be fast in a debug build too, and the kernel's asynchronous reads, which need no
// library.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// O_DIRECT of open(2), which Swift's Glibc module does not show.
extern const int cbench_O_DIRECT;

/// A check sum of bytes in their order (Fletcher's, of 64-bit words).
struct cbench_sum {
    uint64_t first, second;
};

/// Adds `count` bytes to `sum`. Where it is no multiple of 8, zeros are thought to follow: only the last call may have
/// such a count.
void cbench_add(struct cbench_sum *sum, const void *bytes, size_t count);

/// The sum of the first 64-bit word of each 4 KiB of `bytes`: what shows that something was read, at next to no cost.
uint64_t cbench_touch(const void *bytes, size_t count);

/// Whether all `count` bytes, at least one, are 0.
int cbench_is_zero(const void *bytes, size_t count);

/// What the block that was read at `offset` adds to the check sum of blocks that were read in any order.
uint64_t cbench_sum_of_block(const void *bytes, size_t count, uint64_t offset);

/// Reads 4 KiB at each of `count` offsets of `file`, which was opened with O_DIRECT, with `depth` reads in flight, by
/// io_submit(2). 0 and the sum of the blocks, or a negative errno; a read that is short is -ENODATA.
int cbench_read_directly(int file, const uint64_t *offsets, size_t count, unsigned depth, uint64_t *sum);

/// Takes the connected stream socket `socket` of an NBD server through the handshake, to the default export. 0 or a
/// negative errno.
int cbench_enter_nbd(int socket);

/// Reads 4 KiB at each of `count` offsets of the export that `socket` has entered, with `depth` requests in flight. 0 and
/// the sum of the blocks, or a negative errno; -EIO for an error of the server.
int cbench_read_nbd(int socket, const uint64_t *offsets, size_t count, unsigned depth, uint64_t *sum);

/// Fills `count` bytes, a multiple of 4096, with bytes that do not compress, each 4096 of them with its offset from
/// `offset` on: two blocks with other offsets are other blocks.
void cbench_fill(void *bytes, size_t count, uint64_t offset);

/// Writes 4 KiB of `cbench_fill` at each of `count` offsets of `file`, which was opened with O_DIRECT, with `depth` writes in
/// flight, by io_submit(2). 0 or a negative errno; a write that is short is -ENODATA.
int cbench_write_directly(int file, const uint64_t *offsets, size_t count, unsigned depth);

/// Writes `size` bytes of `cbench_fill` at each of `count` offsets of the export that `socket` has entered, with `depth`
/// requests in flight; `flushes`: each write is followed by a flush. 0 or a negative errno; -EIO for an error of the server.
int cbench_write_nbd(
    int socket, const uint64_t *offsets, size_t count, uint32_t size, unsigned depth, int flushes);

/// Has the export that `socket` has entered flush. 0 or a negative errno.
int cbench_flush_nbd(int socket);
