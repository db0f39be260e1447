/* Aborting tasks: what ends at once, and what the device is told to abort. */
#include "task_abort.h"

#include <stddef.h>

#include "abort.h"
#include "events.h"
#include "submit.h"
#include "task_data.h"
#include "unit.h"

enum { URGE_MS = 1000 }; /* what is aborted mostly ends by itself before */

void s2n_task_abort(s2n_task *task, bool task_aborted_status)
{
    /* An earlier abort that promised a response keeps its promise. */
    if (task->aborted || task->state == S2N_DONE)
        return;
    task->task_aborted_status = task_aborted_status;
    task->aborted = true;
    if (task->state == S2N_GATHERING) {
        s2n_task_stop_waiting(task);
        task->front_end->discard(task);
    } else if (task->state == S2N_DEVICE) {
        s2n_task_stop(task);
        if (!task->pending)
            s2n_task_hot_finish(task);
        else if (!s2n_queue_of(task)->urge.armed)
            s2n_timer_arm(task->reactor, &s2n_queue_of(task)->urge, URGE_MS);
    }
}

uint32_t s2n_reactor_abort(struct s2n_reactor *reactor, const struct s2n_abort *abort)
{
    s2n_task *task = reactor->live;
    uint32_t found = 0;

    while (task) {
        if (task->aborted || !s2n_task_matches(task, abort)) {
            task = task->live_next;
            continue;
        }
        found++;
        bool own = abort->scope == S2N_SCOPE_LU && task->nexus == abort->nexus;
        s2n_task_abort(task, abort->tas && !own);
        /* That may have ended other tasks, the next one among them. */
        task = reactor->live;
    }
    return found;
}

void s2n_nexus_abort_all(struct s2n_reactor *reactor, s2n_nexus *nexus)
{
    struct s2n_abort abort = {.scope = S2N_SCOPE_NEXUS, .nexus = nexus};

    s2n_reactor_abort(reactor, &abort);
}

/* ---- what is left on the device ---- */

static bool left_on(const s2n_task *task, const struct s2n_queue *queue)
{
    return task->aborted && task->state == S2N_DEVICE && task->pending &&
           s2n_queue_of(task) == queue;
}

void s2n_queue_urge(struct s2n_timer *timer)
{
    struct s2n_queue *queue =
        (struct s2n_queue *)((char *)timer - offsetof(struct s2n_queue, urge));
    s2n_event event = {.type = S2N_EVENT_ABORT, .cookie = queue->controller->cookie};

    if (queue->paused)
        return; /* a reset ends them as well */
    event.qid = s2n_qpair_qid(queue->qp);
    for (s2n_task *task = queue->reactor->live; task; task = task->live_next) {
        if (task->urged || !left_on(task, queue))
            continue;
        task->urged = true;
        for (int cid = -1; (cid = s2n_qpair_find(queue->qp, (uintptr_t)task, cid + 1)) >= 0;) {
            event.cid = (uint16_t)cid;
            s2n_plane_emit(queue->reactor->plane, &event);
        }
    }
}

void s2n_queue_drop_aborted(struct s2n_queue *queue)
{
    s2n_task *task = queue->reactor->live;

    while (task) {
        if (!left_on(task, queue)) {
            task = task->live_next;
            continue;
        }
        queue->reactor->in_flight -= s2n_qpair_drop(queue->qp, (uintptr_t)task);
        task->pending = 0;
        s2n_task_hot_finish(task);
        /* That may have ended other tasks, the next one among them. */
        task = queue->reactor->live;
    }
}
