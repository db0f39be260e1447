/* Aborting tasks: what ends at once, and what the device is told to abort. */
#include "task_abort.h"

#include <stddef.h>

#include "abort.h"
#include "events.h"
#include "submit.h"
#include "task_data.h"
#include "task_life.h"
#include "unit.h"

enum {
    URGE_MS = 1000,  /* what is aborted mostly ends by itself before */
    INSIST_MS = 500, /* or by the controller's own Abort */
};

/* Have a queue told at `at_ms` of what is left on it. */
static void urge_at(struct s2n_queue *queue, uint64_t at_ms)
{
    uint64_t now_ms = queue->reactor->now_ms;

    if (!queue->urge.armed || at_ms < queue->urge.at_ms)
        s2n_timer_arm(queue->reactor, &queue->urge, at_ms > now_ms ? at_ms - now_ms : 0);
}

static void tell_engine(const s2n_task *task)
{
    s2n_event event = {.type = S2N_EVENT_TASK_ABORTED, .cookie = s2n_task_number(task)};

    s2n_plane_emit(task->reactor->plane, &event);
}

/* What has been given to the device. */
static void abort_on_device(s2n_task *task)
{
    s2n_task_stop(task);
    if (!task->pending) {
        s2n_task_hot_finish(task);
        return;
    }
    task->urge_ms = task->reactor->now_ms + URGE_MS;
    urge_at(s2n_queue_of(task), task->urge_ms);
}

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
        abort_on_device(task);
    } else {
        tell_engine(task);
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

/* Tell that nobody waits for the commands of a task; returns when it is to be told again. */
static uint64_t urge(s2n_task *task, const struct s2n_queue *queue)
{
    s2n_event event = {.type = S2N_EVENT_ABORT,
                       .cookie = queue->controller->cookie,
                       .count = task->urged,
                       .qid = s2n_qpair_qid(queue->qp)};

    for (int cid = -1; (cid = s2n_qpair_find(queue->qp, (uintptr_t)task, cid + 1)) >= 0;) {
        event.cid = (uint16_t)cid;
        s2n_plane_emit(queue->reactor->plane, &event);
    }
    return task->urged++ ? UINT64_MAX : queue->reactor->now_ms + INSIST_MS;
}

void s2n_queue_urge(struct s2n_timer *timer)
{
    struct s2n_queue *queue =
        (struct s2n_queue *)((char *)timer - offsetof(struct s2n_queue, urge));
    uint64_t next_ms = UINT64_MAX;

    if (queue->paused)
        return; /* a reset ends them as well */
    for (s2n_task *task = queue->reactor->live; task; task = task->live_next) {
        if (!left_on(task, queue))
            continue;
        if (task->urge_ms <= queue->reactor->now_ms)
            task->urge_ms = urge(task, queue);
        if (task->urge_ms < next_ms)
            next_ms = task->urge_ms;
    }
    if (next_ms != UINT64_MAX)
        urge_at(queue, next_ms);
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
