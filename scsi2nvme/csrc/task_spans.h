/* A task's data as spans of the controller's addresses. */
#ifndef S2N_TASK_SPANS_H
#define S2N_TASK_SPANS_H

#include "qpair.h"
#include "task.h"

/* Of one NVMe command, whose first page may be a part of one. */
enum { S2N_MAXIMUM_SPANS = S2N_QPAIR_MAXIMUM_BYTES / S2N_PAGE + 1 };

/* Describe the `bytes` of data of the NVMe command that is placed now: how many spans they are;
 * 0: too many. */
uint32_t s2n_task_spans(s2n_task *task, uint32_t bytes, struct s2n_span *spans);

#endif
