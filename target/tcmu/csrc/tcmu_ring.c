/* The command ring of a TCMU device. Spec: <linux/target_core_user.h>. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#define __LINUX_UIO_H /* its iovec is that of <sys/uio.h> */
#include <linux/target_core_user.h>

#include "tcmu.h"

enum { FINISHED = 0, ALIGNMENT = TCMU_OP_ALIGN_SIZE };

int s2n_ring_open(struct s2n_ring *ring, uint8_t *map, uint64_t map_bytes)
{
    struct tcmu_mailbox box;

    if (map_bytes < sizeof box)
        return -EPROTO;
    memcpy(&box, map, sizeof box);
    if (box.version != TCMU_MAILBOX_VERSION || !(box.flags & TCMU_MAILBOX_FLAG_CAP_OOOC))
        return -EPROTONOSUPPORT;
    if (box.cmdr_off < sizeof box || box.cmdr_off % ALIGNMENT || !box.cmdr_size ||
        box.cmdr_size % ALIGNMENT || (uint64_t)box.cmdr_off + box.cmdr_size > map_bytes ||
        box.cmd_tail >= box.cmdr_size || box.cmd_tail % ALIGNMENT)
        return -EPROTO;
    *ring = (struct s2n_ring){
        .map = map,
        .map_bytes = map_bytes,
        .head = (void *)(map + offsetof(struct tcmu_mailbox, cmd_head)),
        .tail = (void *)(map + offsetof(struct tcmu_mailbox, cmd_tail)),
        .offset = box.cmdr_off,
        .bytes = box.cmdr_size,
        .next = box.cmd_tail,
        .done = box.cmd_tail,
        .published = box.cmd_tail,
        .has_read_length = box.flags & TCMU_MAILBOX_FLAG_CAP_READ_LEN,
    };
    return 0;
}

static uint32_t least_length(uint32_t op)
{
    if (op == TCMU_OP_PAD)
        return sizeof(struct tcmu_cmd_entry_hdr);
    return op == TCMU_OP_TMR ? sizeof(struct tcmu_tmr_entry) : sizeof(struct tcmu_cmd_entry);
}

/* The length of the entry at `at`, which lies before `end`; 0: it is malformed. */
static uint32_t entry_length(const struct s2n_ring *ring, uint32_t at, uint32_t end, uint32_t *op)
{
    const _Atomic uint32_t *word = (const void *)(ring->map + ring->offset + at);
    uint32_t len_op = atomic_load_explicit(word, memory_order_relaxed);
    uint32_t length = tcmu_hdr_get_len(len_op);
    uint32_t room = end > at ? end - at : ring->bytes - at; /* entries do not wrap */

    *op = len_op & TCMU_OP_MASK;
    return length < least_length(*op) || length > room ? 0 : length;
}

static uint32_t after(const struct s2n_ring *ring, uint32_t at, uint32_t length)
{
    return at + length == ring->bytes ? 0 : at + length;
}

bool s2n_ring_was_reset(const struct s2n_ring *ring)
{
    return atomic_load_explicit(ring->tail, memory_order_relaxed) != ring->published;
}

int s2n_ring_take(struct s2n_ring *ring, struct s2n_ring_request *request)
{
    uint32_t op = TCMU_OP_PAD;

    if (s2n_ring_was_reset(ring))
        return -ESTALE;
    uint32_t head = atomic_load_explicit(ring->head, memory_order_acquire);
    if (head >= ring->bytes || head % ALIGNMENT)
        return -EPROTO;
    while (op == TCMU_OP_PAD) {
        uint32_t at = ring->next;
        if (at == head)
            return FINISHED;
        request->length = entry_length(ring, at, head, &op);
        if (!request->length)
            return -EPROTO;
        request->entry = ring->map + ring->offset + at;
        ring->next = after(ring, at, request->length);
    }
    struct tcmu_cmd_entry_hdr header;
    memcpy(&header, request->entry, sizeof header);
    request->id = header.cmd_id;
    request->kind = op == TCMU_OP_CMD   ? S2N_RING_COMMAND
                    : op == TCMU_OP_TMR ? S2N_RING_TMR
                                        : S2N_RING_UNKNOWN;
    return 1;
}

/* Go on to the oldest entry that is to be answered: its length, 0 if there is none, negative
 * errno. What needs no answer is passed. */
static int64_t oldest(struct s2n_ring *ring)
{
    while (ring->done != ring->next) {
        uint32_t op, length = entry_length(ring, ring->done, ring->next, &op);
        if (!length)
            return -EPROTO;
        if (op != TCMU_OP_PAD && op != TCMU_OP_TMR)
            return length;
        ring->done = after(ring, ring->done, length);
    }
    return 0;
}

int s2n_ring_answer(struct s2n_ring *ring, const struct s2n_ring_response *response)
{
    int64_t length = oldest(ring);

    if (length <= 0)
        return -EPROTO;
    struct tcmu_cmd_entry *entry = (void *)(ring->map + ring->offset + ring->done);
    uint32_t sense_length = response->sense_length < sizeof entry->rsp.sense_buffer
                                ? response->sense_length
                                : sizeof entry->rsp.sense_buffer;
    entry->hdr.cmd_id = response->id;
    entry->hdr.uflags = response->uflags;
    memset(&entry->rsp, 0, sizeof entry->rsp);
    entry->rsp.scsi_status = response->status;
    entry->rsp.read_len = response->read_length;
    if (sense_length)
        memcpy(entry->rsp.sense_buffer, response->sense, sense_length);
    ring->done = after(ring, ring->done, (uint32_t)length);
    return 0;
}

bool s2n_ring_publish(struct s2n_ring *ring)
{
    /* A malformed entry stays where it is, and is found by the next answer. */
    (void)oldest(ring);
    if (ring->done == ring->published)
        return false;
    ring->published = ring->done;
    atomic_store_explicit(ring->tail, ring->done, memory_order_release);
    return true;
}

bool s2n_ring_empty(const struct s2n_ring *ring)
{
    return ring->next == atomic_load_explicit(ring->head, memory_order_acquire);
}

bool s2n_ring_idle(const struct s2n_ring *ring)
{
    return ring->published == ring->next && s2n_ring_empty(ring);
}
