/* Hot tasks that compare. */
#ifndef S2N_MISCOMPARE_H
#define S2N_MISCOMPARE_H

#include "task.h"

/* What was read is not what the initiator expects: as if a Compare had failed. */
void s2n_task_miscompare(s2n_task *task);
/* A Compare has failed: whether to find where, by the task's plan from now on, for who is told. */
bool s2n_task_locates(s2n_task *task, const struct s2n_hot_data *data);
/* What has looked for a difference ends as what has met it did. If it has failed, it has read
 * nothing. */
void s2n_task_has_located(s2n_task *task);
/* Set the status and sense data of a task that a Compare has ended. That is no fault of the disk's:
 * there is nothing for the engine to judge. False: there is. */
bool s2n_task_tells_miscompare(s2n_task *task);

#endif
