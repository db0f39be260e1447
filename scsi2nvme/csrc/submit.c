/* The hot path: tasks become NVMe commands, and end with them. */
#include "submit.h"

#include <errno.h>

#include "heap.h"
#include "task_data.h"
#include "task_life.h"
#include "unit.h"

enum { NVME_INTERNAL_ERROR = 0x006 }; /* NVMe status */
enum { AT_SLBA = 40, AT_NLB = 48 };   /* in a submission queue entry */
/* Of one NVMe command, whose first page may be a part of one. */
enum { MAXIMUM_SPANS = S2N_QPAIR_MAXIMUM_BYTES / S2N_PAGE + 1 };

static void hot_start(s2n_task *task);

/* ---- the end ---- */

static void hot_end(s2n_task *task)
{
    struct s2n_lu_local *local = &task->lu->local[task->reactor->index];

    if (!task->counted)
        return;
    task->counted = false;
    if (local->ranges)
        s2n_ranges_leave(local, task);
    if (!--local->under_way)
        s2n_drains_done(local);
}

/* A phase ended well: begin the next, if there is one. */
static bool next_phase(s2n_task *task)
{
    const struct s2n_hot_kind *kind = task->row->hot;

    if (!kind->next || task->nvme_status || task->aborted ||
        !kind->next(&task->lu->params, task->row, task->cdb, &task->plan))
        return false;
    task->placed_bytes = task->plan.data_at;
    hot_start(task);
    return true;
}

void s2n_task_hot_finish(s2n_task *task)
{
    if (next_phase(task))
        return;
    hot_end(task);
    if (task->nvme_status && !task->aborted) {
        s2n_task_to_engine(task, S2N_EVENT_TASK_FAILED, task->nvme_blocks);
        return;
    }
    task->status = S2N_GOOD;
    if (task->row->hot->finish)
        task->row->hot->finish(task);
    s2n_task_finish(task);
}

/* What is left of the task stays undone. */
void s2n_task_stop(s2n_task *task)
{
    s2n_task_stop_waiting(task);
    task->plan.blocks = 0;
}

static uint64_t get_le(const uint8_t *in, int bytes)
{
    uint64_t value = 0;

    while (bytes--)
        value = value << 8 | in[bytes];
    return value;
}

/* What is told is the lowest LBA, whatever failed first: all before it was done, as commands
 * are placed in that order. */
void s2n_task_note_failure(s2n_task *task, const s2n_completion *completion, const uint8_t *sqe)
{
    uint64_t lba = get_le(sqe + AT_SLBA, 8);

    s2n_task_stop(task);
    if (task->nvme_status && task->nvme_lba <= lba)
        return;
    task->nvme_status = completion->status;
    task->nvme_dnr = completion->dnr;
    task->nvme_more = completion->more;
    task->nvme_cid = completion->cid;
    task->nvme_lba = lba;
    task->nvme_blocks = (uint32_t)get_le(sqe + AT_NLB, 2) + 1;
}

void s2n_task_completed(s2n_task *task)
{
    task->pending--;
    if (!task->pending && !task->plan.blocks)
        s2n_task_hot_finish(task);
}

/* ---- submission queue entries ---- */

/* Describe `bytes` of what lies in place from `offset` on as spans; 0: as too many. */
static uint32_t spans_in_place(const struct s2n_place *place, uint64_t offset, uint32_t bytes,
                               struct s2n_span *spans)
{
    const struct s2n_extent *extent = s2n_place_extent(place, &offset);
    uint32_t used = 0;

    for (; extent && bytes && used < MAXIMUM_SPANS; offset = 0) {
        uint64_t length = extent->length - offset < bytes ? extent->length - offset : bytes;
        spans[used].iova = place->iova + extent->offset + offset;
        spans[used++].length = (uint32_t)length;
        bytes -= (uint32_t)length;
        extent = ++extent < place->extent + place->count ? extent : NULL;
    }
    return bytes ? 0 : used;
}

/* Describe `bytes` of the task's data from `offset` on as spans. */
static uint32_t spans_of(s2n_task *task, uint32_t offset, uint32_t bytes, struct s2n_span *spans)
{
    const struct s2n_buffer *buffer = &task->buffer;
    uint32_t used = 0;

    if (task->place)
        return spans_in_place(task->place, offset, bytes, spans);
    while (bytes) {
        uint32_t within = offset % buffer->chunk_bytes;
        uint32_t length = buffer->chunk_bytes - within;
        if (length > bytes)
            length = bytes;
        uint32_t chunk = buffer->chunk[offset / buffer->chunk_bytes];
        spans[used].iova = s2n_pool_iova(buffer->pool, chunk) + within;
        spans[used++].length = length;
        offset += length;
        bytes -= length;
    }
    return used;
}

/* Describe `bytes` that are the first ones of the task's buffer again and again. */
static uint32_t spans_repeated(const s2n_task *task, uint32_t bytes, struct s2n_span *spans)
{
    uint64_t iova = s2n_pool_iova(task->buffer.pool, task->buffer.chunk[0]);
    uint32_t used = 0;

    while (bytes && used < MAXIMUM_SPANS) {
        uint32_t length = task->plan.period < bytes ? task->plan.period : bytes;
        spans[used++] = (struct s2n_span){iova, length};
        bytes -= length;
    }
    return bytes ? 0 : used;
}

/* Describe the data of the NVMe command that is placed now as spans. */
static uint32_t spans_of_part(s2n_task *task, uint32_t bytes, struct s2n_span *spans)
{
    return task->plan.period ? spans_repeated(task, bytes, spans)
                             : spans_of(task, task->placed_bytes, bytes, spans);
}

/* Place NVMe commands until none is left (true) or the queue is full (false). */
static bool hot_place(s2n_task *task, struct s2n_queue *queue)
{
    const s2n_lu_params *lu = &task->lu->params;
    struct s2n_span spans[MAXIMUM_SPANS];
    uint8_t sqe[64];

    while (task->plan.blocks) {
        struct s2n_hot_part part = task->row->hot->place(lu, &task->plan, sqe);
        uint32_t used = part.bytes ? spans_of_part(task, part.bytes, spans) : 0;
        int cid = -EINVAL;
        if (used || !part.bytes)
            cid = s2n_qpair_place_spans(
                queue->qp, sqe, spans, used, (uintptr_t)task,
                s2n_hot_timeout_ms(task->plan.opcode, queue->controller->timeout_ms));
        if (cid == -EAGAIN)
            return false;
        if (cid < 0) { /* no PRPs can describe it: the engine may find another way */
            task->nvme_status = NVME_INTERNAL_ERROR;
            task->nvme_lba = task->plan.lba;
            task->nvme_blocks = part.blocks;
            s2n_task_stop(task);
            break;
        }
        queue->dirty = true;
        task->reactor->in_flight++;
        task->pending++;
        s2n_hot_advance(&task->plan, part);
        task->placed_bytes += part.bytes;
    }
    return true;
}

/* ---- the beginning ---- */

/* What the engine makes of it takes memory: beyond its share the initiator is told to wait.
 * Spec: SAM-5 5.3.1. */
static void to_engine(s2n_task *task)
{
    if (!s2n_task_charge(task, s2n_task_cold_bytes(task))) {
        task->status = s2n_task_has_company(task) ? S2N_TASK_SET_FULL : S2N_BUSY;
        s2n_task_finish(task);
        return;
    }
    s2n_task_to_engine(task, S2N_EVENT_TASK, 0);
}

static void wait_for_slot(s2n_task *task, struct s2n_queue *queue)
{
    task->waits_for_slot = true;
    task->next = NULL;
    *queue->slot_tail = task;
    queue->slot_tail = &task->next;
}

static void hot_start(s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (task->plan.blocks && (queue->slot_head || queue->paused || !hot_place(task, queue)))
        wait_for_slot(task, queue);
    else if (!task->pending)
        s2n_task_hot_finish(task);
}

/* Fewer data than the CDB announces are the engine's to judge, from the first portion on, and more
 * than one block where that is all there is to be. So is what changes blocks without data, where
 * reservations are kept elsewhere. */
static bool is_questionable(const s2n_task *task)
{
    bool exact = task->row->transfer == S2N_TRANSFER_ONE_BLOCK ||
                 task->row->transfer == S2N_TRANSFER_ONE_BLOCK_UNLESS_NDOB;

    return task->data_out_length < task->portion_bytes || s2n_task_due(task) < task->announced ||
           (exact && task->expected != task->announced) ||
           (!task->announced && task->row->hot->changes && task->front_end->fenced_elsewhere);
}

/* The data-out, as far as the kind may look at them. */
static struct s2n_hot_data data_of(const s2n_task *task)
{
    const struct s2n_buffer *buffer = &task->buffer;

    if (task->place || !buffer->pool || task->direction != S2N_OUT)
        return (struct s2n_hot_data){0};
    return (struct s2n_hot_data){s2n_pool_address(buffer->pool, buffer->chunk[0]),
                                 buffer->chunk_bytes};
}

/* Whether the hot path takes the task; if so it is counted and planned. */
static bool hot_accepts(s2n_task *task)
{
    struct s2n_slot *slot = s2n_slot_of(task);
    struct s2n_hot_plan plan;
    s2n_lu *lu = task->lu;

    if (!lu || !slot || atomic_load_explicit(&slot->lu, memory_order_acquire) != lu ||
        atomic_load_explicit(&lu->aside, memory_order_acquire) ||
        atomic_load_explicit(&slot->aside, memory_order_acquire))
        return false;
    if (task->attribute >= S2N_ATTRIBUTE_ACA)
        return false;
    if (task->direction == S2N_OUT && is_questionable(task))
        return false;
    const struct s2n_hot_data data = data_of(task);
    if (!s2n_hot_plan(&lu->params, task->row, task->cdb, &data, &plan))
        return false;
    /* The block length may have changed since the task began. */
    if (plan.bytes != task->announced || (plan.bytes && !task->portion_bytes))
        return false;
    const struct s2n_queue *queue = s2n_queue_of(task);
    if (!queue->qp || (!task->place && !s2n_pool_fits(queue->pool, task->portion_bytes)))
        return false;
    const struct s2n_lu_local *local = &lu->local[task->reactor->index];
    if (local->ranges && s2n_ranges_exclude(local, task, &plan))
        return false;
    task->plan = plan;
    task->placed_bytes = plan.data_at;
    if (plan.bytes && task->row->hot->portions)
        s2n_hot_narrow(&task->plan, &lu->params, task->portion_at, task->portion_bytes);
    return true;
}

void s2n_task_execute(s2n_task *task)
{
    task->executing = true;
    if (!task->row || !task->row->hot || !hot_accepts(task)) {
        to_engine(task);
        return;
    }
    task->state = S2N_DEVICE;
    task->counted = true;
    task->lu->local[task->reactor->index].under_way++;
    if (task->direction != S2N_IN || task->place || s2n_task_reserve(task, task->portion_bytes))
        hot_start(task);
}

bool s2n_task_moves_blocks(const s2n_task *task)
{
    const struct s2n_hot_row *row = task->row;

    if (!task->lu || !row || !row->hot || !row->hot->in_place || !task->announced ||
        task->announced > S2N_MAXIMUM_TRANSFER)
        return false;
    /* The block length may have changed, and what is one block of many is looked at. */
    uint32_t shift = atomic_load_explicit(&task->lu->block_shift, memory_order_relaxed);
    return s2n_hot_count(row, task->cdb) << shift == task->announced;
}

bool s2n_task_lost(const s2n_task *task)
{
    const struct s2n_queue *queue = s2n_queue_of(task);

    return queue && queue->qp && s2n_qpair_abandoned(queue->qp);
}

/* ---- those who wait ---- */

static void fill_slots(struct s2n_queue *queue)
{
    while (queue->slot_head && !queue->paused) {
        s2n_task *task = queue->slot_head;
        if (!hot_place(task, queue))
            return;
        s2n_task_stop_waiting(task);
        if (!task->pending)
            s2n_task_hot_finish(task);
    }
}

static void give_out_buffers(struct s2n_queue *queue)
{
    s2n_task *task;

    while ((task = s2n_queue_grant(queue))) {
        if (!task->buffer.pool) {
            task->status = S2N_BUSY;
            s2n_task_finish(task);
        } else if (task->executing) {
            hot_start(task);
        } else {
            task->front_end->reserved(task);
        }
    }
}

void s2n_queue_resume(struct s2n_queue *queue)
{
    queue->resumable = false;
    fill_slots(queue);
    give_out_buffers(queue);
}

/* The first hot task of some blocks of a logical unit that waits for a buffer. */
static s2n_task *first_hot(const struct s2n_queue *queue, const s2n_lu *lu,
                           struct s2n_blocks blocks)
{
    for (s2n_task *line = queue->lines; line; line = line->next_line)
        for (s2n_task *task = line; task; task = task->next)
            if (task->lu == lu && task->executing && s2n_task_meets(task, &task->plan, blocks))
                return task;
    return NULL;
}

void s2n_queue_yield(struct s2n_queue *queue, const s2n_lu *lu, struct s2n_blocks blocks)
{
    s2n_task *task;

    while ((task = first_hot(queue, lu, blocks))) {
        s2n_task_stop_waiting(task);
        hot_end(task);
        to_engine(task); /* which may end it, and what ends with it */
    }
}
