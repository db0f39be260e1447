/* The control thread's side of the data plane. */
#include "plane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { DEFAULT_TIMEOUT_MS = 30000 };

struct s2n_event_node {
    struct s2n_event_node *next;
    s2n_event event;
};

/* ---- events ---- */

void s2n_plane_emit(s2n_plane *plane, const s2n_event *event)
{
    struct s2n_event_node *node = malloc(sizeof *node);
    uint64_t one = 1;

    if (!node)
        abort(); /* a lost event is a task that hangs for good */
    node->next = NULL;
    node->event = *event;
    pthread_mutex_lock(&plane->lock);
    bool first = !plane->events;
    *plane->events_tail = node;
    plane->events_tail = &node->next;
    pthread_mutex_unlock(&plane->lock);
    if (first && write(plane->event_fd, &one, sizeof one) < 0)
        abort();
}

int s2n_plane_event_fd(s2n_plane *plane)
{
    return plane->event_fd;
}

int s2n_plane_next_event(s2n_plane *plane, s2n_event *event)
{
    uint64_t count;

    pthread_mutex_lock(&plane->lock);
    struct s2n_event_node *node = plane->events;
    if (node) {
        plane->events = node->next;
        if (!plane->events)
            plane->events_tail = &plane->events;
    }
    /* Emptied under the lock: whoever adds the next event signals again. */
    if (!plane->events && read(plane->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        abort();
    pthread_mutex_unlock(&plane->lock);
    if (!node)
        return 0;
    *event = node->event;
    free(node);
    return 1;
}

void s2n_event_free(s2n_event *event)
{
    free(event->data);
    event->data = NULL;
    event->data_length = 0;
}

/* ---- the plane ---- */

s2n_plane *s2n_plane_new(uint32_t reactors, const int32_t *cpus, uint32_t poll_us)
{
    if (!reactors || reactors > S2N_MAXIMUM_REACTORS)
        return NULL;
    s2n_plane *plane = calloc(1, sizeof *plane + reactors * sizeof *plane->reactor);
    if (!plane)
        return NULL;
    plane->reactor_count = reactors;
    plane->poll_us = poll_us;
    plane->events_tail = &plane->events;
    pthread_mutex_init(&plane->lock, NULL);
    plane->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool failed = plane->event_fd < 0;
    for (uint32_t i = 0; i < reactors; i++) {
        struct s2n_reactor *reactor = &plane->reactor[i];
        reactor->plane = plane;
        reactor->index = i;
        reactor->cpu = cpus[i];
        failed |= s2n_reactor_open(reactor) < 0;
    }
    if (failed) {
        s2n_plane_free(plane);
        return NULL;
    }
    return plane;
}

int s2n_plane_start(s2n_plane *plane)
{
    int error = 0;

    for (uint32_t i = 0; i < plane->reactor_count && !error; i++)
        error = s2n_reactor_start(&plane->reactor[i]);
    return error;
}

void s2n_plane_stop(s2n_plane *plane)
{
    for (uint32_t i = 0; i < plane->reactor_count; i++)
        s2n_reactor_stop(&plane->reactor[i]);
}

void s2n_plane_free(s2n_plane *plane)
{
    s2n_event event;

    s2n_plane_stop(plane);
    for (uint32_t i = 0; i < plane->reactor_count; i++)
        s2n_reactor_close(&plane->reactor[i]);
    while (plane->event_fd >= 0 && s2n_plane_next_event(plane, &event))
        s2n_event_free(&event);
    if (plane->event_fd >= 0)
        close(plane->event_fd);
    pthread_mutex_destroy(&plane->lock);
    free(plane);
}

struct s2n_reactor *s2n_plane_pick(s2n_plane *plane)
{
    struct s2n_reactor *best = &plane->reactor[0];

    for (uint32_t i = 1; i < plane->reactor_count; i++)
        if (atomic_load(&plane->reactor[i].sessions) < atomic_load(&best->sessions))
            best = &plane->reactor[i];
    atomic_fetch_add(&best->sessions, 1);
    return best;
}

void s2n_plane_unpick(struct s2n_reactor *reactor)
{
    atomic_fetch_sub(&reactor->sessions, 1);
}

uint32_t s2n_plane_reactors(const s2n_plane *plane)
{
    return plane->reactor_count;
}

struct s2n_reactor *s2n_plane_reactor(s2n_plane *plane, uint32_t index)
{
    return &plane->reactor[index];
}

/* ---- drains: one message to every reactor, one event when all are done ---- */

/* A message to one reactor on behalf of a drain. */
struct drain_call {
    struct s2n_drain *drain;
    struct s2n_reactor *reactor;
};

static void drain_done(struct s2n_drain *drain)
{
    if (atomic_fetch_sub(&drain->reactors_left, 1) != 1)
        return;
    s2n_event event = {.type = S2N_EVENT_DRAINED, .cookie = drain->token};
    s2n_plane_emit(drain->plane, &event);
    free(drain);
}

void s2n_drains_done(struct s2n_lu_local *local)
{
    while (local->drains) {
        struct s2n_drain_wait *wait = local->drains;
        local->drains = wait->next;
        drain_done(wait->drain);
        free(wait);
    }
}

static void drain_everywhere(const struct s2n_drain *template, void (*call)(void *argument))
{
    s2n_plane *plane = template->plane;
    struct s2n_drain *drain = malloc(sizeof *drain);

    if (!drain)
        abort();
    memcpy(drain, template, sizeof *drain);
    atomic_store(&drain->reactors_left, plane->reactor_count);
    for (uint32_t i = 0; i < plane->reactor_count; i++) {
        struct drain_call *argument = malloc(sizeof *argument);
        if (!argument)
            abort();
        *argument = (struct drain_call){drain, &plane->reactor[i]};
        s2n_reactor_call(argument->reactor, call, argument);
    }
}

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
        queue->slot_tail = &queue->slot_head;
        queue->pool_tail = &queue->pool_head;
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
    s2n_qpair_set_polled(qp, true);
    queue->attached = true;
    atomic_fetch_add(&controller->users, 1);
    s2n_reactor_call(queue->reactor, attach_queue, call);
    return 0;
}

void s2n_controller_set_timeout(s2n_controller *controller, uint32_t timeout_ms)
{
    atomic_store_explicit(&controller->timeout_ms, timeout_ms, memory_order_relaxed);
}

static void pause_queue(void *argument)
{
    struct drain_call call = *(struct drain_call *)argument;

    free(argument);
    call.drain->controller->queue[call.reactor->index].paused = true;
    drain_done(call.drain);
}

void s2n_controller_pause(s2n_controller *controller, uint64_t token)
{
    struct s2n_drain drain = {.plane = controller->plane, .controller = controller, .token = token};

    drain_everywhere(&drain, pause_queue);
}

static void resume_queue(void *argument)
{
    struct s2n_queue *queue = argument;

    s2n_queue_drop_aborted(queue);
    s2n_qpair_revive(queue->qp);
    s2n_qpair_reset(queue->qp, true);
    queue->paused = false;
    queue->dirty = queue->resumable = true;
}

void s2n_controller_resume(s2n_controller *controller)
{
    for (uint32_t i = 0; i < controller->plane->reactor_count; i++)
        if (controller->queue[i].attached)
            s2n_reactor_call(controller->queue[i].reactor, resume_queue, &controller->queue[i]);
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
        struct fail_call *call = malloc(sizeof *call);
        if (!call)
            abort();
        *call = (struct fail_call){&controller->queue[i], status};
        if (controller->queue[i].attached)
            s2n_reactor_call(controller->queue[i].reactor, fail_queue, call);
        else
            free(call);
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

/* ---- logical units ---- */

s2n_lu *s2n_lu_new(s2n_controller *controller, const s2n_lu_params *params)
{
    uint32_t count = controller->plane->reactor_count;
    size_t size = sizeof(s2n_lu) + count * sizeof(struct s2n_lu_local);
    s2n_lu *lu = calloc(1, size);

    if (!lu)
        return NULL;
    lu->controller = controller;
    lu->reactors = count;
    s2n_lu_update(lu, params);
    atomic_store(&lu->aside, true);
    return lu;
}

void s2n_lu_update(s2n_lu *lu, const s2n_lu_params *params)
{
    lu->params = *params;
    /* A command of no blocks would go on for ever; more than NLB says cannot be told. */
    if (!lu->params.maximum_blocks)
        lu->params.maximum_blocks = 1;
    if (lu->params.maximum_blocks > 65536)
        lu->params.maximum_blocks = 65536;
    atomic_store_explicit(&lu->block_shift, params->block_shift, memory_order_relaxed);
}

void s2n_lu_set_aside(s2n_lu *lu, bool aside)
{
    atomic_store_explicit(&lu->aside, aside, memory_order_release);
}

static void drain_unit(void *argument)
{
    struct drain_call call = *(struct drain_call *)argument;
    s2n_lu *lu = call.drain->lu;
    struct s2n_lu_local *local = &lu->local[call.reactor->index];

    free(argument);
    s2n_queue_yield(&lu->controller->queue[call.reactor->index], lu);
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
    struct s2n_drain drain = {.plane = lu->controller->plane, .lu = lu, .token = token};

    /* Set before the message: a reactor that counts has seen it. */
    s2n_lu_set_aside(lu, true);
    drain_everywhere(&drain, drain_unit);
}

void s2n_lu_free(s2n_lu *lu)
{
    for (uint32_t i = 0; i < lu->reactors; i++)
        s2n_drains_done(&lu->local[i]);
    free(lu);
}

/* ---- nexuses ---- */

s2n_nexus *s2n_nexus_new(s2n_plane *plane, uint64_t cookie)
{
    s2n_nexus *nexus = calloc(1, sizeof *nexus);

    if (!nexus)
        return NULL;
    nexus->plane = plane;
    nexus->cookie = cookie;
    return nexus;
}

static struct s2n_slot *slot_at(s2n_nexus *nexus, uint16_t lun)
{
    struct s2n_slot *group =
        atomic_load_explicit(&nexus->group[lun / S2N_SLOT_GROUP], memory_order_acquire);

    return group ? &group[lun % S2N_SLOT_GROUP] : NULL;
}

/* Single-level LUNs: peripheral device addressing on bus 0, or flat space. Spec:
 * SAM-5 4.7. */
struct s2n_slot *s2n_nexus_slot(s2n_nexus *nexus, const uint8_t *lun)
{
    unsigned method = lun[0] >> 6;

    if (method > 1 || (!method && lun[0]) || lun[2] || lun[3] || lun[4] || lun[5] || lun[6] ||
        lun[7])
        return NULL;
    return slot_at(nexus, (uint16_t)((lun[0] & 0x3f) << 8 | lun[1]));
}

int s2n_nexus_map(s2n_nexus *nexus, uint16_t lun, s2n_lu *lu)
{
    if (lun >= S2N_SLOT_GROUPS * S2N_SLOT_GROUP)
        return -EINVAL;
    struct s2n_slot *slot = slot_at(nexus, lun);
    if (!slot) {
        struct s2n_slot *group = calloc(S2N_SLOT_GROUP, sizeof *group);
        if (!group)
            return -ENOMEM;
        atomic_store_explicit(&nexus->group[lun / S2N_SLOT_GROUP], group, memory_order_release);
        slot = slot_at(nexus, lun);
    }
    atomic_store(&slot->aside, true);
    atomic_store_explicit(&slot->lu, lu, memory_order_release);
    return 0;
}

void s2n_nexus_set_aside(s2n_nexus *nexus, uint16_t lun, bool aside)
{
    struct s2n_slot *slot = lun < S2N_SLOT_GROUPS * S2N_SLOT_GROUP ? slot_at(nexus, lun) : NULL;

    if (slot)
        atomic_store_explicit(&slot->aside, aside, memory_order_release);
}

void s2n_nexus_free(s2n_nexus *nexus)
{
    for (unsigned i = 0; i < S2N_SLOT_GROUPS; i++)
        free(atomic_load(&nexus->group[i]));
    free(nexus);
}

/* ---- aborts ---- */

struct abort_call {
    struct s2n_abort *abort;
    struct s2n_reactor *reactor;
};

void s2n_abort_done(struct s2n_abort *abort)
{
    if (atomic_fetch_sub(&abort->reactors_left, 1) != 1)
        return;
    s2n_event event = {
        .type = S2N_EVENT_DRAINED, .cookie = abort->token, .count = atomic_load(&abort->found)};
    s2n_plane_emit(abort->plane, &event);
    free(abort);
}

static bool abort_waits(const struct s2n_reactor *reactor, const struct s2n_abort_wait *wait)
{
    for (const s2n_task *task = reactor->live; task; task = task->live_next)
        if (task->aborted && task->serial <= wait->up_to && s2n_task_matches(task, wait->abort))
            return true;
    return false;
}

void s2n_reactor_check_aborts(struct s2n_reactor *reactor)
{
    struct s2n_abort_wait **at = &reactor->aborts;

    while (*at) {
        struct s2n_abort_wait *wait = *at;
        if (abort_waits(reactor, wait)) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        s2n_abort_done(wait->abort);
        free(wait);
    }
}

static void abort_on_reactor(void *argument)
{
    struct abort_call call = *(struct abort_call *)argument;
    uint32_t found = 0;

    free(argument);
    if (call.abort->query) {
        for (const s2n_task *task = call.reactor->live; task; task = task->live_next)
            found += !task->aborted && s2n_task_matches(task, call.abort);
        atomic_fetch_add(&call.abort->found, found);
        s2n_abort_done(call.abort);
        return;
    }
    struct s2n_abort_wait *wait = malloc(sizeof *wait);
    if (!wait)
        abort();
    *wait = (struct s2n_abort_wait){NULL, call.abort, call.reactor->serial};
    found = s2n_reactor_abort(call.reactor, call.abort);
    atomic_fetch_add(&call.abort->found, found);
    wait->next = call.reactor->aborts;
    call.reactor->aborts = wait;
    s2n_reactor_check_aborts(call.reactor);
}

void s2n_plane_abort(s2n_plane *plane, uint32_t scope, s2n_nexus *nexus, s2n_lu *lu, uint32_t itt,
                     bool query, bool tas, uint64_t token)
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
