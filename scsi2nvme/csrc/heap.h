/* Memory of the heap that is taken for an initiator's sake: what it sent too early, and what
 * the engine makes of its commands. It is counted by nexus, and over all of them: an initiator
 * that takes no answers must not cost more than a known amount. */
#ifndef S2N_HEAP_H
#define S2N_HEAP_H

#include "task.h"

enum {
    S2N_NEXUS_HEAP = 17 << 20, /* two of the largest transfers, and what tasks take besides */
    S2N_PLANE_HEAP = 128 << 20,
};

/* Have the C library keep what is freed, so much of it, instead of giving it back to the kernel
 * after each large command: for the whole process. */
void s2n_heap_keep(void);
/* Count `bytes` of memory for the task: false, and nothing is counted, if its nexus or all of
 * them would have too much, or its nexus more than it leaves to others. */
bool s2n_task_charge(s2n_task *task, uint64_t bytes);
/* It is `bytes` altogether now, whatever that makes. */
void s2n_task_recharge(s2n_task *task, uint64_t bytes);
/* Whether its nexus has memory counted. */
bool s2n_task_has_company(const s2n_task *task);
/* What the engine will take for the task, at most, in its hands and as an answer. */
uint64_t s2n_task_cold_bytes(const s2n_task *task);
/* Whether memory was refused in the last second because all of them have too much. */
bool s2n_heap_is_short(const struct s2n_reactor *reactor);

#endif
