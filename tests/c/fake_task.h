/* Tasks in tests of front ends: their life, and the pool that their buffers come from. */
#ifndef S2N_FAKE_TASK_H
#define S2N_FAKE_TASK_H

#include "front_end.h"

/* Forget those that there are. */
void fake_tasks_start(void);
/* Abort the task with this tag as s2n_plane_abort does; whether it was under way. */
bool fake_abort(uint32_t tag, bool task_aborted_status);
/* More memory for the pool: tasks that wait go on. */
void fake_give(int64_t bytes);

#endif
