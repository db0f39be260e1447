#include "drain.h"

#include <stdlib.h>

#include "events.h"
#include "state.h"
#include "unit.h"

void s2n_drain_done(struct s2n_drain *drain)
{
    if (atomic_fetch_sub(&drain->reactors_left, 1) != 1)
        return;
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

/* ---- ranges ---- */

/* A count of zero stands for all that follows, or for nothing, which harms nobody. */
static struct s2n_blocks blocks_of_cdb(const s2n_task *task)
{
    const struct s2n_hot_row *row = task->row;
    uint32_t shift = task->lu->params.block_shift;

    if (!row->hot->names_blocks)
        return (struct s2n_blocks){0, 0};
    if (!row->lba.width)
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

    return kind->meets ? kind->meets(plan, blocks) : s2n_blocks_meet(blocks, blocks_of_cdb(task));
}

bool s2n_ranges_exclude(const struct s2n_lu_local *local, const s2n_task *task,
                        const struct s2n_hot_plan *plan)
{
    for (const struct s2n_range *range = local->ranges; range; range = range->next)
        if (s2n_task_meets(task, plan, range->blocks))
            return true;
    return false;
}

/* What came after a range does not meet it. */
void s2n_ranges_leave(struct s2n_lu_local *local, const s2n_task *task)
{
    for (struct s2n_range *range = local->ranges; range; range = range->next) {
        if (!range->under_way || !s2n_task_meets(task, &task->plan, range->blocks))
            continue;
        range->under_way--;
        s2n_range_check(range);
    }
}

struct s2n_range *s2n_range_add(struct s2n_lu_local *local, struct s2n_drain *drain,
                                const s2n_task *live)
{
    struct s2n_range *range = calloc(1, sizeof *range);

    if (!range)
        abort();
    *range = (struct s2n_range){local->ranges, drain->blocks, drain, drain->token, 0};
    for (; live; live = live->live_next)
        if (live->counted && live->lu == drain->lu &&
            s2n_task_meets(live, &live->plan, range->blocks))
            range->under_way++;
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

void s2n_ranges_free(struct s2n_lu_local *local)
{
    while (local->ranges)
        end_first(&local->ranges);
}
