/* The emulated controller's commands, carried out on a namespace's medium.
 *
 * Durability is the standard's: with the write cache on, a write is in the page
 * cache until a Flush or FUA; with it off, every change is on the medium before
 * it completes. A disk in memory has nothing that is lost before the rest is.
 */
#include "emu.h"

#include "little_endian.h"

#include <string.h>

enum { DSM_RANGES = 256, DSM_RANGE_BYTES = 16, DSM_IDR = 1 << 0, DSM_AD = 1 << 2 };
/* Of memory: what takes no longer to give back than a worker does to be woken. */
#define AT_ONCE_BYTES (UINT64_C(256) << 10)
enum { AT_ONCE_RANGES = 16 };

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

/* ---- commands ---- */

/* Whether what a command changes has to be on the medium before it completes. */
static bool is_durable(const struct emu_namespace *ns, const struct emu_command *command)
{
    return emu_medium_has_cache(ns) && (command->fua || !(ns->flags & EMU_WRITE_CACHE));
}

uint16_t emu_flush(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                   uint32_t count, bool may_block)
{
    (void)command, (void)iov, (void)count;
    return may_block || !emu_medium_has_cache(ns) ? emu_medium_sync(ns) : EMU_WOULD_BLOCK;
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
        if (emu_medium_sync(emu->ns[nsid]) != EMU_SUCCESS)
            status = EMU_WRITE_FAULT;
    }
    return status;
}

uint16_t emu_read(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                  uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    /* FUA: what is returned must be on the medium. */
    bool sync = command->fua && ns->flags & EMU_WRITE_CACHE && emu_medium_has_cache(ns);
    uint16_t status = EMU_SUCCESS;

    if (ns->flags & EMU_NULL)
        return EMU_SUCCESS;
    if (!may_block && sync)
        return EMU_WOULD_BLOCK;
    if (!lock(ns, mask, false, may_block))
        return EMU_WOULD_BLOCK;
    if (sync)
        status = emu_medium_sync(ns);
    if (status == EMU_SUCCESS)
        status = emu_medium_read(ns, command->slba, iov, count, may_block);
    unlock(ns, mask);
    return status;
}

/* What was written can be read again. */
static uint16_t healed(struct emu_namespace *ns, uint16_t status, uint64_t slba, uint64_t blocks)
{
    if (status == EMU_SUCCESS)
        emu_marks_set(ns->marks, slba, blocks, false);
    return status;
}

static uint16_t write_locked(struct emu_namespace *ns, const struct emu_command *command,
                             struct iovec *iov, uint32_t count)
{
    return healed(ns, emu_medium_write(ns, command->slba, iov, count, is_durable(ns, command)),
                  command->slba, command->blocks);
}

static uint16_t write_with_metadata_locked(struct emu_namespace *ns, struct emu_part *part)
{
    return healed(ns, emu_metadata_write(ns, part), part->command.slba, part->command.blocks);
}

/* Deallocate blocks, or write zeroes to them. */
static uint16_t zero_locked(struct emu_namespace *ns, uint64_t slba, uint64_t blocks,
                            bool deallocate)
{
    uint16_t status = emu_medium_zero(ns, slba, blocks, deallocate);

    if (status == EMU_SUCCESS)
        emu_metadata_forget(ns, slba, blocks);
    return healed(ns, status, slba, blocks);
}

uint16_t emu_write_uncorrectable(struct emu_namespace *ns, const struct emu_command *command,
                                 struct iovec *iov, uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);

    (void)iov, (void)count;
    if (!ns->marks)
        return EMU_INVALID_OPCODE;
    if (!lock(ns, mask, true, may_block))
        return EMU_WOULD_BLOCK;
    emu_marks_set(ns->marks, command->slba, command->blocks, true);
    unlock(ns, mask);
    return EMU_SUCCESS;
}

uint16_t emu_write(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                   uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    uint16_t status;

    if (ns->flags & EMU_NULL)
        return EMU_SUCCESS;
    if (!may_block && is_durable(ns, command))
        return EMU_WOULD_BLOCK;
    if (!lock(ns, mask, true, may_block))
        return EMU_WOULD_BLOCK;
    status = write_locked(ns, command, iov, count);
    unlock(ns, mask);
    return status;
}

uint16_t emu_compare(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                     uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    uint16_t status;

    if (!lock(ns, mask, false, may_block))
        return EMU_WOULD_BLOCK;
    status = emu_medium_scan(ns, command->slba, command->blocks, iov, count, may_block);
    unlock(ns, mask);
    return status;
}

uint16_t emu_verify(struct emu_namespace *ns, const struct emu_command *command, struct iovec *iov,
                    uint32_t count, bool may_block)
{
    (void)iov, (void)count;
    return emu_compare(ns, command, NULL, 0, may_block);
}

uint16_t emu_run_with_metadata(struct emu_namespace *ns, struct emu_part *part, emu_run *run,
                               bool may_block)
{
    const struct emu_command *command = &part->command;
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    bool writes = command->opcode == EMU_WRITE;
    uint16_t status;

    if (!writes && command->opcode != EMU_READ && command->opcode != EMU_COMPARE &&
        command->opcode != EMU_VERIFY)
        return run(ns, command, part->iov, part->iov_count, may_block);
    if (!lock(ns, mask, writes, may_block))
        return EMU_WOULD_BLOCK;
    if (writes)
        status = write_with_metadata_locked(ns, part);
    else if (command->opcode == EMU_COMPARE)
        status = emu_metadata_compare(ns, part);
    else
        status = emu_metadata_read(ns, part);
    unlock(ns, mask);
    return status;
}

/* Both halves of a fused pair, of which the first is the Compare. */
static uint16_t compare_locked(struct emu_namespace *ns, struct emu_part *part, bool may_block)
{
    const struct emu_command *command = &part->command;

    if (ns->metadata)
        return emu_metadata_compare(ns, part);
    return emu_medium_scan(ns, command->slba, command->blocks, part->iov, part->iov_count,
                           may_block);
}

static uint16_t write_part_locked(struct emu_namespace *ns, struct emu_part *part)
{
    if (ns->metadata)
        return write_with_metadata_locked(ns, part);
    return write_locked(ns, &part->command, part->iov, part->iov_count);
}

bool emu_compare_and_write(struct emu_namespace *ns, struct emu_part *first,
                           struct emu_part *second, bool may_block)
{
    uint64_t mask = stripes_of(ns, first->command.slba, first->command.blocks);
    uint16_t status;

    if (!may_block && is_durable(ns, &second->command))
        return false;
    if (!lock(ns, mask, true, may_block))
        return false;
    if (emu_marks_find(ns->marks, first->command.slba, first->command.blocks, &first->lba))
        status = EMU_UNRECOVERED_READ;
    else
        status = compare_locked(ns, first, may_block);
    if (status == EMU_WOULD_BLOCK) {
        unlock(ns, mask);
        return false;
    }
    first->status = status;
    if (first->status == EMU_SUCCESS)
        second->status = write_part_locked(ns, second);
    else
        second->status = EMU_FAILED_FUSED;
    if (first->status == EMU_SUCCESS && second->status != EMU_SUCCESS)
        first->status = EMU_FAILED_FUSED;
    unlock(ns, mask);
    return true;
}

/* Whether deallocating so many blocks is for a worker to do. */
static bool takes_long(const struct emu_namespace *ns, uint64_t blocks)
{
    return !ns->memory || blocks > AT_ONCE_BYTES >> ns->shift;
}

uint16_t emu_write_zeroes(struct emu_namespace *ns, const struct emu_command *command,
                          struct iovec *iov, uint32_t count, bool may_block)
{
    uint64_t mask = stripes_of(ns, command->slba, command->blocks);
    bool deallocate = command->cdw12 & EMU_DEAC;
    uint16_t status;

    (void)iov, (void)count;
    if (!may_block && (!deallocate || takes_long(ns, command->blocks)))
        return EMU_WOULD_BLOCK;
    if (!lock(ns, mask, true, may_block))
        return EMU_WOULD_BLOCK;
    status = zero_locked(ns, command->slba, command->blocks, deallocate);
    if (status == EMU_SUCCESS)
        emu_metadata_zeroed(ns, command);
    if (status == EMU_SUCCESS && is_durable(ns, command))
        status = emu_medium_sync(ns);
    unlock(ns, mask);
    return status;
}

struct range {
    uint64_t slba, blocks;
};

/* Copy the ranges of a Dataset Management command: host memory may change. The vectors have just
 * what it moves, and stay for another attempt. */
static uint16_t fetch_ranges(const struct emu_namespace *ns, const struct emu_command *command,
                             const struct iovec *iov, uint32_t count, struct range *ranges)
{
    uint8_t raw[DSM_RANGES * DSM_RANGE_BYTES], *to = raw;
    uint32_t wanted = (command->cdw10 & 0xFF) + 1;

    for (uint32_t i = 0; i < count; to += iov[i++].iov_len)
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
    for (uint32_t i = 0; i < wanted; i++) {
        const uint8_t *from = raw + i * DSM_RANGE_BYTES;

        ranges[i].blocks = s2n_get_le32(from + 4);
        ranges[i].slba = s2n_get_le64(from + 8);
        if (ranges[i].slba > ns->blocks || ranges[i].blocks > ns->blocks - ranges[i].slba)
            return EMU_LBA_OUT_OF_RANGE;
    }
    return EMU_SUCCESS;
}

uint16_t emu_deallocate(struct emu_namespace *ns, const struct emu_command *command,
                        struct iovec *iov, uint32_t count, bool may_block)
{
    struct range ranges[DSM_RANGES];
    uint32_t wanted = (command->cdw10 & 0xFF) + 1;
    uint64_t mask = 0, blocks = 0;
    uint16_t status;

    if (!may_block && (takes_long(ns, 0) || wanted > AT_ONCE_RANGES))
        return EMU_WOULD_BLOCK;
    status = fetch_ranges(ns, command, iov, count, ranges);
    for (uint32_t i = 0; i < wanted && status == EMU_SUCCESS && command->cdw11 & DSM_IDR; i++)
        emu_medium_expect(ns, ranges[i].slba, ranges[i].blocks);
    if (status != EMU_SUCCESS || !(command->cdw11 & DSM_AD)) /* the rest are hints */
        return status;
    for (uint32_t i = 0; i < wanted; blocks += ranges[i++].blocks) {
        if (ranges[i].blocks)
            mask |= stripes_of(ns, ranges[i].slba, ranges[i].blocks);
    }
    if (!may_block && takes_long(ns, blocks))
        return EMU_WOULD_BLOCK;
    if (!lock(ns, mask, true, may_block))
        return EMU_WOULD_BLOCK;
    for (uint32_t i = 0; i < wanted && status == EMU_SUCCESS; i++) {
        if (ranges[i].blocks)
            status = zero_locked(ns, ranges[i].slba, ranges[i].blocks, true);
    }
    if (status == EMU_SUCCESS && !(ns->flags & EMU_WRITE_CACHE))
        status = emu_medium_sync(ns);
    unlock(ns, mask);
    return status;
}

uint16_t emu_erase(struct emu_namespace *ns)
{
    uint16_t status;

    lock(ns, UINT64_MAX, true, true);
    status = zero_locked(ns, 0, ns->blocks, true);
    if (status == EMU_SUCCESS)
        status = emu_medium_sync(ns);
    unlock(ns, UINT64_MAX);
    return status;
}

uint16_t emu_overwrite(struct emu_namespace *ns, uint32_t pattern)
{
    uint16_t status;

    lock(ns, UINT64_MAX, true, true);
    status = healed(ns, emu_medium_fill(ns, pattern), 0, ns->blocks);
    emu_metadata_forget(ns, 0, ns->blocks);
    if (status == EMU_SUCCESS)
        status = emu_medium_sync(ns);
    unlock(ns, UINT64_MAX);
    return status;
}
