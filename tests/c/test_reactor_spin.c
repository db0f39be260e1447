/* A reactor that looks again and again instead of sleeping: what it looks for, what ends it, and
 * that whoever calls it meanwhile need not wake it, but is always heard. */
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "check.h"

/* A bound that no test reaches. */
enum { BOUND_US = 1000000000 };

static void start(void)
{
    bench_open(8, 1 << 20);
    bench.device.automatic = true;
    bench.reactor->running = true;
    s2n_spin_begin(&bench.reactor->spin, BOUND_US);
    bench.reactor->spin.spins = true;
}

static void end(void)
{
    bench.reactor->running = false;
    bench_close();
}

/* Rounds that must not sleep: nothing would wake them. Whoever else uses this CPU may have it. */
static void look(unsigned count)
{
    while (count--) {
        bench.reactor->spin.rests_until_us = 0;
        s2n_reactor_round(bench.reactor);
    }
}

/* How often the reactor was woken since this was asked last. */
static uint64_t wakes(void)
{
    uint64_t count;

    return read(bench.reactor->wake.fd, &count, sizeof count) < 0 ? 0 : count;
}

static unsigned calls;

static void call(void *unused)
{
    (void)unused;
    calls++;
}

/* ---- what is spun for ---- */

static void requests_are_spun_for(void)
{
    start();
    look(5);
    CHECK(bench.reactor->spin.looked);
    end();
}

/* Commands complete at once here: whoever has none under way waits for the next one. */
static void completions_are_not_acknowledged_while_it_spins(void)
{
    struct op one = {0};

    start();
    begin_read(&one, 0, 0, 0, 1);
    look(3);
    CHECK(one.completed);
    CHECK_EQUAL(bench.device.acknowledged, 0);
    bench.reactor->spin.spins = false;
    rounds();
    CHECK_EQUAL(bench.device.acknowledged, 1);
    end();
}

static void what_comes_ends_a_wait(void)
{
    start();
    look(3);
    CHECK(bench.reactor->spin.since_us);
    s2n_reactor_call(bench.reactor, call, NULL);
    look(1);
    CHECK(!bench.reactor->spin.since_us);
    look(1);
    CHECK(bench.reactor->spin.since_us);
    end();
}

/* The bound is the plane's: without one, nothing is spun for. */
static void the_bound_is_the_planes(void)
{
    static const int32_t cpu = -1;
    s2n_plane *plane = s2n_plane_new(1, &cpu, 70);

    CHECK(plane);
    CHECK_EQUAL(plane->poll_us, 70);
    CHECK_EQUAL(plane->reactor[0].spin.bound_us, 140); /* initiators are farther away than disks */
    s2n_plane_free(plane);
    start();
    s2n_spin_begin(&bench.reactor->spin, 0);
    bench.reactor->spin.spins = true;
    rounds();
    CHECK(!bench.reactor->spin.looked && !bench.reactor->awake);
    end();
}

/* Those who want the CPU come before commands that take no time, too. */
static void nothing_is_spun_for_while_it_rests(void)
{
    struct op one = {0};

    start();
    bench.plane->poll_us = BOUND_US;
    bench.device.automatic = false;
    bench.controller->queue[0].interrupt.fd = 0; /* as if it interrupted */
    begin_read(&one, 0, 0, 0, 1);
    look(3);
    CHECK(bench.reactor->awake);
    s2n_spin_yielded(&bench.reactor->spin, 3000000, bench.reactor->now_us);
    CHECK(s2n_spin_rests(&bench.reactor->spin, bench.reactor->now_us));
    bench.reactor->spin.rests_until_us = UINT64_MAX;
    rounds();
    CHECK(!bench.reactor->awake);
    complete_all();
    CHECK(one.completed);
    rounds();
    CHECK(!bench.reactor->awake);
    bench.controller->queue[0].interrupt.fd = -1;
    end();
}

/* ---- messages ---- */

static void who_is_awake_is_not_woken(void)
{
    start();
    calls = 0;
    look(2);
    wakes();
    s2n_reactor_call(bench.reactor, call, NULL);
    s2n_reactor_call(bench.reactor, call, NULL);
    CHECK_EQUAL(wakes(), 0);
    look(1);
    CHECK_EQUAL(calls, 2);
    s2n_reactor_call_later(bench.reactor, call, NULL);
    look(2);
    CHECK_EQUAL(calls, 2);
    s2n_reactor_wake(bench.reactor);
    CHECK_EQUAL(wakes(), 0);
    look(1);
    CHECK_EQUAL(calls, 3);
    end();
}

/* Called after its last look: it does not sleep, or whoever called would wait for good. */
static void who_was_called_does_not_fall_asleep(void)
{
    start();
    calls = 0;
    look(2);
    CHECK(bench.reactor->awake);
    s2n_reactor_call(bench.reactor, call, NULL);
    bench.reactor->spin.spins = false;
    look(1);
    CHECK_EQUAL(calls, 1);
    rounds();
    CHECK(!bench.reactor->awake);
    wakes();
    s2n_reactor_call(bench.reactor, call, NULL);
    CHECK_EQUAL(wakes(), 1);
    rounds();
    CHECK_EQUAL(calls, 2);
    end();
}

/* ---- with threads ---- */

enum { CALLS = 5000, CALLERS = 2, HELD_MS = 20000, ENOUGH_MS = 1000 };

struct caller {
    uint32_t state;
    uint32_t made;
    atomic_uint heard;
};
static atomic_bool over;

static void hear(void *argument)
{
    atomic_fetch_add((atomic_uint *)argument, 1);
}

static void stop(void *unused)
{
    (void)unused;
    atomic_store(&over, true);
}

static uint64_t ms_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Each call is made when the one before was heard, at any moment: while the reactor looks, falls
 * asleep, or sleeps. Whoever is not heard would wait for good. */
static void *call_again_and_again(void *argument)
{
    struct caller *caller = argument;
    uint64_t end_ms = ms_now() + ENOUGH_MS;

    for (unsigned i = 1; i <= CALLS && ms_now() < end_ms; i++) {
        uint64_t give_up_ms = ms_now() + HELD_MS;
        caller->made = i;
        if (draw(&caller->state, 4)) {
            s2n_reactor_call(bench.reactor, hear, &caller->heard);
        } else {
            s2n_reactor_call_later(bench.reactor, hear, &caller->heard);
            s2n_reactor_wake(bench.reactor);
        }
        while (atomic_load(&caller->heard) != i) {
            CHECK(ms_now() < give_up_ms);
            sched_yield();
        }
        for (volatile uint32_t pause = draw(&caller->state, 100); pause; pause--)
            ;
    }
    return NULL;
}

/* It looks for a while, then sleeps, then looks again. */
static void *look_and_sleep(void *argument)
{
    struct s2n_spin *spin = &bench.reactor->spin;
    uint32_t *state = argument;

    while (!atomic_load(&over)) {
        spin->spins = draw(state, 3);
        spin->tries = false;
        spin->usual_us = spin->rests_until_us = 0;
        s2n_reactor_round(bench.reactor);
    }
    return NULL;
}

static void every_call_is_heard(uint32_t seed)
{
    struct caller caller[CALLERS] = {0};
    pthread_t thread[CALLERS], reactor;
    uint32_t state = seed | 1;

    start();
    atomic_store(&over, false);
    CHECK(!pthread_create(&reactor, NULL, look_and_sleep, &state));
    for (uint32_t i = 0; i < CALLERS; i++) {
        caller[i].state = (seed | 1) + 2 * i + 2;
        CHECK(!pthread_create(&thread[i], NULL, call_again_and_again, &caller[i]));
    }
    for (uint32_t i = 0; i < CALLERS; i++) {
        pthread_join(thread[i], NULL);
        CHECK_EQUAL(atomic_load(&caller[i].heard), caller[i].made);
    }
    s2n_reactor_call(bench.reactor, stop, NULL);
    pthread_join(reactor, NULL);
    end();
}

int main(int argc, char **argv)
{
    uint32_t seed = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : (uint32_t)time(NULL);

    printf("seed %u\n", seed);
    fflush(stdout);
    RUN(requests_are_spun_for);
    RUN(completions_are_not_acknowledged_while_it_spins);
    RUN(what_comes_ends_a_wait);
    RUN(the_bound_is_the_planes);
    RUN(nothing_is_spun_for_while_it_rests);
    RUN(who_is_awake_is_not_woken);
    RUN(who_was_called_does_not_fall_asleep);
    every_call_is_heard(seed);
    printf("ok every_call_is_heard\n");
    return 0;
}
