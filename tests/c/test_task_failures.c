/* What is told of commands that fail or are overdue. */
#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4, SLOTS = DEPTH - 1 };

/* Whatever comes first in time: what lies before the lowest was moved. */
static void the_lowest_failure_is_told_once(void)
{
    bench_open(64, POOL);
    begin_read(&op[0], 0, 0, 1000, 1024); /* four commands of 256 blocks */
    rounds();
    CHECK_EQUAL(bench.device.seen, 4);
    device_complete(&bench.device, 2, UNRECOVERED_READ);
    device_complete(&bench.device, 1, INTERNAL_ERROR);
    device_complete(&bench.device, 0, 0);
    rounds();
    no_event();
    device_complete(&bench.device, 3, 0);
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.status, INTERNAL_ERROR);
    CHECK_EQUAL(event.nvme, 2);
    CHECK_EQUAL(event.lba, 1000 + 256);
    CHECK_EQUAL(event.count, 256);
    CHECK_EQUAL(event.qid, 2);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK(op[0].completed && op[0].status == CHECK_CONDITION);
    bench_close();
}

/* What waits for a slot when a failure comes is never sent, and does not count. */
static void what_was_not_sent_has_not_failed(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 256 * (SLOTS + 2));
    rounds();
    CHECK_EQUAL(bench.device.seen, SLOTS);
    device_complete(&bench.device, SLOTS - 1, UNRECOVERED_READ);
    for (uint32_t i = 0; i + 1 < SLOTS; i++) {
        rounds();
        no_event();
        device_complete(&bench.device, i, 0);
    }
    rounds();
    CHECK_EQUAL(bench.device.seen, SLOTS);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.lba, 256 * (SLOTS - 1));
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    bench_close();
}

/* The failed command's entry must not be that of a command placed since. */
static void the_failing_block_survives_the_batch(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 2 * SLOTS; i++)
        begin_read(&op[i], 0, 0, 100 * (i + 1), 1);
    rounds();
    CHECK_EQUAL(bench.device.seen, SLOTS);
    device_complete(&bench.device, 0, 0);
    device_complete(&bench.device, 1, 0);
    device_complete(&bench.device, 2, UNRECOVERED_READ);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2 * SLOTS);
    CHECK_EQUAL(next_event(S2N_EVENT_TASK_FAILED).lba, 300);
    s2n_task_end(op[2].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    for (uint32_t i = SLOTS; i < 2 * SLOTS; i++)
        device_complete(&bench.device, i, 0);
    bench_close();
}

static void what_no_prps_describe_fails(void)
{
    s2n_lu_params params;

    bench_open(64, 16 << 20);
    params = bench.params;
    params.maximum_blocks = 65536;
    s2n_lu_update(bench.lu[0], &params);
    begin_read(&op[0], 0, 0, 0, S2N_MAXIMUM_TRANSFER / BLOCK);
    rounds();
    CHECK_EQUAL(next_event(S2N_EVENT_TASK_FAILED).status, INTERNAL_ERROR);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    bench_close();
}

static void an_overdue_command_is_told_of(void)
{
    bench_open(DEPTH, POOL);
    s2n_controller_set_timeout(bench.controller, 1);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    s2n_event event = {0};
    while (!s2n_plane_next_event(bench.plane, &event))
        s2n_reactor_round(bench.reactor); /* naps: no interrupt will come */
    CHECK_EQUAL(event.type, S2N_EVENT_OVERDUE);
    CHECK_EQUAL(event.cookie, CONTROLLER);
    CHECK_EQUAL(event.qid, 2);
    CHECK_EQUAL(event.cid, bench.device.log[0].cid);
    CHECK_EQUAL(event.count, 0);
    device_complete(&bench.device, 0, 0);
    bench_close();
}

int main(void)
{
    RUN(the_lowest_failure_is_told_once);
    RUN(what_was_not_sent_has_not_failed);
    RUN(the_failing_block_survives_the_batch);
    RUN(what_no_prps_describe_fails);
    RUN(an_overdue_command_is_told_of);
    return 0;
}
