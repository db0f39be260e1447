/* Drains: how the control thread learns that no hot task is under way any more, on a logical
 * unit or on a range of its blocks. */
#ifndef S2N_DRAIN_H
#define S2N_DRAIN_H

#include <stdatomic.h>

#include "task.h"

struct s2n_lu_local;

/* A drain of a logical unit, or a pause of a controller, over all reactors. */
struct s2n_drain {
    s2n_plane *plane;
    s2n_lu *lu;
    s2n_controller *controller;
    struct s2n_blocks blocks; /* whose hot tasks are waited for */
    uint64_t token;
    atomic_uint reactors_left;
};
struct s2n_drain_wait {
    struct s2n_drain_wait *next;
    struct s2n_drain *drain;
};

/* Blocks that one reactor keeps the hot path off, so that the engine has them alone. */
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

/* Whether the present portion of a task, which is hot by `plan`, reads or changes some blocks. */
bool s2n_task_meets(const s2n_task *task, const struct s2n_hot_plan *plan,
                    struct s2n_blocks blocks);
/* Whether the hot path is kept off some of the blocks of a task, which would be hot by `plan`.
 * There are ranges. */
bool s2n_ranges_exclude(const struct s2n_lu_local *local, const s2n_task *task,
                        const struct s2n_hot_plan *plan);
/* A hot task has ended, or is no longer one. */
void s2n_ranges_leave(struct s2n_lu_local *local, const s2n_task *task);
/* Keep the hot path off a range from now on; its hot tasks are counted, and s2n_range_check is
 * to follow. */
struct s2n_range *s2n_range_add(struct s2n_lu_local *local, struct s2n_drain *drain,
                                const s2n_task *live);
/* Tell the drain if nothing is left that it waits for. */
void s2n_range_check(struct s2n_range *range);
void s2n_range_remove(struct s2n_lu_local *local, uint64_t token);
void s2n_ranges_free(struct s2n_lu_local *local);

#endif
