/* What is counted of a task, from its arrival to its answer: on its reactor, for its logical unit
 * and its nexus. */
#ifndef S2N_STATISTICS_H
#define S2N_STATISTICS_H

#include "task.h"

void s2n_count_begun(s2n_task *task);
/* Status and data of it, or of a portion, are decided. */
void s2n_count_answered(s2n_task *task);
/* It goes to the engine, which is the first to have it; or a portion of it does. */
void s2n_count_cold(const s2n_task *task);
/* It ends; if it was not answered, it never is. */
void s2n_count_gone(s2n_task *task);

#endif
