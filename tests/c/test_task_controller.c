/* Tasks of a controller that pauses, is lost, or comes back. */
#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4 };

static void a_pause_keeps_off_the_queue_and_resume_replays(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 10, 1);
    begin_read(&op[1], 0, 0, 11, 1);
    rounds();
    begin_read(&op[2], 0, 0, 12, 1); /* placed, not rung */
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    begin_read(&op[3], 0, 0, 13, 1);
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    CHECK(!op[0].completed);
    device_reset(&bench.device);
    bench.device.automatic = true;
    s2n_controller_resume(bench.controller);
    rounds();
    CHECK_EQUAL(bench.device.seen, 6);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQUAL(bench.device.log[2 + i].slba, 10 + i);
        CHECK(op[i].completed && !op[i].status);
    }
    bench_close();
}

/* Whatever waits, for the device, a slot or a buffer, ends; so does what comes later. */
static void a_lost_controller_fails_everything(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 5; i++)
        begin_read(&op[i], 0, 0, i, 1);
    begin_write(&op[5], 1, 0, 0, 6 * BLOCKS_64K);
    gathered(&op[5]);
    begin_write(&op[6], 2, 0, 0, 6 * BLOCKS_64K);
    begin_read(&op[7], 0, 0, 0, 7 * BLOCKS_64K);
    rounds();
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    s2n_controller_fail(bench.controller, INTERNAL_ERROR);
    rounds();
    gathered(&op[6]);
    for (int left = 8; left; left--) {
        rounds();
        s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
        CHECK_EQUAL(event.status, INTERNAL_ERROR);
        s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    }
    for (uint32_t i = 0; i < 8; i++)
        CHECK(op[i].completed && op[i].status == CHECK_CONDITION);
    CHECK_EQUAL(bench.reactor->in_flight, 0);
    bench_close();
}

static void a_controller_that_comes_back_is_used_again(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    s2n_controller_fail(bench.controller, INTERNAL_ERROR);
    rounds();
    s2n_task_end(next_event(S2N_EVENT_TASK_FAILED).task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
    device_reset(&bench.device);
    bench.device.automatic = true;
    s2n_controller_resume(bench.controller);
    begin_read(&op[1], 0, 0, 7, 1);
    rounds();
    CHECK(op[1].completed && !op[1].status);
    CHECK_EQUAL(bench.device.seen, 2);
    CHECK_EQUAL(bench.device.log[1].slba, 7);
    bench_close();
}

int main(void)
{
    RUN(a_pause_keeps_off_the_queue_and_resume_replays);
    RUN(a_lost_controller_fails_everything);
    RUN(a_controller_that_comes_back_is_used_again);
    return 0;
}
