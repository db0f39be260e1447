/* What reactors offer to front ends: sources, deferred work, timers, messages; and
 * that nothing left to do is slept upon. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench.h"
#include "check.h"

enum { DEPTH = 8, POOL = 1 << 20 };

static char trace[64];

static void note(char what)
{
    size_t length = strlen(trace);

    CHECK(length + 1 < sizeof trace);
    trace[length] = what;
    trace[length + 1] = 0;
}

static void expect_trace(const char *expected)
{
    if (strcmp(trace, expected)) {
        fprintf(stderr, "happened: %s, expected: %s\n", trace, expected);
        exit(1);
    }
    trace[0] = 0;
}

static void start(void)
{
    trace[0] = 0;
    bench_open(DEPTH, POOL);
}

/* ---- messages ---- */

static void say(void *name)
{
    note(*(const char *)name);
}

/* How often the reactor was woken since this was asked last. */
static uint64_t wakes(void)
{
    uint64_t count;

    return read(bench.reactor->wake.fd, &count, sizeof count) < 0 ? 0 : count;
}

static void messages_that_may_wait_wake_nobody(void)
{
    char name[] = "abcd";

    start();
    bench.reactor->running = true;
    s2n_reactor_call_later(bench.reactor, say, &name[0]);
    s2n_reactor_call_later(bench.reactor, say, &name[1]);
    CHECK_EQUAL(wakes(), 0);
    s2n_reactor_wake(bench.reactor);
    s2n_reactor_wake(bench.reactor);
    CHECK_EQUAL(wakes(), 1);
    expect_trace("");
    rounds();
    expect_trace("ab");
    wakes();
    s2n_reactor_wake(bench.reactor);
    CHECK_EQUAL(wakes(), 0);
    s2n_reactor_call_later(bench.reactor, say, &name[2]);
    s2n_reactor_call(bench.reactor, say, &name[3]);
    CHECK_EQUAL(wakes(), 1);
    rounds();
    expect_trace("cd");
    bench.reactor->running = false;
    bench_close();
}

static void answers_are_given_together(void)
{
    static const uint8_t inquiry[6] = {0x12, 0, 0, 0, 96, 0};
    struct op op[3] = {0};

    start();
    bench.reactor->running = true;
    s2n_plane_gather(bench.plane);
    for (int i = 0; i < 3; i++) {
        begin_command(&op[i], 0, 0, inquiry, sizeof inquiry);
        s2n_task_end(next_event(S2N_EVENT_TASK).task, S2N_GOOD, NULL, 0, inquiry, 6);
    }
    CHECK_EQUAL(wakes(), 0);
    s2n_plane_answer(bench.plane);
    CHECK_EQUAL(wakes(), 1);
    rounds();
    for (int i = 0; i < 3; i++)
        CHECK(op[i].completed && op[i].status == S2N_GOOD && op[i].data_in == 6);
    wakes();
    begin_command(&op[0], 0, 0, inquiry, sizeof inquiry);
    op[0].completed = false;
    s2n_task_end(next_event(S2N_EVENT_TASK).task, S2N_BUSY, NULL, 0, NULL, 0);
    CHECK_EQUAL(wakes(), 1);
    rounds();
    CHECK(op[0].completed && op[0].status == S2N_BUSY);
    bench.reactor->running = false;
    bench_close();
}

/* ---- timers ---- */

struct alarm {
    struct s2n_timer timer; /* first */
    char name;
    struct alarm *cancels, *arms;
};

static void expire(struct s2n_timer *timer)
{
    struct alarm *alarm = (struct alarm *)timer;

    CHECK(!timer->armed);
    note(alarm->name);
    if (alarm->cancels)
        s2n_timer_cancel(bench.reactor, &alarm->cancels->timer);
    if (alarm->arms)
        s2n_timer_arm(bench.reactor, &alarm->arms->timer, 0);
}

static void timers_expire_in_order(void)
{
    struct alarm alarm[4] = {{{.expire = expire}, 'a', NULL, NULL},
                             {{.expire = expire}, 'b', NULL, NULL},
                             {{.expire = expire}, 'c', NULL, NULL},
                             {{.expire = expire}, 'd', NULL, NULL}};

    start();
    s2n_timer_arm(bench.reactor, &alarm[0].timer, 30);
    s2n_timer_arm(bench.reactor, &alarm[1].timer, 10);
    s2n_timer_arm(bench.reactor, &alarm[2].timer, 60000);
    s2n_timer_arm(bench.reactor, &alarm[3].timer, 10);
    s2n_timer_arm(bench.reactor, &alarm[3].timer, 20);
    while (strlen(trace) < 3)
        s2n_reactor_round(bench.reactor); /* sleeps until the next one */
    expect_trace("bda");
    CHECK(alarm[2].timer.armed);
    s2n_timer_cancel(bench.reactor, &alarm[2].timer);
    s2n_timer_cancel(bench.reactor, &alarm[2].timer);
    CHECK(!bench.reactor->timers);
    bench_close();
}

static void timers_may_change_timers(void)
{
    struct alarm alarm[3] = {{{.expire = expire}, 'a', NULL, NULL},
                             {{.expire = expire}, 'b', NULL, NULL},
                             {{.expire = expire}, 'c', NULL, NULL}};

    start();
    alarm[0].cancels = &alarm[1];
    alarm[0].arms = &alarm[2];
    for (int i = 0; i < 2; i++)
        s2n_timer_arm(bench.reactor, &alarm[i].timer, 0);
    rounds();
    expect_trace("ac");
    bench_close();
}

/* ---- deferred work ---- */

struct work {
    struct s2n_deferred deferred; /* first */
    char name;
    struct work *then;
    void (*does)(void);
};

static void run_work(struct s2n_deferred *deferred)
{
    struct work *work = (struct work *)deferred;

    CHECK(!deferred->queued);
    note(work->name);
    if (work->then)
        s2n_defer(bench.reactor, &work->then->deferred);
    work->then = NULL;
    if (work->does)
        work->does();
}

static void deferred_work_runs_once_and_may_queue_more(void)
{
    struct work work[3] = {{{.run = run_work}, 'a', NULL, NULL},
                           {{.run = run_work}, 'b', NULL, NULL},
                           {{.run = run_work}, 'c', NULL, NULL}};

    start();
    work[0].then = &work[0];
    s2n_defer(bench.reactor, &work[0].deferred);
    s2n_defer(bench.reactor, &work[0].deferred);
    rounds();
    expect_trace("aa");
    for (int i = 0; i < 3; i++)
        s2n_defer(bench.reactor, &work[i].deferred);
    s2n_defer_cancel(bench.reactor, &work[1].deferred);
    s2n_defer_cancel(bench.reactor, &work[1].deferred);
    rounds();
    expect_trace("ca");
    s2n_defer(bench.reactor, &work[1].deferred);
    rounds();
    expect_trace("b");
    bench_close();
}

/* Longer than any test may take: whoever sleeps so long has been forgotten. */
static void sleep_for_ever_if_at_all(void)
{
    bench.reactor->next_check_ms = bench.reactor->now_ms + 3600000;
    /* As if completions were interrupted for, but none will be. */
    bench.controller->queue[0].interrupt.fd = 0;
}

static struct op late;

static void begin_late_read(void)
{
    begin_read(&late, 0, 0, 5, 1);
}

static void commands_placed_by_deferred_work_are_rung(void)
{
    struct work work = {{.run = run_work}, 'a', NULL, begin_late_read};
    uint64_t one = 1;

    start();
    memset(&late, 0, sizeof late);
    bench.device.automatic = true;
    sleep_for_ever_if_at_all();
    s2n_defer(bench.reactor, &work.deferred);
    CHECK(write(bench.reactor->wake.fd, &one, sizeof one) == sizeof one);
    s2n_reactor_round(bench.reactor);
    CHECK(!late.completed);
    s2n_reactor_round(bench.reactor);
    CHECK(late.completed);
    bench.controller->queue[0].interrupt.fd = -1;
    bench_close();
}

static struct op holding;

static void end_holding(void)
{
    s2n_task_end(holding.task, 0, NULL, 0, NULL, 0);
}

/* The same for buffers that deferred work gives back: a write waits for one. */
static void buffers_given_by_deferred_work_are_passed_on(void)
{
    struct work work = {{.run = run_work}, 'a', NULL, end_holding};
    uint64_t one = 1;

    start();
    memset(&late, 0, sizeof late);
    memset(&holding, 0, sizeof holding);
    s2n_lu_set_aside(bench.lu[0], true);
    begin_write(&holding, 0, 0, 0, 1024);
    gathered(&holding);
    next_event(S2N_EVENT_TASK);
    begin_write(&late, 1, 0, 0, 1024);
    CHECK(!late.reserved);
    sleep_for_ever_if_at_all();
    rounds();
    s2n_defer(bench.reactor, &work.deferred);
    CHECK(write(bench.reactor->wake.fd, &one, sizeof one) == sizeof one);
    s2n_reactor_round(bench.reactor);
    CHECK(holding.completed && !late.reserved);
    s2n_reactor_round(bench.reactor);
    CHECK(late.reserved);
    s2n_task_abort(late.task, false);
    CHECK(late.discarded);
    bench.controller->queue[0].interrupt.fd = -1;
    bench_close();
}

/* ---- waiting for the device ---- */

static struct op reads[4];

/* As if the device interrupted for completions that take long, with so many commands under way. */
static void await_slow_reads(unsigned count)
{
    start();
    memset(reads, 0, sizeof reads);
    bench.controller->queue[0].interrupt.fd = 0;
    bench.reactor->usual_pause_us = 20;
    for (unsigned i = 0; i < count; i++)
        begin_read(&reads[i], 0, 0, i, 1);
    rounds();
    CHECK_EQUAL(bench.device.seen, count);
}

static void end_slow_reads(unsigned count)
{
    device_complete_all(&bench.device);
    rounds();
    for (unsigned i = 0; i < count; i++)
        CHECK(reads[i].completed);
    CHECK(!bench.reactor->gathered);
    bench.controller->queue[0].interrupt.fd = -1;
    bench_close();
}

static void completions_gather_once_where_many_are_under_way(void)
{
    await_slow_reads(4);
    CHECK(bench.reactor->gathered);
    rounds(); /* it sleeps until it is woken */
    CHECK(bench.reactor->gathered);
    end_slow_reads(4);
}

static void few_commands_are_not_kept_waiting(void)
{
    await_slow_reads(3);
    CHECK(!bench.reactor->gathered);
    end_slow_reads(3);
}

/* What is told to the device costs more than memory: it is told late, but before a sleep. */
static void completions_are_acknowledged_before_sleep_only(void)
{
    start();
    memset(reads, 0, sizeof reads);
    bench.device.automatic = true;
    begin_read(&reads[0], 0, 0, 0, 1);
    s2n_reactor_round(bench.reactor);
    CHECK(reads[0].completed);
    CHECK_EQUAL(bench.device.acknowledged, 0);
    rounds();
    CHECK_EQUAL(bench.device.acknowledged, 1);
    bench_close();
}

/* ---- sources ---- */

struct descriptor {
    struct s2n_source source; /* first */
    char name;
    struct descriptor *removes;
};

static void ready(struct s2n_source *source, uint32_t events)
{
    struct descriptor *descriptor = (struct descriptor *)source;

    CHECK(events & EPOLLIN);
    note(descriptor->name);
    if (descriptor->removes)
        s2n_source_remove(bench.reactor, &descriptor->removes->source);
}

/* The other one is ready in the same round, and must not be touched any more. */
static void a_removed_source_is_not_told(void)
{
    struct descriptor descriptor[2] = {{{-1, ready}, 'x', NULL}, {{-1, ready}, 'x', NULL}};

    start();
    for (int i = 0; i < 2; i++) {
        descriptor[i].source.fd = eventfd(1, EFD_CLOEXEC);
        descriptor[i].removes = &descriptor[!i];
        CHECK(!s2n_source_add(bench.reactor, &descriptor[i].source, EPOLLIN));
    }
    s2n_reactor_round(bench.reactor);
    expect_trace("x");
    s2n_reactor_round(bench.reactor);
    expect_trace("x");
    for (int i = 0; i < 2; i++) {
        s2n_source_remove(bench.reactor, &descriptor[i].source);
        close(descriptor[i].source.fd);
    }
    bench_close();
}

static void a_source_may_be_silenced(void)
{
    struct descriptor descriptor = {{eventfd(1, EFD_CLOEXEC), ready}, 'x', NULL};

    start();
    CHECK(!s2n_source_add(bench.reactor, &descriptor.source, EPOLLIN));
    s2n_reactor_round(bench.reactor);
    CHECK(!s2n_source_modify(bench.reactor, &descriptor.source, 0));
    rounds();
    expect_trace("x");
    CHECK(s2n_source_modify(bench.reactor, &(struct s2n_source){.fd = -1}, EPOLLIN) < 0);
    s2n_source_remove(bench.reactor, &descriptor.source);
    close(descriptor.source.fd);
    bench_close();
}

/* ---- picking ---- */

static void sessions_go_where_fewest_are(void)
{
    static const int32_t cpus[3] = {-1, -1, -1};
    s2n_plane *plane = s2n_plane_new(3, cpus, 0);
    s2n_nexus *nexus = s2n_nexus_new(1);
    struct s2n_reactor *picked[7];
    unsigned of[3] = {0};

    for (int i = 0; i < 7; i++)
        picked[i] = s2n_plane_pick(plane, nexus);
    for (int i = 0; i < 7; i++)
        of[picked[i]->index]++;
    CHECK(of[0] >= 2 && of[1] >= 2 && of[2] >= 2);
    struct s2n_reactor *empty = &plane->reactor[1];
    for (int i = 0; i < 7; i++)
        if (picked[i] == empty)
            s2n_plane_unpick(empty);
    CHECK(s2n_plane_pick(plane, nexus) == empty && s2n_plane_pick(plane, nexus) == empty);
    s2n_nexus_free(nexus);
    s2n_plane_free(plane);
}

/* A controller with few queue pairs is driven by few reactors. */
static void sessions_go_where_queue_pairs_are(void)
{
    static const int32_t cpus[3] = {-1, -1, -1};
    static const s2n_lu_params params = {.nsid = 1, .block_shift = 12, .blocks = 8};
    s2n_plane *plane = s2n_plane_new(3, cpus, 0);
    s2n_controller *controller = s2n_controller_new(plane, 1);
    s2n_lu *lu = s2n_lu_new(controller, &params);
    s2n_nexus *nexus = s2n_nexus_new(1);

    CHECK(!s2n_nexus_map(nexus, 300, lu));
    CHECK(!s2n_plane_all_hot(plane, nexus));
    CHECK(s2n_plane_pick(plane, nexus) == &plane->reactor[0]); /* there is none better */
    CHECK(s2n_plane_pick(plane, nexus) == &plane->reactor[1]);
    controller->queue[1].hot = true;
    for (int i = 0; i < 3; i++)
        CHECK(s2n_plane_pick(plane, nexus) == &plane->reactor[1]);
    controller->queue[2].hot = true;
    CHECK(s2n_plane_pick(plane, nexus) == &plane->reactor[2]);
    CHECK(!s2n_plane_all_hot(plane, nexus));
    controller->queue[0].hot = true;
    CHECK(s2n_plane_all_hot(plane, nexus));
    s2n_nexus_free(nexus);
    s2n_lu_free(lu);
    s2n_controller_free(controller);
    s2n_plane_free(plane);
}

int main(void)
{
    RUN(messages_that_may_wait_wake_nobody);
    RUN(answers_are_given_together);
    RUN(timers_expire_in_order);
    RUN(timers_may_change_timers);
    RUN(deferred_work_runs_once_and_may_queue_more);
    RUN(commands_placed_by_deferred_work_are_rung);
    RUN(buffers_given_by_deferred_work_are_passed_on);
    RUN(completions_gather_once_where_many_are_under_way);
    RUN(few_commands_are_not_kept_waiting);
    RUN(completions_are_acknowledged_before_sleep_only);
    RUN(a_removed_source_is_not_told);
    RUN(a_source_may_be_silenced);
    RUN(sessions_go_where_fewest_are);
    RUN(sessions_go_where_queue_pairs_are);
    return 0;
}
