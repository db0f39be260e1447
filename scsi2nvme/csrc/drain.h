/* Drains: how the control thread learns that no hot task is under way any more, on a logical
 * unit or on a range of its blocks. */
#ifndef S2N_DRAIN_H
#define S2N_DRAIN_H

#include <stdatomic.h>

#include "task.h"

struct s2n_lu_local;

/* A drain of a logical unit, or a pause of a controller, over all reactors. It is on the heap
 * and goes with its end, unless `done` is called then, on the last reactor. */
struct s2n_drain {
    void (*done)(struct s2n_drain *drain); /* NULL: the control thread is told */
    s2n_plane *plane;
    s2n_lu *lu;
    s2n_controller *controller;
    struct s2n_blocks blocks; /* whose hot tasks are waited for */
    uint64_t token;
    atomic_uint reactors_left;
};
/* A message to one reactor on behalf of it, on the heap. */
struct s2n_drain_call {
    struct s2n_drain *drain;
    struct s2n_reactor *reactor;
};
struct s2n_drain_wait {
    struct s2n_drain_wait *next;
    struct s2n_drain *drain;
};

/* In the tokens of hot tasks; those of the engine's are numbers, which stay below. */
#define S2N_HOT_TOKEN (UINT64_C(1) << 63)

/* Blocks that one reactor keeps the hot path off, so that somebody has them alone. */
struct s2n_range {
    struct s2n_range *next;
    struct s2n_blocks blocks;
    struct s2n_drain *drain; /* NULL once none of its tasks is left */
    uint64_t token;
    uint64_t under_way; /* hot tasks of these blocks, which came before it */
};

/* One reactor less has to do what a drain waits for. */
void s2n_drain_done(struct s2n_drain *drain);
/* No hot task of the logical unit is left on this reactor. */
void s2n_drains_done(struct s2n_lu_local *local);

/* A task is a hot one of its logical unit from now on, or no longer; who waits for that is not told
 * yet. */
void s2n_task_count(s2n_task *task);
void s2n_task_uncount(s2n_task *task);

/* Whether a task that the hot path does not take is to be put off: it may be hot again once a drain
 * of its logical unit is over, and is cold for nothing else. */
bool s2n_task_may_be_put_off(const s2n_task *task);
/* It is executed again then, by whoever ends the drain. */
void s2n_task_put_off(s2n_task *task);
/* It is not any more. */
void s2n_task_take_back(s2n_task *task);

/* Which blocks the present portion of a task names, as far as its CDB tells. */
struct s2n_blocks s2n_task_blocks(const s2n_task *task);
/* Whether the present portion of a task, which is hot by `plan`, reads or changes some blocks. */
bool s2n_task_meets(const s2n_task *task, const struct s2n_hot_plan *plan,
                    struct s2n_blocks blocks);
/* Whether the hot path is kept off some of the blocks of a task, which would be hot by `plan`.
 * There are ranges. What must be alone has a claim to tell it of others that must. */
bool s2n_ranges_exclude(const struct s2n_lu_local *local, const s2n_task *task,
                        const struct s2n_hot_plan *plan);
/* A hot task has ended, or is no longer one; `own` is the token of its range, if it has one. */
void s2n_ranges_leave(struct s2n_lu_local *local, const s2n_task *task, uint64_t own);
/* Keep the hot path off a range from now on; its hot tasks are counted, and s2n_range_check is
 * to follow. */
struct s2n_range *s2n_range_add(struct s2n_lu_local *local, struct s2n_drain *drain);
/* Tell the drain if nothing is left that it waits for. */
void s2n_range_check(struct s2n_range *range);
void s2n_range_remove(struct s2n_lu_local *local, uint64_t token);
/* Have a reactor remove its range, some time. */
void s2n_range_remove_on(struct s2n_reactor *reactor, struct s2n_lu_local *local, uint64_t token);
void s2n_ranges_free(struct s2n_lu_local *local);

#endif
