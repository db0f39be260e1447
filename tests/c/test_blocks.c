/* UNMAP and WRITE SAME as tasks: where their data lie, and what is left to the engine. */
#include <string.h>

#include "bench.h"
#include "check.h"
#include "little_endian.h"

enum { POOL = 1 << 20, DEPTH = 16, POOL_IOVA = 0x20000000 };
enum { WRITE = 1, WRITE_ZEROES = 8, DSM = 9 };
enum { GOOD = 0, INTERRUPTED = 0x021, BYTCHK = 1 << 1, NDOB = 1 };

static uint8_t data[16 * 1024];

static void start(uint16_t depth)
{
    bench_open_able(depth, POOL);
    for (uint32_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 251 + 1);
}

static const uint8_t *memory(uint64_t iova)
{
    return bench.device.pool_memory.vaddr + (iova - POOL_IOVA);
}

static void complete(uint32_t number, uint16_t status)
{
    device_complete(&bench.device, number, status);
    rounds();
}

/* ---- UNMAP ---- */

static void unmap(struct op *one, uint32_t count)
{
    static uint8_t list[8 + 16 * 256];

    memset(list, 0, sizeof list);
    list[2] = (uint8_t)(16 * count >> 8);
    list[3] = (uint8_t)(16 * count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t lba = 256 + 16 * i;
        list[8 + 16 * i + 6] = (uint8_t)(lba >> 8);
        list[8 + 16 * i + 7] = (uint8_t)lba;
        list[8 + 16 * i + 11] = 5; /* blocks */
    }
    begin_with_data(one, cdb_of(0x42, 0, 0, (uint16_t)(8 + 16 * count)), 10, list);
}

static void ranges_lie_behind_the_list(void)
{
    uint8_t list[56];

    start(DEPTH);
    unmap(&op[0], 3);
    s2n_task_copy_data(op[0].task, list);
    CHECK_EQUAL(list[8 + 11], 5); /* what the engine would see is as it was */
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    for (uint32_t i = 0; i < 3; i++) {
        const uint8_t *range = memory(bench.device.log[0].prp1) + 16 * i;
        CHECK_EQUAL(s2n_get_le32(range), 0);
        CHECK_EQUAL(s2n_get_le32(range + 4), 5);
        CHECK_EQUAL(s2n_get_le64(range + 8), 256 + 16 * i);
    }
    CHECK_EQUAL(bench.device.log[0].opcode, DSM);
    CHECK_EQUAL(bench.device.log[0].slba, 2 | UINT64_C(4) << 32); /* CDW10, CDW11 */
    CHECK_EQUAL(bench.device.log[0].prp2, 0);
    complete(0, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

static void a_list_without_room_behind_it_is_the_engines(void)
{
    start(DEPTH);
    unmap(&op[0], 200); /* 3208 bytes of a page */
    CHECK(next_event(S2N_EVENT_TASK).task == op[0].task);
    CHECK_EQUAL(s2n_task_data_length(op[0].task), 3208);
    s2n_task_end(op[0].task, GOOD, NULL, 0, NULL, 0);
    unmap(&op[1], 256); /* more than a page */
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[1].completed && op[1].status == GOOD);
    CHECK_EQUAL(bench.device.seen, 1);
    bench_close();
}

static void expect_engines(struct op *one)
{
    CHECK(next_event(S2N_EVENT_TASK).task == one->task);
    CHECK_EQUAL(bench.device.seen, 0);
    s2n_task_end(one->task, GOOD, NULL, 0, NULL, 0);
}

/* Which of them failed first could not be told. */
static void an_unmap_of_several_commands_is_the_engines(void)
{
    start(DEPTH);
    bench.params.unmap_ranges = 2;
    s2n_lu_update(bench.lu[0], &bench.params);
    unmap(&op[0], 3);
    expect_engines(&op[0]);
    bench.params.unmap_ranges = 256;
    bench.params.unmap_blocks = 14;
    s2n_lu_update(bench.lu[0], &bench.params);
    unmap(&op[1], 3);
    expect_engines(&op[1]);
    unmap(&op[2], 2);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    complete(0, 0);
    CHECK(op[2].completed && op[2].status == GOOD);
    bench_close();
}

static void what_of_an_unmap_failed_is_the_engines(void)
{
    uint8_t list[8 + 16 * 3];

    start(DEPTH);
    unmap(&op[0], 3);
    rounds();
    complete(0, INTERRUPTED);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.nvme, DSM);
    CHECK_EQUAL(event.lba, 2 | UINT64_C(4) << 32);
    CHECK_EQUAL(event.phase, 0);
    s2n_task_copy_data(event.task, list);
    CHECK_EQUAL(list[3], 48);
    CHECK_EQUAL(list[8 + 16 + 7], 16);
    s2n_task_end(event.task, GOOD, NULL, 0, NULL, 0);
    bench_close();
}

/* As the engine has it: another host's lock of other blocks does not wait for a long UNMAP. */
static void an_unmap_is_of_the_blocks_that_it_names(void)
{
    start(DEPTH);
    /* What lies behind its ranges is none of them. */
    memset(bench.device.pool_memory.vaddr, 1, POOL);
    unmap(&op[0], 3); /* 256 to 260, 272 to 276, 288 to 292 */
    rounds();
    s2n_lu_drain_range(bench.lu[0], UINT64_C(0x0101010101010101), UINT64_MAX, 30);
    expect_drained(30, 0);
    for (uint64_t first = 256; first < 304; first += 16) {
        s2n_lu_drain_range(bench.lu[0], first - 1, first, 31);
        expect_drained(31, 0);
        s2n_lu_drain_range(bench.lu[0], first + 5, first + 16, 31);
        expect_drained(31, 0);
        s2n_lu_drain_range(bench.lu[0], first, first + 1, 32);
        s2n_lu_drain_range(bench.lu[0], first + 4, first + 5, 32);
        no_event();
    }
    complete(0, 0);
    for (int i = 0; i < 6; i++)
        expect_drained(32, 0);
    unmap(&op[1], 3);
    CHECK(next_event(S2N_EVENT_TASK).task == op[1].task);
    s2n_task_end(op[1].task, GOOD, NULL, 0, NULL, 0);
    for (int i = 0; i < 6; i++)
        s2n_lu_release_range(bench.lu[0], 32);
    unmap(&op[2], 3); /* beside the others */
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    complete(1, 0);
    CHECK(op[2].completed && op[2].status == GOOD);
    for (int i = 0; i < 6; i++)
        s2n_lu_release_range(bench.lu[0], 31);
    s2n_lu_release_range(bench.lu[0], 30);
    bench_close();
}

/* ---- WRITE SAME ---- */

static void zeroes_are_not_moved(void)
{
    static const uint8_t zeroes[BLOCK];

    start(DEPTH);
    begin_with_data(&op[0], cdb_of(0x41, 0, 77, 2048), 10, zeroes);
    rounds();
    CHECK_EQUAL(bench.device.log[0].opcode, WRITE_ZEROES);
    CHECK_EQUAL(bench.device.log[0].slba, 77);
    CHECK_EQUAL(bench.device.log[0].blocks, 2048);
    CHECK_EQUAL(bench.device.log[0].prp1, 0);
    complete(0, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* 100 blocks of 512 bytes, in 12 pages and a half that are all the same one. */
static void one_page_is_repeated(void)
{
    start(DEPTH);
    begin_with_data(&op[0], cdb_of(0x41, 0, 5, 300), 10, data);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t blocks = i ? 44 : 256, pages = (blocks + 7) / 8;
        CHECK_EQUAL(bench.device.log[i].opcode, WRITE);
        CHECK_EQUAL(bench.device.log[i].blocks, blocks);
        for (uint32_t page = 0; page < pages; page++)
            CHECK_EQUAL(device_prp(&bench.device, i, page, pages), bench.device.log[0].prp1);
    }
    for (uint32_t i = 0; i < S2N_PAGE; i++)
        CHECK_EQUAL(memory(bench.device.log[0].prp1)[i], data[i % BLOCK]);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

static void large_blocks_are_repeated_whole(void)
{
    start(DEPTH);
    bench.params.block_shift = 13;
    bench.params.maximum_blocks = 3;
    s2n_lu_update(bench.lu[0], &bench.params);
    begin_with_data(&op[0], cdb_of(0x41, 0, 5, 3), 10, data);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    for (uint32_t page = 2; page < 6; page++)
        CHECK_EQUAL(device_prp(&bench.device, 0, page, 6),
                    device_prp(&bench.device, 0, page - 2, 6));
    CHECK_EQUAL(device_prp(&bench.device, 0, 1, 6), device_prp(&bench.device, 0, 0, 6) + S2N_PAGE);
    CHECK(!memcmp(memory(bench.device.log[0].prp1), data, 8192));
    complete(0, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* ---- what is the engine's ---- */

static void expect_engine(const uint8_t *cdb, uint16_t length, uint32_t expected, bool fenced)
{
    struct s2n_front_end front_end = *op[3].task->front_end;
    s2n_task *task = s2n_task_new(bench.reactor, &front_end, bench.nexus[0]);

    CHECK(task);
    op[0] = (struct op){.task = task};
    front_end.fenced_elsewhere = fenced;
    task->context = &op[0];
    memcpy(task->cdb, cdb, length);
    task->cdb_length = length;
    s2n_task_begin(task);
    task->expected = expected;
    if (task->portion_bytes)
        CHECK(s2n_task_reserve(task, task->portion_bytes));
    task->data_out_length = task->portion_bytes;
    s2n_task_execute(task);
    CHECK(next_event(S2N_EVENT_TASK).task == task);
    s2n_task_end(task, GOOD, NULL, 0, NULL, 0);
    CHECK(op[0].completed);
}

/* What will be read is told as one range, which is nobody's buffer. */
static void what_will_be_read_is_told(void)
{
    start(DEPTH);
    bench.params.hint_blocks = 6;
    s2n_lu_update(bench.lu[0], &bench.params);
    uint64_t unused = s2n_pool_unused(bench.lu[0]->controller->queue[0].pool);
    for (int i = 0; i < 2; i++)
        begin_command(&op[i], 0, 0, cdb_of(0x34, 0, 5 + i, 8), 10); /* PRE-FETCH (10) */
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    CHECK_EQUAL(s2n_pool_unused(bench.lu[0]->controller->queue[0].pool), unused);
    for (uint32_t i = 0; i < 2; i++) {
        const s2n_region *queues = &bench.device.queue_memory;
        const uint8_t *range = queues->vaddr + (bench.device.log[i].prp1 - queues->iova);
        CHECK_EQUAL(bench.device.log[i].opcode, 9);
        CHECK_EQUAL(bench.device.log[i].slba, UINT64_C(1) << 32); /* CDW10 and 11: IDR */
        CHECK_EQUAL(s2n_get_le32(range + 4), 6);
        CHECK_EQUAL(s2n_get_le64(range + 8), 5 + i);
    }
    complete(0, 0);
    CHECK(op[0].completed && op[0].status == GOOD);
    complete(1, INTERRUPTED);
    CHECK(next_event(S2N_EVENT_TASK_FAILED).task == op[1].task);
    s2n_task_end(op[1].task, GOOD, NULL, 0, NULL, 0);
    begin_command(&op[2], 0, 0, cdb_of(0x34, 2, 5, 8), 10); /* IMMED */
    CHECK(next_event(S2N_EVENT_TASK).task == op[2].task);
    s2n_task_end(op[2].task, GOOD, NULL, 0, NULL, 0);
    bench_close();
}

/* What the disk would stop, it does not where it is given nothing: others may have reserved it. */
static void where_the_disk_fences_what_it_is_not_given_is_the_engines(void)
{
    static const uint8_t ready[6] = {0}, unmap_nothing[10] = {0x42};

    start(DEPTH);
    begin_read(&op[3], 0, 0, 0, 1); /* whose front end is ours */
    bench.params = bench.lu[0]->params;
    bench.params.fenced_by_disk = 1;
    s2n_lu_update(bench.lu[0], &bench.params);
    for (uint8_t opcode = 0x28; opcode <= 0x2f; opcode++) /* READ, WRITE, … and VERIFY (10) */
        if (opcode == 0x28 || opcode == 0x2a || opcode >= 0x2e)
            expect_engine(cdb_of(opcode, 0, 5, 0), 10, 0, false);
    expect_engine(cdb_of(0x34, 0, 5, 8), 10, 0, false); /* PRE-FETCH */
    expect_engine(unmap_nothing, 10, 0, false);
    begin_command(&op[1], 0, 0, ready, sizeof ready);
    CHECK(op[1].completed && op[1].status == GOOD);
    begin_command(&op[2], 0, 0, cdb_of(0x2f, 0, 5, 8), 10);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[2].completed && op[3].completed);
    bench_close();
}

static void what_is_questionable_is_the_engines(void)
{
    static const uint8_t no_data[16] = {0x93, NDOB, [13] = 8};

    start(DEPTH);
    begin_read(&op[3], 0, 0, 0, 1);                             /* whose front end is ours */
    expect_engine(cdb_of(0x41, 0, 5, 8), 10, 2 * BLOCK, false); /* a block more than one */
    expect_engine(no_data, 16, BLOCK, false);
    expect_engine(no_data, 16, 0, true);
    expect_engine(cdb_of(0x2e, 0, 5, 0), 10, 0, true); /* writes, if only nothing */
    expect_engine(cdb_of(0x42, 0, 0, 0), 10, 0, true);
    expect_engine(cdb_of(0x42, 0, 0, 24), 10, 23, false);
    expect_engine(cdb_of(0x2f, BYTCHK, 0, 2), 10, BLOCK, false);
    CHECK_EQUAL(bench.device.seen, 0);
    begin_command(&op[1], 0, 0, no_data, 16);
    rounds();
    CHECK_EQUAL(bench.device.log[1].opcode, WRITE_ZEROES);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[1].completed && op[3].completed);
    bench_close();
}

int main(void)
{
    RUN(ranges_lie_behind_the_list);
    RUN(a_list_without_room_behind_it_is_the_engines);
    RUN(an_unmap_of_several_commands_is_the_engines);
    RUN(what_of_an_unmap_failed_is_the_engines);
    RUN(an_unmap_is_of_the_blocks_that_it_names);
    RUN(zeroes_are_not_moved);
    RUN(one_page_is_repeated);
    RUN(large_blocks_are_repeated_whole);
    RUN(what_is_questionable_is_the_engines);
    RUN(what_will_be_read_is_told);
    RUN(where_the_disk_fences_what_it_is_not_given_is_the_engines);
    return 0;
}
