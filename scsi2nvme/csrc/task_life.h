/* The life of a task, but for what moves blocks. */
#ifndef S2N_TASK_LIFE_H
#define S2N_TASK_LIFE_H

#include "task.h"

s2n_task *s2n_task_new(struct s2n_reactor *reactor, const struct s2n_front_end *front_end,
                       s2n_nexus *nexus);
/* The last task that has come to a reactor, for s2n_plane_abort; and have one come after what
 * has come: it overtook that on its way. */
uint64_t s2n_reactor_arrived(const struct s2n_reactor *reactor);
void s2n_task_arrive_later(s2n_task *task);
/* The logical unit that a nexus has at an address of 8 bytes, NULL: none. */
s2n_lu *s2n_nexus_unit(s2n_nexus *nexus, const uint8_t *lun);
void s2n_task_begin(s2n_task *task);
/* A portion was moved, and another follows: make that the present one. Data-in of the former
 * are gone, and the task is in S2N_GATHERING. */
void s2n_task_next_portion(s2n_task *task);
void s2n_task_free(s2n_task *task);
/* Status and data are there: answer. */
void s2n_task_finish(s2n_task *task);
/* End a task from the front end with a sense (protocol errors of its own): the
 * engine builds it. `code` is key << 16 | ASC << 8 | ASCQ. */
void s2n_task_refuse(s2n_task *task, uint32_t code);

/* ---- for the floors above ---- */

/* What tells a task from all others of the plane, also from those that ended before. */
uint64_t s2n_task_number(const s2n_task *task);
/* Hand it over: an event of `type`, with `code` as its count. */
void s2n_task_to_engine(s2n_task *task, uint32_t type, uint32_t code);
/* A task goes to the engine that still has its blocks: whoever keeps them for it goes along, and
 * is in its place among those that name blocks. */
void s2n_task_keep_blocks(s2n_task *task);
/* Answer an aborted task while the device has a part of it: that part, its buffer and its place
 * among those that name blocks are a task of nobody's then, until it ends. False, and nothing
 * is done, without memory for that. */
bool s2n_task_leave(s2n_task *task);
/* Forget what will never end any more: the reactor is stopped. */
void s2n_reactor_drop_tasks(struct s2n_reactor *reactor);

#endif
