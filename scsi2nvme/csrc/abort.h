/* Orders to abort, or only to count, tasks. */
#ifndef S2N_ABORT_H
#define S2N_ABORT_H

#include <stdatomic.h>

#include "task.h"

/* An abort or a query that waits for tasks of one reactor to end. */
struct s2n_abort {
    uint32_t scope, itt;
    s2n_nexus *nexus;
    s2n_lu *lu;
    bool query, tas;
    uint64_t up_to; /* of the nexus's own tasks: what arrived later is not meant */
    uint64_t token;
    atomic_uint reactors_left, found;
    s2n_plane *plane;
};
struct s2n_abort_wait {
    struct s2n_abort_wait *next;
    struct s2n_abort *abort;
    uint64_t up_to; /* tasks with a later serial came after it */
    s2n_task *at;   /* the first live one that it waits for: what is before has ended */
};

/* A walk over the live tasks of a reactor in which any of them may end. */
struct s2n_walk {
    s2n_task *next;
    struct s2n_walk *outer; /* in which this one began */
};

/* Whether a task is under way, or whatever its state in S2N_SCOPE_HELD, and meant by `abort`. */
bool s2n_task_matches(const s2n_task *task, const struct s2n_abort *abort);
/* One reactor less has tasks that the order waits for. */
void s2n_abort_done(struct s2n_abort *abort);
/* Look again whether what aborts wait for has ended. */
void s2n_reactor_check_aborts(struct s2n_reactor *reactor);
void s2n_walk_begin(struct s2n_reactor *reactor, struct s2n_walk *walk);
/* The next task, NULL after the last. What came since the beginning is left out. */
s2n_task *s2n_walk_next(struct s2n_walk *walk);
void s2n_walk_end(struct s2n_reactor *reactor, const struct s2n_walk *walk);
/* A live task is about to be freed: whoever has come to it goes on with the next. */
void s2n_reactor_pass(struct s2n_reactor *reactor, const s2n_task *task);

#endif
