/* The entries of a TCMU ring: SCSI commands and task management. What is in them is
 * copied before the response is laid over it, and checked after that.
 * Spec: <linux/target_core_user.h>. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define __LINUX_UIO_H /* its iovec is that of <sys/uio.h> */
#include <linux/target_core_user.h>

#include "tcmu.h"

enum {
    AT_IOV = offsetof(struct tcmu_cmd_entry, req.iov),
    AT_IDS = sizeof(struct tcmu_tmr_entry),
    VARIABLE_LENGTH = 0x7f,
    ADDITIONAL_CDB_LENGTH = 7,
};

/* How long a CDB is, by its first bytes, `room` of which there are: 0 if it is not all there.
 * Spec: SPC-4 4.2.5.1, 4.2.3. */
static uint32_t cdb_length(const uint8_t *cdb, uint64_t room)
{
    static const uint8_t by_group[8] = {6, 10, 10, 16, 16, 12, 16, 16};
    uint32_t length;

    if (!room)
        return 0;
    length = by_group[cdb[0] >> 5];
    if (cdb[0] == VARIABLE_LENGTH)
        length = room > ADDITIONAL_CDB_LENGTH ? 8u + cdb[ADDITIONAL_CDB_LENGTH] : UINT32_MAX;
    return length <= room ? length : 0;
}

static bool copy_cdb(s2n_task *task, const struct s2n_ring *ring, uint64_t offset)
{
    uint8_t start[ADDITIONAL_CDB_LENGTH + 1] = {0};

    if (offset >= ring->map_bytes)
        return false;
    uint64_t room = ring->map_bytes - offset;
    memcpy(start, ring->map + offset, room < sizeof start ? room : sizeof start);
    uint32_t length = cdb_length(start, room);
    if (!length)
        return false;
    task->cdb_length = (uint16_t)(length < S2N_CDB_BYTES ? length : S2N_CDB_BYTES);
    memcpy(task->cdb, ring->map + offset, task->cdb_length);
    return true;
}

/* Data lie behind the ring: neither it nor the mailbox is ever written as data. */
static bool copy_extents(s2n_tcmu_command *command, const struct s2n_ring *ring,
                         const uint8_t *iovecs)
{
    uint64_t start = (uint64_t)ring->offset + ring->bytes;

    for (uint32_t i = 0; i < command->extent_count; i++) {
        struct iovec iovec;
        memcpy(&iovec, iovecs + i * sizeof iovec, sizeof iovec);
        struct s2n_extent extent = {(uintptr_t)iovec.iov_base, iovec.iov_len};
        if (extent.offset < start || extent.offset > ring->map_bytes ||
            extent.length > ring->map_bytes - extent.offset)
            return false;
        command->extent[i] = extent;
        command->bytes += extent.length;
    }
    return true;
}

enum s2n_entry_fault s2n_entry_copy(s2n_tcmu_command *command,
                                    const struct s2n_ring_request *request)
{
    const struct s2n_ring *ring = &command->tcmu->ring;
    struct tcmu_cmd_entry entry;

    memcpy(&entry, request->entry, sizeof entry);
    uint64_t count = (uint64_t)entry.req.iov_cnt + entry.req.iov_bidi_cnt;
    if (count > (request->length - AT_IOV) / sizeof(struct iovec) ||
        !copy_cdb(command->task, ring, entry.req.cdb_off))
        return S2N_ENTRY_MALFORMED;
    if (entry.req.iov_bidi_cnt)
        return S2N_ENTRY_BIDIRECTIONAL;
    command->extent = command->own;
    if (count > S2N_TCMU_EXTENTS && !(command->extent = calloc(count, sizeof *command->extent))) {
        command->extent = command->own;
        return S2N_ENTRY_MEMORY;
    }
    command->extent_count = (uint32_t)count;
    return copy_extents(command, ring, request->entry + AT_IOV) ? S2N_ENTRY_SOUND
                                                                : S2N_ENTRY_MALFORMED;
}

uint32_t s2n_entry_ids(const struct s2n_ring_request *request)
{
    struct tcmu_tmr_entry entry;
    uint32_t room = (request->length - AT_IDS) / sizeof *entry.cmd_ids;

    memcpy(&entry, request->entry, sizeof entry);
    return entry.cmd_cnt < room ? entry.cmd_cnt : room;
}

uint16_t s2n_entry_id(const struct s2n_ring_request *request, uint32_t index)
{
    uint16_t id;

    memcpy(&id, request->entry + AT_IDS + index * sizeof id, sizeof id);
    return id;
}

bool s2n_entry_resets(const struct s2n_ring_request *request)
{
    struct tcmu_tmr_entry entry;

    memcpy(&entry, request->entry, sizeof entry);
    return entry.tmr_type >= TCMU_TMR_LUN_RESET && entry.tmr_type <= TCMU_TMR_TARGET_COLD_RESET;
}
