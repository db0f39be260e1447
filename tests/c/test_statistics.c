/* What is counted of commands, for their logical unit and their nexus. */
#include <string.h>

#include "bench.h"
#include "check.h"
#include "tally.h"

enum { POOL = 1 << 20, DEPTH = 8 };

static s2n_statistics of_unit(unsigned unit)
{
    s2n_statistics out;

    s2n_lu_statistics(bench.lu[unit], &out);
    return out;
}

static s2n_statistics of_nexus(unsigned nexus)
{
    s2n_statistics out;

    s2n_nexus_statistics(bench.nexus[nexus], &out);
    return out;
}

static uint64_t answered(const s2n_kind_statistics *kind)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < S2N_LATENCY_BUCKETS; i++)
        count += kind->latency[i];
    return count;
}

static uint64_t under_way(const s2n_statistics *all)
{
    uint64_t count = all->begun - all->aborted;

    for (unsigned i = 0; i < S2N_COUNTED_KINDS; i++)
        count -= answered(&all->kind[i]);
    return count;
}

static void check_kind(const s2n_statistics *all, unsigned kind, uint64_t operations,
                       uint64_t bytes, uint64_t failed)
{
    CHECK_EQUAL(answered(&all->kind[kind]), operations);
    CHECK_EQUAL(all->kind[kind].bytes, bytes);
    CHECK_EQUAL(all->kind[kind].failed, failed);
}

/* Each bucket begins where the one before ends, and is at most a quarter of what is in it. */
static void latencies_have_buckets(void)
{
    uint64_t first = 0;

    for (unsigned bucket = 0; bucket < S2N_LATENCY_BUCKETS - 1; bucket++) {
        uint64_t end = first;
        while (s2n_tally_bucket(end) == bucket)
            end += first < 4096 ? 1 : first / 64;
        CHECK_EQUAL(s2n_tally_bucket(end), bucket + 1);
        CHECK(end - first <= (first < 4 ? 1 : first / 4));
        CHECK(end > first);
        first = end;
    }
    CHECK_EQUAL(s2n_tally_bucket((UINT64_C(1) << 26) - 1), S2N_LATENCY_BUCKETS - 1);
    CHECK_EQUAL(s2n_tally_bucket(UINT64_MAX), S2N_LATENCY_BUCKETS - 1);
}

static void what_moves_blocks_is_counted_by_kind(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    begin_read(&op[1], 1, 0, 0, 16);
    begin_write(&op[2], 1, 1, 0, 4);
    s2n_statistics unit = of_unit(0), nexus = of_nexus(1);
    CHECK_EQUAL(under_way(&unit), 2);
    CHECK_EQUAL(under_way(&nexus), 2);
    check_kind(&unit, S2N_COUNTED_READ, 0, 0, 0);
    gathered(&op[2]);
    rounds();
    complete_all();
    begin_command(&op[3], 0, 0, cdb_of(0x35, 0, 0, 0), 10); /* SYNCHRONIZE CACHE */
    s2n_lu_set_aside(bench.lu[0], true);
    begin_command(&op[4], 0, 0, cdb_of(0x34, 0, 0, 8), 10); /* PRE-FETCH */
    s2n_task_end(next_event(S2N_EVENT_TASK).task, S2N_CONDITION_MET, NULL, 0, NULL, 0);
    rounds();
    unit = of_unit(0);
    nexus = of_nexus(1);
    CHECK_EQUAL(unit.begun, 4);
    CHECK_EQUAL(under_way(&unit), 0);
    check_kind(&unit, S2N_COUNTED_READ, 2, 24 * BLOCK, 0);
    check_kind(&unit, S2N_COUNTED_WRITE, 0, 0, 0);
    check_kind(&unit, S2N_COUNTED_OTHER, 2, 0, 0);
    check_kind(&nexus, S2N_COUNTED_READ, 1, 16 * BLOCK, 0);
    check_kind(&nexus, S2N_COUNTED_WRITE, 1, 4 * BLOCK, 0);
    unit = of_unit(1);
    check_kind(&unit, S2N_COUNTED_WRITE, 1, 4 * BLOCK, 0);
    bench_close();
}

static void what_the_initiator_did_not_prepare_for_is_not_moved(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    op[0].task->expected = BLOCK;
    complete_all();
    s2n_statistics unit = of_unit(0);
    check_kind(&unit, S2N_COUNTED_READ, 1, BLOCK, 0);
    bench_close();
}

/* A list of UNMAP's, each descriptor of 3 blocks. */
static void unmap(struct op *one, unsigned descriptors)
{
    static uint8_t list[8 + 16 * 250];
    uint16_t length = (uint16_t)(8 + 16 * descriptors);
    const uint8_t cdb[10] = {0x42, [7] = (uint8_t)(length >> 8), [8] = (uint8_t)length};

    list[2] = (uint8_t)((length - 8) >> 8);
    list[3] = (uint8_t)(length - 8);
    for (unsigned i = 0; i < descriptors; i++)
        list[8 + 16 * i + 11] = 3;
    begin_with_data(one, cdb, sizeof cdb, list);
}

/* Also where the engine does it. */
static void discards_are_the_blocks_that_they_name(void)
{
    s2n_statistics unit;

    bench_open_able(DEPTH, POOL);
    unmap(&op[0], 5);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_lu_set_aside(bench.lu[0], true);
    unmap(&op[1], 250);
    begin_command(&op[2], 0, 0, cdb_of(0x41, 0x08, 0, 7), 10); /* WRITE SAME with UNMAP */
    complete_all();
    for (int i = 0; i < 2; i++) {
        s2n_event event = next_event(S2N_EVENT_TASK);
        s2n_task_end(event.task, 0, NULL, 0, NULL, 0);
    }
    rounds();
    unit = of_unit(0);
    check_kind(&unit, S2N_COUNTED_DISCARD, 3, (3 * 5 + 3 * 250 + 7) * BLOCK, 0);
    check_kind(&unit, S2N_COUNTED_WRITE, 0, 0, 0);
    bench_close();
}

/* However many portions it has. */
static void a_large_command_is_one(void)
{
    enum { PORTIONS = 10, BLOCKS = PORTIONS * (S2N_PORTION / BLOCK) };
    s2n_statistics unit;

    bench_open(64, 2 << 20);
    begin_read(&op[0], 0, 0, 0, BLOCKS);
    complete_all();
    for (int i = 0; !op[0].completed; i++) {
        CHECK(i < PORTIONS);
        rounds();
    }
    begin_write(&op[1], 0, 0, 0, BLOCKS);
    for (int i = 0; !op[1].completed; i++) {
        CHECK(i < PORTIONS);
        gathered(&op[1]);
        rounds();
    }
    unit = of_unit(0);
    check_kind(&unit, S2N_COUNTED_READ, 1, BLOCKS * BLOCK, 0);
    check_kind(&unit, S2N_COUNTED_WRITE, 1, BLOCKS * BLOCK, 0);
    bench_close();
}

static void failures_move_nothing(void)
{
    static const uint8_t medium_error[18] = {0x70, [2] = 3, [7] = 10, [12] = 0x11};
    s2n_statistics unit;

    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    rounds();
    device_complete(&bench.device, 0, UNRECOVERED_READ);
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    unit = of_unit(0);
    CHECK_EQUAL(under_way(&unit), 1);
    s2n_task_end(event.task, CHECK_CONDITION, medium_error, sizeof medium_error, NULL, 0);
    rounds();
    unit = of_unit(0);
    check_kind(&unit, S2N_COUNTED_READ, 1, 0, 1);
    CHECK_EQUAL(unit.failure[0].answer, 0x02031100);
    CHECK_EQUAL(unit.failure[0].count, 1);
    bench_close();
}

/* Nor do the portions before that which failed. */
static void a_large_command_that_fails_moves_nothing(void)
{
    static const uint8_t medium_error[18] = {0x70, [2] = 3, [7] = 10, [12] = 0x11};
    s2n_statistics unit;

    bench_open(64, 2 << 20);
    begin_read(&op[0], 0, 0, 0, 10 * S2N_PORTION / BLOCK);
    rounds();
    uint32_t of_the_first = bench.device.seen;
    for (uint32_t i = 0; i < of_the_first; i++)
        device_complete(&bench.device, i, 0);
    for (int i = 0; bench.device.seen == of_the_first; i++) {
        CHECK(i < 10);
        rounds();
    }
    uint32_t all = bench.device.seen;
    for (uint32_t i = of_the_first; i < all; i++)
        device_complete(&bench.device, i, UNRECOVERED_READ);
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    s2n_task_end(event.task, CHECK_CONDITION, medium_error, sizeof medium_error, NULL, 0);
    rounds();
    CHECK(op[0].completed);
    unit = of_unit(0);
    check_kind(&unit, S2N_COUNTED_READ, 1, 0, 1);
    bench_close();
}

/* Of both formats, and as many as there are places; more are counted together. */
static void failures_are_told_apart(void)
{
    uint8_t fixed[18] = {0x70, [2] = 5, [7] = 10, [12] = 0x24};
    uint8_t descriptors[8] = {0x72, 5, 0x24};

    bench_open(DEPTH, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    for (unsigned i = 0; i < 2 * S2N_FAILURES; i++) {
        begin_read(&op[i], 0, 0, 0, 8);
        s2n_event event = next_event(S2N_EVENT_TASK);
        fixed[13] = descriptors[3] = (uint8_t)(i % (S2N_FAILURES + 1));
        if (i % 2)
            s2n_task_end(event.task, CHECK_CONDITION, fixed, sizeof fixed, NULL, 0);
        else
            s2n_task_end(event.task, CHECK_CONDITION, descriptors, sizeof descriptors, NULL, 0);
        rounds();
    }
    s2n_statistics unit = of_unit(0);
    for (unsigned i = 0; i < S2N_FAILURES - 1; i++) {
        CHECK_EQUAL(unit.failure[i].answer, 0x02052400 | i);
        CHECK_EQUAL(unit.failure[i].count, 2);
    }
    CHECK_EQUAL(unit.failure[S2N_FAILURES - 1].answer, 0);
    CHECK_EQUAL(unit.failure[S2N_FAILURES - 1].count, 2);
    check_kind(&unit, S2N_COUNTED_READ, 2 * S2N_FAILURES, 0, 2 * S2N_FAILURES);
    bench_close();
}

/* Have a command answered so on a reactor. */
static void fail_on(struct s2n_reactor *reactor, uint8_t qualifier)
{
    static const uint8_t cdb[10] = {0xff};
    uint8_t sense[8] = {0x72, 5, 0x24, qualifier};
    static struct op one;

    one = (struct op){0};
    bench.reactor = reactor;
    begin_command(&one, 0, 0, cdb, sizeof cdb);
    s2n_event event = next_event(S2N_EVENT_TASK);
    s2n_task_end(event.task, CHECK_CONDITION, sense, sizeof sense, NULL, 0);
    bench.reactor = &bench.plane->reactor[0];
    rounds();
}

/* Each goes on where it was, and none of them comes to be others, or the other way round. */
static void no_failure_goes_backwards(const s2n_statistics *before, const s2n_statistics *now)
{
    for (unsigned i = 0; i < S2N_FAILURES; i++) {
        unsigned at = 0;
        while (at < S2N_FAILURES - 1 && now->failure[at].answer != before->failure[i].answer)
            at++;
        CHECK(now->failure[at].count >= before->failure[i].count);
        if (at < S2N_FAILURES - 1)
            CHECK_EQUAL(now->failure[at].answer, before->failure[i].answer);
    }
}

/* Of more kinds than there are places, which come to reactors in another order. */
static void failures_are_the_same_on_all_reactors(void)
{
    enum { KINDS = 2 * S2N_FAILURES };
    s2n_statistics before, now;

    bench_open_beside(1, DEPTH, POOL);
    before = of_unit(0);
    for (unsigned i = 0; i < 2 * KINDS; i++) {
        unsigned kind = i < KINDS ? i : 2 * KINDS - 1 - i;
        fail_on(&bench.plane->reactor[i < KINDS], (uint8_t)kind);
        now = of_unit(0);
        no_failure_goes_backwards(&before, &now);
        before = now;
    }
    for (unsigned i = 0; i < S2N_FAILURES - 1; i++)
        CHECK_EQUAL(now.failure[i].count, 2);
    CHECK_EQUAL(now.failure[S2N_FAILURES - 1].count, 2 * (KINDS - S2N_FAILURES + 1));
    bench_close();
}

static uint64_t cold_reads(void)
{
    static const uint8_t read[10] = {0x28};
    uint64_t cold[S2N_ROWS + 1];

    s2n_lu_cold(bench.lu[0], cold, S2N_ROWS + 1);
    return cold[s2n_hot_number(s2n_hot_find(read, sizeof read))];
}

/* The engine has the one that the disk failed, and each portion of the other. */
static void only_what_goes_to_the_engine_first_is_cold(void)
{
    enum { PORTIONS = 10, BYTES = PORTIONS * S2N_PORTION };
    static uint8_t data[S2N_PORTION];

    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    rounds();
    device_complete(&bench.device, 0, UNRECOVERED_READ);
    rounds();
    s2n_task_end(next_event(S2N_EVENT_TASK_FAILED).task, BUSY, NULL, 0, NULL, 0);
    CHECK_EQUAL(cold_reads(), 0);
    s2n_lu_set_aside(bench.lu[0], true);
    begin_read(&op[1], 0, 0, 0, BYTES / BLOCK);
    for (int i = 0; i < PORTIONS; i++)
        s2n_task_end(next_event(S2N_EVENT_TASK).task, 0, NULL, 0, data, sizeof data);
    CHECK(op[1].completed);
    CHECK_EQUAL(cold_reads(), 1);
    bench_close();
}

static void the_engines_commands_are_counted_by_row(void)
{
    static const uint8_t read[10] = {0x28}, unknown[10] = {0xff};
    uint64_t cold[S2N_ROWS + 1];
    uint32_t row = s2n_hot_number(s2n_hot_find(read, sizeof read));

    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    complete_all();
    s2n_lu_set_aside(bench.lu[0], true);
    begin_read(&op[1], 0, 0, 0, 8);
    begin_command(&op[2], 0, 0, unknown, sizeof unknown);
    for (int i = 0; i < 2; i++)
        s2n_task_end(next_event(S2N_EVENT_TASK).task, 0, NULL, 0, NULL, 0);
    rounds();
    CHECK_EQUAL(s2n_lu_cold(bench.lu[0], cold, S2N_ROWS + 1), S2N_ROWS + 1);
    for (uint32_t i = 0; i <= S2N_ROWS; i++)
        CHECK_EQUAL(cold[i], i == row || i == S2N_ROWS);
    bench_close();
}

/* Whatever it waited for. */
static void what_is_aborted_was_not_answered(void)
{
    s2n_statistics nexus;

    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    begin_write(&op[1], 0, 0, 0, 8); /* its data do not come */
    rounds();
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    7);
    rounds();
    nexus = of_nexus(0);
    CHECK_EQUAL(nexus.aborted, 1);
    CHECK_EQUAL(under_way(&nexus), 1); /* the device still has it */
    complete_all();
    expect_drained(7, 2);
    nexus = of_nexus(0);
    CHECK_EQUAL(nexus.aborted, 2);
    CHECK_EQUAL(under_way(&nexus), 0);
    bench_close();
}

/* From what the reactor saw when it came, to what it sees when it ends. */
static void latency_is_from_arrival_to_answer(void)
{
    enum { US = 5000 };
    s2n_statistics unit;

    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 8);
    rounds();
    op[0].task->begun_us -= US;
    complete_all();
    unit = of_unit(0);
    uint64_t us = unit.kind[S2N_COUNTED_READ].latency_us;
    CHECK(us >= US);
    CHECK_EQUAL(unit.kind[S2N_COUNTED_READ].latency[s2n_tally_bucket(us)], 1);
    bench_close();
}

/* Where a LUN leads to no logical unit, its nexus counts. */
static void nobodys_commands_are_their_nexuss(void)
{
    s2n_statistics nexus, unit;

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, UNITS, cdb_of(0xa0, 0, 0, 0), 10);
    s2n_event event = next_event(S2N_EVENT_TASK);
    s2n_task_end(event.task, 0, NULL, 0, NULL, 0);
    rounds();
    nexus = of_nexus(0);
    unit = of_unit(0);
    check_kind(&nexus, S2N_COUNTED_OTHER, 1, 0, 0);
    CHECK_EQUAL(unit.begun, 0);
    bench_close();
}

int main(void)
{
    RUN(latencies_have_buckets);
    RUN(what_moves_blocks_is_counted_by_kind);
    RUN(what_the_initiator_did_not_prepare_for_is_not_moved);
    RUN(discards_are_the_blocks_that_they_name);
    RUN(a_large_command_is_one);
    RUN(failures_move_nothing);
    RUN(a_large_command_that_fails_moves_nothing);
    RUN(failures_are_told_apart);
    RUN(failures_are_the_same_on_all_reactors);
    RUN(only_what_goes_to_the_engine_first_is_cold);
    RUN(the_engines_commands_are_counted_by_row);
    RUN(what_is_aborted_was_not_answered);
    RUN(latency_is_from_arrival_to_answer);
    RUN(nobodys_commands_are_their_nexuss);
}
