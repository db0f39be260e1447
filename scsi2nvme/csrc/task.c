/* The life of a SCSI task on its reactor: begin, gather, hot or engine, end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plane.h"

enum { GOOD = 0x00, BUSY = 0x08 };    /* SAM status */
enum { NVME_INTERNAL_ERROR = 0x006 }; /* NVMe status */
enum { URGE_MS = 1000 };              /* what is aborted mostly ends by itself before */
/* Of one NVMe command, whose first page may be a part of one. */
enum { MAXIMUM_SPANS = S2N_QPAIR_MAXIMUM_BYTES / S2N_PAGE + 1 };

s2n_task *s2n_task_new(struct s2n_reactor *reactor, const struct s2n_front_end *front_end,
                       s2n_nexus *nexus)
{
    s2n_task *task = reactor->spare;

    if (task)
        reactor->spare = task->next;
    else if (!(task = malloc(sizeof *task)))
        return NULL;
    /* The CDB and sense bytes are written before they are read: left as they are. */
    memset(task->lun, 0, sizeof task->lun);
    memset(&task->cdb_length, 0, offsetof(s2n_task, buffer) - offsetof(s2n_task, cdb_length));
    task->buffer.pool = NULL;
    task->buffer.count = 0;
    task->buffer.length = 0;
    task->data_out_length = 0;
    task->status = 0;
    task->sense_length = 0;
    memset(&task->heap, 0, sizeof *task - offsetof(s2n_task, heap));
    task->reactor = reactor;
    task->front_end = front_end;
    task->nexus = nexus;
    task->serial = ++reactor->serial;
    task->live_next = reactor->live;
    if (reactor->live)
        reactor->live->live_previous = task;
    reactor->live = task;
    return task;
}

static s2n_lu *lu_of(const s2n_task *task)
{
    struct s2n_slot *slot = s2n_nexus_slot(task->nexus, task->lun);

    return slot ? atomic_load_explicit(&slot->lu, memory_order_acquire) : NULL;
}

void s2n_task_begin(s2n_task *task)
{
    task->lu = task->nexus ? lu_of(task) : NULL;
    task->row = s2n_hot_find(task->cdb, task->cdb_length);
    task->known = task->row && task->lu;
    if (!task->row)
        return;
    uint32_t shift =
        task->lu ? atomic_load_explicit(&task->lu->block_shift, memory_order_relaxed) : 9;
    task->direction = task->row->direction;
    task->announced = s2n_hot_announced(task->row, task->cdb, UINT32_C(1) << shift);
}

/* ---- buffers ---- */

static struct s2n_queue *queue_of(const s2n_task *task)
{
    return task->lu ? &task->lu->controller->queue[task->reactor->index] : NULL;
}

/* A nexus with buffers gets no more than it leaves unused: whoever stops sending
 * data, or taking it, leaves room for others. */
static bool within_share(const s2n_task *task, const struct s2n_pool *pool, uint32_t bytes)
{
    uint64_t held = task->nexus->held_bytes;

    return !held || held + bytes <= s2n_pool_unused(pool);
}

static bool take_buffer(s2n_task *task, struct s2n_pool *pool, uint32_t bytes)
{
    if (!s2n_pool_take(pool, &task->buffer, bytes))
        return false;
    task->nexus->held_bytes += (uint64_t)task->buffer.count * task->buffer.chunk_bytes;
    return true;
}

bool s2n_task_try_reserve(s2n_task *task, uint32_t bytes)
{
    struct s2n_queue *queue = queue_of(task);

    if (!bytes)
        return true;
    /* Without a logical unit no data is wanted; see S2N_MAXIMUM_TRANSFER for the rest. */
    return queue && queue->pool && !queue->exhausted && within_share(task, queue->pool, bytes) &&
           take_buffer(task, queue->pool, bytes);
}

bool s2n_task_reserve(s2n_task *task, uint32_t bytes)
{
    struct s2n_queue *queue = queue_of(task);

    /* Where there is no pool there is nothing to gather for: the engine answers. */
    if (!queue || !queue->pool || s2n_task_try_reserve(task, bytes))
        return true;
    queue->exhausted |= s2n_pool_fits(queue->pool, bytes) && within_share(task, queue->pool, bytes);
    task->wanted_bytes = bytes;
    task->waits_for_pool = true;
    task->next = NULL;
    *queue->pool_tail = task;
    queue->pool_tail = &task->next;
    queue->resumable |= !s2n_pool_fits(queue->pool, bytes);
    return false;
}

/* The extent of `offset`, which becomes the offset in it; NULL if there is none. */
static const struct s2n_extent *extent_at(const struct s2n_place *place, uint64_t *offset)
{
    for (uint32_t i = 0; i < place->count; *offset -= place->extent[i++].length)
        if (*offset < place->extent[i].length)
            return &place->extent[i];
    return NULL;
}

uint8_t *s2n_task_span_at(s2n_task *task, uint32_t offset, uint32_t *length)
{
    struct s2n_buffer *buffer = &task->buffer;

    if (task->heap) {
        *length = task->data_in_length - offset;
        return task->heap + offset;
    }
    if (task->place) {
        uint64_t at = offset;
        const struct s2n_extent *extent = extent_at(task->place, &at);
        *length = (uint32_t)(extent->length - at);
        return task->place->base + extent->offset + at;
    }
    uint32_t within = offset % buffer->chunk_bytes;
    uint32_t left = buffer->length - offset;
    *length = buffer->chunk_bytes - within < left ? buffer->chunk_bytes - within : left;
    return s2n_pool_address(buffer->pool, buffer->chunk[offset / buffer->chunk_bytes]) + within;
}

static void unlink_waiting(s2n_task **head, s2n_task ***tail, s2n_task *task)
{
    for (s2n_task **at = head; *at; at = &(*at)->next) {
        if (*at != task)
            continue;
        *at = task->next;
        if (*tail == &task->next)
            *tail = at;
        return;
    }
}

static void stop_waiting(s2n_task *task)
{
    struct s2n_queue *queue = queue_of(task);

    if (task->waits_for_pool) {
        unlink_waiting(&queue->pool_head, &queue->pool_tail, task);
        queue->exhausted &= queue->pool_head != NULL;
        queue->resumable |= queue->exhausted; /* it may have been in the way of others */
    }
    if (task->waits_for_slot)
        unlink_waiting(&queue->slot_head, &queue->slot_tail, task);
    task->waits_for_pool = task->waits_for_slot = false;
}

static void give_buffer(s2n_task *task)
{
    struct s2n_queue *queue = queue_of(task);

    if (!task->buffer.pool)
        return;
    task->nexus->held_bytes -= (uint64_t)task->buffer.count * task->buffer.chunk_bytes;
    s2n_pool_give(&task->buffer);
    queue->resumable |= queue->pool_head != NULL;
}

void s2n_task_free(s2n_task *task)
{
    struct s2n_reactor *reactor = task->reactor;
    bool aborted = task->aborted;

    stop_waiting(task);
    if (task->live_next)
        task->live_next->live_previous = task->live_previous;
    if (task->live_previous)
        task->live_previous->live_next = task->live_next;
    else
        reactor->live = task->live_next;
    give_buffer(task);
    free(task->heap);
    task->next = reactor->spare;
    reactor->spare = task;
    if (aborted)
        s2n_reactor_check_aborts(reactor);
}

void s2n_reactor_drop_tasks(struct s2n_reactor *reactor)
{
    s2n_task *task, *next;

    for (task = reactor->live; task; task = next) {
        next = task->live_next;
        free(task->heap);
        free(task);
    }
    for (task = reactor->spare; task; task = next) {
        next = task->next;
        free(task);
    }
}

/* ---- the hot path ---- */

static void hot_end(s2n_task *task)
{
    struct s2n_lu_local *local = &task->lu->local[task->reactor->index];

    if (!task->counted)
        return;
    task->counted = false;
    if (!--local->under_way)
        s2n_drains_done(local);
}

static void to_engine(s2n_task *task, uint32_t type, uint32_t code)
{
    s2n_event event = {.type = type, .task = task, .count = code};

    task->state = S2N_ENGINE;
    event.nvme = task->nvme_opcode;
    event.dnr = task->nvme_dnr;
    event.status = task->nvme_status;
    event.lba = task->nvme_lba;
    s2n_plane_emit(task->reactor->plane, &event);
}

void s2n_task_finish(s2n_task *task)
{
    struct s2n_reactor *reactor = task->reactor;
    bool aborted = task->aborted;

    task->state = S2N_DONE;
    if (task->direction == S2N_OUT)
        give_buffer(task); /* others may wait for it while the response is being sent */
    task->front_end->complete(task);
    /* It may live on as a response that its initiator does not take. */
    if (aborted)
        s2n_reactor_check_aborts(reactor);
}

static void hot_finish(s2n_task *task)
{
    hot_end(task);
    if (task->nvme_status && !task->aborted) {
        to_engine(task, S2N_EVENT_TASK_FAILED, 0);
        return;
    }
    task->status = GOOD;
    if (task->direction == S2N_IN)
        task->data_in_length = (uint32_t)task->announced;
    s2n_task_finish(task);
}

/* Describe `bytes` of what lies in place from `offset` on as spans; 0: as too many. */
static uint32_t spans_in_place(const struct s2n_place *place, uint64_t offset, uint32_t bytes,
                               struct s2n_span *spans)
{
    const struct s2n_extent *extent = extent_at(place, &offset);
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

/* What is left of the task stays undone. */
static void hot_stop(s2n_task *task)
{
    stop_waiting(task);
    task->blocks_left = 0;
}

/* Place NVMe commands until none is left (true) or the queue is full (false). */
static bool hot_place(s2n_task *task, struct s2n_queue *queue)
{
    const s2n_lu_params *lu = &task->lu->params;
    struct s2n_span spans[MAXIMUM_SPANS];
    uint8_t sqe[64];

    while (task->blocks_left) {
        bool flush = !task->direction;
        uint32_t count = flush ? 1 : s2n_hot_cut(lu, task->lba, task->blocks_left);
        uint32_t bytes = flush ? 0 : count << lu->block_shift;
        s2n_hot_sqe(sqe, task->nvme_opcode, lu->nsid, task->lba, count, task->cdw12);
        uint32_t used = bytes ? spans_of(task, task->placed_bytes, bytes, spans) : 0;
        int cid = -EINVAL;
        if (used || !bytes)
            cid = s2n_qpair_place_spans(queue->qp, sqe, spans, used, (uintptr_t)task,
                                        queue->controller->timeout_ms);
        if (cid == -EAGAIN)
            return false;
        if (cid < 0) { /* no PRPs can describe it: the engine may find another way */
            task->nvme_status = NVME_INTERNAL_ERROR;
            task->nvme_lba = task->lba;
            hot_stop(task);
            break;
        }
        queue->dirty = true;
        task->reactor->in_flight++;
        task->pending++;
        task->lba += count;
        task->blocks_left -= count;
        task->placed_bytes += bytes;
    }
    return true;
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
    struct s2n_queue *queue = queue_of(task);

    if (task->blocks_left && (queue->slot_head || queue->paused || !hot_place(task, queue)))
        wait_for_slot(task, queue);
    else if (!task->pending)
        hot_finish(task);
}

static void fill_slots(struct s2n_queue *queue)
{
    while (queue->slot_head && !queue->paused) {
        s2n_task *task = queue->slot_head;
        if (!hot_place(task, queue))
            return;
        stop_waiting(task);
        if (!task->pending)
            hot_finish(task);
    }
}

static void refuse_busy(s2n_task *task)
{
    stop_waiting(task);
    task->status = BUSY;
    s2n_task_finish(task);
}

/* In order, but for those whose nexus has its share already. */
static void give_out_buffers(struct s2n_queue *queue)
{
    s2n_task **at = &queue->pool_head;

    queue->exhausted = false;
    while (*at) {
        s2n_task *task = *at;
        if (!s2n_pool_fits(queue->pool, task->wanted_bytes)) {
            refuse_busy(task);
            continue;
        }
        if (!within_share(task, queue->pool, task->wanted_bytes)) {
            at = &task->next;
            continue;
        }
        if (!take_buffer(task, queue->pool, task->wanted_bytes)) {
            queue->exhausted = true;
            return;
        }
        stop_waiting(task);
        if (task->executing)
            hot_start(task);
        else
            task->front_end->reserved(task);
    }
}

void s2n_queue_resume(struct s2n_queue *queue)
{
    queue->resumable = false;
    fill_slots(queue);
    give_out_buffers(queue);
}

void s2n_queue_yield(struct s2n_queue *queue, const s2n_lu *lu)
{
    s2n_task **at = &queue->pool_head;

    while (*at) {
        s2n_task *task = *at;
        if (task->lu != lu || !task->executing) {
            at = &task->next;
            continue;
        }
        stop_waiting(task);
        hot_end(task);
        to_engine(task, S2N_EVENT_TASK, 0);
    }
}

void s2n_task_completed(s2n_task *task, const s2n_completion *completion, const uint8_t *sqe)
{
    task->pending--;
    if (completion->status && !task->nvme_status) {
        task->nvme_status = completion->status;
        task->nvme_dnr = completion->dnr;
        task->nvme_lba = 0;
        for (int i = 7; i >= 0; i--)
            task->nvme_lba = task->nvme_lba << 8 | sqe[40 + i];
        hot_stop(task);
    }
    if (!task->pending && !task->blocks_left)
        hot_finish(task);
}

/* Whether the hot path takes the task; if so it is counted and planned. */
static bool hot_accepts(s2n_task *task)
{
    struct s2n_slot *slot = s2n_nexus_slot(task->nexus, task->lun);
    struct s2n_hot_plan plan;
    s2n_lu *lu = task->lu;

    if (!lu || !slot || atomic_load_explicit(&slot->lu, memory_order_acquire) != lu ||
        atomic_load_explicit(&lu->aside, memory_order_acquire) ||
        atomic_load_explicit(&slot->aside, memory_order_acquire))
        return false;
    /* ORDERED and ACA tasks are the engine's. */
    if (task->attribute != 0 && task->attribute != 1 && task->attribute != 3)
        return false;
    if (!s2n_hot_plan(&lu->params, task->row, task->cdb, &plan))
        return false;
    /* The block size may have changed since `announced` was reckoned. */
    if (task->direction && (uint64_t)plan.blocks << lu->params.block_shift != task->announced)
        return false;
    if (task->direction == S2N_OUT && task->data_out_length < task->announced)
        return false;
    const struct s2n_queue *queue = queue_of(task);
    if (!queue->qp || (!task->place && !s2n_pool_fits(queue->pool, task->announced)))
        return false;
    /* The block length may have changed since the task began. */
    if (task->direction && (uint64_t)plan.blocks << lu->params.block_shift != task->announced)
        return false;
    task->nvme_opcode = plan.opcode;
    task->lba = plan.lba;
    task->blocks_left = plan.blocks;
    task->cdw12 = plan.cdw12;
    return true;
}

void s2n_task_execute(s2n_task *task)
{
    task->executing = true;
    if (!task->row || task->row->hot == S2N_HOT_NO || !hot_accepts(task)) {
        to_engine(task, S2N_EVENT_TASK, 0);
        return;
    }
    task->state = S2N_DEVICE;
    task->counted = true;
    task->lu->local[task->reactor->index].under_way++;
    if (task->direction != S2N_IN || task->place ||
        s2n_task_reserve(task, (uint32_t)task->announced))
        hot_start(task);
}

bool s2n_task_moves_blocks(const s2n_task *task)
{
    return task->lu && task->row && task->row->hot != S2N_HOT_NO && task->announced &&
           task->announced <= S2N_MAXIMUM_TRANSFER;
}

bool s2n_task_lost(const s2n_task *task)
{
    const struct s2n_queue *queue = queue_of(task);

    return queue && queue->qp && s2n_qpair_abandoned(queue->qp);
}

void s2n_task_refuse(s2n_task *task, uint32_t code)
{
    stop_waiting(task);
    to_engine(task, S2N_EVENT_TASK_REFUSED, code);
}

/* ---- aborts ---- */

bool s2n_task_matches(const s2n_task *task, const struct s2n_abort *abort)
{
    if (task->state == S2N_DONE)
        return false;
    switch (abort->scope) {
    case S2N_SCOPE_TASK:
        return task->nexus == abort->nexus && task->tag == abort->itt &&
               (!abort->lu || task->lu == abort->lu);
    case S2N_SCOPE_NEXUS_LU:
        return task->nexus == abort->nexus && task->lu == abort->lu;
    case S2N_SCOPE_LU:
        return task->lu == abort->lu;
    case S2N_SCOPE_NEXUS:
        return task->nexus == abort->nexus;
    default:
        return false;
    }
}

void s2n_task_abort(s2n_task *task, bool task_aborted_status)
{
    /* An earlier abort that promised a response keeps its promise. */
    if (task->aborted || task->state == S2N_DONE)
        return;
    task->task_aborted_status = task_aborted_status;
    task->aborted = true;
    if (task->state == S2N_GATHERING) {
        stop_waiting(task);
        task->front_end->discard(task);
    } else if (task->state == S2N_DEVICE) {
        hot_stop(task);
        if (!task->pending)
            hot_finish(task);
        else if (!queue_of(task)->urge.armed)
            s2n_timer_arm(task->reactor, &queue_of(task)->urge, URGE_MS);
    }
}

static bool left_on(const s2n_task *task, const struct s2n_queue *queue)
{
    return task->aborted && task->state == S2N_DEVICE && task->pending && queue_of(task) == queue;
}

void s2n_queue_urge(struct s2n_timer *timer)
{
    struct s2n_queue *queue =
        (struct s2n_queue *)((char *)timer - offsetof(struct s2n_queue, urge));
    s2n_event event = {.type = S2N_EVENT_ABORT, .cookie = queue->controller->cookie};

    if (queue->paused)
        return; /* a reset ends them as well */
    event.qid = s2n_qpair_qid(queue->qp);
    for (s2n_task *task = queue->reactor->live; task; task = task->live_next) {
        if (task->urged || !left_on(task, queue))
            continue;
        task->urged = true;
        for (int cid = -1; (cid = s2n_qpair_find(queue->qp, (uintptr_t)task, cid + 1)) >= 0;) {
            event.cid = (uint16_t)cid;
            s2n_plane_emit(queue->reactor->plane, &event);
        }
    }
}

void s2n_queue_drop_aborted(struct s2n_queue *queue)
{
    s2n_task *task = queue->reactor->live;

    while (task) {
        if (!left_on(task, queue)) {
            task = task->live_next;
            continue;
        }
        queue->reactor->in_flight -= s2n_qpair_drop(queue->qp, (uintptr_t)task);
        task->pending = 0;
        hot_finish(task);
        /* That may have ended other tasks, the next one among them. */
        task = queue->reactor->live;
    }
}

uint32_t s2n_reactor_abort(struct s2n_reactor *reactor, const struct s2n_abort *abort)
{
    s2n_task *task = reactor->live;
    uint32_t found = 0;

    while (task) {
        if (task->aborted || !s2n_task_matches(task, abort)) {
            task = task->live_next;
            continue;
        }
        found++;
        bool own = abort->scope == S2N_SCOPE_LU && task->nexus == abort->nexus;
        s2n_task_abort(task, abort->tas && !own);
        /* That may have ended other tasks, the next one among them. */
        task = reactor->live;
    }
    return found;
}

void s2n_nexus_abort_all(struct s2n_reactor *reactor, s2n_nexus *nexus)
{
    struct s2n_abort abort = {.scope = S2N_SCOPE_NEXUS, .nexus = nexus};

    s2n_reactor_abort(reactor, &abort);
}

/* ---- in Python's hands ---- */

uint64_t s2n_task_nexus(const s2n_task *task)
{
    return task->nexus ? task->nexus->cookie : 0;
}

const uint8_t *s2n_task_lun(const s2n_task *task)
{
    return task->lun;
}

const uint8_t *s2n_task_cdb(const s2n_task *task, uint16_t *length)
{
    *length = task->cdb_length;
    return task->cdb;
}

uint8_t s2n_task_attribute(const s2n_task *task)
{
    return task->attribute;
}

bool s2n_task_aborted(const s2n_task *task)
{
    return task->aborted;
}

uint32_t s2n_task_expected(const s2n_task *task)
{
    return task->expected;
}

uint32_t s2n_task_data_length(const s2n_task *task)
{
    return task->data_out_length;
}

void s2n_task_copy_data(const s2n_task *task, uint8_t *out)
{
    uint32_t offset = 0, length;

    while (offset < task->data_out_length) {
        const uint8_t *from = s2n_task_span_at((s2n_task *)task, offset, &length);
        if (length > task->data_out_length - offset)
            length = task->data_out_length - offset;
        memcpy(out + offset, from, length);
        offset += length;
    }
}

struct answer {
    s2n_task *task;
    uint8_t status;
    uint16_t sense_length;
    uint32_t data_length;
    uint8_t *data;
    uint8_t sense[S2N_SENSE_BYTES];
};

static void take_answer(void *argument)
{
    struct answer *answer = argument;
    s2n_task *task = answer->task;

    task->status = answer->status;
    task->sense_length = answer->sense_length;
    memcpy(task->sense, answer->sense, answer->sense_length);
    task->heap = answer->data;
    task->data_in_length = answer->data_length;
    free(answer);
    s2n_task_finish(task);
}

void s2n_task_end(s2n_task *task, uint8_t status, const uint8_t *sense, uint32_t sense_length,
                  const uint8_t *data, uint32_t data_length)
{
    struct answer *answer = calloc(1, sizeof *answer);

    if (!answer)
        abort(); /* a task that can never end would hang its initiator for good */
    answer->task = task;
    answer->status = status;
    if (data_length && !(answer->data = malloc(data_length))) {
        answer->status = BUSY;
        data_length = sense_length = 0;
    }
    if (data_length)
        memcpy(answer->data, data, data_length);
    answer->data_length = data_length;
    answer->sense_length =
        (uint16_t)(sense_length < S2N_SENSE_BYTES ? sense_length : S2N_SENSE_BYTES);
    if (sense_length)
        memcpy(answer->sense, sense, answer->sense_length);
    s2n_reactor_call(task->reactor, take_answer, answer);
}

uint64_t s2n_nexus_cookie(const s2n_nexus *nexus)
{
    return nexus->cookie;
}
