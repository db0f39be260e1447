/* The life of tasks on one reactor, step by step. */
#include <string.h>

#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4 };

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

/* Which refuses it. */
static void an_aca_task_is_the_engines(void)
{
    bench_open(DEPTH, POOL);
    op[0].attribute = S2N_ATTRIBUTE_ACA;
    begin_read(&op[0], 0, 0, 5, 1);
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK_EQUAL(bench.device.seen, 0);
    bench_close();
}

/* Where a command's data lie: in chunks of a buffer that are apart, from the midst of one on. */
static void each_page_is_where_the_buffer_has_it(void)
{
    enum { PIECE = 104, COUNT = 3 * BLOCKS_64K, PAGE_BLOCKS = S2N_PAGE / BLOCK };

    bench_open(64, POOL);
    bench.params.maximum_blocks = PIECE; /* 13 pages: chunks have 16 */
    s2n_lu_update(bench.lu[0], &bench.params);
    for (uint32_t i = 0; i < 6; i++)
        begin_read(&op[i], 0, 1, 0, BLOCKS_64K);
    rounds();
    for (uint32_t i = 0; i < 6; i += 2)
        device_complete(&bench.device, i, 0);
    rounds();
    begin_read(&op[6], 0, 0, 0, COUNT);
    rounds();
    const struct s2n_buffer *buffer = &op[6].task->buffer;
    CHECK(buffer->count == 3 && buffer->chunk[1] != buffer->chunk[0] + 16);
    CHECK_EQUAL(bench.device.seen, 6 + (COUNT + PIECE - 1) / PIECE);
    for (uint32_t block = 0; block < COUNT; block += PAGE_BLOCKS) {
        uint32_t first = block / PIECE * PIECE, blocks = bench.device.log[6 + block / PIECE].blocks;
        uint32_t page = (block - first) / PAGE_BLOCKS, pages = blocks / PAGE_BLOCKS;
        uint32_t chunk = buffer->chunk[block / BLOCKS_64K];
        CHECK_EQUAL(blocks, COUNT - first < PIECE ? COUNT - first : PIECE);
        CHECK_EQUAL(device_prp(&bench.device, 6 + block / PIECE, page, pages),
                    s2n_pool_iova(buffer->pool, chunk) + block % BLOCKS_64K * BLOCK);
    }
    complete_all();
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
    enum { FEWER = 70000 };
    static uint8_t copy[200 * BLOCK], part[200 * BLOCK];

    bench_open(DEPTH, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    begin_write(&op[0], 0, 0, 5, 200);
    gathered(&op[0]);
    s2n_task *task = next_event(S2N_EVENT_TASK).task;
    CHECK_EQUAL(s2n_task_data_length(task), sizeof copy);
    s2n_task_copy_data(task, copy);
    CHECK(copy[0] == 0x5a && copy[65536] == 0x5a);
    task->data_out_length = FEWER; /* than there is room for */
    s2n_task_copy_data(task, part);
    CHECK(!memcmp(part, copy, FEWER) && !part[FEWER]);
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
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
    RUN(an_aca_task_is_the_engines);
    RUN(each_page_is_where_the_buffer_has_it);
    RUN(a_lun_that_leads_elsewhere_is_known);
    RUN(data_out_is_for_the_engine_to_read);
    RUN(a_changed_block_size_is_no_longer_hot);
    RUN(a_refused_task_is_the_engines);
    RUN(a_plane_may_be_freed_with_tasks);
    return 0;
}
