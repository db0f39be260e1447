/* The hot path: a task becomes NVMe commands, on its reactor's queue of the controller. */
#ifndef S2N_SUBMIT_H
#define S2N_SUBMIT_H

#include "drain.h"
#include "qpair.h"
#include "task.h"

struct s2n_queue;
struct s2n_lu_local;

/* Whether the hot path moves the data of such a task, so that `place` may be set. After
 * s2n_task_begin. */
bool s2n_task_moves_blocks(const s2n_task *task);
void s2n_task_execute(s2n_task *task);
/* Whether its controller was given up: a transfer may go on although all commands ended. */
bool s2n_task_lost(const s2n_task *task);

/* ---- for the floors above ---- */

/* One completed. It may place others, whose entries are those of completions not yet noted. */
void s2n_task_completed(s2n_task *task);
/* Let tasks that wait for this queue's slots or buffers go on. Between rounds only:
 * it places commands, whose entries may be those of completions not yet looked at. */
void s2n_queue_resume(struct s2n_queue *queue);
/* Those hot tasks of some blocks of a logical unit that wait for a buffer are not hot any more:
 * nothing of them has begun, and what holds the buffers may wait for the same drain. */
void s2n_queue_yield(struct s2n_queue *queue, const s2n_lu *lu, struct s2n_blocks blocks);
/* Execute again what was put off on a reactor. */
void s2n_lu_execute_put_off(struct s2n_lu_local *local);
/* Keep hot tasks off the range of a drain; it is told when there are none. A struct
 * s2n_drain_call, on its reactor. */
void s2n_queue_keep_off(void *call);
/* Nothing of it is under way any more: it ends, or is the engine's if a command failed. */
void s2n_task_hot_finish(s2n_task *task);
/* It is hot no more, and has no blocks any more. */
void s2n_task_hot_end(s2n_task *task);
/* Nothing of it has begun: it is judged as if it came now. */
void s2n_task_begin_anew(s2n_task *task);

#endif
