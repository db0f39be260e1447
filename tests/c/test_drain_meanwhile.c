/* What comes while the hot path is kept off a logical unit. */
#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 64 };

/* It went to the engine, which answers; another may follow. */
static void answer_cold(struct op *one)
{
    CHECK(next_event(S2N_EVENT_TASK).task == one->task);
    s2n_task_end(one->task, 0, NULL, 0, NULL, 0);
    CHECK(one->completed);
    *one = (struct op){0};
}

/* It is hot afterwards, in the order in which it came; whoever waits for it need not. */
static void what_comes_meanwhile_is_put_off(void)
{
    bench_open(DEPTH, POOL);
    s2n_lu_drain(bench.lu[0], 31);
    expect_drained(31, 0);
    for (uint32_t i = 0; i < 5; i++)
        begin_read(&op[i], i % NEXUSES, 0, 100 * i, 1);
    begin_read(&op[5], 0, 1, 7, 1); /* of another logical unit */
    begin_write(&op[6], 0, 0, 600, 1);
    gathered(&op[6]);
    rounds();
    no_event();
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_plane_abort(bench.plane, S2N_SCOPE_TASK, bench.nexus[1], NULL, op[4].task->tag, false,
                    false, UINT64_MAX, 71);
    expect_drained(71, 1);
    CHECK(!op[4].task && op[4].aborted);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[2], NULL, 0, false, true, UINT64_MAX,
                    72);
    expect_drained(72, 1);
    CHECK(!op[2].task && op[2].told);
    s2n_lu_set_aside(bench.lu[0], false);
    rounds();
    no_event();
    CHECK_EQUAL(bench.device.seen, 5);
    static const uint64_t lbas[] = {7, 0, 100, 300, 600};
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(bench.device.log[i].slba, lbas[i]);
    complete_all();
    CHECK(op[0].completed && op[1].completed && op[3].completed && op[6].completed);
    bench_close();
}

/* What tells of the logical unit, what the engine has to look at anyhow, and what it has to by now:
 * then nobody waits for a drain of which the reason may take a day. */
static void what_is_the_engines_is_not_put_off(void)
{
    static const uint8_t ready[6] = {0}, inquiry[6] = {0x12};

    bench_open(DEPTH, POOL);
    s2n_lu_drain(bench.lu[0], 31);
    expect_drained(31, 0);
    begin_command(&op[0], 0, 0, ready, sizeof ready);
    answer_cold(&op[0]);
    begin_command(&op[0], 0, 0, inquiry, sizeof inquiry);
    answer_cold(&op[0]);
    s2n_nexus_set_aside(bench.nexus[1], 0, true);
    begin_read(&op[0], 1, 0, 0, 1);
    answer_cold(&op[0]);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 2, 0, 0, 1);
    s2n_lu_look_again(bench.lu[0]);
    no_event();
    s2n_nexus_set_aside(bench.nexus[0], 0, true);
    s2n_lu_look_again(bench.lu[0]);
    answer_cold(&op[0]);
    no_event();
    begin_read(&op[0], 2, 0, 1 << 30, 1); /* beyond the end */
    no_event();
    s2n_nexus_map(bench.nexus[2], 0, NULL);
    s2n_lu_look_again(bench.lu[0]);
    answer_cold(&op[1]);
    answer_cold(&op[0]);
    s2n_lu_set_aside(bench.lu[0], false);
    bench_close();
}

/* Its reactor is about to end, and places nothing that nobody would collect. */
static void what_is_put_off_at_the_end_does_not_begin(void)
{
    bench_open(DEPTH, POOL);
    s2n_lu_drain(bench.lu[0], 31);
    expect_drained(31, 0);
    begin_read(&op[0], 0, 0, 0, 1);
    bench.reactor->stopping = true;
    s2n_lu_set_aside(bench.lu[0], false);
    rounds();
    CHECK_EQUAL(bench.device.seen, 0);
    bench.reactor->stopping = false;
    s2n_lu_look_again(bench.lu[0]);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    complete_all();
    CHECK(op[0].completed);
    bench_close();
}

/* A write of a zone overtakes none that came before: it goes where these go, drained or not. */
static void writes_of_zones_are_not_put_off(void)
{
    bench_open(DEPTH, POOL);
    bench.params.zone_blocks = bench.params.zone_capacity = 1 << 10;
    s2n_lu_update(bench.lu[0], &bench.params);
    s2n_lu_drain(bench.lu[0], 31);
    expect_drained(31, 0);
    begin_read(&op[0], 0, 0, 0, 1);
    no_event();
    begin_write(&op[1], 0, 0, 0, 1);
    gathered(&op[1]);
    answer_cold(&op[1]);
    s2n_lu_set_aside(bench.lu[0], false);
    begin_write(&op[1], 0, 0, 1, 1);
    gathered(&op[1]);
    answer_cold(&op[1]);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    complete_all();
    CHECK(op[0].completed);
    bench_close();
}

int main(void)
{
    RUN(what_is_put_off_at_the_end_does_not_begin);
    RUN(what_comes_meanwhile_is_put_off);
    RUN(what_is_the_engines_is_not_put_off);
    RUN(writes_of_zones_are_not_put_off);
    return 0;
}
