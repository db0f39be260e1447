/* Whether the hot path takes a task, or the engine is to have it. */
#ifndef S2N_ACCEPT_H
#define S2N_ACCEPT_H

#include "task.h"

/* The data-out of a task, as far as its kind may look at them. */
struct s2n_hot_data s2n_task_hot_data(const s2n_task *task);
/* Whether the hot path takes a task, which has a hot row; if so it is planned. */
bool s2n_task_accept(s2n_task *task);

#endif
