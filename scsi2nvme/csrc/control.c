/* What the control thread asks of all reactors: one message to each, and mostly one
 * event when all have done it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "abort.h"
#include "recall.h"
#include "submit.h"
#include "task_abort.h"
#include "unit.h"

enum { DEFAULT_TIMEOUT_MS = 30000 };

/* ---- controllers ---- */

s2n_controller *s2n_controller_new(s2n_plane *plane, uint64_t cookie)
{
    uint32_t count = plane->reactor_count;
    s2n_controller *controller = calloc(1, sizeof *controller + count * sizeof *controller->queue);

    if (!controller)
        return NULL;
    controller->plane = plane;
    controller->cookie = cookie;
    atomic_init(&controller->timeout_ms, DEFAULT_TIMEOUT_MS);
    atomic_init(&controller->users, 1);
    for (uint32_t i = 0; i < count; i++) {
        struct s2n_queue *queue = &controller->queue[i];
        queue->controller = controller;
        queue->reactor = &plane->reactor[i];
        queue->interrupt.fd = -1;
        queue->urge.expire = s2n_queue_urge;
    }
    return controller;
}

/* Completions are collected at the end of the round. The eventfd is never read: its
 * edges are watched, and its count would need centuries to overflow. */
static void interrupted(struct s2n_source *source, uint32_t events)
{
    (void)source;
    (void)events;
}

struct queue_call {
    struct s2n_queue *queue;
    s2n_qpair *qp;
    struct s2n_pool *pool;
    int eventfd;
};

static void attach_queue(void *argument)
{
    struct queue_call call = *(struct queue_call *)argument;
    struct s2n_queue *queue = call.queue;

    free(argument);
    queue->qp = call.qp;
    queue->paused = !call.qp; /* nothing is ever submitted or polled */
    queue->pool = call.pool;
    queue->interrupt = (struct s2n_source){call.eventfd, interrupted};
    queue->next = queue->reactor->queues;
    queue->reactor->queues = queue;
    if (queue->interrupt.fd >= 0 &&
        s2n_source_add(queue->reactor, &queue->interrupt, EPOLLIN | EPOLLET) < 0)
        queue->interrupt.fd = -1; /* it is polled, then */
}

static void let_go(s2n_controller *controller)
{
    if (atomic_fetch_sub(&controller->users, 1) == 1)
        free(controller);
}

static void detach_queue(void *argument)
{
    struct s2n_queue *queue = argument, **at = &queue->reactor->queues;

    if (queue->interrupt.fd >= 0)
        s2n_source_remove(queue->reactor, &queue->interrupt);
    s2n_timer_cancel(queue->reactor, &queue->urge);
    while (*at != queue)
        at = &(*at)->next;
    *at = queue->next;
    s2n_pool_free(queue->pool);
    let_go(queue->controller);
}

int s2n_controller_set_queue(s2n_controller *controller, uint32_t index, s2n_qpair *qp, int eventfd,
                             const s2n_region *pool)
{
    if (index >= controller->plane->reactor_count || controller->queue[index].attached)
        return -EINVAL;
    struct s2n_queue *queue = &controller->queue[index];
    struct queue_call *call = malloc(sizeof *call);
    if (!call)
        return -ENOMEM;
    *call = (struct queue_call){queue, qp, s2n_pool_new(pool), eventfd};
    if (!call->pool) {
        free(call);
        return -ENOMEM;
    }
    /* A round that rings also polls before it sleeps. */
    if (qp)
        s2n_qpair_set_polled(qp, true);
    queue->attached = true;
    queue->hot = qp != NULL;
    queue->qid = qp ? s2n_qpair_qid(qp) : 0;
    atomic_fetch_add(&controller->users, 1);
    s2n_reactor_call(queue->reactor, attach_queue, call);
    return 0;
}

void s2n_controller_set_timeout(s2n_controller *controller, uint32_t timeout_ms)
{
    atomic_store_explicit(&controller->timeout_ms, timeout_ms, memory_order_relaxed);
}

static void resume_queue(void *argument)
{
    struct s2n_queue *queue = argument;

    s2n_queue_drop_aborted(queue);
    s2n_queue_end_fused(queue);
    s2n_qpair_revive(queue->qp);
    s2n_qpair_reset(queue->qp, true);
    queue->paused = false;
    queue->dirty = queue->resumable = true;
}

void s2n_controller_resume(s2n_controller *controller)
{
    for (uint32_t i = 0; i < controller->plane->reactor_count; i++)
        if (controller->queue[i].hot)
            s2n_reactor_call(controller->queue[i].reactor, resume_queue, &controller->queue[i]);
}

struct attended_call {
    struct s2n_queue *queue;
    uint16_t cid;
};

static void attended(void *argument)
{
    struct attended_call call = *(struct attended_call *)argument;

    free(argument);
    s2n_qpair_unpin(call.queue->qp, call.cid);
    call.queue->resumable = true;
}

void s2n_controller_attended(s2n_controller *controller, uint16_t qid, uint16_t cid)
{
    for (uint32_t i = 0; i < controller->plane->reactor_count; i++) {
        struct s2n_queue *queue = &controller->queue[i];
        if (!queue->hot || queue->qid != qid)
            continue;
        struct attended_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct attended_call){queue, cid};
        s2n_reactor_call(queue->reactor, attended, call);
    }
}

struct fail_call {
    struct s2n_queue *queue;
    uint16_t status;
};

static void fail_queue(void *argument)
{
    struct fail_call call = *(struct fail_call *)argument;

    free(argument);
    s2n_qpair_abandon(call.queue->qp, call.status);
    call.queue->paused = false;
    call.queue->resumable = true;
}

void s2n_controller_fail(s2n_controller *controller, uint16_t status)
{
    for (uint32_t i = 0; i < controller->plane->reactor_count; i++) {
        if (!controller->queue[i].hot)
            continue;
        struct fail_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct fail_call){&controller->queue[i], status};
        s2n_reactor_call(controller->queue[i].reactor, fail_queue, call);
    }
}

void s2n_controller_free(s2n_controller *controller)
{
    uint32_t count = controller->plane->reactor_count;

    for (uint32_t i = 0; i < count; i++)
        if (controller->queue[i].attached)
            s2n_reactor_call(controller->queue[i].reactor, detach_queue, &controller->queue[i]);
    let_go(controller);
}

/* ---- drains and pauses ---- */

static void drain_everywhere(const struct s2n_drain *template, void (*call)(void *argument))
{
    s2n_plane *plane = template->plane;
    struct s2n_drain *drain = malloc(sizeof *drain);

    if (!drain)
        abort();
    memcpy(drain, template, sizeof *drain);
    atomic_store(&drain->reactors_left, plane->reactor_count);
    for (uint32_t i = 0; i < plane->reactor_count; i++) {
        struct s2n_drain_call *argument = malloc(sizeof *argument);
        if (!argument)
            abort();
        *argument = (struct s2n_drain_call){drain, &plane->reactor[i]};
        s2n_reactor_call(argument->reactor, call, argument);
    }
}

static void urge_queue(void *argument)
{
    s2n_queue_urge(&((struct s2n_queue *)argument)->urge);
}

/* The last reactor to do so tells all. */
static void pause_queue(void *argument)
{
    struct s2n_drain_call call = *(struct s2n_drain_call *)argument;
    s2n_controller *controller = call.drain->controller;
    s2n_plane *plane = controller->plane;

    free(argument);
    controller->queue[call.reactor->index].paused = true;
    if (atomic_fetch_sub(&controller->unpaused, 1) == 1)
        for (uint32_t i = 0; i < plane->reactor_count; i++)
            s2n_reactor_call(&plane->reactor[i], urge_queue, &controller->queue[i]);
    s2n_drain_done(call.drain);
}

void s2n_controller_pause(s2n_controller *controller, uint64_t token)
{
    struct s2n_drain drain = {.plane = controller->plane, .controller = controller, .token = token};

    atomic_store(&controller->unpaused, controller->plane->reactor_count);
    drain_everywhere(&drain, pause_queue);
}

static void drain_unit(void *argument)
{
    struct s2n_drain_call call = *(struct s2n_drain_call *)argument;
    s2n_lu *lu = call.drain->lu;
    struct s2n_lu_local *local = &lu->local[call.reactor->index];

    free(argument);
    s2n_queue_yield(&lu->controller->queue[call.reactor->index], lu, call.drain->blocks);
    struct s2n_drain_wait *wait = malloc(sizeof *wait);
    if (!wait)
        abort();
    *wait = (struct s2n_drain_wait){local->drains, call.drain};
    local->drains = wait;
    if (!local->under_way)
        s2n_drains_done(local);
}

void s2n_lu_drain(s2n_lu *lu, uint64_t token)
{
    struct s2n_drain drain = {
        .plane = lu->controller->plane, .lu = lu, .blocks = {0, UINT64_MAX}, .token = token};

    /* Set before the message: a reactor that counts has seen it. */
    atomic_store_explicit(&lu->drained, true, memory_order_release);
    atomic_store_explicit(&lu->aside, true, memory_order_release);
    drain_everywhere(&drain, drain_unit);
}

static void look_again(void *argument)
{
    s2n_lu_execute_put_off(argument);
}

void s2n_lu_look_again(s2n_lu *lu)
{
    for (uint32_t i = 0; i < lu->reactors; i++)
        s2n_reactor_call(&lu->controller->plane->reactor[i], look_again, &lu->local[i]);
}

struct recall_call {
    s2n_lu *lu;
    struct s2n_queue *queue;
    bool forgotten;
};

static void recall(void *argument)
{
    struct recall_call call = *(struct recall_call *)argument;

    free(argument);
    s2n_queue_recall(call.queue, call.lu, call.forgotten);
}

void s2n_lu_recall(s2n_lu *lu, s2n_controller *controller, bool forgotten)
{
    for (uint32_t i = 0; i < lu->reactors; i++) {
        struct s2n_queue *queue = &controller->queue[i];
        if (!queue->hot)
            continue;
        struct recall_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct recall_call){lu, queue, forgotten};
        s2n_reactor_call(queue->reactor, recall, call);
    }
}

void s2n_lu_set_aside(s2n_lu *lu, bool aside)
{
    atomic_store_explicit(&lu->aside, aside, memory_order_release);
    if (atomic_exchange(&lu->drained, false))
        s2n_lu_look_again(lu);
}

/* ---- ranges ---- */

void s2n_lu_drain_range(s2n_lu *lu, uint64_t first, uint64_t end, uint64_t token)
{
    struct s2n_drain drain = {
        .plane = lu->controller->plane, .lu = lu, .blocks = {first, end}, .token = token};

    drain_everywhere(&drain, s2n_queue_keep_off);
}

void s2n_lu_release_range(s2n_lu *lu, uint64_t token)
{
    for (uint32_t i = 0; i < lu->reactors; i++)
        s2n_range_remove_on(&lu->controller->plane->reactor[i], &lu->local[i], token);
}

/* ---- aborts ---- */

struct abort_call {
    struct s2n_abort *abort;
    struct s2n_reactor *reactor;
};

static void abort_on_reactor(void *argument)
{
    struct abort_call call = *(struct abort_call *)argument;
    uint32_t found = 0;

    free(argument);
    if (call.abort->query) {
        for (const s2n_task *task = call.reactor->live; task; task = task->live_next)
            found += (!task->aborted || call.abort->scope == S2N_SCOPE_HELD) &&
                     s2n_task_matches(task, call.abort);
        atomic_fetch_add(&call.abort->found, found);
        s2n_abort_done(call.abort);
        return;
    }
    struct s2n_abort_wait *wait = malloc(sizeof *wait);
    if (!wait)
        abort();
    uint64_t up_to = call.reactor->serial;
    found = s2n_reactor_abort(call.reactor, call.abort);
    atomic_fetch_add(&call.abort->found, found);
    *wait = (struct s2n_abort_wait){call.reactor->aborts, call.abort, up_to, call.reactor->live};
    call.reactor->aborts = wait;
    s2n_reactor_check_aborts(call.reactor);
}

void s2n_plane_abort(s2n_plane *plane, uint32_t scope, s2n_nexus *nexus, s2n_lu *lu, uint32_t itt,
                     bool query, bool tas, uint64_t up_to, uint64_t token)
{
    struct s2n_abort *order = malloc(sizeof *order);

    if (!order)
        abort();
    *order = (struct s2n_abort){.scope = scope,
                                .itt = itt,
                                .nexus = nexus,
                                .lu = lu,
                                .query = query,
                                .tas = tas,
                                .up_to = up_to,
                                .token = token,
                                .plane = plane};
    atomic_store(&order->reactors_left, plane->reactor_count);
    for (uint32_t i = 0; i < plane->reactor_count; i++) {
        struct abort_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct abort_call){order, &plane->reactor[i]};
        s2n_reactor_call(call->reactor, abort_on_reactor, call);
    }
}
