/* COMPARE AND WRITE as tasks: pairs and what replaces them, and what is told of their failures. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "swaps.h"

/* ---- pairs ---- */

static void a_pair_stands_side_by_side(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, FUSED, 1 << 3);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    CHECK_EQUAL(bench.device.rings, 1);
    expect_command(0, COMPARE, 1, 40, FUSED);
    expect_command(1, WRITE, 2, 40, FUSED);
    CHECK_EQUAL(bench.device.log[0].cdw12, FUSED - 1);
    CHECK_EQUAL(bench.device.log[1].cdw12, (FUSED - 1) | FUA);
    CHECK(!memcmp(memory(0), data, FUSED * BLOCK));
    CHECK(!memcmp(memory(1), data + FUSED * BLOCK, FUSED * BLOCK));
    complete(1, GOOD);
    CHECK(!op[0].completed);
    complete(0, GOOD);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* The ring ends between the two at times, and there is room for one only at others. */
static void both_halves_have_room_or_none(void)
{
    start_swaps(4, FUSED);
    for (uint32_t round = 0; round < 9; round++) {
        uint32_t before = bench.device.seen;
        memset(op, 0, sizeof op);
        begin_read(&op[0], 0, 0, 100, 1);
        begin_read(&op[1], 0, 0, 102, 1);
        swap(&op[2], 40, 1, 0);
        begin_read(&op[3], 0, 0, 104, 1);
        rounds();
        CHECK_EQUAL(bench.device.seen, before + 2);
        complete(before + round % 2, GOOD);
        CHECK_EQUAL(bench.device.seen, before + 4);
        expect_command(before + 2, COMPARE, 1, 40, 1);
        expect_command(before + 3, WRITE, 2, 40, 1);
        complete(before + (round + 1) % 2, GOOD);
        complete(before + 2, GOOD);
        complete(before + 3, GOOD);
        complete(before + 4, GOOD);
        for (int i = 0; i < 4; i++)
            CHECK(op[i].completed && op[i].status == GOOD);
    }
    bench_close();
}

static void another_length_is_the_engines(void)
{
    start_swaps(DEPTH, FUSED);
    for (int32_t by = -1; by < 2; by += 2) {
        const uint8_t cdb[16] = {0x89, 0, [9] = 40, [13] = 2};
        op[0].gathers = true;
        begin_write(&op[0], 0, 0, 40, 4);
        memcpy(op[0].task->cdb, cdb, sizeof cdb);
        op[0].task->cdb_length = sizeof cdb;
        s2n_task_begin(op[0].task);
        op[0].task->expected = (uint32_t)(4 * BLOCK + by);
        gathered(&op[0]);
        answer_cold(&op[0]);
    }
    CHECK_EQUAL(bench.device.seen, 0);
    bench_close();
}

static void no_block_needs_nothing(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 0, 0);
    rounds();
    CHECK(op[0].completed && op[0].status == GOOD);
    CHECK_EQUAL(bench.device.seen, 0);
    bench_close();
}

/* ---- without pairs ---- */

static void what_is_read_is_compared(void)
{
    start_swaps(DEPTH, 0);
    bench.params.boundary_blocks = 4;
    s2n_lu_update(bench.lu[0], &bench.params);
    swap(&op[0], 42, 5, 1 << 3);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    expect_command(0, READ, 0, 42, 2);
    expect_command(1, READ, 0, 44, 3);
    memcpy(memory(0), data, 2 * BLOCK);
    memcpy(memory(1), data + 2 * BLOCK, 3 * BLOCK);
    complete(1, GOOD);
    CHECK_EQUAL(bench.device.seen, 2);
    complete(0, GOOD);
    CHECK_EQUAL(bench.device.seen, 4);
    expect_command(2, WRITE, 0, 42, 2);
    expect_command(3, WRITE, 0, 44, 3);
    CHECK(bench.device.log[3].cdw12 & FUA);
    CHECK(!memcmp(memory(2), data + 5 * BLOCK, 2 * BLOCK));
    CHECK(!memcmp(memory(3), data + 7 * BLOCK, 3 * BLOCK));
    complete(2, GOOD);
    complete(3, GOOD);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

static void a_difference_is_told(void)
{
    static const uint16_t places[] = {0, 1, 63, 64, 700, 5 * BLOCK - 1};

    start_swaps(DEPTH, 0);
    for (uint32_t i = 0; i < 2 * sizeof places / sizeof *places; i++) {
        bool descriptor = i % 2;
        s2n_lu_set_descriptor_sense(bench.lu[0], descriptor);
        op[0] = (struct op){0};
        swap(&op[0], 42, 5, 0);
        rounds();
        expect_command(i, READ, 0, 42, 5);
        memcpy(memory(i), data, 5 * BLOCK);
        memory(i)[places[i / 2]] ^= 1;
        memory(i)[5 * BLOCK - 1] ^= 2;
        complete(i, GOOD);
        CHECK_EQUAL(bench.device.seen, i + 1);
        expect_miscompare(&op[0], descriptor, places[i / 2]);
    }
    begin_read(&op[1], 0, 0, 42, 1); /* nobody has the blocks any more */
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    no_event();
    bench_close();
}

static void what_fails_tells_its_phase(void)
{
    start_swaps(DEPTH, 0);
    swap(&op[0], 42, 1, 0);
    rounds();
    memcpy(memory(0), data, BLOCK);
    complete(0, GOOD);
    complete(1, WRITE_FAULT);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK_EQUAL(event.nvme, WRITE);
    CHECK_EQUAL(event.phase, 1);
    CHECK_EQUAL(event.lba, 42);
    CHECK_EQUAL(event.count, 1);
    end_failed(&op[0], event.holder);
    bench_close();
}

/* Where there is no room behind the data, the engine has more. */
static void what_cannot_be_read_beside_the_data_is_the_engines(void)
{
    start_swaps(DEPTH, 0);
    swap(&op[0], 0, 43, 0);
    answer_cold(&op[0]);
    swap(&op[0], 0, 42, 0);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    complete(0, UNRECOVERED_READ);
    end_failed(&op[0], expect_failure(&op[0], READ, UNRECOVERED_READ));
    bench_close();
}

/* What is expected, what is to be written, what is read, and what is not the task's. */
enum { HALF = 2 * S2N_PAGE, FOUND = 2 * HALF, BEYOND = 3 * HALF };
static uint8_t *blocks;

static void restrict_page(uint32_t at, int protection)
{
    if (mprotect(blocks + at, S2N_PAGE, protection) < 0)
        abort();
}

/* As soon as the first page is looked at again, nothing differs any more. */
static void looked_at(int number, siginfo_t *info, void *context)
{
    uint32_t page = (uint32_t)((uint8_t *)info->si_addr - blocks) & ~(S2N_PAGE - 1u);

    (void)number, (void)context;
    if (page != FOUND && page != FOUND + S2N_PAGE)
        abort(); /* nobody may look there */
    restrict_page(page, PROT_READ | PROT_WRITE);
    if (page != FOUND)
        restrict_page(FOUND, PROT_NONE);
    else
        blocks[FOUND + S2N_PAGE] = 0;
}

static void what_a_controller_changes_meanwhile_ends(void)
{
    struct sigaction action = {.sa_sigaction = looked_at, .sa_flags = SA_SIGINFO}, before;
    const struct s2n_hot_plan plan = {.opcode = READ, .bytes = 2 * HALF};
    const uint8_t cdb[16] = {0x89};

    blocks =
        mmap(NULL, BEYOND + S2N_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(blocks != MAP_FAILED);
    const struct s2n_hot_data its = {blocks, BEYOND};
    blocks[FOUND + S2N_PAGE] = 1;
    restrict_page(BEYOND, PROT_NONE);
    restrict_page(FOUND + S2N_PAGE, PROT_NONE);
    CHECK(!sigaction(SIGSEGV, &action, &before));
    int64_t at = s2n_hot_find(cdb, sizeof cdb)->hot->difference(&plan, &its);
    CHECK(!sigaction(SIGSEGV, &before, NULL));
    CHECK_EQUAL(at, S2N_NOWHERE);
    CHECK(!blocks[FOUND + S2N_PAGE]);
    munmap(blocks, BEYOND + S2N_PAGE);
}

/* ---- where a pair has failed ---- */

static void fail_pair(uint8_t blocks)
{
    uint32_t before = bench.device.seen;

    op[0] = (struct op){0};
    swap(&op[0], 40, blocks, 0);
    rounds();
    complete(before, COMPARE_FAILURE);
    CHECK_EQUAL(bench.device.seen, before + 2);
    complete(before + 1, FAILED_FUSED);
}

static void what_a_pair_has_met_is_found(void)
{
    start_swaps(DEPTH, FUSED);
    for (int64_t at = -1; at < 700; at += 350) {
        uint32_t number = bench.device.seen + 2;
        s2n_lu_set_descriptor_sense(bench.lu[0], at % 2);
        fail_pair(2);
        expect_command(number, READ, 0, 40, 2);
        CHECK(memory(number) == memory(number - 2) + 4 * BLOCK);
        begin_read(&op[1], 0, 0, 41, 1); /* nobody has the blocks meanwhile */
        answer_cold(&op[1]);
        memcpy(memory(number), data, 2 * BLOCK);
        if (at >= 0) /* else another host has written what was expected since */
            memory(number)[at] ^= 1;
        complete(number, GOOD);
        expect_miscompare(&op[0], at % 2, at);
    }
    begin_read(&op[1], 0, 0, 41, 1);
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    bench_close();
}

static void what_there_is_no_room_to_find_is_the_engines(void)
{
    start_swaps(DEPTH, FUSED);
    fail_pair(3);
    CHECK_EQUAL(bench.device.seen, 2);
    end_failed(&op[0], expect_failure(&op[0], COMPARE, COMPARE_FAILURE));
    bench_close();
}

static void nobody_is_told_who_has_aborted_it(void)
{
    start_swaps(DEPTH, FUSED);
    fail_pair(1);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
    CHECK(!op[0].completed);
    complete(2, GOOD);
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    begin_read(&op[1], 1, 0, 40, 1);
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    bench_close();
}

/* ---- failures ---- */

static void blocks_are_kept_for_what_failed(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 2, 0);
    rounds();
    complete(0, COMPARE_FAILURE);
    no_event();
    complete(1, FAILED_FUSED);
    complete(2, UNRECOVERED_READ); /* of what finds where */
    s2n_task *holder = expect_failure(&op[0], COMPARE, COMPARE_FAILURE);
    begin_read(&op[1], 0, 0, 41, 1);
    answer_cold(&op[1]);
    CHECK(s2n_lu_share(bench.lu[0], 41, 42, 7));
    s2n_lu_unshare(bench.lu[0], 7);
    s2n_lu_drain_range(bench.lu[0], 41, 42, 31);
    s2n_lu_drain(bench.lu[0], 32);
    s2n_lu_set_aside(bench.lu[0], false);
    no_event();
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    rounds();
    CHECK(op[0].completed);
    no_event();
    s2n_holder_release(holder);
    expect_drained(31, 0);
    expect_drained(32, 0);
    s2n_lu_release_range(bench.lu[0], 31);
    begin_read(&op[1], 0, 0, 41, 1);
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    bench_close();
}

static void the_cause_is_told(void)
{
    static const struct {
        uint16_t compare, write;
        uint8_t opcode;
        uint16_t status;
    } ends[] = {
        {COMPARE_FAILURE, FAILED_FUSED, COMPARE, COMPARE_FAILURE},
        {FAILED_FUSED, WRITE_FAULT, WRITE, WRITE_FAULT},
        {GOOD, WRITE_FAULT, WRITE, WRITE_FAULT},
        {UNRECOVERED_READ, WRITE_FAULT, COMPARE, UNRECOVERED_READ},
        {FAILED_FUSED, FAILED_FUSED, COMPARE, FAILED_FUSED},
        {GOOD, FAILED_FUSED, WRITE, FAILED_FUSED},
    };

    start_swaps(DEPTH, FUSED);
    for (uint32_t i = 0; i < 2 * sizeof ends / sizeof *ends; i++) {
        uint32_t before = bench.device.seen, at = i / 2;
        memset(op, 0, sizeof op);
        swap(&op[0], 40, 1, 0);
        rounds();
        for (uint32_t j = 0; j < 2; j++) {
            bool second = j != i % 2;
            complete(before + second, second ? ends[at].write : ends[at].compare);
        }
        if (ends[at].compare == COMPARE_FAILURE)
            complete(before + 2, UNRECOVERED_READ);
        end_failed(&op[0], expect_failure(&op[0], ends[at].opcode, ends[at].status));
    }
    bench_close();
}

int main(void)
{
    RUN(a_pair_stands_side_by_side);
    RUN(both_halves_have_room_or_none);
    RUN(another_length_is_the_engines);
    RUN(no_block_needs_nothing);
    RUN(what_is_read_is_compared);
    RUN(a_difference_is_told);
    RUN(what_fails_tells_its_phase);
    RUN(what_cannot_be_read_beside_the_data_is_the_engines);
    RUN(what_a_controller_changes_meanwhile_ends);
    RUN(what_a_pair_has_met_is_found);
    RUN(what_there_is_no_room_to_find_is_the_engines);
    RUN(nobody_is_told_who_has_aborted_it);
    RUN(blocks_are_kept_for_what_failed);
    RUN(the_cause_is_told);
    return 0;
}
