/* The reactor: a thread that waits for descriptors, collects completions and
 * lets front ends answer, in rounds, so that doorbells and sends are batched. */
#include "reactor.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "abort.h"
#include "events.h"
#include "submit.h"
#include "task_failure.h"
#include "task_life.h"
#include "unit.h"

enum {
    COMPLETIONS = 64,  /* taken from a queue at once */
    DEADLINE_MS = 250, /* how often deadlines are looked at */
    OVERDUE_MS = 5000, /* how often an overdue command is told again */
    NAP_US = 50,       /* a device without interrupts is not slept on for less */
    GATHER_DEPTH = 4,  /* commands under way, from which on completions may gather */
    GATHER_US = 100,   /* at most */
    TIMER_SLACK_NS = 1000,
    TURNS = 16, /* of what completes at once, until others have theirs */
};

/* ---- NVMe queues ---- */

static s2n_task *task_of(const s2n_completion *completion)
{
    return (s2n_task *)(uintptr_t)completion->cookie;
}

/* Collect what has completed on one queue; returns how much. */
static int poll_queue(struct s2n_reactor *reactor, struct s2n_queue *queue)
{
    s2n_completion completions[COMPLETIONS];
    int count = s2n_qpair_poll(queue->qp, completions, COMPLETIONS);

    if (count)
        s2n_loop_read_clock(reactor); /* what they answer has taken until now */
    for (int i = 0; i < count; i++)
        if (completions[i].status)
            s2n_task_note_failure(task_of(&completions[i]), &completions[i],
                                  s2n_qpair_sqe(queue->qp, completions[i].cid));
    for (int i = 0; i < count; i++) {
        reactor->in_flight--;
        s2n_task_completed(task_of(&completions[i]));
    }
    queue->resumable |= count > 0;
    return count;
}

static void resume_queues(struct s2n_reactor *reactor)
{
    for (struct s2n_queue *queue = reactor->queues; queue; queue = queue->next)
        if (queue->resumable)
            s2n_queue_resume(queue);
}

static void ring_queues(struct s2n_reactor *reactor)
{
    for (struct s2n_queue *queue = reactor->queues; queue; queue = queue->next) {
        if (!queue->dirty || queue->paused)
            continue;
        queue->dirty = false;
        s2n_qpair_ring(queue->qp);
    }
}

static uint64_t average(uint64_t usual, uint64_t latest, uint64_t limit)
{
    return (7 * usual + (latest < limit ? latest : limit)) / 8;
}

/* Completions came. One that was slow counts as just too slow to be spun for, or gathered in
 * half the time, so that it does not change the habit by itself. */
static void note_wait(struct s2n_reactor *reactor)
{
    uint64_t waited = reactor->now_us - reactor->waiting_since_us;

    if (reactor->waiting_since_us) {
        reactor->usual_wait_us =
            average(reactor->usual_wait_us, waited, 2 * (uint64_t)reactor->plane->poll_us);
        reactor->usual_pause_us = average(reactor->usual_pause_us, waited, 2 * GATHER_US);
    }
    reactor->waiting_since_us = 0;
    reactor->gathered = false;
}

/* Before we sleep, lest a device keep an interrupt back: nobody waits for it earlier. */
static void acknowledge_queues(struct s2n_reactor *reactor)
{
    for (struct s2n_queue *queue = reactor->queues; queue; queue = queue->next)
        if (!queue->paused)
            s2n_qpair_acknowledge(queue->qp);
}

static int poll_queues(struct s2n_reactor *reactor)
{
    int count = 0;

    for (struct s2n_queue *queue = reactor->queues; queue; queue = queue->next)
        if (!queue->paused && s2n_qpair_in_flight(queue->qp))
            count += poll_queue(reactor, queue);
    if (count)
        note_wait(reactor);
    return count;
}

static void check_deadlines(struct s2n_reactor *reactor)
{
    uint16_t cid;

    if (!reactor->in_flight || reactor->now_ms < reactor->next_check_ms)
        return;
    reactor->next_check_ms = reactor->now_ms + DEADLINE_MS;
    for (struct s2n_queue *queue = reactor->queues; queue; queue = queue->next) {
        if (queue->paused || s2n_qpair_next_deadline(queue->qp, &cid) != 0)
            continue;
        s2n_event event = {.type = S2N_EVENT_OVERDUE,
                           .cookie = queue->controller->cookie,
                           .qid = s2n_qpair_qid(queue->qp),
                           .cid = cid,
                           .count = s2n_qpair_extend(queue->qp, cid, OVERDUE_MS)};
        s2n_qpair_pin(queue->qp, cid);
        s2n_plane_emit(reactor->plane, &event);
    }
}

/* ---- waiting ---- */

/* Whether completions of some queue come without an interrupt. */
static bool must_poll(const struct s2n_reactor *reactor)
{
    for (const struct s2n_queue *queue = reactor->queues; queue; queue = queue->next)
        if (queue->interrupt.fd < 0 && !queue->paused && s2n_qpair_in_flight(queue->qp))
            return true;
    return false;
}

/* Whether something was left to be done in the next round. */
static bool has_work(const struct s2n_reactor *reactor)
{
    for (const struct s2n_queue *queue = reactor->queues; queue; queue = queue->next)
        if (queue->resumable || (queue->dirty && !queue->paused))
            return true;
    return reactor->flows.first || reactor->ready_sets.first;
}

/* How long to wait for completions, at most: 0 to look again at once. An interrupt costs
 * more than a short wait, and a short wait less than a long one. */
static uint64_t device_wait_us(struct s2n_reactor *reactor)
{
    uint64_t poll_us = reactor->plane->poll_us;

    if (!reactor->in_flight)
        return UINT64_MAX;
    if (!reactor->waiting_since_us)
        reactor->waiting_since_us = reactor->now_us;
    uint64_t waited = reactor->now_us - reactor->waiting_since_us;
    if (waited < poll_us && reactor->usual_wait_us < poll_us &&
        !s2n_spin_rests(&reactor->spin, reactor->now_us))
        return 0;
    if (!must_poll(reactor))
        return UINT64_MAX;
    /* Nobody will wake us: be late by half of what the device takes, or a millisecond. */
    return waited < NAP_US ? 0 : waited / 2 < 1000 ? waited / 2 : 1000;
}

/* Whether to look for requests again, when nothing else is waited for. */
static bool spins_for_requests(struct s2n_reactor *reactor)
{
    struct s2n_spin *spin = &reactor->spin;

    if (reactor->in_flight || !spin->bound_us)
        return false;
    /* What the round did has taken its time, too. */
    return s2n_spin_goes_on(spin, spin->since_us ? reactor->now_us : s2n_loop_clock_us());
}

/* How long to wait for anything. */
static uint64_t wait_us(struct s2n_reactor *reactor)
{
    uint64_t device = device_wait_us(reactor), until_ms = UINT64_MAX;

    if (has_work(reactor) || spins_for_requests(reactor))
        return 0;
    if (reactor->timers)
        until_ms = reactor->timers->at_ms;
    if (reactor->in_flight && reactor->next_check_ms < until_ms)
        until_ms = reactor->next_check_ms;
    if (until_ms == UINT64_MAX)
        return device;
    uint64_t left = until_ms > reactor->now_ms ? (until_ms - reactor->now_ms) * 1000 : 0;
    return left < device ? left : device;
}

/* How long to let completions gather before looking at any: half of what the next one usually
 * takes. Being woken costs more than a command does, for us and for whoever wakes us, and where
 * many commands are under way each initiator waits for the others' as well. Once, then an
 * interrupt is waited for. */
static uint64_t gather_us(const struct s2n_reactor *reactor)
{
    return reactor->in_flight < GATHER_DEPTH || reactor->gathered ? 0 : reactor->usual_pause_us / 2;
}

/* Sleep if there is nothing to do; return for how long to wait for events after that. */
static uint64_t gather(struct s2n_reactor *reactor, uint64_t us)
{
    uint64_t pause = gather_us(reactor);

    if (us <= pause || !pause)
        return us;
    clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = (long)pause * 1000}, NULL);
    reactor->gathered = true;
    return 0;
}

/* Nothing was there, and will be looked for again: let others have the CPU before. */
static void yield(struct s2n_reactor *reactor)
{
    uint64_t before_us = s2n_loop_clock_us();

    s2n_loop_stay_awake(reactor);
    sched_yield();
    uint64_t now_us = s2n_loop_clock_us();
    s2n_spin_yielded(&reactor->spin, now_us - before_us, now_us);
}

static void wait_and_dispatch(struct s2n_reactor *reactor)
{
    uint64_t us = gather(reactor, wait_us(reactor));
    if (us && !s2n_loop_may_sleep(reactor))
        us = 0;
    if (us)
        acknowledge_queues(reactor);
    int count = s2n_loop_wait(reactor, us);
    bool called = s2n_loop_called(reactor), came = count > 0 || called;
    bool waits = reactor->waiting_since_us || reactor->spin.since_us;

    if (!us && !came && waits && !reactor->gathered && !has_work(reactor))
        yield(reactor);
    s2n_loop_dispatch(reactor, count);
    if (called)
        s2n_loop_take_messages(reactor);
    if (came)
        s2n_spin_came(&reactor->spin, reactor->now_us, reactor->serial);
}

/* ---- the thread ---- */

/* Rings can complete at once, and completions make room for more: until others have their turn. */
static void serve_queues(struct s2n_reactor *reactor)
{
    uint32_t turns = TURNS;

    do {
        if (reactor->ready_sets.first)
            s2n_ready_sets_enable(&reactor->ready_sets);
        resume_queues(reactor);
        ring_queues(reactor);
    } while (poll_queues(reactor) && --turns && reactor->flows.begun < S2N_ROUND_BYTES);
}

/* What has come has its answer before those go on whose turn was over. */
static void go_on(struct s2n_reactor *reactor)
{
    s2n_flows_resume(&reactor->flows);
    s2n_loop_run_deferred(reactor);
    serve_queues(reactor);
    s2n_loop_run_deferred(reactor);
}

void s2n_reactor_round(struct s2n_reactor *reactor)
{
    bool waits = reactor->flows.first;

    s2n_flows_begin_round(&reactor->flows);
    wait_and_dispatch(reactor);
    s2n_loop_run_timers(reactor);
    serve_queues(reactor);
    s2n_loop_run_deferred(reactor);
    if (waits)
        go_on(reactor);
    check_deadlines(reactor);
}

static void *run(void *argument)
{
    struct s2n_reactor *reactor = argument;

    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    while (!reactor->stopping)
        s2n_reactor_round(reactor);
    return NULL;
}

static void stop(void *argument)
{
    ((struct s2n_reactor *)argument)->stopping = true;
}

void s2n_reactor_stop(struct s2n_reactor *reactor)
{
    if (!reactor->running)
        return;
    s2n_reactor_call(reactor, stop, reactor);
    pthread_join(reactor->thread, NULL);
    s2n_loop_ended(reactor);
}

/* Create the thread without signals, which are for the interpreter's. */
static int create_thread(struct s2n_reactor *reactor)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&reactor->thread, NULL, run, reactor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int s2n_reactor_start(struct s2n_reactor *reactor)
{
    cpu_set_t cpus;

    /* The thread does not look at it; whoever calls it does. */
    reactor->running = true;
    int error = create_thread(reactor);
    if (error) {
        reactor->running = false;
        return -error;
    }
    if (reactor->cpu < 0)
        return 0;
    CPU_ZERO(&cpus);
    CPU_SET(reactor->cpu, &cpus);
    return -pthread_setaffinity_np(reactor->thread, sizeof cpus, &cpus);
}

void s2n_reactor_close(struct s2n_reactor *reactor)
{
    s2n_reactor_drop_tasks(reactor);
    while (reactor->aborts) {
        struct s2n_abort_wait *wait = reactor->aborts;
        reactor->aborts = wait->next;
        s2n_abort_done(wait->abort);
        free(wait);
    }
    s2n_loop_close(reactor);
}
