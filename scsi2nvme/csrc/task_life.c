/* The life of a SCSI task on its reactor: how it begins, what Python sees of it, and its end. */
#include "task_life.h"

#include <stdlib.h>
#include <string.h>

#include "abort.h"
#include "clear.h"
#include "events.h"
#include "heap.h"
#include "hold.h"
#include "probes.h"
#include "statistics.h"
#include "task_data.h"
#include "unit.h"

inline s2n_task *s2n_task_new(struct s2n_reactor *reactor, const struct s2n_front_end *front_end,
                              s2n_nexus *nexus)
{
    s2n_task *task = reactor->spare;

    if (task)
        reactor->spare = task->next;
    else if (!(task = malloc(sizeof *task)))
        return NULL;
    s2n_spoil(task, sizeof *task);
    s2n_clear(task, offsetof(s2n_task, buffer.share));
    task->reactor = reactor;
    task->front_end = front_end;
    task->nexus = nexus;
    task->serial = task->arrived = ++reactor->serial;
    task->live_next = reactor->live;
    if (reactor->live)
        reactor->live->live_previous = task;
    reactor->live = task;
    return task;
}

uint64_t s2n_reactor_arrived(const struct s2n_reactor *reactor)
{
    return reactor->serial;
}

void s2n_task_arrive_later(s2n_task *task)
{
    if (!task->aborted) /* else whoever has aborted it waits for it */
        task->arrived = ++task->reactor->serial;
}

s2n_lu *s2n_nexus_unit(s2n_nexus *nexus, const uint8_t *lun)
{
    struct s2n_slot *slot = s2n_nexus_slot(nexus, lun);

    return slot ? atomic_load_explicit(&slot->lu, memory_order_acquire) : NULL;
}

/* Its place in its task set is one that it keeps until the last portion was moved. */
static bool goes_in_portions(const s2n_task *task)
{
    return task->announced > S2N_MAXIMUM_TRANSFER && task->announced <= UINT32_MAX &&
           task->attribute != S2N_ATTRIBUTE_ACA && task->row->hot && task->row->hot->portions &&
           !s2n_hot_protects(task->row, task->cdb);
}

static uint32_t portion_from(const s2n_task *task, uint32_t at)
{
    uint64_t due = s2n_task_due(task);

    if (task->announced <= S2N_MAXIMUM_TRANSFER)
        return (uint32_t)task->announced;
    if (!goes_in_portions(task))
        return 0;
    return due - at < S2N_PORTION ? (uint32_t)(due - at) : S2N_PORTION;
}

/* Its commands go to its logical unit's controller of now. Where its LUN led elsewhere before there
 * was this one, its nexus has no share of it: then they go nowhere any more, as the engine sees. */
static void take_course(s2n_task *task)
{
    if (!task->lu)
        return;
    s2n_controller *controller = atomic_load_explicit(&task->lu->controller, memory_order_acquire);
    struct s2n_share *share = s2n_nexus_share(task->nexus, controller);

    if (!share && task->queue)
        return;
    task->queue = &controller->queue[task->reactor->index];
    task->share = share;
}

void s2n_task_next_portion(s2n_task *task)
{
    s2n_task_give_buffer(task);
    take_course(task);
    free(task->heap);
    task->heap = NULL;
    s2n_task_recharge(task, 0);
    task->portion_at += task->portion_bytes;
    task->portion_bytes = portion_from(task, task->portion_at);
    task->data_in_length = task->data_out_length = task->placed_bytes = 0;
    task->nvme_status = 0;
    task->executing = false;
    task->state = S2N_GATHERING;
}

/* What is moved for each block. */
static uint32_t block_bytes(const s2n_task *task)
{
    if (!task->lu)
        return 512;
    uint32_t shift = atomic_load_explicit(&task->lu->block_shift, memory_order_relaxed);
    uint32_t behind = atomic_load_explicit(&task->lu->tuple_bytes, memory_order_relaxed);

    if (!behind || !task->front_end->moves_protection || !s2n_hot_protects(task->row, task->cdb))
        behind = 0;
    return (UINT32_C(1) << shift) + behind;
}

inline void s2n_task_begin(s2n_task *task)
{
    struct s2n_slot *slot = task->nexus ? s2n_nexus_slot(task->nexus, task->lun) : NULL;

    task->set = slot ? &slot->set : NULL;
    task->lu = slot ? atomic_load_explicit(&slot->lu, memory_order_acquire) : NULL;
    task->local = task->lu ? &task->lu->local[task->reactor->index] : NULL;
    take_course(task);
    S2N_PROBE3(command_received, task, task->cdb, task->lun);
    task->row = s2n_hot_find(task->cdb, task->cdb_length);
    s2n_count_begun(task);
    if (!task->row)
        return;
    task->direction = task->row->direction;
    task->announced = s2n_hot_announced(task->row, task->cdb, block_bytes(task), task->expected);
    task->portion_bytes = portion_from(task, 0);
}

inline void s2n_task_finish(s2n_task *task)
{
    struct s2n_reactor *reactor = task->reactor;
    bool awaited = task->awaited;

    task->state = S2N_DONE;
    S2N_PROBE2(command_answered, task, task->status);
    s2n_count_answered(task);
    if (task->direction == S2N_OUT)
        s2n_task_give_buffer(task); /* others may wait for it while the response is being sent */
    task->front_end->complete(task);
    /* It may live on as a response that its initiator does not take. */
    if (awaited)
        s2n_reactor_check_aborts(reactor);
}

inline void s2n_task_free(s2n_task *task)
{
    struct s2n_reactor *reactor = task->reactor;
    bool awaited = task->awaited;

    s2n_count_gone(task);
    s2n_task_stop_waiting(task);
    s2n_task_leave_set(task);
    s2n_reactor_pass(reactor, task);
    if (task->live_next)
        task->live_next->live_previous = task->live_previous;
    if (task->live_previous)
        task->live_previous->live_next = task->live_next;
    else
        reactor->live = task->live_next;
    s2n_task_give_buffer(task);
    free(task->heap);
    s2n_task_recharge(task, 0);
    task->next = reactor->spare;
    reactor->spare = task;
    if (awaited)
        s2n_reactor_check_aborts(reactor);
}

static const struct s2n_front_end nobody = {.complete = s2n_task_free};

/* It has these blocks now, for as long as it lives. */
static void inherit_blocks(s2n_task *remains, s2n_task *task)
{
    remains->lu = task->lu;
    remains->local = task->local;
    remains->queue = task->queue;
    remains->row = task->row;
    remains->plan = task->plan;
    memcpy(remains->cdb, task->cdb, sizeof task->cdb);
    remains->cdb_length = task->cdb_length;
    remains->portion_at = task->portion_at;
    remains->portion_bytes = task->portion_bytes;
    if (task->counted) {
        s2n_task_uncount(task);
        s2n_task_count(remains);
    }
    remains->hold = task->hold;
    if (remains->hold)
        remains->hold->task = remains;
    remains->state = S2N_REMAINS;
    task->hold = NULL;
}

/* What the device does is with this buffer. */
static void inherit_commands(s2n_task *remains, s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    remains->pending = task->pending;
    remains->urged = task->urged;
    remains->urge_ms = task->urge_ms;
    remains->abort_ms = task->abort_ms;
    remains->share = &queue->remains;
    remains->share->entries += task->pending;
    task->share->entries -= task->pending;
    remains->buffer = task->buffer;
    s2n_pool_hand_over(&remains->buffer, &queue->remains);
    s2n_qpair_hand_over(queue->qp, (uintptr_t)task, (uintptr_t)remains);
    task->pending = 0;
    task->buffer.pool = NULL;
}

bool s2n_task_leave(s2n_task *task)
{
    s2n_task *remains = s2n_task_new(task->reactor, &nobody, NULL);

    if (!remains)
        return false;
    inherit_blocks(remains, task);
    inherit_commands(remains, task);
    remains->aborted = true;
    s2n_task_finish(task);
    return true;
}

void s2n_task_keep_blocks(s2n_task *task)
{
    task->holder = s2n_task_new(task->reactor, &nobody, NULL);
    if (!task->holder)
        abort(); /* others would have its blocks in the midst of it */
    inherit_blocks(task->holder, task);
}

void s2n_reactor_drop_tasks(struct s2n_reactor *reactor)
{
    s2n_task *task, *next;

    for (task = reactor->live; task; task = next) {
        next = task->live_next;
        free(task->heap);
        free(task->hold);
        free(task);
    }
    for (task = reactor->spare; task; task = next) {
        next = task->next;
        free(task);
    }
}

/* ---- in the engine's hands ---- */

uint64_t s2n_task_number(const s2n_task *task)
{
    return task->serial * S2N_MAXIMUM_REACTORS + s2n_reactor_index(task->reactor);
}

void s2n_task_to_engine(s2n_task *task, uint32_t type, uint32_t code)
{
    s2n_event event = {.type = type, .task = task, .count = code, .cookie = s2n_task_number(task)};

    task->state = S2N_ENGINE;
    event.nvme = task->nvme_opcode;
    event.holder = task->holder;
    event.dnr = task->nvme_dnr;
    event.more = task->nvme_more;
    event.cid = task->nvme_cid;
    if (task->nvme_status) {
        event.qid = s2n_qpair_qid(s2n_queue_of(task)->qp);
        event.phase = task->plan.phase;
    }
    event.status = task->nvme_status;
    event.lba = task->nvme_lba;
    s2n_plane_emit(task->reactor->plane, &event);
}

void s2n_task_refuse(s2n_task *task, uint32_t code)
{
    s2n_task_stop_waiting(task);
    s2n_task_to_engine(task, S2N_EVENT_TASK_REFUSED, code);
}

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

bool s2n_task_misrouted(const s2n_task *task)
{
    return task->nexus && s2n_nexus_unit(task->nexus, task->lun) != task->lu;
}

bool s2n_task_aborted(const s2n_task *task)
{
    return task->aborted;
}

uint32_t s2n_task_expected(const s2n_task *task)
{
    return task->expected;
}

bool s2n_task_portion(const s2n_task *task, s2n_portion *out)
{
    *out = (s2n_portion){task->announced, task->portion_at, task->portion_bytes};
    return goes_in_portions(task);
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
    s2n_task_recharge(task, answer->data_length);
    free(answer);
    s2n_task_finish(task);
}

void s2n_task_end(s2n_task *task, uint8_t status, const uint8_t *sense, uint32_t sense_length,
                  const uint8_t *data, uint32_t data_length)
{
    struct answer *answer = malloc(sizeof *answer);

    if (!answer)
        abort(); /* a task that can never end would hang its initiator for good */
    answer->task = task;
    answer->status = status;
    answer->data = NULL;
    if (data_length && !(answer->data = malloc(data_length))) {
        answer->status = S2N_BUSY;
        data_length = sense_length = 0;
    }
    if (data_length)
        memcpy(answer->data, data, data_length);
    answer->data_length = data_length;
    answer->sense_length =
        (uint16_t)(sense_length < S2N_SENSE_BYTES ? sense_length : S2N_SENSE_BYTES);
    if (sense_length)
        memcpy(answer->sense, sense, answer->sense_length);
    if (task->reactor->plane->gathers)
        s2n_reactor_call_later(task->reactor, take_answer, answer);
    else
        s2n_reactor_call(task->reactor, take_answer, answer);
}

void s2n_plane_gather(s2n_plane *plane)
{
    plane->gathers = true;
}

void s2n_plane_answer(s2n_plane *plane)
{
    plane->gathers = false;
    for (uint32_t i = 0; i < plane->reactor_count; i++)
        s2n_reactor_wake(&plane->reactor[i]);
}
