/* Aborting tasks, on their reactor. */
#ifndef S2N_TASK_ABORT_H
#define S2N_TASK_ABORT_H

#include "loop.h"
#include "task.h"

struct s2n_abort;
struct s2n_queue;

/* Abort a task that has not ended: `discard` is called if it is being gathered; else
 * `complete`, at once if nothing of it is under way. The engine is told of what it has. */
void s2n_task_abort(s2n_task *task, bool task_aborted_status);
/* Abort every task of a nexus on this reactor, without responses. */
void s2n_nexus_abort_all(struct s2n_reactor *reactor, s2n_nexus *nexus);

/* ---- for the floors above ---- */

/* Abort what matches; returns how many tasks did. */
uint32_t s2n_reactor_abort(struct s2n_reactor *reactor, const struct s2n_abort *abort);
/* Have the controller abort what aborted tasks left on it, tell of it once more if that did not
 * help, and answer these while it is being reset. A queue's timer, and when that begins. */
void s2n_queue_urge(struct s2n_timer *timer);
/* The controller was reset: what aborted tasks left on it is not done again. */
void s2n_queue_drop_aborted(struct s2n_queue *queue);

#endif
