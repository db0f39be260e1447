/* Tasks of a controller that pauses, is lost, or comes back. */
#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4, MOST_PORTIONS = 64 };

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

static void move_to(s2n_controller *controller, uint64_t token)
{
    s2n_lu_drain(bench.lu[0], token);
    rounds();
    expect_drained(token, 0);
    s2n_lu_move(bench.lu[0], controller);
    s2n_lu_set_aside(bench.lu[0], false);
    rounds();
}

static void goes_to_the_engine(const struct op *one)
{
    s2n_event event = next_event(S2N_EVENT_TASK);

    CHECK(event.task == one->task);
    s2n_task_end(event.task, S2N_GOOD, NULL, 0, NULL, 0);
    CHECK(one->completed && !one->status);
}

/* What has begun has its data in memory of the first: it is the engine's. All else is hot. */
static void a_logical_unit_moves_to_another_controller(void)
{
    struct device other;

    bench_open(DEPTH, POOL);
    device_open(&other, DEPTH, POOL);
    bench.device.automatic = other.automatic = true;
    s2n_controller *second = s2n_controller_new(bench.plane, CONTROLLER + 1);
    CHECK(!s2n_controller_set_queue(second, 0, other.qp, -1, &other.pool_memory));
    rounds();
    for (unsigned i = 0; i < NEXUSES; i++)
        CHECK(!s2n_nexus_prepare(bench.nexus[i], second));
    begin_read(&op[0], 0, 0, 1, 1);
    begin_write(&op[1], 0, 0, 2, 1);
    begin_write(&op[2], 1, 0, 3, 6 * BLOCKS_64K);
    rounds();
    CHECK(op[0].completed && !op[0].status);
    move_to(second, 51);
    gathered(&op[1]);
    goes_to_the_engine(&op[1]);
    gathered(&op[2]);
    goes_to_the_engine(&op[2]);
    CHECK_EQUAL(bench.device.seen, 1);
    begin_write(&op[3], 0, 0, 4, 1);
    gathered(&op[3]);
    begin_read(&op[4], 0, 0, 5, 1);
    begin_read(&op[5], 0, 1, 6, 1); /* the other logical unit stays */
    rounds();
    for (unsigned i = 3; i < 6; i++)
        CHECK(op[i].completed && !op[i].status);
    CHECK_EQUAL(other.seen, 2);
    CHECK_EQUAL(bench.device.seen, 2);
    CHECK_EQUAL(bench.device.log[1].slba, 6);
    move_to(bench.controller, 52);
    begin_read(&op[6], 0, 0, 7, 1);
    rounds();
    CHECK(op[6].completed && !op[6].status);
    CHECK_EQUAL(bench.device.log[2].slba, 7);
    CHECK_EQUAL(s2n_pool_unused(second->queue[0].pool), other.pool_memory.length);
    s2n_controller_free(second);
    bench_close();
    device_close(&other);
}

/* What waits for data has the rest of them from another one: a portion at a time. */
static void a_portion_that_follows_is_hot_again(void)
{
    struct device other;
    uint32_t blocks = 2 * S2N_PORTION / BLOCK + S2N_MAXIMUM_TRANSFER / BLOCK;

    bench_open(2 * DEPTH, 4 * POOL);
    device_open(&other, 2 * DEPTH, 4 * POOL);
    bench.device.automatic = other.automatic = true;
    s2n_controller *second = s2n_controller_new(bench.plane, CONTROLLER + 1);
    CHECK(!s2n_controller_set_queue(second, 0, other.qp, -1, &other.pool_memory));
    rounds();
    for (unsigned i = 0; i < NEXUSES; i++)
        CHECK(!s2n_nexus_prepare(bench.nexus[i], second));
    begin_write(&op[0], 0, 0, 0, blocks);
    CHECK(op[0].reserved);
    move_to(second, 51);
    gathered(&op[0]);
    s2n_event event = next_event(S2N_EVENT_TASK);
    s2n_task_end(event.task, S2N_GOOD, NULL, 0, NULL, 0);
    for (unsigned i = 0; !op[0].completed; i++) {
        CHECK(i < MOST_PORTIONS);
        gathered(&op[0]);
        rounds();
    }
    CHECK(!op[0].status);
    CHECK_EQUAL(bench.device.seen, 0);
    CHECK(other.seen > 0);
    move_to(bench.controller, 52);
    s2n_controller_free(second);
    bench_close();
    device_close(&other);
}

/* Its LUN led elsewhere before there was the other controller, so its nexus has nothing there. */
static void what_has_lost_its_lun_does_not_move(void)
{
    struct device other;
    uint32_t blocks = 2 * S2N_PORTION / BLOCK + S2N_MAXIMUM_TRANSFER / BLOCK;

    bench_open(2 * DEPTH, 4 * POOL);
    device_open(&other, 2 * DEPTH, 4 * POOL);
    bench.device.automatic = other.automatic = true;
    s2n_controller *second = s2n_controller_new(bench.plane, CONTROLLER + 1);
    CHECK(!s2n_controller_set_queue(second, 0, other.qp, -1, &other.pool_memory));
    rounds();
    begin_write(&op[0], 0, 0, 0, blocks);
    CHECK(op[0].reserved);
    CHECK(!s2n_nexus_map(bench.nexus[0], 0, NULL));
    move_to(second, 51);
    gathered(&op[0]);
    s2n_event event = next_event(S2N_EVENT_TASK);
    s2n_task_end(event.task, S2N_GOOD, NULL, 0, NULL, 0);
    rounds(); /* the next portion */
    gathered(&op[0]);
    event = next_event(S2N_EVENT_TASK);
    CHECK(s2n_task_misrouted(event.task));
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK(op[0].completed && op[0].status == CHECK_CONDITION);
    CHECK_EQUAL(other.seen, 0);
    move_to(bench.controller, 52);
    s2n_controller_free(second);
    bench_close();
    device_close(&other);
}

enum { FORGOTTEN = 0x008 };

static void end_each(uint32_t type, uint32_t count)
{
    for (; count; count--)
        s2n_task_end(next_event(type).task, CHECK_CONDITION, NULL, 0, NULL, 0);
}

/* Another namespace may be there now: nothing that was meant for the former comes to it. */
static void after_a_reset_nothing_of_a_recalled_unit_is_replayed(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 10, 1);
    begin_read(&op[1], 0, 1, 11, 1);
    begin_read(&op[2], 0, 0, 0, 1024); /* one command is placed, three are not */
    begin_write(&op[3], 1, 0, 13, 1);
    gathered(&op[3]); /* waits for a slot */
    begin_read(&op[4], 1, 1, 14, 1);
    rounds();
    CHECK_EQUAL(bench.device.seen, DEPTH - 1);
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    begin_read(&op[5], 2, 0, 15, 1);
    s2n_lu_set_aside(bench.lu[0], true);
    s2n_lu_recall(bench.lu[0], bench.controller, true);
    begin_read(&op[6], 2, 0, 16, 1);
    device_reset(&bench.device);
    bench.device.automatic = true;
    s2n_controller_resume(bench.controller);
    rounds();
    CHECK_EQUAL(bench.device.seen, DEPTH - 1 + 2);
    CHECK(op[1].completed && !op[1].status && op[4].completed && !op[4].status);
    CHECK_EQUAL(bench.device.log[DEPTH - 1].slba, 11);
    CHECK_EQUAL(bench.device.log[DEPTH].slba, 14);
    uint32_t failed = 0, anew = 0;
    for (s2n_event event; s2n_plane_next_event(bench.plane, &event);) {
        failed += event.type == S2N_EVENT_TASK_FAILED && event.status == FORGOTTEN && !event.dnr;
        anew += event.type == S2N_EVENT_TASK && !event.status;
        s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    }
    CHECK_EQUAL(failed, 2);
    CHECK_EQUAL(anew, 3);
    bench_close();
}

/* Of a controller that goes on, what the device has ends there; the rest is not placed. */
static void what_the_device_has_of_a_recalled_unit_ends_by_itself(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 10, 1);
    begin_read(&op[1], 0, 0, 0, 1024);
    begin_read(&op[2], 0, 1, 12, 1);
    begin_read(&op[3], 1, 0, 13, 7 * BLOCKS_64K);
    rounds();
    CHECK_EQUAL(bench.device.seen, DEPTH - 1);
    s2n_lu_set_aside(bench.lu[0], true);
    s2n_lu_recall(bench.lu[0], bench.controller, false);
    rounds();
    end_each(S2N_EVENT_TASK, 1);
    CHECK(op[3].completed);
    no_event();
    complete_all();
    CHECK(op[0].completed && !op[0].status);
    CHECK(op[2].completed && !op[2].status);
    CHECK_EQUAL(bench.device.seen, DEPTH);
    end_each(S2N_EVENT_TASK_FAILED, 1);
    CHECK(op[1].completed && op[1].status == CHECK_CONDITION);
    bench_close();
}

int main(void)
{
    RUN(after_a_reset_nothing_of_a_recalled_unit_is_replayed);
    RUN(what_the_device_has_of_a_recalled_unit_ends_by_itself);
    RUN(a_pause_keeps_off_the_queue_and_resume_replays);
    RUN(a_lost_controller_fails_everything);
    RUN(a_controller_that_comes_back_is_used_again);
    RUN(a_logical_unit_moves_to_another_controller);
    RUN(a_portion_that_follows_is_hot_again);
    RUN(what_has_lost_its_lun_does_not_move);
    return 0;
}
