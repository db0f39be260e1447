/* Tasks whose data are moved where the front end has them. */
#include <string.h>

#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4, PLACE_IOVA = 1 << 28 };

static const struct s2n_extent scattered[] = {
    {40960, 8192}, {8192, 4096}, {16384, 12288}, {65536, 4096}};
static uint8_t memory[69632];
static const struct s2n_place place = {memory, PLACE_IOVA, scattered, 4};

static void data_in_place_need_no_buffer(void)
{
    bench_open(DEPTH, POOL);
    begin_in_place(&op[0], cdb_of(0x28, 0, 5, 56), &place);
    begin_in_place(&op[1], cdb_of(0x2a, 0, 5, 16), &place);
    begin_in_place(&op[2], cdb_of(0x2a, 0, 5, 1), &place);
    CHECK(!op[0].task->buffer.pool && !op[1].task->buffer.pool);
    rounds();
    static const uint64_t pages[] = {40960, 45056, 8192, 16384, 20480, 24576, 65536};
    for (uint32_t i = 0; i < 7; i++)
        CHECK_EQUAL(device_prp(&bench.device, 0, i, 7), PLACE_IOVA + pages[i]);
    for (uint32_t i = 0; i < 2; i++)
        CHECK_EQUAL(device_prp(&bench.device, 1, i, 2), PLACE_IOVA + pages[i]);
    CHECK_EQUAL(device_prp(&bench.device, 2, 0, 1), PLACE_IOVA + pages[0]);
    CHECK_EQUAL(bench.device.log[2].prp2, 0);
    complete_all();
    CHECK(op[0].completed && op[0].data_in == 56 * BLOCK);
    CHECK(op[1].completed && op[2].completed && !op[1].status);
    bench_close();
}

/* The second of three parts begins and ends within a page. */
static void parts_of_a_command_find_their_pages(void)
{
    bench_open(DEPTH, POOL);
    s2n_lu_params params = bench.params;
    params.maximum_blocks = 20;
    s2n_lu_update(bench.lu[0], &params);
    begin_in_place(&op[0], cdb_of(0x2a, 0, 0, 56), &place);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    static const uint64_t pages[3][4] = {
        {40960, 45056, 8192}, {8192 + 2048, 16384, 20480}, {24576, 65536}};
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t page = 0, count = i < 2 ? 3 : 2; page < count; page++)
            CHECK_EQUAL(device_prp(&bench.device, i, page, count), PLACE_IOVA + pages[i][page]);
    complete_all();
    CHECK(op[0].completed && !op[0].status);
    bench_close();
}

static void the_engine_reads_data_in_place(void)
{
    static uint8_t copy[56 * BLOCK];

    bench_open(DEPTH, POOL);
    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = (uint8_t)(i >> 9);
    s2n_lu_set_aside(bench.lu[0], true);
    begin_in_place(&op[0], cdb_of(0x2a, 0, 0, 56), &place);
    s2n_task *task = next_event(S2N_EVENT_TASK).task;
    CHECK_EQUAL(s2n_task_data_length(task), sizeof copy);
    s2n_task_copy_data(task, copy);
    CHECK(!memcmp(copy, memory + 40960, 8192) && !memcmp(copy + 8192, memory + 8192, 4096));
    CHECK(!memcmp(copy + 12288, memory + 16384, 12288));
    CHECK(!memcmp(copy + 24576, memory + 65536, 4096));
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
    bench_close();
}

/* Nothing of the first has come to the device. */
static void ends_with_the_engine(void)
{
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.status, INTERNAL_ERROR);
    CHECK_EQUAL(bench.device.seen, 0);
    s2n_task_end(event.task, BUSY, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
}

static void what_does_not_fit_one_command_is_the_engines(void)
{
    static struct s2n_extent pages[514];

    bench_open(DEPTH, POOL);
    s2n_lu_params params = bench.params;
    params.maximum_blocks = 65536;
    s2n_lu_update(bench.lu[0], &params);
    for (uint32_t i = 0; i < 514; i++)
        pages[i] = (struct s2n_extent){i * 8192, 4096};
    begin_in_place(&op[0], cdb_of(0x28, 0, 0, 514 * 8),
                   &(struct s2n_place){memory, PLACE_IOVA, pages, 514});
    ends_with_the_engine();
    bench_close();
}

/* Nor what there is no place for: nothing behind the last extent is taken for one. */
static void what_has_no_place_is_the_engines(void)
{
    static const struct s2n_extent extents[] = {{0, 4096}, {8192, 4096}, {16384, 4096}};

    bench_open(DEPTH, POOL);
    begin_in_place(&op[0], cdb_of(0x28, 0, 5, 24),
                   &(struct s2n_place){memory, PLACE_IOVA, extents, 2});
    ends_with_the_engine();
    bench_close();
}

/* The device has its first part when the second turns out to end in the midst of a page. */
static void what_goes_before_it_is_done(void)
{
    static const struct s2n_extent extents[] = {{0, 4096}, {8192, 2048}, {16384, 2048}};

    bench_open(DEPTH, POOL);
    s2n_lu_params params = bench.params;
    params.maximum_blocks = 8;
    s2n_lu_update(bench.lu[0], &params);
    begin_in_place(&op[0], cdb_of(0x28, 0, 5, 16),
                   &(struct s2n_place){memory, PLACE_IOVA, extents, 3});
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    no_event();
    complete_all();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.status, INTERNAL_ERROR);
    CHECK_EQUAL(event.lba, 5 + 8);
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_task_end(event.task, BUSY, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
    bench_close();
}

static void a_lost_controller_is_told(void)
{
    bench_open(DEPTH, POOL);
    op[0].keeps = true;
    begin_in_place(&op[0], cdb_of(0x28, 0, 5, 8), &place);
    rounds();
    CHECK(!s2n_task_lost(op[0].task));
    s2n_controller_fail(bench.controller, 0x271);
    rounds();
    s2n_task *task = next_event(S2N_EVENT_TASK_FAILED).task;
    CHECK(s2n_task_lost(task));
    s2n_task_end(task, CHECK_CONDITION, NULL, 0, NULL, 0);
    taken(&op[0]);
    bench_close();
}

int main(void)
{
    RUN(data_in_place_need_no_buffer);
    RUN(parts_of_a_command_find_their_pages);
    RUN(the_engine_reads_data_in_place);
    RUN(what_does_not_fit_one_command_is_the_engines);
    RUN(what_has_no_place_is_the_engines);
    RUN(what_goes_before_it_is_done);
    RUN(a_lost_controller_is_told);
    return 0;
}
