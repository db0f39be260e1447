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
    URGE_MS = 1000,   /* what is aborted mostly ends by itself before */
    INSIST_MS = 1500, /* or by the controller's own Abort; then it is reset */
    ANSWER_MS = 1750, /* and while that takes longer, nobody waits for it */
    AGAIN_MS = 100,
};

/* Have a queue told at `at_ms` of what is left on it. */
static void urge_at(struct s2n_queue *queue, uint64_t at_ms)
{
    uint64_t now_ms = queue->reactor->now_ms;

    if (at_ms != UINT64_MAX && (!queue->urge.armed || at_ms < queue->urge.at_ms))
        s2n_timer_arm(queue->reactor, &queue->urge, at_ms > now_ms ? at_ms - now_ms : 0);
}

/* When something is to be done about an aborted task. It is answered in the midst of a reset
 * only: what the device still does with it then is done before any later command begins. What
 * has its data in place is not: the place is not ours to keep. */
static uint64_t due_ms(const s2n_task *task, const struct s2n_queue *queue)
{
    if (queue->paused)
        return task->place ? UINT64_MAX : task->abort_ms + ANSWER_MS;
    if (!task->urged)
        return task->abort_ms + URGE_MS;
    return task->urged == 1 ? task->abort_ms + INSIST_MS : UINT64_MAX;
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
    task->abort_ms = task->reactor->now_ms;
    urge_at(s2n_queue_of(task), due_ms(task, s2n_queue_of(task)));
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
    struct s2n_abort abort = {.scope = S2N_SCOPE_NEXUS, .nexus = nexus, .up_to = UINT64_MAX};

    s2n_reactor_abort(reactor, &abort);
}

/* ---- what is left on the device ---- */

static bool left_on(const s2n_task *task, const struct s2n_queue *queue)
{
    return task->aborted && (task->state == S2N_DEVICE || task->state == S2N_REMAINS) &&
           task->pending && s2n_queue_of(task) == queue;
}

/* Tell that nobody waits for the commands of a task. */
static void urge(s2n_task *task, const struct s2n_queue *queue)
{
    s2n_event event = {.type = S2N_EVENT_ABORT,
                       .cookie = queue->controller->cookie,
                       .count = task->urged++,
                       .qid = s2n_qpair_qid(queue->qp)};

    for (int cid = -1; (cid = s2n_qpair_find(queue->qp, (uintptr_t)task, cid + 1)) >= 0;) {
        event.cid = (uint16_t)cid;
        s2n_plane_emit(queue->reactor->plane, &event);
    }
}

/* The first aborted task for which nothing was done in time; `*next_ms` is when the others are
 * due. */
static s2n_task *first_due(const struct s2n_queue *queue, uint64_t *next_ms)
{
    *next_ms = UINT64_MAX;
    for (s2n_task *task = queue->reactor->live; task; task = task->live_next) {
        if (!left_on(task, queue) || task->state == S2N_REMAINS)
            continue;
        uint64_t at_ms = due_ms(task, queue);
        if (at_ms <= queue->reactor->now_ms)
            return task;
        if (at_ms < *next_ms)
            *next_ms = at_ms;
    }
    return NULL;
}

void s2n_queue_urge(struct s2n_timer *timer)
{
    struct s2n_queue *queue =
        (struct s2n_queue *)((char *)timer - offsetof(struct s2n_queue, urge));
    uint64_t next_ms;

    for (s2n_task *task; (task = first_due(queue, &next_ms));) {
        if (!queue->paused) {
            urge(task, queue);
        } else if (!s2n_task_leave(task)) {
            next_ms = queue->reactor->now_ms + AGAIN_MS;
            break;
        }
    }
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
