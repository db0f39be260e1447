/* The hot path: tasks become NVMe commands, and end with them. */
#include "submit.h"

#include <errno.h>
#include <stdlib.h>

#include "abort.h"
#include "accept.h"
#include "heap.h"
#include "hold.h"
#include "hot_sqe.h"
#include "miscompare.h"
#include "statistics.h"
#include "task_data.h"
#include "task_failure.h"
#include "task_life.h"
#include "task_spans.h"
#include "unit.h"

enum { NVME_INTERNAL_ERROR = 0x006 }; /* an NVMe status */
enum { RESERVE_PART = 4, ENTRY_QUOTA = 2 };

static inline void hot_start(s2n_task *task);

/* ---- the end ---- */

static inline void leave_others(s2n_task *task)
{
    struct s2n_lu_local *local = task->local;

    s2n_task_uncount(task);
    if (local->ranges)
        s2n_ranges_leave(local, task, task->hold ? task->hold->drain.token : 0);
    if (!local->under_way)
        s2n_drains_done(local);
}

inline void s2n_task_hot_end(s2n_task *task)
{
    struct s2n_hold *hold = task->hold;

    if (task->counted)
        leave_others(task);
    task->hold = NULL;
    if (hold)
        s2n_hold_end(hold); /* another may begin */
}

/* A phase ended well: plan the next, if there is one. */
static bool plans_next(s2n_task *task, const struct s2n_hot_data *data)
{
    const struct s2n_hot_kind *kind = task->row->hot;
    int64_t at = kind->difference ? kind->difference(&task->plan, data) : S2N_NOT_READ;

    if (task->recalled && at != S2N_NOT_READ) { /* from other blocks, perhaps */
        s2n_task_forgo(task, false);
        return false;
    }
    if (at >= 0) {
        s2n_task_miscompare(task);
        return false;
    }
    if (!kind->next(&task->lu->params, task->row, task->cdb, &task->plan))
        return false;
    if (task->recalled)
        s2n_task_forgo(task, false);
    return !task->recalled;
}

/* What was planned has ended: begin what follows, if anything does. */
static bool goes_on(s2n_task *task)
{
    if (!task->row->hot->next || task->aborted)
        return false;
    const struct s2n_hot_data data = s2n_task_hot_data(task);
    if (task->plan.locates) {
        s2n_task_has_located(task);
        return false;
    }
    if (task->nvme_status ? !s2n_task_locates(task, &data) : !plans_next(task, &data))
        return false;
    task->placed_bytes = task->plan.data_at;
    hot_start(task);
    return true;
}

static void end_well(s2n_task *task)
{
    task->status = S2N_GOOD;
    if (task->row->hot->finish)
        task->row->hot->finish(task);
}

inline void s2n_task_hot_finish(s2n_task *task)
{
    if (goes_on(task))
        return;
    bool failed = task->nvme_status && !task->aborted;
    bool told = failed && s2n_task_tells_miscompare(task);
    if (task->hold && failed && !told)
        s2n_task_keep_blocks(task);
    s2n_task_hot_end(task);
    if (failed && !told) {
        s2n_task_to_engine(task, S2N_EVENT_TASK_FAILED, task->nvme_blocks);
        return;
    }
    if (!failed)
        end_well(task);
    s2n_task_finish(task);
}

inline void s2n_task_completed(s2n_task *task)
{
    task->pending--;
    task->share->entries--;
    if (!task->pending && !task->plan.blocks)
        s2n_task_hot_finish(task);
}

/* ---- submission queue entries ---- */

/* Whether a nexus may have another entry. Whoever never gives back what it has leaves others some:
 * of a quarter of the queue pair nobody gets more than a few, and of the rest nobody, before it
 * takes one, has more than twice what is left. */
static bool may_place(const struct s2n_queue *queue, const struct s2n_share *share)
{
    uint32_t free = (uint32_t)s2n_qpair_free_slots(queue->qp);
    uint32_t reserve = (free + s2n_qpair_in_flight(queue->qp)) / RESERVE_PART;

    return share->entries < ENTRY_QUOTA ||
           (free > reserve && share->entries <= 2 * (free - reserve));
}

/* Whether there are entries for what a task places next. A pair needs two at once: nobody else gets
 * the one that is left while it waits for another. */
static bool has_entries(struct s2n_queue *queue, s2n_task *task)
{
    if (task->plan.fuse == S2N_FUSED_SECOND)
        return true; /* there were two */
    if ((queue->pair && queue->pair != task) || !may_place(queue, task->share))
        return false;
    bool pair = task->plan.fuse == S2N_FUSED_FIRST && s2n_qpair_free_slots(queue->qp) < 2;
    queue->pair = pair ? task : NULL;
    return !pair;
}

/* Most commands are ranges of blocks, whose entries are filled without a call. */
static inline struct s2n_hot_part fill(const s2n_task *task, uint8_t *sqe)
{
    const struct s2n_hot_kind *kind = task->row->hot;
    const s2n_lu_params *lu = &task->lu->params;

    return kind->place == s2n_hot_place_blocks ? s2n_hot_place_blocks(lu, &task->plan, sqe)
                                               : kind->place(lu, &task->plan, sqe);
}

/* Describe `bytes` of what the next NVMe command moves as spans; 0: as too many. */
static inline uint32_t describe(s2n_task *task, struct s2n_queue *queue, uint32_t bytes,
                                struct s2n_span *spans)
{
    const struct s2n_hot_kind *kind = task->row->hot;

    if (!kind->tell)
        return s2n_task_spans(task, bytes, spans);
    kind->tell(&task->plan, s2n_qpair_room(queue->qp, spans));
    spans[0].length = bytes;
    return 1;
}

/* Place NVMe commands until none is left (true), or the queue has no entry for it (false). */
static bool hot_place(s2n_task *task, struct s2n_queue *queue)
{
    struct s2n_span spans[S2N_MAXIMUM_SPANS];
    uint8_t *sqe;

    while (task->plan.blocks) {
        if (!has_entries(queue, task) || !(sqe = s2n_qpair_entry(queue->qp)))
            return false;
        struct s2n_hot_part part = fill(task, sqe);
        uint32_t used = part.bytes ? describe(task, queue, part.bytes, spans) : 0;
        int cid = -EINVAL;
        if (used || !part.bytes)
            cid = s2n_qpair_place_spans(
                queue->qp, spans, used, (uintptr_t)task,
                s2n_hot_timeout_ms(task->plan.opcode, queue->controller->timeout_ms));
        if (cid < 0) { /* no PRPs can describe it: the engine may find another way */
            task->nvme_status = NVME_INTERNAL_ERROR;
            task->nvme_opcode = task->plan.opcode;
            task->nvme_lba = task->plan.lba;
            task->nvme_blocks = part.blocks;
            s2n_task_stop(task);
            break;
        }
        queue->dirty = true;
        task->reactor->in_flight++;
        task->pending++;
        task->share->entries++;
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
    s2n_count_cold(task);
    s2n_task_to_engine(task, S2N_EVENT_TASK, 0);
}

/* The hot path does not take it, or not now. */
static void not_hot(s2n_task *task)
{
    if (s2n_task_may_be_put_off(task))
        s2n_task_put_off(task);
    else
        to_engine(task);
}

void s2n_task_begin_anew(s2n_task *task)
{
    s2n_task_stop_waiting(task);
    s2n_task_hot_end(task);
    not_hot(task); /* which may end it, and what ends with it */
}

static inline void hot_start(s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (task->plan.blocks && (queue->paused || s2n_task_is_behind(task) || !hot_place(task, queue)))
        s2n_task_wait_for_slot(task);
    else if (!task->pending)
        s2n_task_hot_finish(task);
}

/* ---- what must be alone on its blocks ---- */

/* Not at once: somebody up the stack may be about to give out slots. */
static void begin_in_a_slot(s2n_task *task)
{
    s2n_task_wait_for_slot(task);
    s2n_queue_of(task)->resumable = true;
}

static void granted(void *argument)
{
    struct s2n_hold *hold = argument;

    if (!s2n_hold_grant(hold) || !hold->waits || hold->reactor->stopping)
        return;
    hold->waits = false;
    begin_in_a_slot(hold->task);
}

/* On whichever reactor. */
static void grant(struct s2n_drain *drain)
{
    struct s2n_hold *hold = (struct s2n_hold *)drain;

    s2n_reactor_call(hold->reactor, granted, hold);
}

void s2n_queue_keep_off(void *argument)
{
    struct s2n_drain_call call = *(struct s2n_drain_call *)argument;
    s2n_lu *lu = call.drain->lu;
    uint32_t index = call.reactor->index;
    struct s2n_blocks blocks = call.drain->blocks;

    free(argument);
    struct s2n_range *range = s2n_range_add(&lu->local[index], call.drain);
    if (range->under_way)
        s2n_queue_yield(&lu->controller->queue[index], lu, blocks);
    s2n_range_check(range);
}

static void keep_others_off(struct s2n_hold *hold)
{
    for (uint32_t i = 0; i < hold->drain.plane->reactor_count; i++) {
        struct s2n_reactor *reactor = &hold->drain.plane->reactor[i];
        if (reactor == hold->reactor)
            continue;
        struct s2n_drain_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct s2n_drain_call){&hold->drain, reactor};
        s2n_reactor_call(reactor, s2n_queue_keep_off, call);
    }
}

/* As s2n_queue_keep_off, but where nobody is there that is known at once. */
static void keep_off_here(struct s2n_hold *hold)
{
    const s2n_task *task = hold->task;
    struct s2n_drain *drain = &hold->drain;
    struct s2n_lu_local *local = task->local;
    struct s2n_range *range = s2n_range_add(local, drain);

    if (range->under_way)
        s2n_queue_yield(s2n_queue_of(task), task->lu, drain->blocks);
    if (!range->drain || range->under_way)
        return;
    range->drain = NULL;
    if (atomic_fetch_sub(&drain->reactors_left, 1) == 1)
        s2n_hold_grant(hold);
}

/* A task has claimed its blocks: keep all others off them. */
static void begin_alone(s2n_task *task)
{
    keep_others_off(task->hold);
    keep_off_here(task->hold);
    task->hold->waits = !task->hold->granted;
    s2n_task_count(task);
}

/* Nothing is as it was when the task began to wait. */
static void its_turn(void *argument)
{
    struct s2n_hold *hold = argument;
    s2n_task *task = hold->task;

    if (task && hold->reactor->stopping)
        return;
    hold->queued = false;
    if (task && hold->claim.state == S2N_CLAIM_HELD && s2n_task_accept(task)) {
        begin_alone(task);
        if (hold->granted)
            begin_in_a_slot(task);
        return;
    }
    s2n_hold_free(hold);
    if (task) {
        task->hold = NULL;
        not_hot(task);
    }
}

/* Keep all others off the blocks of a task, now or later; false: that is for the engine to do. */
static bool takes_hold(s2n_task *task)
{
    task->hold = s2n_hold_new(task, its_turn, grant);
    if (!task->hold)
        return false;
    if (!task->hold->queued)
        begin_alone(task);
    return true;
}

static void release(void *argument)
{
    s2n_task *holder = argument;

    s2n_task_hot_end(holder);
    s2n_task_free(holder);
}

void s2n_holder_release(s2n_task *holder)
{
    s2n_reactor_call(holder->reactor, release, holder);
}

/* ---- the beginning of all ---- */

void s2n_task_execute(s2n_task *task)
{
    task->executing = true;
    if (!task->row || !task->row->hot || !s2n_task_accept(task) ||
        (task->plan.blocks && task->row->hot->alone && !takes_hold(task))) {
        not_hot(task);
        return;
    }
    task->state = S2N_DEVICE;
    if (!task->hold)
        s2n_task_count(task);
    else if (!task->hold->granted)
        return;
    if (task->direction != S2N_IN || task->place || s2n_task_reserve(task, task->portion_bytes))
        hot_start(task);
}

void s2n_lu_execute_put_off(struct s2n_lu_local *local)
{
    for (uint32_t left = local->put_off_count; left && local->put_off_first; left--) {
        s2n_task *task = local->put_off_first;
        if (task->reactor->stopping)
            return; /* nothing begins any more */
        s2n_task_take_back(task);
        s2n_task_execute(task); /* which may end it, and what ends with it */
    }
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

/* The first task in a line that finds entries for all that it has left to place. */
static s2n_task *first_placed(struct s2n_queue *queue)
{
    for (s2n_task *task = queue->slot_lines; task; task = task->next_line)
        if (hot_place(task, queue))
            return task;
    return NULL;
}

static void fill_slots(struct s2n_queue *queue)
{
    s2n_task *task;

    while (!queue->paused && (task = first_placed(queue))) {
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

    while ((task = first_hot(queue, lu, blocks)))
        s2n_task_begin_anew(task);
}
