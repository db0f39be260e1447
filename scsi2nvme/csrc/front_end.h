/* Reactors as front ends (target/) use them.
 *
 * A front end turns what arrives on its file descriptors into tasks:
 *
 *   task = s2n_task_new(reactor, front_end, nexus)     fill lun, cdb, tag, attribute
 *   s2n_task_begin(task)                               learn direction and announced bytes
 *   s2n_task_join(task)                                in its turn; perhaps wait for `enabled`
 *   s2n_task_reserve(task, bytes)                      for data-out: a buffer, or wait for one
 *   …fill the buffer through s2n_task_span…            immediate data, R2Ts
 *   s2n_task_execute(task)                             hot path or engine
 *   front_end->complete(task)                          called on the same reactor, perhaps at once
 *   s2n_task_leave_set(task)                           others need not wait for it any more
 *   s2n_task_free(task)                                when its data-in has been sent
 *
 * All of it happens on the reactor's own thread; nothing takes a lock.
 */
#ifndef S2N_FRONT_END_H
#define S2N_FRONT_END_H

#include "events.h"
#include "flow.h"
#include "heap.h"
#include "loop.h"
#include "plane.h"
#include "qpair.h"
#include "submit.h"
#include "task.h"
#include "task_abort.h"
#include "task_data.h"
#include "task_life.h"
#include "task_set.h"

#endif
