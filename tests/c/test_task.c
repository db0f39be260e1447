/* The life of tasks on one reactor, step by step. */
#include <string.h>

#include "bench.h"
#include "check.h"

/* Of the pool's 12 large chunks a lone nexus may have 10. */
enum { POOL = 1 << 20, LARGES = 10, DEPTH = 4, SLOTS = DEPTH - 1 };

/* ---- the way of a task ---- */

static void a_read_is_one_command(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 77, 8);
    CHECK_EQUAL(bench.device.rings, 0);
    rounds();
    CHECK_EQUAL(bench.device.rings, 1);
    CHECK_EQUAL(bench.device.seen, 1);
    CHECK_EQUAL(bench.device.log[0].opcode, 2);
    CHECK_EQUAL(bench.device.log[0].slba, 77);
    CHECK_EQUAL(bench.device.log[0].blocks, 8);
    CHECK_EQUAL(bench.device.log[0].nsid, NSID);
    CHECK(!op[0].completed);
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK(op[0].completed && !op[0].task);
    CHECK_EQUAL(op[0].status, 0);
    CHECK_EQUAL(op[0].data_in, 4096);
    bench_close();
}

static void a_batch_rings_once(void)
{
    bench_open(64, POOL);
    for (uint32_t i = 0; i < 10; i++)
        begin_read(&op[i], 0, 0, i, 1);
    rounds();
    CHECK_EQUAL(bench.device.rings, 1);
    CHECK_EQUAL(bench.device.seen, 10);
    for (uint32_t i = 0; i < 10; i++)
        device_complete(&bench.device, 9 - i, 0);
    rounds();
    for (uint32_t i = 0; i < 10; i++)
        CHECK(op[i].completed);
    bench_close();
}

static void nothing_to_do_ends_at_once(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 5, 0);
    CHECK(op[0].completed && !op[0].status && !op[0].data_in);
    bench_close();
}

/* Nothing but a flag keeps the reactor from saying so. */
static void a_unit_is_ready_at_once(void)
{
    static const uint8_t ready[6] = {0};

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, ready, sizeof ready);
    CHECK(op[0].completed && !op[0].status);
    no_event();
    s2n_nexus_set_aside(bench.nexus[0], 0, true);
    begin_command(&op[1], 0, 0, ready, sizeof ready);
    CHECK(!op[1].completed);
    s2n_task_end(next_event(S2N_EVENT_TASK).task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK_EQUAL(op[1].status, CHECK_CONDITION);
    bench_close();
}

/* What has no data may have much to do: a Read is late long before a Flush. */
static void a_flush_has_time(void)
{
    static const uint8_t flush[10] = {0x35};
    uint16_t cid;

    bench_open(DEPTH, POOL);
    s2n_controller_set_timeout(bench.controller, 2000);
    begin_command(&op[0], 0, 0, flush, sizeof flush);
    rounds();
    CHECK(s2n_qpair_next_deadline(bench.device.qp, &cid) > 200000);
    begin_read(&op[1], 0, 0, 0, 1);
    rounds();
    CHECK(s2n_qpair_next_deadline(bench.device.qp, &cid) <= 2000);
    complete_all();
    CHECK(op[0].completed && op[1].completed);
    bench_close();
}

static void what_is_not_hot_goes_to_the_engine(void)
{
    static const uint8_t inquiry[6] = {0x12, 0, 0, 0, 96};
    const uint8_t sense[18] = {0x70}, data[100] = {1};
    uint16_t length;

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 1, 0, inquiry, sizeof inquiry);
    s2n_event event = next_event(S2N_EVENT_TASK);
    CHECK(event.task == op[0].task);
    CHECK_EQUAL(s2n_task_nexus(event.task), NEXUS + 1);
    CHECK(!memcmp(s2n_task_cdb(event.task, &length), inquiry, sizeof inquiry));
    CHECK_EQUAL(length, sizeof inquiry);
    CHECK(!s2n_task_aborted(event.task));
    op[0].keeps = true;
    s2n_task_end(event.task, CHECK_CONDITION, sense, sizeof sense, data, sizeof data);
    CHECK(op[0].completed && op[0].status == CHECK_CONDITION && op[0].sense == 18);
    CHECK(op[0].data_in == sizeof data);
    CHECK(!memcmp(s2n_task_span_at(op[0].task, 0, &(uint32_t){0}), data, sizeof data));
    taken(&op[0]);
    bench_close();
}

static void whoever_has_stepped_aside_is_the_engines(void)
{
    bench_open(DEPTH, POOL);
    s2n_nexus_set_aside(bench.nexus[0], 0, true);
    begin_read(&op[0], 0, 0, 5, 1);
    begin_read(&op[1], 1, 0, 5, 1);
    begin_read(&op[2], 0, 1, 5, 1);
    begin_read(&op[3], 0, 9, 5, 1); /* no such LUN */
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    CHECK(next_event(S2N_EVENT_TASK).task == op[3].task);
    no_event();
    s2n_task_end(op[0].task, 0, NULL, 0, NULL, 0);
    s2n_task_end(op[3].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    complete_all();
    CHECK(op[1].completed && op[2].completed);
    bench_close();
}

static void a_lun_that_leads_elsewhere_is_known(void)
{
    static const uint8_t inquiry[6] = {0x12, 0, 0, 0, 96};

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, inquiry, sizeof inquiry);
    s2n_task *task = next_event(S2N_EVENT_TASK).task;
    CHECK(!s2n_task_misrouted(task));
    CHECK_EQUAL(s2n_nexus_map(bench.nexus[0], 0, bench.lu[1]), 0);
    CHECK(s2n_task_misrouted(task));
    CHECK_EQUAL(s2n_nexus_map(bench.nexus[0], 0, NULL), 0);
    CHECK(s2n_task_misrouted(task));
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    bench_close();
}

static void data_out_is_for_the_engine_to_read(void)
{
    static uint8_t copy[200 * BLOCK];

    bench_open(DEPTH, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    begin_write(&op[0], 0, 0, 5, 200);
    gathered(&op[0]);
    s2n_task *task = next_event(S2N_EVENT_TASK).task;
    CHECK_EQUAL(s2n_task_data_length(task), sizeof copy);
    s2n_task_copy_data(task, copy);
    CHECK(copy[0] == 0x5a && copy[65536] == 0x5a);
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
    bench_close();
}

/* ---- data in place ---- */

enum { PLACE_IOVA = 1 << 28 };

static const struct s2n_extent scattered[] = {
    {40960, 8192}, {8192, 4096}, {16384, 12288}, {65536, 4096}};
static uint8_t memory[69632];
static const struct s2n_place place = {memory, PLACE_IOVA, scattered, 4};

static void data_in_place_need_no_buffer(void)
{
    bench_open(DEPTH, POOL);
    begin_in_place(&op[0], 0x28, 5, 56, &place);
    begin_in_place(&op[1], 0x2a, 5, 16, &place);
    begin_in_place(&op[2], 0x2a, 5, 1, &place);
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
    begin_in_place(&op[0], 0x2a, 0, 56, &place);
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
    begin_in_place(&op[0], 0x2a, 0, 56, &place);
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

static void what_does_not_fit_one_command_is_the_engines(void)
{
    static struct s2n_extent pages[514];

    bench_open(DEPTH, POOL);
    s2n_lu_params params = bench.params;
    params.maximum_blocks = 65536;
    s2n_lu_update(bench.lu[0], &params);
    for (uint32_t i = 0; i < 514; i++)
        pages[i] = (struct s2n_extent){i * 8192, 4096};
    begin_in_place(&op[0], 0x28, 0, 514 * 8, &(struct s2n_place){memory, PLACE_IOVA, pages, 514});
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.status, INTERNAL_ERROR);
    CHECK_EQUAL(bench.device.seen, 0);
    s2n_task_end(event.task, BUSY, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
    bench_close();
}

static void a_lost_controller_is_told(void)
{
    bench_open(DEPTH, POOL);
    op[0].keeps = true;
    begin_in_place(&op[0], 0x28, 5, 8, &place);
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

static void a_changed_block_size_is_no_longer_hot(void)
{
    s2n_lu_params params;

    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 5, 8);
    params = bench.params;
    params.block_shift = 12;
    s2n_lu_update(bench.lu[0], &params);
    gathered(&op[0]);
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, BUSY, NULL, 0, NULL, 0);
    begin_read(&op[1], 0, 0, 5, 8);
    complete_all();
    CHECK_EQUAL(op[1].data_in, 8 << 12);
    bench_close();
}

/* ---- failures ---- */

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

/* In a pool that holds one portion, and no other task. */
static void much_data_go_in_portions(void)
{
    enum { PORTIONS = 10, BLOCKS = PORTIONS * (S2N_PORTION / BLOCK) };

    bench_open(64, 2 << 20);
    begin_read(&op[0], 0, 0, 1000, BLOCKS);
    rounds();
    CHECK_EQUAL(bench.device.seen, S2N_PORTION / BLOCK / 256);
    complete_all();
    for (int i = 0; i < PORTIONS && !op[0].completed; i++)
        rounds();
    CHECK(op[0].completed && !op[0].status);
    CHECK_EQUAL(op[0].portions, PORTIONS - 1);
    CHECK_EQUAL(op[0].data_in, S2N_PORTION); /* the last one's */
    CHECK_EQUAL(bench.device.seen, BLOCKS / 256);
    for (uint32_t i = 0; i < BLOCKS / 256; i++)
        CHECK_EQUAL(bench.device.log[i].slba, 1000 + 256 * i);
    begin_write(&op[1], 0, 0, 1000, BLOCKS);
    for (int i = 0; i < PORTIONS; i++) {
        CHECK(!op[1].completed);
        gathered(&op[1]);
        rounds();
    }
    CHECK(op[1].completed && !op[1].status);
    bench_close();
}

/* Who steps aside in the middle has the rest judged by the engine; what fails there, or is
 * aborted, is over. */
static void the_rest_may_be_the_engines(void)
{
    enum { BLOCKS = 10 * (S2N_PORTION / BLOCK) };
    s2n_portion portion;

    bench_open(64, 2 << 20);
    begin_write(&op[0], 0, 0, 0, BLOCKS);
    gathered(&op[0]);
    rounds();
    s2n_nexus_set_aside(bench.nexus[0], 0, true);
    for (uint32_t i = 0; i < bench.device.seen; i++)
        device_complete(&bench.device, i, 0);
    rounds();
    CHECK_EQUAL(op[0].task->state, S2N_GATHERING);
    CHECK_EQUAL(bench.lu[0]->local[0].under_way, 0); /* nobody waits for it meanwhile */
    gathered(&op[0]);
    s2n_event event = next_event(S2N_EVENT_TASK);
    CHECK(s2n_task_portion(event.task, &portion));
    CHECK_EQUAL(portion.announced, (uint64_t)BLOCKS * BLOCK);
    CHECK_EQUAL(portion.offset, S2N_PORTION);
    CHECK_EQUAL(portion.bytes, S2N_PORTION);
    CHECK_EQUAL(s2n_task_data_length(event.task), S2N_PORTION);
    s2n_task_end(event.task, 0x18, NULL, 0, NULL, 0);
    rounds();
    CHECK(op[0].completed && op[0].status == 0x18);
    s2n_nexus_set_aside(bench.nexus[0], 0, false);
    begin_write(&op[1], 0, 0, 0, BLOCKS);
    gathered(&op[1]);
    complete_all();
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, NULL, bench.lu[0], 0, false, false, UINT64_MAX, 5);
    rounds();
    CHECK(op[1].discarded);
    expect_drained(5, 1);
    bench_close();
}

/* What is more than can be expected is not cut, nor what is refused for its attribute. */
static void what_does_not_go_in_portions(void)
{
    uint8_t cdb[16] = {0x88, [10] = 0x7f};
    s2n_portion portion;

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, cdb, sizeof cdb);
    CHECK(!s2n_task_portion(next_event(S2N_EVENT_TASK).task, &portion));
    CHECK_EQUAL(op[0].task->portion_bytes, 0);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    cdb[10] = 0;
    cdb[12] = 0xff;
    s2n_task *task = s2n_task_new(bench.reactor, NULL, bench.nexus[0]);
    memcpy(task->cdb, cdb, sizeof cdb);
    task->cdb_length = sizeof cdb;
    s2n_task_begin(task);
    CHECK(s2n_task_portion(task, &portion));
    for (task->attribute = 2; task->attribute <= 4; task->attribute++)
        CHECK_EQUAL(s2n_task_portion(task, &portion), task->attribute != 4);
    s2n_task_free(task);
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
    device_complete(&bench.device, 0, 0);
    bench_close();
}

/* ---- waiting ---- */

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

static void a_refused_task_is_the_engines(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 0, 1);
    s2n_task_refuse(op[0].task, 0x0b4b00);
    s2n_event event = next_event(S2N_EVENT_TASK_REFUSED);
    CHECK_EQUAL(event.count, 0x0b4b00);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK(op[0].completed && op[0].status == CHECK_CONDITION);
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

/* ---- in the engine's hands ---- */

enum { TASK_SET_FULL = 0x28, LARGEST = S2N_MAXIMUM_TRANSFER / BLOCK };

/* Take from the events that a task is the engine's. */
static void expect_engine(const struct op *of)
{
    CHECK(next_event(S2N_EVENT_TASK).task == of->task);
}

static void answer(struct op *of, uint32_t bytes)
{
    static uint8_t data[S2N_MAXIMUM_TRANSFER];

    s2n_task_end(of->task, 0, NULL, 0, data, bytes);
}

/* Until they were taken, answers count. */
static void a_nexus_gets_no_more_answers_than_it_takes(void)
{
    bench_open(64, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    op[0].keeps = true;
    for (uint32_t i = 0; i < 3; i++)
        begin_read(&op[i], 0, 0, 0, LARGEST);
    expect_engine(&op[0]);
    expect_engine(&op[1]);
    CHECK(op[2].completed && op[2].status == TASK_SET_FULL);
    begin_read(&op[3], 1, 0, 0, LARGEST);
    expect_engine(&op[3]);
    answer(&op[0], S2N_MAXIMUM_TRANSFER);
    begin_read(&op[4], 0, 0, 0, LARGEST);
    CHECK(op[4].status == TASK_SET_FULL);
    begin_read(&op[5], 0, 0, 0, 8);
    expect_engine(&op[5]);
    taken(&op[0]);
    begin_read(&op[6], 0, 0, 0, LARGEST);
    expect_engine(&op[6]);
    answer(&op[1], 0);
    for (uint32_t i = 3; i < 7; i++)
        if (i != 4)
            answer(&op[i], 0);
    bench_close();
}

/* Answers that are not taken leave some for everybody; who has none is told BUSY. */
static void all_nexuses_have_no_more_than_the_sum(void)
{
    bench_open(64, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    atomic_fetch_add(&bench.plane->heap_bytes, S2N_PLANE_HEAP - (10 << 20));
    begin_read(&op[0], 0, 0, 0, LARGEST);
    expect_engine(&op[0]);
    op[1].keeps = true;
    CHECK(!s2n_task_holds_up(op[0].task));
    begin_read(&op[1], 1, 0, 0, LARGEST);
    CHECK(op[1].completed && op[1].status == BUSY);
    CHECK(s2n_task_holds_up(op[0].task) && !s2n_task_holds_up(op[1].task));
    begin_read(&op[2], 2, 0, 0, 1024);
    expect_engine(&op[2]);
    answer(&op[0], 0);
    answer(&op[2], 0);
    taken(&op[1]);
    atomic_fetch_sub(&bench.plane->heap_bytes, S2N_PLANE_HEAP - (10 << 20));
    bench_close();
}

/* ---- drains ---- */

static void a_drain_waits_for_hot_tasks_of_its_unit(void)
{
    bench_open(64, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 0, 1, 0, 1);
    rounds();
    s2n_lu_drain(bench.lu[0], 31);
    no_event();
    begin_read(&op[2], 0, 0, 0, 1);
    CHECK(next_event(S2N_EVENT_TASK).task == op[2].task);
    s2n_lu_drain(bench.lu[0], 32);
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK(op[0].completed);
    expect_drained(32, 0);
    expect_drained(31, 0);
    s2n_task_end(op[2].task, 0, NULL, 0, NULL, 0);
    s2n_lu_drain(bench.lu[0], 33);
    expect_drained(33, 0);
    device_complete(&bench.device, 1, 0);
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
    CHECK(next_event(S2N_EVENT_TASK).task == op[2].task);
    expect_drained(31, 0);
    gathered(&op[0]);
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, 0, NULL, 0, NULL, 0);
    s2n_task_end(op[2].task, 0, NULL, 0, NULL, 0);
    complete_all();
    CHECK(op[3].completed && op[4].reserved);
    s2n_lu_set_aside(bench.lu[0], false);
    gathered(&op[1]);
    gathered(&op[4]);
    bench_close();
}

/* ---- pause, resume, fail ---- */

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

/* ---- aborts ---- */

enum { ON_DEVICE, FOR_SLOT, PARTLY, FOR_BUFFER, GATHERING, GATHERING_WAITS, WITH_ENGINE, STATES };

static uint64_t number_with_engine;

/* Tasks of nexus 0 and LUN 0, in every state. */
static void begin_every_state(void)
{
    static const uint8_t inquiry[6] = {0x12};

    begin_write(&op[GATHERING], 0, 0, 0, 4 * BLOCKS_64K);
    CHECK(op[GATHERING].reserved);
    begin_read(&op[ON_DEVICE], 0, 0, 1, 1);
    begin_read(&op[PARTLY], 0, 0, 2, 600);
    begin_read(&op[FOR_SLOT], 0, 0, 3, 1);
    begin_write(&op[GATHERING_WAITS], 0, 0, 0, 8 * BLOCKS_64K);
    CHECK(!op[GATHERING_WAITS].reserved);
    begin_read(&op[FOR_BUFFER], 0, 0, 4, 8 * BLOCKS_64K);
    begin_command(&op[WITH_ENGINE], 0, 0, inquiry, sizeof inquiry);
    s2n_event event = next_event(S2N_EVENT_TASK);
    CHECK(event.task == op[WITH_ENGINE].task && event.cookie);
    number_with_engine = event.cookie;
    rounds();
    CHECK_EQUAL(bench.device.seen, SLOTS);
}

/* What has not reached the device ends at once; nothing more is sent to it. */
static void check_aborted_every_state(uint64_t token, uint32_t count)
{
    CHECK(op[GATHERING].discarded && op[GATHERING_WAITS].discarded);
    CHECK(op[FOR_SLOT].completed && op[FOR_BUFFER].completed);
    CHECK(!op[ON_DEVICE].completed && !op[PARTLY].completed && !op[WITH_ENGINE].completed);
    CHECK(s2n_task_aborted(op[WITH_ENGINE].task));
    CHECK_EQUAL(next_event(S2N_EVENT_TASK_ABORTED).cookie, number_with_engine);
    no_event();
    for (uint32_t i = 0; i < SLOTS; i++)
        device_complete(&bench.device, i, i ? INTERNAL_ERROR : 0);
    rounds();
    CHECK_EQUAL(bench.device.seen, SLOTS);
    CHECK(op[ON_DEVICE].completed && op[PARTLY].completed);
    no_event();
    s2n_task_end(op[WITH_ENGINE].task, 0, NULL, 0, NULL, 0);
    expect_drained(token, count);
    for (uint32_t i = 0; i < STATES; i++)
        CHECK(op[i].aborted && !op[i].task);
}

static void aborts_reach_tasks_in_every_state(void)
{
    static const uint32_t scopes[] = {S2N_SCOPE_NEXUS_LU, S2N_SCOPE_LU, S2N_SCOPE_NEXUS};

    for (unsigned i = 0; i < 3; i++) {
        bench_open(DEPTH, POOL);
        begin_every_state();
        s2n_plane_abort(bench.plane, scopes[i], bench.nexus[0],
                        scopes[i] == S2N_SCOPE_NEXUS ? NULL : bench.lu[0], 0, false, false,
                        UINT64_MAX, 51);
        check_aborted_every_state(51, STATES);
        bench_close();
    }
}

/* What its own nexus sent after the request, and what overtook that. */
static void aborts_end_nothing_that_came_later(void)
{
    static const uint32_t scopes[] = {S2N_SCOPE_TASK, S2N_SCOPE_NEXUS_LU, S2N_SCOPE_LU,
                                      S2N_SCOPE_NEXUS};

    for (unsigned at = 0; at < 4; at++) {
        bench_open(DEPTH, POOL);
        begin_write(&op[0], 0, 0, 0, 1);
        begin_write(&op[1], 0, 0, 0, 1);
        begin_write(&op[2], 1, 0, 0, 1);
        uint64_t up_to = s2n_reactor_arrived(op[0].task->reactor);
        s2n_task_arrive_later(op[1].task);
        begin_write(&op[3], 0, 0, 0, 1);
        begin_write(&op[4], 1, 0, 0, 1);
        uint32_t itt = op[0].task->tag;
        for (unsigned i = 1; i < 5; i++)
            op[i].task->tag = itt;
        bool others = scopes[at] == S2N_SCOPE_LU;
        for (unsigned query = 2; query--;) {
            s2n_plane_abort(bench.plane, scopes[at], bench.nexus[0], bench.lu[0], itt, query, false,
                            up_to, 60 + query);
            expect_drained(60 + query, others ? 3 : 1);
        }
        CHECK(op[0].discarded && !op[1].discarded && !op[3].discarded);
        CHECK(op[2].discarded == others && op[4].discarded == others);
        for (unsigned i = 1; i < 5; i++)
            if (!op[i].discarded)
                gathered(&op[i]);
        complete_all();
        bench_close();
    }
}

static void aborts_reach_their_scope_only(void)
{
    static const struct {
        uint32_t scope;
        unsigned hit; /* bits: nexus * UNITS + LUN */
    } cases[] = {{S2N_SCOPE_TASK, 1},
                 {S2N_SCOPE_NEXUS_LU, 1},
                 {S2N_SCOPE_LU, 1 | 4 | 16},
                 {S2N_SCOPE_NEXUS, 1 | 2}};

    for (unsigned at = 0; at < 4; at++) {
        bench_open(DEPTH, POOL);
        for (unsigned i = 0; i < NEXUSES * UNITS; i++)
            begin_write(&op[i], i / UNITS, i % UNITS, 0, 1);
        uint32_t itt = op[0].task->tag, hits = (uint32_t)__builtin_popcount(cases[at].hit);
        s2n_plane_abort(bench.plane, cases[at].scope, bench.nexus[0], bench.lu[0], itt, true, false,
                        UINT64_MAX, 60);
        expect_drained(60, hits);
        s2n_plane_abort(bench.plane, cases[at].scope, bench.nexus[0], bench.lu[0], itt, false, true,
                        UINT64_MAX, 61);
        expect_drained(61, hits);
        for (unsigned i = 0; i < NEXUSES * UNITS; i++) {
            CHECK_EQUAL(op[i].discarded, cases[at].hit >> i & 1);
            bool own = cases[at].scope == S2N_SCOPE_LU && i / UNITS == 0;
            CHECK_EQUAL(op[i].told, op[i].discarded && !own);
            if (!op[i].discarded)
                gathered(&op[i]);
        }
        complete_all();
        s2n_plane_abort(bench.plane, cases[at].scope, bench.nexus[0], bench.lu[0], itt, false, true,
                        UINT64_MAX, 62);
        expect_drained(62, 0);
        bench_close();
    }
}

/* An initiator that takes no responses must not hold up another's task management. */
static void an_abort_does_not_wait_for_responses(void)
{
    static const uint8_t inquiry[6] = {0x12};

    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 0, 1);
    begin_command(&op[1], 0, 0, inquiry, sizeof inquiry);
    next_event(S2N_EVENT_TASK);
    op[0].keeps = op[1].keeps = true;
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[1], bench.lu[0], 0, false, true,
                    UINT64_MAX, 71);
    CHECK(op[0].discarded && op[0].told);
    next_event(S2N_EVENT_TASK_ABORTED);
    no_event();
    s2n_task_end(op[1].task, 0, NULL, 0, NULL, 0);
    CHECK(op[1].completed && op[1].told);
    expect_drained(71, 2);
    taken(&op[0]);
    taken(&op[1]);
    bench_close();
}

static void a_second_abort_waits_for_the_same_task(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[1], bench.lu[0], 0, false, true,
                    UINT64_MAX, 71);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    72);
    begin_read(&op[1], 0, 0, 0, 1); /* came later: nobody's concern */
    rounds();
    no_event();
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK(op[0].completed && op[0].told);
    expect_drained(72, 0);
    expect_drained(71, 1);
    device_complete(&bench.device, 1, 0);
    bench_close();
}

/* Take what is told of so many aborted commands, for the n-th time; returns their CIDs' bits. */
static unsigned told_of(uint32_t commands, uint32_t times_before)
{
    s2n_event event = {0};
    unsigned cids = 0;

    for (uint32_t i = 0; i < commands; i++) {
        while (!s2n_plane_next_event(bench.plane, &event))
            s2n_reactor_round(bench.reactor);
        CHECK_EQUAL(event.type, S2N_EVENT_ABORT);
        CHECK_EQUAL(event.cookie, CONTROLLER);
        CHECK_EQUAL(event.count, times_before);
        CHECK_EQUAL(event.qid, 2);
        cids |= 1u << event.cid;
    }
    return cids;
}

/* The device may keep what it has been given: that is told then, for each command, and once
 * more if it does not help. */
static void what_stays_on_the_device_is_aborted_there(void)
{
    bench_open(16, POOL);
    begin_read(&op[0], 0, 0, 0, 600); /* more than one command */
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    uint32_t count = bench.device.seen - 1;
    CHECK(count > 1);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
    no_event();
    unsigned cids = told_of(count, 0);
    for (uint32_t i = 0; i < count; i++)
        CHECK(cids & 1u << bench.device.log[i].cid);
    CHECK_EQUAL(told_of(count, 1), cids);
    CHECK(!op[0].completed);
    complete_all();
    CHECK(op[0].completed && op[0].aborted && op[1].completed && !op[1].aborted);
    expect_drained(71, 1);
    bench_close();
}

/* Nobody knows whether it was done; nobody waits for it to be done. */
static void a_reset_ends_what_was_aborted(void)
{
    bench_open(16, POOL);
    begin_read(&op[0], 0, 0, 7, 600);
    begin_read(&op[1], 1, 0, 9, 1);
    rounds();
    uint32_t seen = bench.device.seen;
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    device_reset(&bench.device);
    bench.device.automatic = true;
    s2n_controller_resume(bench.controller);
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    rounds();
    CHECK_EQUAL(bench.device.seen, seen + 1);
    CHECK_EQUAL(bench.device.log[seen].slba, 9);
    CHECK(op[1].completed && !op[1].aborted && !op[1].status);
    bench_close();
}

static void aborts_during_a_pause(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    begin_read(&op[1], 0, 0, 1, 1);
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    UINT64_MAX, 71);
    CHECK(op[1].completed && op[1].aborted && !op[0].completed);
    s2n_controller_fail(bench.controller, INTERNAL_ERROR);
    rounds();
    expect_drained(71, 2);
    CHECK(op[0].completed && op[0].aborted);
    bench_close();
}

static void an_aborted_drain_is_done(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 600);
    begin_read(&op[1], 0, 0, 0, 600);
    rounds();
    s2n_lu_drain(bench.lu[0], 31);
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    UINT64_MAX, 71);
    for (uint32_t i = 0; i < SLOTS; i++)
        device_complete(&bench.device, i, 0);
    rounds();
    CHECK(op[0].completed && op[1].completed);
    s2n_event event;
    uint64_t tokens = 0;
    for (int i = 0; i < 2; i++)
        event = next_event(S2N_EVENT_DRAINED), tokens += event.cookie;
    CHECK_EQUAL(tokens, 31 + 71);
    bench_close();
}

/* ---- the end ---- */

/* Python may be gone before its tasks are: nothing of them is left behind. */
static void a_plane_may_be_freed_with_tasks(void)
{
    static const uint8_t inquiry[6] = {0x12};

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, inquiry, sizeof inquiry);
    begin_read(&op[1], 0, 0, 0, 1);
    rounds();
    s2n_lu_drain(bench.lu[0], 31);
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    UINT64_MAX, 71);
    for (unsigned i = 0; i < UNITS; i++)
        s2n_lu_free(bench.lu[i]);
    for (unsigned i = 0; i < NEXUSES; i++)
        s2n_nexus_free(bench.nexus[i]);
    s2n_controller_free(bench.controller);
    s2n_plane_free(bench.plane);
    device_close(&bench.device);
}

int main(void)
{
    RUN(a_read_is_one_command);
    RUN(a_batch_rings_once);
    RUN(nothing_to_do_ends_at_once);
    RUN(a_unit_is_ready_at_once);
    RUN(a_flush_has_time);
    RUN(what_is_not_hot_goes_to_the_engine);
    RUN(whoever_has_stepped_aside_is_the_engines);
    RUN(a_lun_that_leads_elsewhere_is_known);
    RUN(data_out_is_for_the_engine_to_read);
    RUN(data_in_place_need_no_buffer);
    RUN(parts_of_a_command_find_their_pages);
    RUN(the_engine_reads_data_in_place);
    RUN(what_does_not_fit_one_command_is_the_engines);
    RUN(a_lost_controller_is_told);
    RUN(a_changed_block_size_is_no_longer_hot);
    RUN(the_lowest_failure_is_told_once);
    RUN(what_was_not_sent_has_not_failed);
    RUN(the_failing_block_survives_the_batch);
    RUN(what_no_prps_describe_fails);
    RUN(much_data_go_in_portions);
    RUN(the_rest_may_be_the_engines);
    RUN(what_does_not_go_in_portions);
    RUN(an_overdue_command_is_told_of);
    RUN(tasks_wait_for_slots_in_order);
    RUN(tasks_wait_for_buffers_in_order);
    RUN(what_the_pool_can_never_hold_does_not_wait);
    RUN(a_refused_task_is_the_engines);
    RUN(nobody_gets_all_buffers);
    RUN(small_requests_pass_large_ones);
    RUN(whoever_waits_longest_is_not_passed_for_ever);
    RUN(each_nexus_waits_in_a_line_of_its_own);
    RUN(a_nexus_gets_no_more_answers_than_it_takes);
    RUN(all_nexuses_have_no_more_than_the_sum);
    RUN(a_drain_waits_for_hot_tasks_of_its_unit);
    RUN(a_drain_does_not_wait_for_buffers);
    RUN(a_pause_keeps_off_the_queue_and_resume_replays);
    RUN(a_lost_controller_fails_everything);
    RUN(a_controller_that_comes_back_is_used_again);
    RUN(aborts_reach_tasks_in_every_state);
    RUN(aborts_end_nothing_that_came_later);
    RUN(aborts_reach_their_scope_only);
    RUN(an_abort_does_not_wait_for_responses);
    RUN(a_second_abort_waits_for_the_same_task);
    RUN(what_stays_on_the_device_is_aborted_there);
    RUN(a_reset_ends_what_was_aborted);
    RUN(aborts_during_a_pause);
    RUN(an_aborted_drain_is_done);
    RUN(a_plane_may_be_freed_with_tasks);
    return 0;
}
