/* Blocks of a logical unit that the hot path reads but does not change: what would is the
 * engine's, which tells who wants to know. */
#ifndef S2N_WATCH_H
#define S2N_WATCH_H

#include "hot_kind.h"
#include "task.h"

/* Apart from each other, and in ascending order. Each reactor has one of its own. */
struct s2n_watch {
    uint32_t count; /* not zero */
    struct s2n_blocks blocks[];
};

/* Whether a task, which would be hot by `plan`, may change some of them. */
bool s2n_watch_meets(const struct s2n_watch *watch, const s2n_task *task,
                     const struct s2n_hot_plan *plan);

#endif
