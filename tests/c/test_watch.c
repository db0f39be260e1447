/* Blocks that the hot path reads but does not change. */
#include <string.h>

#include "bench.h"
#include "check.h"
#include "drain.h"

enum { POOL = 1 << 20, DEPTH = 64 };
enum { WATCHED = 3, MOST_PHASES = 4 };

static const uint64_t edges[2 * WATCHED] = {100, 110, 120, 130, 1000, 1001};
static uint8_t data[16 * BLOCK];

static void watch(uint32_t count)
{
    s2n_lu_watch(bench.lu[0], edges, count);
    rounds();
}

static void start(void)
{
    bench_open_able(DEPTH, POOL);
    watch(WATCHED);
}

static void begin_of(struct op *one, uint8_t opcode, uint32_t lba, uint16_t count)
{
    *one = (struct op){0};
    if (opcode == 0x28)
        begin_command(one, 0, 0, cdb_of(opcode, 0, lba, count), 10);
    else
        begin_with_data(one, cdb_of(opcode, 0, lba, count), 10, data);
    rounds();
}

static void is_hot(uint8_t opcode, uint32_t lba, uint16_t count)
{
    uint32_t seen = bench.device.seen;

    begin_of(&op[0], opcode, lba, count);
    CHECK(bench.device.seen > seen);
    device_complete_all(&bench.device);
    rounds();
    for (unsigned i = 0; !op[0].completed; i++) { /* another phase */
        CHECK(i < MOST_PHASES);
        device_complete_all(&bench.device);
        rounds();
    }
    no_event();
}

static void is_the_engines(uint8_t opcode, uint32_t lba, uint16_t count)
{
    uint32_t seen = bench.device.seen;

    begin_of(&op[0], opcode, lba, count);
    CHECK_EQUAL(bench.device.seen, seen);
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, 0, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
}

static void writes_that_meet_one_are_the_engines(void)
{
    static const struct {
        uint32_t lba;
        uint16_t count;
        bool meets;
    } cases[] = {{0, 1, false},   {99, 1, false},  {99, 2, true},    {100, 1, true},
                 {109, 1, true},  {110, 1, false}, {110, 10, false}, {110, 11, true},
                 {129, 2, true},  {130, 8, false}, {999, 1, false},  {1000, 1, true},
                 {1001, 1, false}};

    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (cases[i].meets ? is_the_engines : is_hot)(0x2a, cases[i].lba, cases[i].count);
        is_hot(0x28, cases[i].lba, cases[i].count);
    }
    bench_close();
}

static void every_kind_that_changes_blocks_is_held_against_them(void)
{
    start();
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t changing[] = {0x2a, 0x2e, 0x41};
        is_the_engines(changing[i], 105, 2);
        is_hot(changing[i], 111, 2);
    }
    is_hot(0x2f, 105, 2); /* VERIFY */
    bench_close();
}

static void nothing_is_watched_any_more(void)
{
    start();
    watch(1);
    is_the_engines(0x2a, 109, 1);
    is_hot(0x2a, 120, 1);
    watch(0);
    is_hot(0x2a, 109, 1);
    bench_close();
}

static void what_waits_for_data_is_held_against_what_comes_meanwhile(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 100, 1);
    rounds();
    watch(WATCHED);
    gathered(&op[0]);
    rounds();
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, 0, NULL, 0, NULL, 0);
    bench_close();
}

/* Whoever watches and then drains knows of all that was begun before. */
static void what_was_begun_before_is_drained(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 100, 1);
    gathered(&op[0]);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_lu_watch(bench.lu[0], edges, WATCHED);
    s2n_lu_drain_range(bench.lu[0], 100, 1001, 31);
    rounds();
    no_event();
    device_complete_all(&bench.device);
    rounds();
    expect_drained(31, 0);
    s2n_lu_release_range(bench.lu[0], 31);
    is_the_engines(0x41, 100, 1);
    bench_close();
}

int main(void)
{
    RUN(writes_that_meet_one_are_the_engines);
    RUN(every_kind_that_changes_blocks_is_held_against_them);
    RUN(nothing_is_watched_any_more);
    RUN(what_waits_for_data_is_held_against_what_comes_meanwhile);
    RUN(what_was_begun_before_is_drained);
    return 0;
}
