/* What the hot path takes. */
#include "accept.h"

#include "drain.h"
#include "unit.h"
#include "watch.h"

/* Fewer data than the CDB announces are the engine's to judge, from the first portion on, and more
 * where a command takes just so many. So is what changes blocks without data, where
 * reservations are kept elsewhere. */
static bool is_questionable(const s2n_task *task)
{
    bool exact = task->row->transfer == S2N_TRANSFER_TWICE_BLOCKS ||
                 task->row->transfer == S2N_TRANSFER_ONE_BLOCK ||
                 task->row->transfer == S2N_TRANSFER_ONE_BLOCK_UNLESS_NDOB;

    return task->data_out_length < task->portion_bytes || s2n_task_due(task) < task->announced ||
           (exact && task->expected != task->announced) ||
           (!task->announced && task->row->hot->changes && task->front_end->fenced_elsewhere);
}

struct s2n_hot_data s2n_task_hot_data(const s2n_task *task)
{
    const struct s2n_buffer *buffer = &task->buffer;

    if (task->place || !buffer->pool || task->direction != S2N_OUT)
        return (struct s2n_hot_data){0};
    return (struct s2n_hot_data){s2n_pool_address(buffer->pool, buffer->chunk[0]),
                                 buffer->chunk_bytes};
}

/* Plan it, unless it is cold, or not hot now: then of the plan there may be some. */
static inline bool plan(s2n_task *task)
{
    const struct s2n_slot *slot = s2n_slot_of(task);
    struct s2n_hot_plan *plan = &task->plan;
    s2n_lu *lu = task->lu;

    if (!lu || !slot || atomic_load_explicit(&slot->lu, memory_order_acquire) != lu ||
        atomic_load_explicit(&lu->aside, memory_order_acquire) ||
        atomic_load_explicit(&slot->aside, memory_order_acquire) || !s2n_task_on_course(task))
        return false;
    if (task->attribute >= S2N_ATTRIBUTE_ACA)
        return false;
    if (task->direction == S2N_OUT && is_questionable(task))
        return false;
    const struct s2n_hot_data data = s2n_task_hot_data(task);
    if (!s2n_hot_plan(&lu->params, task->row, task->cdb, &data, plan))
        return false;
    /* The disk stops what it is given. What it is not given may have to be stopped, too. */
    if (lu->params.fenced_by_disk && !plan->blocks && !task->row->asks)
        return false;
    /* The block length may have changed since the task began. */
    if (plan->bytes != task->announced || (plan->bytes && !task->portion_bytes))
        return false;
    const struct s2n_queue *queue = s2n_queue_of(task);
    if (!queue->qp || (!task->place && !s2n_pool_fits(queue->pool, task->portion_bytes)))
        return false;
    const struct s2n_lu_local *local = task->local;
    if (local->ranges && s2n_ranges_exclude(local, task, plan))
        return false;
    return !local->watch || !s2n_watch_meets(local->watch, task, plan);
}

inline bool s2n_task_accept(s2n_task *task)
{
    if (!plan(task)) {
        task->plan = (struct s2n_hot_plan){0};
        return false;
    }
    task->placed_bytes = task->plan.data_at;
    if (task->plan.bytes && task->row->hot->portions)
        s2n_hot_narrow(&task->plan, &task->lu->params, task->portion_at, task->portion_bytes);
    return true;
}
