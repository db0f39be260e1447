#include "watch.h"

#include <stdlib.h>

#include "drain.h"
#include "unit.h"

/* Whether any of the blocks are watched. */
static bool is_watched(const struct s2n_watch *watch, struct s2n_blocks blocks)
{
    uint32_t first = 0, end = watch->count;

    /* The first that does not end before. */
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (watch->blocks[middle].end <= blocks.first)
            first = middle + 1;
        else
            end = middle;
    }
    return first < watch->count && s2n_blocks_meet(watch->blocks[first], blocks);
}

bool s2n_watch_meets(const struct s2n_watch *watch, const s2n_task *task,
                     const struct s2n_hot_plan *plan)
{
    const struct s2n_hot_kind *kind = task->row->hot;

    if (!kind->names_blocks || (!kind->alone && !s2n_hot_changes_blocks(plan->opcode)))
        return false;
    if (!kind->meets)
        return is_watched(watch, s2n_task_blocks(task));
    /* What names many ranges is the engine's if any lies between those that are watched. */
    return kind->meets(
        plan, (struct s2n_blocks){watch->blocks[0].first, watch->blocks[watch->count - 1].end});
}

struct watch_call {
    struct s2n_lu_local *local;
    struct s2n_watch *watch;
};

static void set_watch(void *argument)
{
    struct watch_call call = *(struct watch_call *)argument;

    free(argument);
    free(call.local->watch);
    call.local->watch = call.watch;
}

static struct s2n_watch *watch_of(const uint64_t *edges, uint32_t count)
{
    struct s2n_watch *watch;

    if (!count)
        return NULL;
    watch = malloc(sizeof *watch + count * sizeof *watch->blocks);
    if (!watch)
        abort(); /* nobody would be told of what changes */
    watch->count = count;
    for (uint32_t i = 0; i < count; i++)
        watch->blocks[i] = (struct s2n_blocks){edges[2 * i], edges[2 * i + 1]};
    return watch;
}

void s2n_lu_watch(s2n_lu *lu, const uint64_t *edges, uint32_t count)
{
    for (uint32_t i = 0; i < lu->reactors; i++) {
        struct watch_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct watch_call){&lu->local[i], watch_of(edges, count)};
        s2n_reactor_call(&lu->controller->plane->reactor[i], set_watch, call);
    }
}
