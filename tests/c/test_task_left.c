/* Aborted tasks that the device does not give back: when they are answered, and what becomes of
 * what it still has of them. */
#include <string.h>

#include "bench.h"
#include "check.h"
#include "task_abort.h"

enum { POOL = 1 << 20, DEPTH = 16 };
enum { ANSWER_MS = 1750 };

static struct s2n_queue *queue(void)
{
    return &bench.controller->queue[0];
}

static void abort_nexus(unsigned nexus, uint64_t token)
{
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[nexus], NULL, 0, false, false,
                    UINT64_MAX, token);
}

static void pause(void)
{
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
}

/* So much time goes by since its abort. */
static void age(const struct op *one, uint64_t ms)
{
    one->task->abort_ms -= ms;
    one->task->urge_ms -= ms;
    s2n_queue_urge(&queue()->urge);
}

static void reset(void)
{
    device_reset(&bench.device);
    bench.device.automatic = true;
    s2n_controller_resume(bench.controller);
}

/* A write of 64 KiB that the device has, aborted, in the midst of a reset. */
static void leave_a_write(void)
{
    begin_write(&op[0], 0, 0, 8, 128);
    gathered(&op[0]);
    rounds();
    abort_nexus(0, 71);
    pause();
    age(&op[0], ANSWER_MS - 50);
    CHECK(!op[0].completed);
    no_event();
    age(&op[0], 100);
    CHECK(op[0].completed && op[0].aborted && !op[0].task);
    expect_drained(71, 1);
}

static void a_reset_that_takes_long_keeps_nobody_waiting(void)
{
    bench_open(DEPTH, POOL);
    uint64_t unused = s2n_pool_unused(queue()->pool);
    leave_a_write();
    CHECK_EQUAL(s2n_pool_unused(queue()->pool), unused - 65536);
    CHECK_EQUAL(s2n_qpair_in_flight(bench.device.qp), 1);
    reset();
    CHECK_EQUAL(s2n_pool_unused(queue()->pool), unused);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1); /* it is not done again */
    bench_close();
}

/* What comes later goes by another controller, and would be overtaken. */
static void a_write_is_waited_for_where_others_do_not_wait(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 8, 128);
    gathered(&op[0]);
    begin_read(&op[1], 0, 0, 8, 1);
    rounds();
    s2n_lu_set_left(bench.lu[0], true);
    abort_nexus(0, 71);
    pause();
    op[1].task->abort_ms -= ANSWER_MS + 50;
    age(&op[0], ANSWER_MS + 50);
    CHECK(!op[0].completed);
    CHECK(op[1].completed && op[1].aborted);
    no_event();
    reset();
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 2);
    bench_close();
}

static void all_that_are_due_are_left_at_once(void)
{
    enum { READS = 5 };

    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < READS; i++)
        begin_read(&op[i], 0, 0, i, 1);
    rounds();
    abort_nexus(0, 71);
    pause();
    for (uint32_t i = 0; i < READS; i++) {
        op[i].task->abort_ms -= ANSWER_MS + 50;
        op[i].task->urge_ms -= ANSWER_MS + 50;
    }
    s2n_queue_urge(&queue()->urge);
    for (uint32_t i = 0; i < READS; i++)
        CHECK(op[i].completed && !op[i].task);
    expect_drained(71, READS);
    reset();
    bench_close();
}

/* Its nexus owes nothing any more, and may go. */
static void what_is_left_is_nobodys(void)
{
    bench_open(DEPTH, POOL);
    leave_a_write();
    abort_nexus(0, 72);
    expect_drained(72, 0);
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, NULL, bench.lu[0], 0, true, false, UINT64_MAX, 73);
    expect_drained(73, 0);
    struct s2n_share *share = s2n_nexus_share(bench.nexus[0], bench.controller);
    CHECK(!share->reserved[S2N_LARGES] && !share->common[S2N_LARGES]);
    s2n_nexus_free(bench.nexus[0]);
    reset();
    CHECK(!queue()->remains.reserved[S2N_LARGES] && !queue()->remains.common[S2N_LARGES]);
    CHECK(bench.nexus[0] = s2n_nexus_new(NEXUS));
    bench_close();
}

static void its_memory_is_used_for_nothing_else(void)
{
    bench_open(DEPTH, POOL);
    leave_a_write();
    uint64_t first = bench.device.log[0].prp1;
    for (int i = 1; i < 6; i++) {
        begin_write(&op[i], 1, 0, 0, 128);
        if (!op[i].reserved)
            continue;
        CHECK(op[i].task->buffer.chunk_bytes == 65536);
        CHECK(s2n_pool_iova(queue()->pool, op[i].task->buffer.chunk[0]) != first);
    }
    abort_nexus(1, 72);
    expect_drained(72, 5);
    reset();
    bench_close();
}

/* Neither a later command to these blocks, nor one that excludes it, overtakes what is left. */
static void what_follows_waits_for_the_reset(void)
{
    bench_open(DEPTH, POOL);
    leave_a_write();
    begin_write(&op[1], 0, 0, 8, 128);
    gathered(&op[1]);
    s2n_lu_drain_range(bench.lu[0], 0, 9, 81);
    s2n_lu_drain(bench.lu[0], 82);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    no_event();
    reset();
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    CHECK(op[1].completed && !op[1].aborted);
    CHECK_EQUAL(next_event(S2N_EVENT_DRAINED).cookie, 81);
    CHECK_EQUAL(next_event(S2N_EVENT_DRAINED).cookie, 82);
    s2n_lu_release_range(bench.lu[0], 81);
    bench_close();
}

/* Of its data nothing is left to it: the device may still read them. */
static void what_is_left_counts_as_aborted(void)
{
    const uint8_t list[24] = {[1] = 22, [3] = 16, [19] = 3};
    const uint8_t cdb[10] = {0x42, [8] = sizeof list};
    s2n_statistics unit;

    bench_open_able(DEPTH, POOL);
    begin_with_data(&op[0], cdb, sizeof cdb, list);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    abort_nexus(0, 71);
    pause();
    age(&op[0], ANSWER_MS + 50);
    CHECK(op[0].completed && op[0].aborted && !op[0].task);
    expect_drained(71, 1);
    s2n_lu_statistics(bench.lu[0], &unit);
    CHECK_EQUAL(unit.begun, 1);
    CHECK_EQUAL(unit.aborted, 1);
    CHECK_EQUAL(unit.kind[S2N_COUNTED_DISCARD].bytes, 0);
    reset();
    bench_close();
}

static void a_controller_that_is_lost_leaves_nothing(void)
{
    bench_open(DEPTH, POOL);
    leave_a_write();
    s2n_controller_fail(bench.controller, INTERNAL_ERROR);
    rounds();
    bench_close();
}

/* Its owner is told, of each command that the device has. */
static void expect_told(const s2n_task *task, uint32_t count)
{
    for (uint32_t i = 0; i < task->pending; i++)
        CHECK_EQUAL(next_event(S2N_EVENT_ABORT).count, count);
    no_event();
}

/* Before the reset has begun, later commands could still overtake it. */
static void no_write_is_answered_before_the_reset_begins(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 0, 128);
    gathered(&op[0]);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    abort_nexus(0, 71);
    age(&op[0], 1000);
    expect_told(op[0].task, 0);
    age(&op[0], 500);
    expect_told(op[0].task, 1);
    age(&op[0], 10 * ANSWER_MS);
    expect_told(op[0].task, 1);
    CHECK(!op[0].completed);
    s2n_controller_pause(bench.controller, 41);
    CHECK(op[0].completed && op[0].aborted && !op[1].completed);
    expect_drained(71, 1);
    expect_drained(41, 0);
    reset();
    rounds();
    CHECK(op[1].completed && !op[1].aborted);
    bench_close();
}

/* The reset may be put off for the sake of what it would leave half done. */
static void a_read_is_answered_without_a_reset(void)
{
    bench_open(DEPTH, POOL);
    uint64_t unused = s2n_pool_unused(queue()->pool);
    begin_read(&op[0], 0, 0, 0, 128);
    rounds();
    abort_nexus(0, 71);
    age(&op[0], ANSWER_MS - 50);
    CHECK_EQUAL(next_event(S2N_EVENT_ABORT).count, 0);
    CHECK_EQUAL(next_event(S2N_EVENT_ABORT).count, 1);
    CHECK(!op[0].completed);
    age(&op[0], 50);
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    s2n_task *remains = bench.reactor->live;
    for (int i = 0; i < 3; i++) {
        remains->urge_ms = 0;
        s2n_queue_urge(&queue()->urge);
        expect_told(remains, 1);
    }
    CHECK_EQUAL(s2n_pool_unused(queue()->pool), unused - 65536);
    pause();
    reset();
    CHECK_EQUAL(s2n_pool_unused(queue()->pool), unused);
    bench_close();
}

/* So they could on another reactor, which has not heard of the reset. */
static void nor_before_it_has_begun_on_all_reactors(void)
{
    bench_open_beside(1, DEPTH, POOL);
    struct s2n_reactor *other = &bench.plane->reactor[1];
    begin_write(&op[0], 0, 0, 8, 128);
    gathered(&op[0]);
    rounds();
    abort_nexus(0, 71);
    other->running = true; /* it takes its messages later */
    s2n_controller_pause(bench.controller, 41);
    age(&op[0], 10 * ANSWER_MS);
    CHECK(!op[0].completed);
    no_event();
    s2n_reactor_round(other);
    s2n_loop_ended(other); /* and takes what it has told itself */
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    expect_drained(41, 0);
    reset();
    bench_close();
}

static void who_aborted_anothers_is_kept_to_its_word(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 600);
    rounds();
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[1], bench.lu[0], 0, false, true,
                    UINT64_MAX, 71);
    op[0].keeps = true; /* the response is sent at its ease */
    pause();
    age(&op[0], ANSWER_MS);
    CHECK(op[0].completed && op[0].told);
    CHECK_EQUAL(op[0].data_in, 0);
    expect_drained(71, 1);
    reset();
    taken(&op[0]);
    bench_close();
}

/* It is a Dataset Management, as UNMAP is, but changes nothing. */
static void a_hint_of_what_will_be_read_is_not_waited_for(void)
{
    bench_open(DEPTH, POOL);
    bench.params.hint_blocks = 64;
    s2n_lu_update(bench.lu[0], &bench.params);
    begin_command(&op[0], 0, 0, cdb_of(0x34, 0, 0, 8), 10); /* PRE-FETCH (10) */
    rounds();
    CHECK_EQUAL(s2n_qpair_in_flight(bench.device.qp), 1);
    abort_nexus(0, 71);
    age(&op[0], ANSWER_MS - 50);
    CHECK_EQUAL(next_event(S2N_EVENT_ABORT).count, 0);
    CHECK_EQUAL(next_event(S2N_EVENT_ABORT).count, 1);
    CHECK(!op[0].completed);
    age(&op[0], 50);
    CHECK(op[0].completed && op[0].aborted && !op[0].task);
    expect_drained(71, 1);
    pause();
    reset();
    bench_close();
}

/* What is not ours is not given back while the device may write to it. */
static void what_lies_in_place_waits_for_the_reset(void)
{
    static const struct s2n_extent extent = {0, 4096};
    struct s2n_place place = {NULL, 1 << 20, &extent, 1};

    bench_open(DEPTH, POOL);
    place.base = bench.device.pool_memory.vaddr;
    begin_in_place(&op[0], cdb_of(0x28, 0, 0, 8), &place);
    rounds();
    abort_nexus(0, 71);
    pause();
    age(&op[0], 10 * ANSWER_MS);
    CHECK(!op[0].completed);
    no_event();
    reset();
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    bench_close();
}

/* With what the front end holds, what waits and what the device has: under a sanitizer, whatever
 * is left of them is a failure. */
static void what_is_under_way_at_the_end_is_freed(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 8, 128);
    begin_write(&op[1], 1, 1, 8, 128);
    rounds();
    s2n_lu_set_aside(bench.lu[0], true);
    begin_command(&op[2], 2, 0, cdb_of(0x28, 0, 5, 8), 10);
    CHECK(next_event(S2N_EVENT_TASK).task == op[2].task);
    CHECK(bench.reactor->live && bench.reactor->in_flight);
    bench_drop();
    memset(op, 0, sizeof op); /* nobody knows of them any more */
}

int main(void)
{
    RUN(a_reset_that_takes_long_keeps_nobody_waiting);
    RUN(a_write_is_waited_for_where_others_do_not_wait);
    RUN(all_that_are_due_are_left_at_once);
    RUN(what_is_left_is_nobodys);
    RUN(its_memory_is_used_for_nothing_else);
    RUN(what_follows_waits_for_the_reset);
    RUN(what_is_left_counts_as_aborted);
    RUN(a_controller_that_is_lost_leaves_nothing);
    RUN(no_write_is_answered_before_the_reset_begins);
    RUN(a_read_is_answered_without_a_reset);
    RUN(nor_before_it_has_begun_on_all_reactors);
    RUN(who_aborted_anothers_is_kept_to_its_word);
    RUN(a_hint_of_what_will_be_read_is_not_waited_for);
    RUN(what_lies_in_place_waits_for_the_reset);
    RUN(what_is_under_way_at_the_end_is_freed);
    return 0;
}
