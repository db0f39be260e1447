/* Turns by bytes: whoever has something to do is served, and nobody sleeps meanwhile. */
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "check.h"

enum { DEPTH = 256, POOL = 1 << 24, FLOWS = 40, KIB = 1024 };

struct party {
    struct s2n_flow flow; /* first */
    uint64_t step, moved; /* bytes; 0: nothing to do */
    uint64_t served;      /* the latest round in which it did something */
    uint32_t resumed;
    bool again; /* waits at once when it is resumed */
};

static struct party party[FLOWS];

static struct s2n_flows *flows(void)
{
    return &bench.reactor->flows;
}

static void note(struct s2n_flow *flow)
{
    struct party *one = (struct party *)flow;

    one->resumed++;
    if (one->again)
        s2n_flow_wait(flow);
}

static void start(void)
{
    bench_open(DEPTH, POOL);
    memset(party, 0, sizeof party);
    for (int i = 0; i < FLOWS; i++)
        s2n_flow_open(&party[i].flow, bench.reactor, note);
}

static void begin_round(void)
{
    s2n_flows_begin_round(flows());
    s2n_flows_resume(flows());
}

/* ---- quanta ---- */

static void a_round_has_a_quantum_and_nobody_saves(void)
{
    struct s2n_flow *flow = &party[0].flow;

    start();
    for (int i = 0; i < 3; i++) {
        begin_round();
        CHECK_EQUAL(s2n_flow_credit(flow, S2N_BEGUN), S2N_ROUND_BYTES);
        CHECK_EQUAL(s2n_flow_credit(flow, S2N_MOVED), S2N_ROUND_BYTES);
    }
    s2n_flow_charge(flow, S2N_BEGUN, 4096);
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_BEGUN), S2N_ROUND_BYTES - 4096);
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_MOVED), S2N_ROUND_BYTES);
    bench_close();
}

/* Else what is to abort a command would wait until it has moved all its data. */
static void who_goes_on_may_begin_as_much(void)
{
    struct s2n_flow *flow = &party[0].flow;

    start();
    begin_round();
    s2n_flow_go_on(flow, 8 * S2N_ROUND_BYTES);
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_BEGUN), S2N_ROUND_BYTES);
    CHECK_EQUAL(flows()->begun, 8 * S2N_ROUND_BYTES);
    begin_round();
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_BEGUN), S2N_ROUND_BYTES);
    bench_close();
}

static void what_was_moved_beyond_comes_off(void)
{
    struct s2n_flow *flow = &party[0].flow;

    start();
    begin_round();
    s2n_flow_charge(flow, S2N_MOVED, 3 * S2N_ROUND_BYTES);
    begin_round();
    CHECK(s2n_flow_credit(flow, S2N_MOVED) < 0);
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_BEGUN), S2N_ROUND_BYTES);
    begin_round();
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_MOVED), 0);
    begin_round();
    CHECK(s2n_flow_credit(flow, S2N_MOVED) > 0);
    /* Rounds in which it was not there count as well, however many they are. */
    s2n_flow_charge(flow, S2N_MOVED, S2N_MAXIMUM_TRANSFER);
    flows()->round += UINT64_C(1) << 60;
    CHECK_EQUAL(s2n_flow_credit(flow, S2N_MOVED), S2N_ROUND_BYTES);
    bench_close();
}

/* However much began at once. */
static void nobody_owes_more_than_a_command(void)
{
    struct s2n_flow *flow = &party[0].flow;
    int rounds = 0;

    start();
    begin_round();
    for (int i = 0; i < 100; i++)
        s2n_flow_charge(flow, S2N_BEGUN, S2N_MAXIMUM_TRANSFER);
    CHECK_EQUAL(flows()->begun, 100 * S2N_MAXIMUM_TRANSFER);
    for (; s2n_flow_credit(flow, S2N_BEGUN) <= 0; rounds++)
        begin_round();
    CHECK_EQUAL(rounds, S2N_MAXIMUM_TRANSFER / S2N_ROUND_BYTES + 1);
    bench_close();
}

/* Let so many do something in a round: what the last one of them had. */
static int64_t quantum_of(int count)
{
    int64_t credit = 0;

    begin_round();
    for (int i = 0; i < count; i++)
        credit = s2n_flow_credit(&party[i].flow, S2N_MOVED);
    return credit;
}

static void those_who_are_there_share_a_round(void)
{
    start();
    quantum_of(1);
    quantum_of(2);
    CHECK_EQUAL(quantum_of(4), S2N_ROUND_BYTES / 2);
    CHECK_EQUAL(quantum_of(FLOWS), S2N_ROUND_BYTES / 4);
    CHECK_EQUAL(quantum_of(2), S2N_LEAST_QUANTUM);
    for (int i = 0; i < 200; i++)
        quantum_of(1);
    CHECK_EQUAL(quantum_of(1), S2N_ROUND_BYTES);
    /* Who has little to do is not there in each round, and counts all the same. */
    for (int i = 0; i < 10; i++) {
        quantum_of(2);
        CHECK_EQUAL(quantum_of(1), S2N_ROUND_BYTES / 2);
    }
    bench_close();
}

/* ---- who waits ---- */

static void who_waits_is_resumed_once_in_the_next_round(void)
{
    start();
    begin_round();
    s2n_flow_wait(&party[0].flow);
    s2n_flow_wait(&party[0].flow);
    s2n_flow_wait(&party[1].flow);
    s2n_flows_resume(flows());
    CHECK(!party[0].resumed && !party[1].resumed);
    party[0].again = true;
    for (uint32_t round = 1; round < 4; round++) {
        begin_round();
        CHECK_EQUAL(party[0].resumed, round);
        CHECK_EQUAL(party[1].resumed, 1);
    }
    party[0].again = false;
    begin_round();
    CHECK(!flows()->first);
    bench_close();
}

static void who_goes_is_forgotten(void)
{
    start();
    for (int gone = 0; gone < 3; gone++) {
        begin_round();
        for (int i = 0; i < 3; i++)
            s2n_flow_wait(&party[i].flow);
        s2n_flow_close(&party[gone].flow);
        s2n_flow_close(&party[gone].flow);
        s2n_flow_wait(&party[3].flow);
        begin_round();
        CHECK(!flows()->first);
        for (int i = 0; i < 4; i++)
            CHECK_EQUAL(party[i].resumed, i != gone);
        for (int i = 0; i < 4; i++)
            party[i].resumed = 0;
    }
    bench_close();
}

/* Have somebody move as much as it may in this round. */
static void serve(struct party *one)
{
    while (one->step && s2n_flow_credit(&one->flow, S2N_MOVED) > 0) {
        s2n_flow_charge(&one->flow, S2N_MOVED, one->step);
        one->moved += one->step;
        one->served = flows()->round;
    }
}

static void all_who_have_work_are_served_alike(void)
{
    static const uint32_t step[] = {512, 4 * KIB, 60 * KIB, 128 * KIB, 1024 * KIB, 8192 * KIB};
    enum { COUNT = sizeof step / sizeof *step, ROUNDS = 5000 };
    uint64_t least = UINT64_MAX, most = 0;

    start();
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        begin_round();
        for (int i = 0; i < COUNT; i++) {
            party[i].step = step[i];
            serve(&party[i]);
            /* A step takes as many rounds as it has quanta. */
            CHECK(flows()->round - party[i].served <= step[i] / (S2N_LEAST_QUANTUM) + 1);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        least = party[i].moved < least ? party[i].moved : least;
        most = party[i].moved > most ? party[i].moved : most;
    }
    CHECK(most - least <= 8192 * KIB + S2N_ROUND_BYTES);
    bench_close();
}

/* ---- the reactor ---- */

/* Longer than any test may take: whoever sleeps so long has been forgotten. */
static void sleep_for_ever_if_at_all(void)
{
    bench.reactor->next_check_ms = bench.reactor->now_ms + 3600000;
    bench.controller->queue[0].interrupt.fd = 0;
}

static void close_awake(void)
{
    bench.controller->queue[0].interrupt.fd = -1;
    bench_close();
}

static void nobody_sleeps_nor_yields_while_one_waits(void)
{
    static struct op read;

    start();
    memset(&read, 0, sizeof read);
    sleep_for_ever_if_at_all();
    bench.plane->poll_us = 1000000; /* it would yield, if it had nothing to do */
    begin_read(&read, 0, 0, 5, 1);
    party[0].again = true;
    s2n_flow_wait(&party[0].flow);
    for (uint32_t round = 1; round < 9; round++) {
        s2n_reactor_round(bench.reactor);
        CHECK_EQUAL(party[0].resumed, round);
        CHECK(!bench.reactor->awake);
    }
    party[0].again = false;
    s2n_reactor_round(bench.reactor);
    s2n_reactor_round(bench.reactor);
    CHECK(bench.reactor->awake);
    device_complete_all(&bench.device);
    rounds();
    CHECK(read.completed);
    close_awake();
}

static struct op newcomer;

static void newcomer_comes(struct s2n_timer *timer)
{
    (void)timer;
    begin_read(&newcomer, 0, 0, 5, 1);
}

static void expect_newcomer_served(struct s2n_flow *flow)
{
    ((struct party *)flow)->resumed++;
    CHECK(newcomer.completed);
}

static void what_came_is_served_before_who_waits_goes_on(void)
{
    struct s2n_timer timer = {.expire = newcomer_comes};

    start();
    memset(&newcomer, 0, sizeof newcomer);
    bench.device.automatic = true;
    s2n_flow_open(&party[0].flow, bench.reactor, expect_newcomer_served);
    s2n_flow_wait(&party[0].flow);
    s2n_timer_arm(bench.reactor, &timer, 0);
    s2n_reactor_round(bench.reactor);
    CHECK_EQUAL(party[0].resumed, 1);
    bench_close();
}

enum { READS = 150 };

static void begin_reads(struct s2n_flow *flow)
{
    for (uint32_t i = 0; i < READS; i++)
        begin_read(&op[i], 0, 0, i, 1);
    s2n_flow_charge(flow, S2N_BEGUN, S2N_ROUND_BYTES);
}

/* A round that has begun enough looks at some of the completions, and leaves the others. */
static void completions_that_a_round_leaves_are_not_slept_upon(void)
{
    uint32_t completed = 0;

    start();
    sleep_for_ever_if_at_all();
    bench.device.automatic = true;
    s2n_flow_open(&party[0].flow, bench.reactor, begin_reads);
    s2n_flow_wait(&party[0].flow);
    s2n_reactor_round(bench.reactor);
    CHECK(bench.reactor->in_flight && bench.reactor->in_flight < READS);
    while (bench.reactor->in_flight)
        s2n_reactor_round(bench.reactor);
    for (uint32_t i = 0; i < READS; i++)
        completed += op[i].completed;
    CHECK_EQUAL(completed, READS);
    close_awake();
}

int main(void)
{
    RUN(a_round_has_a_quantum_and_nobody_saves);
    RUN(who_goes_on_may_begin_as_much);
    RUN(what_was_moved_beyond_comes_off);
    RUN(nobody_owes_more_than_a_command);
    RUN(those_who_are_there_share_a_round);
    RUN(who_waits_is_resumed_once_in_the_next_round);
    RUN(who_goes_is_forgotten);
    RUN(all_who_have_work_are_served_alike);
    RUN(nobody_sleeps_nor_yields_while_one_waits);
    RUN(what_came_is_served_before_who_waits_goes_on);
    RUN(completions_that_a_round_leaves_are_not_slept_upon);
    return 0;
}
