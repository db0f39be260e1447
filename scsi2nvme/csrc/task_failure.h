/* NVMe commands of hot tasks that fail. */
#ifndef S2N_TASK_FAILURE_H
#define S2N_TASK_FAILURE_H

#include "nvme.h"
#include "task.h"

enum { S2N_ABORTED_SQ_DELETION = 0x008 }; /* an NVMe status */

/* An NVMe command of a hot task failed, whose entry was `sqe`. */
void s2n_task_note_failure(s2n_task *task, const s2n_completion *completion, const uint8_t *sqe);
/* What is left of the task stays undone. */
void s2n_task_stop(s2n_task *task);
/* Likewise, as if the next command of it had failed. */
void s2n_task_forgo(s2n_task *task, bool dnr);

#endif
