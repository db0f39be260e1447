/* A task's data, in place or in a buffer of its controller's pool. */
#ifndef S2N_TASK_DATA_H
#define S2N_TASK_DATA_H

#include "task.h"

/* Give the task a buffer of `bytes` (at most S2N_MAXIMUM_TRANSFER): true at once,
 * or false and `reserved` is called later; or `complete` with BUSY, where the pool
 * could never hold so much. 0 bytes: true. */
bool s2n_task_reserve(s2n_task *task, uint32_t bytes);
/* As above but never waits: false leaves the task without a buffer. */
bool s2n_task_try_reserve(s2n_task *task, uint32_t bytes);
/* Do without the buffer. */
void s2n_task_give_buffer(s2n_task *task);
/* The contiguous memory at `offset` of the task's data-in or data-out, which is in the present
 * portion (heap, extent or chunk): returns its address, and its length in `length`. */
uint8_t *s2n_task_span_at(s2n_task *task, uint32_t offset, uint32_t *length);

/* Whether the task's memory is of what tasks of other nexuses lack. */
bool s2n_task_holds_up(const s2n_task *task);

/* ---- for the floors above ---- */

struct s2n_queue;

/* Have it wait for a submission slot, behind those of its nexus that do. */
void s2n_task_wait_for_slot(s2n_task *task);
/* Whether there are any, so that it is not its turn. */
bool s2n_task_is_behind(const s2n_task *task);
/* It no longer waits for a buffer, nor for a submission slot. */
void s2n_task_stop_waiting(s2n_task *task);
/* One of those that wait for a buffer no longer has to: it has one, or, where the pool could
 * never hold so much, has none. NULL: all have to. */
s2n_task *s2n_queue_grant(struct s2n_queue *queue);

#endif
