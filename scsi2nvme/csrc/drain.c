#include "drain.h"

#include <stdlib.h>

#include "events.h"
#include "state.h"
#include "unit.h"

void s2n_drain_done(struct s2n_drain *drain)
{
    if (atomic_fetch_sub(&drain->reactors_left, 1) != 1)
        return;
    if (drain->done) {
        drain->done(drain);
        return;
    }
    s2n_event event = {.type = S2N_EVENT_DRAINED, .cookie = drain->token};
    s2n_plane_emit(drain->plane, &event);
    free(drain);
}

void s2n_drains_done(struct s2n_lu_local *local)
{
    while (local->drains) {
        struct s2n_drain_wait *wait = local->drains;
        local->drains = wait->next;
        s2n_drain_done(wait->drain);
        free(wait);
    }
}

/* ---- hot tasks ---- */

void s2n_task_count(s2n_task *task)
{
    struct s2n_lu_local *local = task->local;

    task->counted = true;
    task->hot_previous = NULL;
    task->hot_next = local->tasks;
    if (local->tasks)
        local->tasks->hot_previous = task;
    local->tasks = task;
    local->under_way++;
}

void s2n_task_uncount(s2n_task *task)
{
    struct s2n_lu_local *local = task->local;

    task->counted = false;
    if (task->hot_next)
        task->hot_next->hot_previous = task->hot_previous;
    if (task->hot_previous)
        task->hot_previous->hot_next = task->hot_next;
    else
        local->tasks = task->hot_next;
    local->under_way--;
}

/* ---- tasks that are put off ---- */

/* What writes zones is never hot, and keeps its order. */
static bool may_be_hot(const s2n_task *task)
{
    return task->row && task->row->hot &&
           (task->row->reads_zones ||
            !atomic_load_explicit(&task->lu->zoned, memory_order_relaxed));
}

/* What asks for the logical unit's state waits for nobody. */
bool s2n_task_may_be_put_off(const s2n_task *task)
{
    const struct s2n_slot *slot = s2n_slot_of(task);

    return task->lu && slot && may_be_hot(task) && !task->row->asks &&
           atomic_load_explicit(&task->lu->drained, memory_order_acquire) &&
           atomic_load_explicit(&slot->lu, memory_order_acquire) == task->lu &&
           !atomic_load_explicit(&slot->aside, memory_order_acquire);
}

void s2n_task_put_off(s2n_task *task)
{
    struct s2n_lu_local *local = task->local;

    task->put_off = true;
    task->state = S2N_DEVICE;
    task->plan.blocks = 0; /* it has placed nothing, and does not */
    task->hot_next = NULL;
    task->hot_previous = local->put_off_last;
    if (local->put_off_last)
        local->put_off_last->hot_next = task;
    else
        local->put_off_first = task;
    local->put_off_last = task;
    local->put_off_count++;
}

void s2n_task_take_back(s2n_task *task)
{
    struct s2n_lu_local *local = task->local;

    task->put_off = false;
    if (task->hot_next)
        task->hot_next->hot_previous = task->hot_previous;
    else
        local->put_off_last = task->hot_previous;
    if (task->hot_previous)
        task->hot_previous->hot_next = task->hot_next;
    else
        local->put_off_first = task->hot_next;
    local->put_off_count--;
}

/* ---- ranges ---- */

/* A count of zero stands for all that follows, or for nothing, which harms nobody. */
struct s2n_blocks s2n_task_blocks(const s2n_task *task)
{
    const struct s2n_hot_row *row = task->row;
    uint32_t shift = task->lu->params.block_shift;

    if (!row->hot->names_blocks)
        return (struct s2n_blocks){0, 0};
    if (!row->lba.mask)
        return (struct s2n_blocks){0, UINT64_MAX};
    uint64_t first = s2n_hot_bits(task->cdb, row->lba), count = s2n_hot_count(row, task->cdb);
    if (row->hot->portions && task->portion_bytes) {
        first += task->portion_at >> shift;
        count = task->portion_bytes >> shift;
    }
    bool open = !count || count > UINT64_MAX - first;
    return (struct s2n_blocks){first, open ? UINT64_MAX : first + count};
}

bool s2n_task_meets(const s2n_task *task, const struct s2n_hot_plan *plan, struct s2n_blocks blocks)
{
    const struct s2n_hot_kind *kind = task->row->hot;

    return kind->meets ? kind->meets(plan, blocks) : s2n_blocks_meet(blocks, s2n_task_blocks(task));
}

bool s2n_ranges_exclude(const struct s2n_lu_local *local, const s2n_task *task,
                        const struct s2n_hot_plan *plan)
{
    const struct s2n_hot_kind *kind = task->row->hot;
    struct s2n_blocks own = s2n_task_blocks(task);

    for (const struct s2n_range *range = local->ranges; range; range = range->next) {
        if (kind->alone && range->token & S2N_HOT_TOKEN)
            continue;
        if (kind->meets ? kind->meets(plan, range->blocks) : s2n_blocks_meet(own, range->blocks))
            return true;
    }
    return false;
}

/* What came after a range does not meet it. */
void s2n_ranges_leave(struct s2n_lu_local *local, const s2n_task *task, uint64_t own)
{
    for (struct s2n_range *range = local->ranges; range; range = range->next) {
        if (!range->under_way || range->token == own ||
            !s2n_task_meets(task, &task->plan, range->blocks))
            continue;
        range->under_way--;
        s2n_range_check(range);
    }
}

struct s2n_range *s2n_range_add(struct s2n_lu_local *local, struct s2n_drain *drain)
{
    struct s2n_range *range = calloc(1, sizeof *range);

    if (!range)
        abort();
    *range = (struct s2n_range){local->ranges, drain->blocks, drain, drain->token, 0};
    for (const s2n_task *task = local->tasks; task; task = task->hot_next)
        range->under_way += s2n_task_meets(task, &task->plan, range->blocks);
    local->ranges = range;
    return range;
}

void s2n_range_check(struct s2n_range *range)
{
    struct s2n_drain *drain = range->drain;

    if (!drain || range->under_way)
        return;
    range->drain = NULL;
    s2n_drain_done(drain);
}

static void end_first(struct s2n_range **at)
{
    struct s2n_range *range = *at;

    *at = range->next;
    range->under_way = 0;
    s2n_range_check(range);
    free(range);
}

void s2n_range_remove(struct s2n_lu_local *local, uint64_t token)
{
    for (struct s2n_range **at = &local->ranges; *at; at = &(*at)->next)
        if ((*at)->token == token) {
            end_first(at);
            return;
        }
}

struct removal {
    struct s2n_lu_local *local;
    uint64_t token;
};

static void remove_range(void *argument)
{
    struct removal removal = *(struct removal *)argument;

    free(argument);
    s2n_range_remove(removal.local, removal.token);
}

void s2n_range_remove_on(struct s2n_reactor *reactor, struct s2n_lu_local *local, uint64_t token)
{
    struct removal *removal = malloc(sizeof *removal);

    if (!removal)
        abort();
    *removal = (struct removal){local, token};
    s2n_reactor_call(reactor, remove_range, removal);
}

void s2n_ranges_free(struct s2n_lu_local *local)
{
    while (local->ranges)
        end_first(&local->ranges);
}
