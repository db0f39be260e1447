/* Tasks wait for slots and for buffers, in turns. */
#include "bench.h"
#include "check.h"

/* Of the pool's 12 large chunks a lone nexus may have 10. */
enum { POOL = 1 << 20, LARGES = 10, DEPTH = 4, SLOTS = DEPTH - 1 };

static void tasks_wait_for_slots_in_order(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 10; i++)
        begin_read(&op[i], 0, 0, i, 1);
    begin_read(&op[10], 0, 0, 2000, 700); /* three commands */
    for (uint32_t i = 0; i < 13; i++) {
        rounds();
        CHECK_EQUAL(bench.device.seen, i + SLOTS < 13 ? i + SLOTS : 13);
        CHECK_EQUAL(bench.device.log[i].slba, i < 10 ? i : 2000 + (i - 10) * 256);
        CHECK(!op[i < 10 ? i : 10].completed);
        device_complete(&bench.device, i, 0);
    }
    rounds();
    CHECK(op[9].completed && op[10].completed);
    CHECK_EQUAL(op[10].data_in, 700 * BLOCK);
    bench_close();
}

/* Begin a VERIFY, which has no data, and one NVMe command. */
static void begin_verify(struct op *one, unsigned nexus, uint32_t lba)
{
    begin_command(one, nexus, 0, cdb_of(0x2f, 0, lba, 1), 10);
}

static void nobody_gets_all_slots(void)
{
    enum { ENTRIES = 64 - 1, SILENT = 33, SECOND = 11 };

    bench_open_able(ENTRIES + 1, POOL);
    for (uint32_t i = 0; i < 60; i++)
        begin_verify(&op[i], 0, i);
    rounds();
    CHECK_EQUAL(bench.device.seen, SILENT); /* a quarter is kept, and it has twice what it leaves */
    for (uint32_t i = 60; i < 100; i++)
        begin_verify(&op[i], 1, i);
    rounds();
    CHECK_EQUAL(bench.device.seen, SILENT + SECOND);
    begin_verify(&op[100], 2, 100);
    rounds();
    CHECK_EQUAL(bench.device.seen, SILENT + SECOND + 1);
    CHECK_EQUAL(bench.device.log[SILENT + SECOND].slba, 100);
    complete_all();
    for (uint32_t i = 0; i <= 100; i++)
        CHECK(op[i].completed);
    bench_close();
}

static void a_slot_is_whose_nexus_has_waited_longest(void)
{
    bench_open_able(DEPTH, POOL);
    for (uint32_t i = 0; i < 6; i++)
        begin_verify(&op[i], 0, i);
    for (uint32_t i = 6; i < 9; i++)
        begin_verify(&op[i], 1, i);
    static const uint32_t turns[] = {0, 1, 2, 3, 6, 4, 7, 5, 8};
    for (uint32_t i = 0; i < 9; i++) {
        rounds();
        CHECK_EQUAL(bench.device.log[i].slba, turns[i]);
        device_complete(&bench.device, i, 0);
    }
    rounds();
    bench_close();
}

static void tasks_wait_for_buffers_in_order(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, 6 * BLOCKS_64K);
    CHECK(op[0].reserved && op[1].reserved);
    begin_write(&op[2], 2, 0, 0, 6 * BLOCKS_64K);
    begin_read(&op[3], 2, 0, 0, 2 * BLOCKS_64K);
    CHECK(!op[2].reserved);
    gathered(&op[0]);
    complete_all();
    CHECK(op[0].completed && op[2].reserved && !op[3].completed);
    gathered(&op[1]);
    rounds();
    CHECK(op[1].completed && op[3].completed);
    gathered(&op[2]);
    rounds();
    CHECK(op[2].completed);
    bench_close();
}

static void what_the_pool_can_never_hold_does_not_wait(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, LARGES * BLOCKS_64K + 1);
    CHECK(!op[0].reserved && !op[0].completed);
    rounds();
    CHECK(op[0].completed && op[0].status == BUSY && !op[0].aborted);
    begin_read(&op[1], 0, 0, 0, LARGES * BLOCKS_64K + 1);
    CHECK(next_event(S2N_EVENT_TASK).task == op[1].task);
    s2n_task_end(op[1].task, 0, NULL, 0, NULL, 0);
    CHECK(op[1].completed);
    bench_close();
}

static void nobody_gets_all_buffers(void)
{
    uint32_t silent = 0, other = 0;

    bench_open(64, POOL);
    while (silent < 12 && (begin_write(&op[silent], 0, 0, 0, BLOCKS_64K), op[silent].reserved))
        silent++;
    CHECK(silent >= 5 && silent <= 8);
    /* Others neither wait behind it nor find nothing left. */
    for (other = silent + 1; other < silent + 3; other++) {
        begin_write(&op[other], 1, 0, 0, BLOCKS_64K);
        CHECK(op[other].reserved || !s2n_task_try_reserve(op[other].task, BLOCKS_64K * BLOCK));
    }
    rounds();
    for (other = silent + 1; other < silent + 3; other++) {
        CHECK(op[other].reserved);
        gathered(&op[other]);
    }
    complete_all();
    CHECK(op[silent + 1].completed && op[silent + 2].completed && !op[silent].reserved);
    /* With one task fewer the next has its turn. */
    gathered(&op[0]);
    rounds();
    CHECK(op[0].completed && op[silent].reserved);
    for (uint32_t i = 1; i <= silent; i++)
        gathered(&op[i]);
    rounds();
    bench_close();
}

/* Nothing is given back, and something that does not fit waits in front. */
static void small_requests_pass_large_ones(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[2], 1, 0, 0, BLOCKS_64K);
    CHECK(op[0].reserved && op[1].reserved && !op[2].reserved);
    for (uint32_t i = 3; i < 6; i++) {
        begin_read(&op[i], i - 3, 0, i, 8);
        complete_all();
        CHECK(op[i].completed && op[i].data_in == 4096);
    }
    gathered(&op[0]);
    gathered(&op[1]);
    complete_all();
    CHECK(op[2].reserved);
    gathered(&op[2]);
    bench_close();
}

/* As long as one waits with what is common for its own, others get theirs from the reserve. */
static void whoever_waits_longest_is_not_passed_for_ever(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, 8 * BLOCKS_64K);
    CHECK(op[0].reserved && !op[1].reserved);
    for (uint32_t i = 2; i < 6; i++)
        begin_write(&op[i], 2, 0, 0, BLOCKS_64K);
    CHECK(op[2].reserved && !op[4].reserved);
    gathered(&op[0]);
    complete_all();
    CHECK(op[0].completed && op[1].reserved);
    gathered(&op[1]);
    rounds();
    for (uint32_t i = 2; i < 6; i++) {
        CHECK(op[i].reserved);
        gathered(&op[i]);
    }
    bench_close();
}

/* Others come and go meanwhile: each time it is looked whether there is enough, the claim stays. */
static void a_claim_outlasts_what_is_given_back(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, 8 * BLOCKS_64K);
    begin_write(&op[2], 2, 0, 0, BLOCKS_64K);
    CHECK(op[0].reserved && !op[1].reserved && op[2].reserved);
    gathered(&op[2]);
    complete_all();
    CHECK(op[2].completed && !op[1].reserved);
    /* Six chunks are left, of which a part is reserved: four would be of what is claimed. */
    begin_write(&op[3], 2, 0, 0, 4 * BLOCKS_64K);
    CHECK(!op[3].reserved);
    gathered(&op[0]);
    rounds();
    CHECK(op[1].reserved);
    gathered(&op[1]);
    rounds();
    CHECK(op[3].reserved);
    gathered(&op[3]);
    rounds();
    bench_close();
}

/* A command to no logical unit has neither a queue nor a pool. */
static void what_goes_nowhere_reserves_nothing(void)
{
    bench_open(64, POOL);
    op[0].gathers = true;
    begin_command(&op[0], 0, UNITS, cdb_of(0x2a, 0, 0, 1), 10);
    CHECK(!s2n_task_try_reserve(op[0].task, BLOCK) && s2n_task_reserve(op[0].task, BLOCK));
    CHECK(!op[0].task->buffer.pool);
    s2n_task_execute(op[0].task);
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
    bench_close();
}

/* A response that nobody takes needs no data-out. */
static void what_was_written_is_given_back_before_the_response_is_taken(void)
{
    bench_open(64, POOL);
    op[0].keeps = true;
    begin_write(&op[0], 0, 0, 0, LARGES * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, LARGES * BLOCKS_64K);
    gathered(&op[0]);
    complete_all();
    CHECK(op[0].completed && op[0].task && op[1].reserved);
    /* What was read is still to be sent. */
    op[2].keeps = true;
    begin_read(&op[2], 2, 0, 0, LARGES * BLOCKS_64K);
    gathered(&op[1]);
    rounds();
    begin_write(&op[3], 1, 0, 0, LARGES * BLOCKS_64K);
    CHECK(op[2].completed && !op[3].reserved);
    taken(&op[2]);
    rounds();
    CHECK(op[3].reserved);
    gathered(&op[3]);
    taken(&op[0]);
    bench_close();
}

/* Who waited longest and gives up keeps nothing for itself any more. */
static void a_claim_ends_with_who_makes_it(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, LARGES * BLOCKS_64K);
    CHECK(op[0].reserved && !op[1].reserved);
    s2n_task_abort(op[1].task, false);
    CHECK(op[1].discarded);
    begin_write(&op[2], 2, 0, 0, 4 * BLOCKS_64K);
    CHECK(op[2].reserved);
    gathered(&op[0]);
    gathered(&op[2]);
    complete_all();
    bench_close();
}

/* The nexus of a small one may have many others that wait; they are no matter to anybody. */
static void each_nexus_waits_in_a_line_of_its_own(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 10 * BLOCKS_64K);
    for (uint32_t i = 1; i < 4; i++)
        begin_write(&op[i], 0, 0, 0, 5 * BLOCKS_64K);
    for (uint32_t i = 4; i < 7; i++)
        begin_write(&op[i], 1, 0, 0, 5 * BLOCKS_64K);
    CHECK(s2n_task_holds_up(op[0].task) && !s2n_task_holds_up(op[1].task));
    gathered(&op[0]);
    complete_all();
    /* In turns: as much as there is. */
    CHECK(op[1].reserved && op[4].reserved && !op[2].reserved && !op[5].reserved);
    s2n_task_abort(op[2].task, false);
    CHECK(op[2].discarded);
    gathered(&op[1]);
    rounds();
    CHECK(op[5].reserved);
    gathered(&op[4]);
    rounds();
    CHECK(op[3].reserved);
    gathered(&op[3]);
    gathered(&op[5]);
    rounds();
    CHECK(op[6].reserved && !s2n_task_holds_up(op[6].task));
    gathered(&op[6]);
    bench_close();
}

int main(void)
{
    RUN(tasks_wait_for_slots_in_order);
    RUN(nobody_gets_all_slots);
    RUN(a_slot_is_whose_nexus_has_waited_longest);
    RUN(tasks_wait_for_buffers_in_order);
    RUN(what_the_pool_can_never_hold_does_not_wait);
    RUN(nobody_gets_all_buffers);
    RUN(small_requests_pass_large_ones);
    RUN(whoever_waits_longest_is_not_passed_for_ever);
    RUN(a_claim_outlasts_what_is_given_back);
    RUN(what_goes_nowhere_reserves_nothing);
    RUN(what_was_written_is_given_back_before_the_response_is_taken);
    RUN(a_claim_ends_with_who_makes_it);
    RUN(each_nexus_waits_in_a_line_of_its_own);
    return 0;
}
