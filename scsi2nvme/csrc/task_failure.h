/* NVMe commands of hot tasks that fail. */
#ifndef S2N_TASK_FAILURE_H
#define S2N_TASK_FAILURE_H

#include "nvme.h"
#include "task.h"

/* An NVMe command of a hot task failed, whose entry was `sqe`. */
void s2n_task_note_failure(s2n_task *task, const s2n_completion *completion, const uint8_t *sqe);
/* What is left of the task stays undone. */
void s2n_task_stop(s2n_task *task);

#endif
