/* After a reset: fused pairs, and what was meant for other blocks than there are now. */
#include "recall.h"

#include "abort.h"
#include "submit.h"
#include "task_failure.h"
#include "unit.h"

/* The controller has forgotten the commands of a task: they have failed. */
static void end_forgotten(s2n_task *task, struct s2n_queue *queue, bool dnr)
{
    s2n_completion lost = {.status = S2N_ABORTED_SQ_DELETION, .dnr = dnr};

    for (int cid = -1; (cid = s2n_qpair_find(queue->qp, (uintptr_t)task, cid + 1)) >= 0;) {
        lost.cid = (uint16_t)cid;
        s2n_task_note_failure(task, &lost, s2n_qpair_sqe(queue->qp, lost.cid));
    }
    queue->reactor->in_flight -= s2n_qpair_drop(queue->qp, (uintptr_t)task);
    task->share->entries -= task->pending;
    task->pending = 0;
    s2n_task_hot_finish(task);
}

void s2n_queue_end_fused(struct s2n_queue *queue)
{
    struct s2n_walk walk;

    s2n_walk_begin(queue->reactor, &walk);
    for (s2n_task *task; (task = s2n_walk_next(&walk));)
        if (task->pending && task->plan.fuse && s2n_queue_of(task) == queue)
            end_forgotten(task, queue, false);
    s2n_walk_end(queue->reactor, &walk);
}

static void place_no_more(s2n_task *task, bool dnr)
{
    s2n_task_forgo(task, dnr);
    if (!task->pending)
        s2n_task_hot_finish(task);
}

/* What had blocks alone that are others now has nothing that the engine could go on with. */
static void recall(s2n_task *task, struct s2n_queue *queue, bool forgotten)
{
    bool lost = forgotten && task->hold;

    if (!task->pending && !task->plan.phase) {
        s2n_task_begin_anew(task);
        return;
    }
    task->recalled = true;
    if (lost)
        s2n_task_hot_end(task);
    if (task->pending && forgotten)
        end_forgotten(task, queue, lost);
    else if (task->plan.blocks && !task->nvme_status)
        place_no_more(task, lost);
}

void s2n_queue_recall(struct s2n_queue *queue, const s2n_lu *lu, bool forgotten)
{
    struct s2n_walk walk;

    if (queue->reactor->stopping)
        return; /* nothing goes on any more */
    s2n_walk_begin(queue->reactor, &walk);
    for (s2n_task *task; (task = s2n_walk_next(&walk));)
        if (task->lu == lu && s2n_queue_of(task) == queue && task->state == S2N_DEVICE &&
            !task->aborted && !task->put_off)
            recall(task, queue, forgotten);
    s2n_walk_end(queue->reactor, &walk);
}
