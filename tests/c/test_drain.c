/* The hot path is kept off a logical unit, or off ranges of its blocks while it goes on beside
 * them. */
#include "bench.h"
#include "check.h"
#include "drain.h"

enum { POOL = 1 << 20, DEPTH = 64 };

static void drain_range(uint64_t first, uint64_t end, uint64_t token)
{
    s2n_lu_drain_range(bench.lu[0], first, end, token);
}

static void release(uint64_t token)
{
    s2n_lu_release_range(bench.lu[0], token);
}

/* It went to the engine, which answers; another may follow. */
static void answer_cold(struct op *one)
{
    CHECK(next_event(S2N_EVENT_TASK).task == one->task);
    s2n_task_end(one->task, 0, NULL, 0, NULL, 0);
    CHECK(one->completed);
    *one = (struct op){0};
}

static void complete(uint32_t index)
{
    device_complete(&bench.device, index, 0);
    rounds();
}

/* ---- whole logical units ---- */

static void a_drain_waits_for_hot_tasks_of_its_unit(void)
{
    bench_open(64, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 0, 1, 0, 1);
    rounds();
    s2n_lu_drain(bench.lu[0], 31);
    no_event();
    begin_read(&op[2], 0, 0, 0, 1);
    s2n_lu_drain(bench.lu[0], 32);
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK(op[0].completed);
    expect_drained(32, 0);
    expect_drained(31, 0);
    no_event();
    CHECK_EQUAL(bench.device.seen, 2);
    s2n_lu_set_aside(bench.lu[0], false);
    rounds();
    s2n_lu_drain(bench.lu[0], 33);
    no_event();
    complete(2);
    expect_drained(33, 0);
    CHECK(op[2].completed && !op[1].completed);
    complete(1);
    bench_close();
}

/* Writes with the engine may wait for the drain and hold what a read waits for. */
static void a_drain_does_not_wait_for_buffers(void)
{
    bench_open(64, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, 6 * BLOCKS_64K);
    begin_read(&op[2], 2, 0, 0, 2 * BLOCKS_64K);
    begin_read(&op[3], 2, 1, 0, 2 * BLOCKS_64K);
    begin_write(&op[4], 2, 0, 0, BLOCKS_64K);
    rounds();
    CHECK(!op[2].completed && !bench.device.seen && !op[4].reserved);
    s2n_lu_drain(bench.lu[0], 31);
    expect_drained(31, 0);
    gathered(&op[0]);
    no_event();
    s2n_lu_set_aside(bench.lu[0], false);
    complete_all();
    CHECK(op[0].completed && op[2].completed && op[3].completed && op[4].reserved);
    gathered(&op[1]);
    gathered(&op[4]);
    bench_close();
}

/* ---- ranges ---- */

static void a_range_waits_for_what_meets_it(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 90, 10);
    begin_read(&op[1], 0, 0, 90, 11);
    begin_read(&op[2], 0, 0, 101, 1);
    begin_read(&op[3], 0, 0, 102, 9);
    begin_read(&op[4], 0, 1, 100, 1); /* of another logical unit */
    begin_read(&op[5], 0, 0, 1, 99);
    rounds();
    drain_range(100, 102, 31);
    no_event();
    complete(0);
    no_event();
    complete(1);
    no_event();
    complete(2);
    expect_drained(31, 0);
    complete(5);
    complete(3);
    complete(4);
    no_event();
    release(31);
    bench_close();
}

static void what_comes_later_is_the_engines_where_it_meets_one(void)
{
    bench_open(DEPTH, POOL);
    drain_range(100, 102, 31);
    expect_drained(31, 0);
    begin_read(&op[0], 0, 0, 99, 1);
    begin_read(&op[1], 0, 0, 102, 1);
    begin_read(&op[2], 0, 1, 100, 1);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    begin_read(&op[3], 0, 0, 99, 2);
    answer_cold(&op[3]);
    begin_read(&op[3], 0, 0, 101, 1);
    answer_cold(&op[3]);
    begin_read(&op[3], 1, 0, 0, 1000);
    answer_cold(&op[3]);
    release(31);
    begin_read(&op[3], 0, 0, 101, 1);
    device_complete_all(&bench.device);
    for (int i = 0; i < 4; i++) {
        rounds();
        CHECK(op[i].completed);
    }
    bench_close();
}

/* It names blocks, and works on none. */
static void a_flush_goes_on(void)
{
    static const uint8_t flush[10] = {0x35, 0, 0, 0, 0, 100, 0, 0, 1};

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, flush, sizeof flush);
    rounds();
    drain_range(0, 1 << 21, 31);
    expect_drained(31, 0);
    begin_command(&op[1], 0, 0, flush, sizeof flush);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    device_complete_all(&bench.device);
    release(31);
    bench_close();
}

static void several_ranges_wait_each_for_its_own(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 10);
    begin_read(&op[1], 0, 0, 20, 10);
    rounds();
    drain_range(0, 1, 31);
    drain_range(5, 25, 32);
    drain_range(9, 10, 33);
    drain_range(10, 20, 34);
    expect_drained(34, 0);
    release(33); /* given up: nobody waits for it for ever */
    expect_drained(33, 0);
    complete(0);
    expect_drained(31, 0);
    no_event();
    complete(1);
    expect_drained(32, 0);
    release(31);
    begin_read(&op[2], 0, 0, 0, 1);
    begin_read(&op[3], 0, 0, 5, 1);
    answer_cold(&op[3]);
    release(32);
    release(34);
    release(77); /* that nobody drains */
    begin_read(&op[3], 0, 0, 5, 1);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[2].completed && op[3].completed);
    bench_close();
}

/* Both see the whole of what waits for its slots, not only what is under way of it. */
static void what_waits_for_slots_is_waited_for(void)
{
    bench_open(4, POOL);
    begin_read(&op[0], 0, 0, 0, 600);
    begin_read(&op[1], 0, 0, 700, 600);
    rounds();
    drain_range(0, 1, 31);
    drain_range(1299, 1300, 32);
    no_event();
    device_complete_all(&bench.device);
    rounds();
    s2n_event event;
    uint64_t tokens = 0;
    for (int i = 0; i < 2; i++)
        event = next_event(S2N_EVENT_DRAINED), tokens += event.cookie;
    CHECK_EQUAL(tokens, 31 + 32);
    CHECK(op[0].completed && op[1].completed);
    release(31);
    release(32);
    bench_close();
}

/* What holds the buffers may be with the engine, and wait for the same blocks. */
static void what_waits_for_buffers_is_the_engines(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 0, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 0, 6 * BLOCKS_64K);
    begin_read(&op[2], 2, 0, 0, 2 * BLOCKS_64K);
    begin_read(&op[3], 2, 0, 10000, 2 * BLOCKS_64K);
    rounds();
    CHECK(!bench.device.seen);
    drain_range(0, 1, 31);
    expect_drained(31, 0);
    answer_cold(&op[2]);
    gathered(&op[0]);
    answer_cold(&op[0]);
    release(31);
    gathered(&op[1]);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[1].completed && op[3].completed);
    bench_close();
}

/* Between two portions others may have the blocks; each is held against ranges by itself. */
static void portions_are_held_against_ranges(void)
{
    enum { BLOCKS = 10 * (S2N_PORTION / BLOCK), SECOND = S2N_PORTION / BLOCK };

    bench_open(DEPTH, 2 << 20);
    begin_write(&op[0], 0, 0, 0, BLOCKS);
    gathered(&op[0]);
    rounds();
    drain_range(SECOND, SECOND + 1, 31);
    expect_drained(31, 0); /* the first one does not meet it */
    drain_range(SECOND - 1, SECOND, 32);
    no_event();
    for (uint32_t i = 0; i < bench.device.seen; i++)
        device_complete(&bench.device, i, 0);
    rounds();
    expect_drained(32, 0);
    release(32);
    gathered(&op[0]);
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    rounds();
    CHECK(op[0].completed);
    release(31);
    bench_close();
}

static void whatever_ends_a_task_ends_the_wait(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    begin_read(&op[2], 2, 0, 0, 1);
    rounds();
    drain_range(0, 1, 31);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
    no_event();
    complete(0);
    expect_drained(71, 1);
    device_complete(&bench.device, 1, UNRECOVERED_READ);
    rounds();
    CHECK(next_event(S2N_EVENT_TASK_FAILED).task == op[1].task);
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    no_event();
    s2n_controller_fail(bench.controller, UNRECOVERED_READ);
    rounds();
    expect_drained(31, 0);
    CHECK(next_event(S2N_EVENT_TASK_FAILED).task == op[2].task);
    for (int i = 1; i < 3; i++)
        s2n_task_end(op[i].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    release(31);
    bench_close();
}

/* Of what failed the device does nothing more, and the engine may want the same blocks. */
static void what_failed_is_not_waited_for(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    device_complete(&bench.device, 0, UNRECOVERED_READ);
    rounds();
    CHECK(next_event(S2N_EVENT_TASK_FAILED).task == op[0].task);
    drain_range(0, 1, 31);
    expect_drained(31, 0);
    s2n_lu_drain(bench.lu[0], 32);
    expect_drained(32, 0);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    release(31);
    bench_close();
}

static void begin_of(struct op *one, const uint8_t *cdb, const uint8_t *data)
{
    if (cdb[0] == 0x28)
        begin_command(one, 0, 0, cdb, 10);
    else
        begin_with_data(one, cdb, 10, data);
}

/* The blocks that a command names, each of them and no others, whatever it does with them. */
static void every_kind_waits_for_its_own_blocks(void)
{
    enum { BYTCHK = 1 << 1, EACH = 3 << 1, FIRST = 100, COUNT = 40, END = FIRST + COUNT };
    static const struct {
        uint8_t opcode, flags;
    } kinds[] = {{0x28, 0}, {0x2a, 0},      {0x2e, 0},    {0x2e, BYTCHK},
                 {0x2f, 0}, {0x2f, BYTCHK}, {0x2f, EACH}, {0x41, 0}};
    static const uint8_t data[COUNT * BLOCK] = {1};

    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bench_open_able(DEPTH, POOL);
        begin_of(&op[0], cdb_of(kinds[i].opcode, kinds[i].flags, FIRST, COUNT), data);
        rounds();
        CHECK(bench.device.seen);
        drain_range(FIRST - 1, FIRST, 31);
        expect_drained(31, 0);
        drain_range(END, END + 1, 32);
        expect_drained(32, 0);
        drain_range(FIRST, FIRST + 1, 33);
        drain_range(END - 1, END, 34);
        no_event();
        begin_of(&op[1], cdb_of(kinds[i].opcode, kinds[i].flags, FIRST, COUNT), data);
        answer_cold(&op[1]);
        device_complete_all(&bench.device);
        rounds();
        expect_drained(34, 0);
        expect_drained(33, 0);
        CHECK(op[0].completed && !op[0].status);
        for (uint64_t token = 31; token < 35; token++)
            release(token);
        bench_close();
    }
}

static void a_reset_ends_the_wait_for_what_was_aborted(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    drain_range(0, 1, 31);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    device_reset(&bench.device);
    s2n_controller_resume(bench.controller);
    rounds();
    expect_drained(71, 1);
    no_event();
    device_complete_all(&bench.device);
    rounds();
    expect_drained(31, 0);
    release(31);
    bench_close();
}

/* Ranges and a drain of all do not concern each other. */
static void a_drain_of_all_waits_beside_ranges(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 0, 0, 5, 1);
    rounds();
    drain_range(0, 1, 31);
    s2n_lu_drain(bench.lu[0], 32);
    complete(0);
    expect_drained(31, 0);
    complete(1);
    expect_drained(32, 0);
    s2n_lu_set_aside(bench.lu[0], false);
    begin_read(&op[2], 0, 0, 0, 1);
    answer_cold(&op[2]);
    release(31);
    bench_close();
}

static void a_logical_unit_goes_with_its_drains(void)
{
    bench_open(DEPTH, POOL);
    s2n_lu *lu = s2n_lu_new(bench.controller, &bench.params);
    lu->local[0].under_way = 1;
    s2n_lu_drain(lu, 31);
    no_event();
    s2n_lu_free(lu);
    expect_drained(31, 0);
    bench_close();
}

static void a_logical_unit_goes_with_its_ranges(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    drain_range(0, 1, 31);
    s2n_lu *lu = bench.lu[0];
    s2n_ranges_free(&lu->local[0]);
    expect_drained(31, 0);
    complete(0);
    bench_close();
}

int main(void)
{
    RUN(a_drain_waits_for_hot_tasks_of_its_unit);
    RUN(a_drain_does_not_wait_for_buffers);
    RUN(a_range_waits_for_what_meets_it);
    RUN(what_comes_later_is_the_engines_where_it_meets_one);
    RUN(a_flush_goes_on);
    RUN(several_ranges_wait_each_for_its_own);
    RUN(what_waits_for_slots_is_waited_for);
    RUN(what_waits_for_buffers_is_the_engines);
    RUN(portions_are_held_against_ranges);
    RUN(whatever_ends_a_task_ends_the_wait);
    RUN(what_failed_is_not_waited_for);
    RUN(every_kind_waits_for_its_own_blocks);
    RUN(a_reset_ends_the_wait_for_what_was_aborted);
    RUN(a_drain_of_all_waits_beside_ranges);
    RUN(a_logical_unit_goes_with_its_drains);
    RUN(a_logical_unit_goes_with_its_ranges);
    return 0;
}
