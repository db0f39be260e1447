/* Aborting tasks: what ends at once, and what the device is told to abort. */
#include "task_abort.h"

#include <stddef.h>

#include "abort.h"
#include "events.h"
#include "submit.h"
#include "task_data.h"
#include "task_failure.h"
#include "task_life.h"
#include "unit.h"

enum {
    URGE_MS = 1000,   /* what is aborted mostly ends by itself before */
    INSIST_MS = 1500, /* or by the controller's own Abort; then it is reset */
    ANSWER_MS = 1750, /* and while that takes longer, nobody waits for it */
    REPEAT_MS = 1000, /* a reset may have been put off */
    AGAIN_MS = 100,
};

/* Have a queue told at `at_ms` of what is left on it. */
static void urge_at(struct s2n_queue *queue, uint64_t at_ms)
{
    uint64_t now_ms = queue->reactor->now_ms;

    if (at_ms != UINT64_MAX && (!queue->urge.armed || at_ms < queue->urge.at_ms))
        s2n_timer_arm(queue->reactor, &queue->urge, at_ms > now_ms ? at_ms - now_ms : 0);
}

/* When it is told next that nobody waits for what the device has of a task. */
static uint64_t urge_ms(const s2n_task *task, const struct s2n_queue *queue)
{
    return queue->paused ? UINT64_MAX : task->urge_ms;
}

/* When an aborted task is answered, if the device has not ended it by then. What changes blocks is
 * in the midst of a reset only, of which all reactors know: what the device still does with it then
 * is done before any later command begins, unless these go by another controller already. What has
 * its data in place is not, unless it ends: the place is not ours to keep. */
static uint64_t answer_ms(const s2n_task *task, const struct s2n_queue *queue)
{
    bool hint = task->plan.hinted; /* of a command that else deallocates */
    bool changes = s2n_hot_changes_blocks(task->plan.opcode) && !hint;
    bool waited_for = !atomic_load(&queue->controller->unpaused) && !atomic_load(&task->lu->left);
    bool safe = !changes || (queue->paused && waited_for);

    if (task->state == S2N_REMAINS || task->place || !safe)
        return UINT64_MAX;
    return task->abort_ms + ANSWER_MS;
}

/* When something is to be done about an aborted task. */
static uint64_t due_ms(const s2n_task *task, const struct s2n_queue *queue)
{
    uint64_t urge = urge_ms(task, queue), answer = answer_ms(task, queue);

    return urge < answer ? urge : answer;
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
    task->urge_ms = task->abort_ms + URGE_MS;
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
    struct s2n_walk walk;
    uint32_t found = 0;

    s2n_walk_begin(reactor, &walk);
    for (s2n_task *task; (task = s2n_walk_next(&walk));) {
        if (task->aborted || !s2n_task_matches(task, abort))
            continue;
        found++;
        bool own = abort->scope == S2N_SCOPE_LU && task->nexus == abort->nexus;
        s2n_task_abort(task, abort->tas && !own);
    }
    s2n_walk_end(reactor, &walk);
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
                       .count = task->urged,
                       .qid = s2n_qpair_qid(queue->qp)};

    task->urge_ms = task->urged ? queue->reactor->now_ms + REPEAT_MS : task->abort_ms + INSIST_MS;
    task->urged = true;

    for (int cid = -1; (cid = s2n_qpair_find(queue->qp, (uintptr_t)task, cid + 1)) >= 0;) {
        event.cid = (uint16_t)cid;
        s2n_qpair_pin(queue->qp, event.cid);
        s2n_plane_emit(queue->reactor->plane, &event);
    }
}

/* The first aborted task for which nothing was done in time; `*next_ms` is when the others are
 * due. */
static s2n_task *first_due(const struct s2n_queue *queue, uint64_t *next_ms)
{
    *next_ms = UINT64_MAX;
    for (s2n_task *task = queue->reactor->live; task; task = task->live_next) {
        if (!left_on(task, queue))
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
        if (urge_ms(task, queue) <= queue->reactor->now_ms) {
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
    struct s2n_reactor *reactor = queue->reactor;
    struct s2n_walk walk;

    s2n_walk_begin(reactor, &walk);
    for (s2n_task *task; (task = s2n_walk_next(&walk));) {
        if (!left_on(task, queue))
            continue;
        reactor->in_flight -= s2n_qpair_drop(queue->qp, (uintptr_t)task);
        task->share->entries -= task->pending;
        task->pending = 0;
        s2n_task_hot_finish(task);
    }
    s2n_walk_end(reactor, &walk);
}
