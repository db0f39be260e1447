/* VERIFY and WRITE AND VERIFY as tasks: where their data lie, and their phases. */
#include <string.h>

#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 16 };
enum { WRITE = 1, COMPARE = 5, VERIFY = 12 };
enum { GOOD = 0, COMPARE_FAILURE = 0x285, INTERRUPTED = 0x021 };
enum { BYTCHK = 1 << 1, EACH = 3 << 1 };

static uint8_t data[128 * BLOCK];

static void start(uint16_t depth)
{
    bench_open_able(depth, POOL);
    for (uint32_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 251 + 1);
}

static void complete(uint32_t number, uint16_t status)
{
    device_complete(&bench.device, number, status);
    rounds();
}

/* ---- VERIFY ---- */

static void a_block_is_compared_with_each(void)
{
    start(DEPTH);
    begin_with_data(&op[0], cdb_of(0x2f, EACH, 9, 20), 10, data);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    CHECK_EQUAL(bench.device.log[0].opcode, COMPARE);
    CHECK_EQUAL(bench.device.log[0].blocks, 20);
    for (uint32_t page = 1; page < 3; page++)
        CHECK_EQUAL(device_prp(&bench.device, 0, page, 3), bench.device.log[0].prp1);
    complete(0, COMPARE_FAILURE);
    CHECK(op[0].completed);
    CHECK_EQUAL(op[0].status, CHECK_CONDITION);
    CHECK_EQUAL(op[0].sense, 18);
    no_event();
    bench_close();
}

static void nothing_is_moved_to_verify_the_medium(void)
{
    start(DEPTH);
    begin_command(&op[0], 0, 0, cdb_of(0x2f, 0, 9, 130), 10);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQUAL(bench.device.log[i].opcode, VERIFY);
        CHECK_EQUAL(bench.device.log[i].slba, 9 + 64 * i);
        CHECK_EQUAL(bench.device.log[i].blocks, i < 2 ? 64 : 2);
        CHECK_EQUAL(bench.device.log[i].prp1, 0);
    }
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* ---- in place ---- */

enum { PLACE_IOVA = 1 << 28 };

static const struct s2n_extent extents[] = {{8192, 4096}, {0, 4096}};
static uint8_t pages[12288];
static const struct s2n_place place = {pages, PLACE_IOVA, extents, 2};

static s2n_task *begin_only(const uint8_t *cdb)
{
    static const struct s2n_front_end nobody;
    s2n_task *task = s2n_task_new(bench.reactor, &nobody, bench.nexus[0]);

    CHECK(task);
    memcpy(task->cdb, cdb, 10);
    task->cdb_length = 10;
    s2n_task_begin(task);
    return task;
}

static void only_what_nobody_looks_at_stays_in_place(void)
{
    static const struct {
        uint8_t opcode, flags;
        uint16_t count;
        bool stays;
    } commands[] = {
        {0x2a, 0, 2, true},      {0x2e, 0, 2, true},    {0x2e, BYTCHK, 2, true},
        {0x2f, BYTCHK, 2, true}, {0x2f, EACH, 1, true}, {0x2f, EACH, 2, false},
        {0x2f, 0, 2, false},     {0x41, 0, 2, false},   {0x41, 0, 1, false},
        {0x42, 0, 24, false},    {0x42, 0, 512, false},
    };

    start(DEPTH);
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        s2n_task *task =
            begin_only(cdb_of(commands[i].opcode, commands[i].flags, 0, commands[i].count));
        CHECK_EQUAL(s2n_task_moves_blocks(task), commands[i].stays);
        s2n_task_free(task);
    }
    bench_close();
}

static void both_phases_find_data_in_place(void)
{
    start(DEPTH);
    begin_in_place(&op[0], cdb_of(0x2e, BYTCHK, 40, 16), &place);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    complete(0, 0);
    CHECK_EQUAL(bench.device.seen, 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_EQUAL(bench.device.log[i].opcode, i ? COMPARE : WRITE);
        CHECK_EQUAL(bench.device.log[i].prp1, PLACE_IOVA + 8192);
        CHECK_EQUAL(bench.device.log[i].prp2, PLACE_IOVA);
    }
    complete(1, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* Each of one block is that block: nobody repeats it, so it may stay. */
static void one_block_for_each_is_compared_in_place(void)
{
    start(DEPTH);
    begin_in_place(&op[0], cdb_of(0x2f, EACH, 40, 1), &place);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    CHECK_EQUAL(bench.device.log[0].opcode, COMPARE);
    CHECK_EQUAL(bench.device.log[0].prp1, PLACE_IOVA + 8192);
    complete(0, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* ---- WRITE AND VERIFY ---- */

/* All of the first phase ends before anything of the second begins. */
static void what_is_written_is_verified_then(void)
{
    start(DEPTH);
    bench.params.maximum_blocks = 50;
    s2n_lu_update(bench.lu[0], &bench.params);
    begin_with_data(&op[0], cdb_of(0x2e, BYTCHK, 1000, 100), 10, data);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    complete(1, 0);
    CHECK_EQUAL(bench.device.seen, 2);
    complete(0, 0);
    CHECK_EQUAL(bench.device.seen, 4);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQUAL(bench.device.log[i].opcode, i < 2 ? WRITE : COMPARE);
        CHECK_EQUAL(bench.device.log[i].slba, 1000 + i % 2 * 50);
        CHECK_EQUAL(bench.device.log[i].prp1, bench.device.log[i % 2].prp1);
    }
    CHECK(!op[0].completed);
    complete(3, 0);
    complete(2, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

static void write_and_verify(uint8_t flags)
{
    start(DEPTH);
    begin_with_data(&op[0], cdb_of(0x2e, flags, 1000, 8), 10, data);
    rounds();
}

static void nothing_is_verified_that_was_not_written(void)
{
    write_and_verify(0);
    complete(0, INTERRUPTED);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.nvme, WRITE);
    CHECK_EQUAL(event.phase, 0);
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    bench_close();
}

/* The engine is told that the write was done: it is not done again. */
static void what_fails_second_tells_of_the_first(void)
{
    write_and_verify(0);
    complete(0, 0);
    complete(1, INTERRUPTED);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.nvme, VERIFY);
    CHECK_EQUAL(event.phase, 1);
    CHECK_EQUAL(event.lba, 1000);
    CHECK_EQUAL(event.count, 8);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    bench_close();
}

/* Other blocks may have the numbers of those that were written. */
static void what_is_recalled_first_has_no_second(void)
{
    write_and_verify(BYTCHK);
    s2n_lu_set_aside(bench.lu[0], true);
    s2n_lu_recall(bench.lu[0], bench.controller, false);
    complete(0, 0);
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.nvme, COMPARE);
    CHECK_EQUAL(event.status, 0x008);
    CHECK_EQUAL(event.phase, 1);
    CHECK(!event.dnr);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    bench_close();
}

static void what_is_aborted_first_has_no_second(void)
{
    write_and_verify(BYTCHK);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    UINT64_MAX, 9);
    rounds();
    CHECK(!op[0].completed);
    complete(0, 0);
    CHECK(op[0].completed && op[0].aborted);
    CHECK_EQUAL(bench.device.seen, 1);
    expect_drained(9, 1);
    bench_close();
}

/* Nothing of it is under way then, and nobody else tells it that the abort is done. */
static void what_is_aborted_between_phases_ends_at_once(void)
{
    start(2); /* one command at a time */
    begin_with_data(&op[0], cdb_of(0x2e, BYTCHK, 1000, 8), 10, data);
    begin_read(&op[1], 0, 1, 0, 1);
    rounds();
    complete(0, 0);
    CHECK_EQUAL(bench.device.seen, 2); /* the other's, which waited first */
    CHECK(!op[0].completed);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    UINT64_MAX, 9);
    rounds();
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(9, 1);
    complete(1, 0);
    CHECK(op[1].completed && op[1].status == GOOD);
    CHECK_EQUAL(bench.device.seen, 2);
    bench_close();
}

/* The second phase is of the same task: its failure is told, and once. */
static void a_lost_controller_ends_the_second(void)
{
    write_and_verify(0);
    complete(0, 0);
    s2n_controller_fail(bench.controller, 0x371);
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.phase, 1);
    CHECK_EQUAL(event.status, 0x371);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK_EQUAL(op[0].status, CHECK_CONDITION);
    bench_close();
}

/* A reset places again what was under way, of the second phase alone. */
static void a_reset_does_not_write_again(void)
{
    write_and_verify(BYTCHK);
    complete(0, 0);
    CHECK_EQUAL(bench.device.seen, 2);
    s2n_controller_pause(bench.controller, 3);
    rounds();
    expect_drained(3, 0);
    device_reset(&bench.device);
    s2n_controller_resume(bench.controller);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    CHECK_EQUAL(bench.device.log[2].opcode, COMPARE);
    CHECK_EQUAL(bench.device.log[2].prp1, bench.device.log[0].prp1);
    complete(2, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* A drain waits for both, although nothing may be under way between them. */
static void a_drain_waits_for_the_second(void)
{
    start(2); /* one command at a time */
    begin_with_data(&op[0], cdb_of(0x2e, BYTCHK, 1000, 8), 10, data);
    begin_read(&op[1], 0, 1, 0, 1);
    rounds();
    s2n_lu_drain(bench.lu[0], 7);
    complete(0, 0);
    no_event();
    complete(1, 0); /* the other's, which waited first */
    CHECK(op[1].completed && !op[0].completed);
    no_event();
    CHECK_EQUAL(bench.device.log[2].opcode, COMPARE);
    complete(2, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    expect_drained(7, 0);
    bench_close();
}

int main(void)
{
    RUN(a_block_is_compared_with_each);
    RUN(nothing_is_moved_to_verify_the_medium);
    RUN(only_what_nobody_looks_at_stays_in_place);
    RUN(both_phases_find_data_in_place);
    RUN(one_block_for_each_is_compared_in_place);
    RUN(what_is_written_is_verified_then);
    RUN(nothing_is_verified_that_was_not_written);
    RUN(what_fails_second_tells_of_the_first);
    RUN(what_is_recalled_first_has_no_second);
    RUN(what_is_aborted_first_has_no_second);
    RUN(what_is_aborted_between_phases_ends_at_once);
    RUN(a_lost_controller_ends_the_second);
    RUN(a_reset_does_not_write_again);
    RUN(a_drain_waits_for_the_second);
    return 0;
}
