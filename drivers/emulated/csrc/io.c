/* The emulated controller's commands, carried out on a namespace's file.
 *
 * Durability is the standard's: with the write cache on, a write is in the page
 * cache until a Flush or FUA; with it off, every change is on the medium before
 * it completes.
 */
#include "emu.h"

#include "little_endian.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BYTES = 65536, DSM_RANGE_BYTES = 16, DSM_AD = 1 << 2, DEAC = 1 << 25 };

_Static_assert(EMU_IOVECS <= IOV_MAX, "one system call takes a whole command");

static uint16_t status_of(int error, bool writing)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return EMU_CAPACITY_EXCEEDED;
    case EIO:
        return writing ? EMU_WRITE_FAULT : EMU_UNRECOVERED_READ;
    case EFAULT:
        return EMU_DATA_TRANSFER_ERROR;
    default:
        return EMU_INTERNAL_ERROR;
    }
}

/* ---- stripes ---- */

static uint64_t stripes_of(const struct emu_namespace *ns, uint64_t slba, uint64_t blocks)
{
    uint64_t first = slba << ns->shift >> EMU_STRIPE_SHIFT;
    uint64_t last = ((slba + blocks) << ns->shift) - 1;
    uint64_t mask = 0;

    last >>= EMU_STRIPE_SHIFT;
    if (last - first >= EMU_STRIPES)
        return UINT64_MAX;
    for (uint64_t stripe = first; stripe <= last; stripe++)
        mask |= UINT64_C(1) << stripe % EMU_STRIPES;
    return mask;
}

static void unlock(struct emu_namespace *ns, uint64_t mask)
{
    for (; mask; mask &= mask - 1)
        pthread_rwlock_unlock(&ns->stripes[__builtin_ctzll(mask)].lock);
}

/* Take the locks of `mask`, lowest first so that no two commands wait for each
 * other. Unless `may_block`, false when one is held. */
static bool lock(struct emu_namespace *ns, uint64_t mask, bool exclusive, bool may_block)
{
    for (uint64_t left = mask; left; left &= left - 1) {
        pthread_rwlock_t *stripe = &ns->stripes[__builtin_ctzll(left)].lock;
        int error;

        if (may_block)
            error = exclusive ? pthread_rwlock_wrlock(stripe) : pthread_rwlock_rdlock(stripe);
        else
            error = exclusive ? pthread_rwlock_trywrlock(stripe) : pthread_rwlock_tryrdlock(stripe);
        if (error) {
            unlock(ns, mask & ((left & -left) - 1));
            return false;
        }
    }
    return true;
}

/* ---- transfers ---- */

static off_t position(const struct emu_namespace *ns, uint64_t slba)
{
    return (off_t)(ns->offset + (slba << ns->shift));
}

static size_t total(const struct iovec *iov, uint32_t count)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

/* Skip what a short transfer moved. */
static void advance(struct iovec **iov, uint32_t *count, size_t bytes)
{
    while (*count && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (bytes) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}

static uint16_t read_all(const struct emu_namespace *ns, struct iovec *iov, uint32_t count,
                         off_t at)
{
    while (count) {
        ssize_t bytes = preadv(ns->fd, iov, (int)count, at);

        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes <= 0) /* the file ends within the namespace: somebody cut it */
            return bytes ? status_of(errno, false) : EMU_UNRECOVERED_READ;
        at += bytes;
        advance(&iov, &count, (size_t)bytes);
    }
    return EMU_SUCCESS;
}

static uint16_t write_all(const struct emu_namespace *ns, struct iovec *iov, uint32_t count,
                          off_t at, bool durable)
{
    while (count) {
        ssize_t bytes = pwritev2(ns->fd, iov, (int)count, at, durable ? RWF_DSYNC : 0);

        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes <= 0)
            return bytes ? status_of(errno, true) : EMU_WRITE_FAULT;
        at += bytes;
        advance(&iov, &count, (size_t)bytes);
    }
    return EMU_SUCCESS;
}

/* Read without waiting for the medium; EMU_WOULD_BLOCK if something is not cached. */
static uint16_t read_cached(struct emu_namespace *ns, struct iovec *iov, uint32_t count, off_t at)
{
    ssize_t bytes;

    if (!atomic_load_explicit(&ns->nowait, memory_order_relaxed))
        return read_all(ns, iov, count, at);
    bytes = preadv2(ns->fd, iov, (int)count, at, RWF_NOWAIT);
    if (bytes >= 0 && (size_t)bytes == total(iov, count))
        return EMU_SUCCESS;
    if (bytes < 0 && errno == EOPNOTSUPP) {
        /* A file system in memory: there is nothing to wait for. */
        atomic_store_explicit(&ns->nowait, false, memory_order_relaxed);
        return read_all(ns, iov, count, at);
    }
    return EMU_WOULD_BLOCK;
}

static uint16_t sync_file(const struct emu_namespace *ns)
{
    return fdatasync(ns->fd) < 0 ? status_of(errno, true) : EMU_SUCCESS;
}

/* ---- commands ---- */

uint16_t emu_flush(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                   uint32_t count, bool may_block)
{
    (void)command, (void)iov, (void)count;
    return may_block ? sync_file(ns) : EMU_WOULD_BLOCK;
}

static bool flushed_before(const s2n_emu *emu, uint32_t nsid)
{
    for (uint32_t earlier = 1; earlier < nsid; earlier++) {
        if (emu->ns[earlier] && emu->ns[earlier]->inode == emu->ns[nsid]->inode &&
            emu->ns[earlier]->device == emu->ns[nsid]->device)
            return true;
    }
    return false;
}

uint16_t emu_flush_all(s2n_emu *emu)
{
    uint16_t status = EMU_SUCCESS;

    for (uint32_t nsid = 1; nsid <= EMU_NAMESPACES; nsid++) {
        if (!emu->ns[nsid] || flushed_before(emu, nsid))
            continue;
        if (sync_file(emu->ns[nsid]) != EMU_SUCCESS)
            status = EMU_WRITE_FAULT;
    }
    return status;
}

uint16_t emu_read(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                  uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    off_t at = position(ns, command->slba);
    /* FUA: what is returned must be on the medium. */
    bool sync = command->fua && ns->flags & EMU_WRITE_CACHE;
    uint16_t status = EMU_SUCCESS;

    if (ns->flags & EMU_NULL)
        return EMU_SUCCESS;
    if (!may_block && sync)
        return EMU_WOULD_BLOCK;
    if (!lock(ns, mask, false, may_block))
        return EMU_WOULD_BLOCK;
    if (sync)
        status = sync_file(ns);
    if (status == EMU_SUCCESS)
        status = may_block ? read_all(ns, iov, count, at) : read_cached(ns, iov, count, at);
    unlock(ns, mask);
    return status;
}

static uint16_t write_locked(struct emu_namespace *ns, const struct emu_command *command,
                             struct iovec *iov, uint32_t count)
{
    bool durable = command->fua || !(ns->flags & EMU_WRITE_CACHE);

    return write_all(ns, iov, count, position(ns, command->slba), durable);
}

uint16_t emu_write(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                   uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    uint16_t status;

    if (ns->flags & EMU_NULL)
        return EMU_SUCCESS;
    if (!may_block && (command->fua || !(ns->flags & EMU_WRITE_CACHE)))
        return EMU_WOULD_BLOCK;
    if (!lock(ns, mask, true, may_block))
        return EMU_WOULD_BLOCK;
    status = write_locked(ns, command, iov, count);
    unlock(ns, mask);
    return status;
}

static bool equals(const uint8_t *data, size_t bytes, struct iovec **iov, uint32_t *count)
{
    while (bytes) {
        size_t part = bytes < (*iov)->iov_len ? bytes : (*iov)->iov_len;

        if (memcmp(data, (*iov)->iov_base, part) != 0)
            return false;
        advance(iov, count, part);
        data += part;
        bytes -= part;
    }
    return true;
}

/* Read a command's blocks; compare them with `count` vectors if there are any. */
static uint16_t scan_locked(struct emu_namespace *ns, const struct emu_command *command,
                            struct iovec *iov, uint32_t count)
{
    uint64_t left = (uint64_t)command->blocks << ns->shift;
    off_t at = position(ns, command->slba);
    uint8_t *buffer = malloc(CHUNK_BYTES);
    uint16_t status = buffer ? EMU_SUCCESS : EMU_INTERNAL_ERROR;

    while (left && status == EMU_SUCCESS) {
        struct iovec chunk = {buffer, left < CHUNK_BYTES ? left : CHUNK_BYTES};
        size_t bytes = chunk.iov_len;

        status = read_all(ns, &chunk, 1, at);
        if (status == EMU_SUCCESS && count && !equals(buffer, bytes, &iov, &count))
            status = EMU_COMPARE_FAILURE;
        left -= bytes;
        at += (off_t)bytes;
    }
    free(buffer);
    return status;
}

uint16_t emu_compare(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                     uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    uint16_t status;

    if (!may_block)
        return EMU_WOULD_BLOCK;
    lock(ns, mask, false, true);
    status = scan_locked(ns, command, iov, count);
    unlock(ns, mask);
    return status;
}

uint16_t emu_verify(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                    uint32_t count, bool may_block)
{
    (void)iov, (void)count;
    return emu_compare(ns, command, NULL, 0, may_block);
}

void emu_compare_and_write(struct emu_namespace *ns, struct emu_part *first,
                           struct emu_part *second)
{
    uint64_t mask = stripes_of(ns, first->command.slba, first->command.blocks);

    lock(ns, mask, true, true);
    first->status = scan_locked(ns, &first->command, first->iov, first->iov_count);
    if (first->status == EMU_SUCCESS)
        second->status = write_locked(ns, &second->command, second->iov, second->iov_count);
    else
        second->status = EMU_FAILED_FUSED;
    if (first->status == EMU_SUCCESS && second->status != EMU_SUCCESS)
        first->status = EMU_FAILED_FUSED;
    unlock(ns, mask);
}

/* Where the file system can neither punch nor zero a range. */
static uint16_t write_zeros(const struct emu_namespace *ns, off_t at, uint64_t bytes)
{
    uint8_t *zeros = calloc(1, CHUNK_BYTES);
    uint16_t status = zeros ? EMU_SUCCESS : EMU_INTERNAL_ERROR;

    while (bytes && status == EMU_SUCCESS) {
        struct iovec chunk = {zeros, bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES};
        size_t step = chunk.iov_len;

        status = write_all(ns, &chunk, 1, at, false);
        at += (off_t)step;
        bytes -= step;
    }
    free(zeros);
    return status;
}

static uint16_t zero_locked(const struct emu_namespace *ns, uint64_t slba, uint64_t blocks,
                            bool deallocate)
{
    int mode = FALLOC_FL_KEEP_SIZE | (deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    off_t at = position(ns, slba), bytes = (off_t)(blocks << ns->shift);
    int result;

    do
        result = fallocate(ns->fd, mode, at, bytes);
    while (result < 0 && errno == EINTR);
    if (result == 0)
        return EMU_SUCCESS;
    return errno == EOPNOTSUPP ? write_zeros(ns, at, (uint64_t)bytes) : status_of(errno, true);
}

uint16_t emu_write_zeroes(struct emu_namespace *ns, const struct emu_command *command,
                          struct iovec *iov, uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    uint16_t status;

    (void)iov, (void)count;
    if (!may_block)
        return EMU_WOULD_BLOCK;
    lock(ns, mask, true, true);
    status = zero_locked(ns, command->slba, command->blocks, command->cdw12 & DEAC);
    if (status == EMU_SUCCESS && (command->fua || !(ns->flags & EMU_WRITE_CACHE)))
        status = sync_file(ns);
    unlock(ns, mask);
    return status;
}

struct range {
    uint64_t slba, blocks;
};

/* Copy the ranges of a Dataset Management command: host memory may change. */
static uint16_t fetch_ranges(const struct emu_namespace *ns, const struct emu_command *command,
                             struct iovec *iov, uint32_t count, struct range *ranges)
{
    uint32_t wanted = (command->cdw10 & 0xFF) + 1;

    for (uint32_t i = 0; i < wanted; i++) {
        uint8_t raw[DSM_RANGE_BYTES];

        for (size_t have = 0; have < sizeof raw;) {
            size_t part = sizeof raw - have < iov->iov_len ? sizeof raw - have : iov->iov_len;

            memcpy(raw + have, iov->iov_base, part);
            have += part;
            advance(&iov, &count, part);
        }
        ranges[i].blocks = s2n_get_le32(raw + 4);
        ranges[i].slba = s2n_get_le64(raw + 8);
        if (ranges[i].slba > ns->blocks || ranges[i].blocks > ns->blocks - ranges[i].slba)
            return EMU_LBA_OUT_OF_RANGE;
    }
    return EMU_SUCCESS;
}

uint16_t emu_deallocate(struct emu_namespace *ns, const struct emu_command *command,
                        struct iovec *iov, uint32_t count, bool may_block)
{
    struct range ranges[256];
    uint32_t wanted = (command->cdw10 & 0xFF) + 1;
    uint64_t mask = 0;
    uint16_t status;

    if (!may_block)
        return EMU_WOULD_BLOCK;
    status = fetch_ranges(ns, command, iov, count, ranges);
    if (status != EMU_SUCCESS || !(command->cdw11 & DSM_AD)) /* the rest are hints */
        return status;
    for (uint32_t i = 0; i < wanted; i++) {
        if (ranges[i].blocks)
            mask |= stripes_of(ns, ranges[i].slba, ranges[i].blocks);
    }
    lock(ns, mask, true, true);
    for (uint32_t i = 0; i < wanted && status == EMU_SUCCESS; i++) {
        if (ranges[i].blocks)
            status = zero_locked(ns, ranges[i].slba, ranges[i].blocks, true);
    }
    if (status == EMU_SUCCESS && !(ns->flags & EMU_WRITE_CACHE))
        status = sync_file(ns);
    unlock(ns, mask);
    return status;
}

uint16_t emu_erase(struct emu_namespace *ns)
{
    uint16_t status;

    lock(ns, UINT64_MAX, true, true);
    status = zero_locked(ns, 0, ns->blocks, true);
    if (status == EMU_SUCCESS)
        status = sync_file(ns);
    unlock(ns, UINT64_MAX);
    return status;
}
