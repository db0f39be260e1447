/* COMPARE AND WRITE has its blocks alone, through aborts and resets. */
#include <string.h>

#include "check.h"
#include "hold.h"
#include "swaps.h"
#include "task_abort.h"

/* ---- alone ---- */

static void it_waits_for_what_meets_it_and_excludes_it(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 0, 0, 30, 11);
    begin_read(&op[1], 0, 0, 42, 1);
    begin_read(&op[2], 0, 1, 40, 2); /* of another logical unit */
    swap(&op[3], 40, 2, 0);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    begin_read(&op[4], 0, 0, 41, 1);
    answer_cold(&op[4]);
    begin_read(&op[4], 0, 0, 42, 1);
    complete(0, GOOD);
    CHECK_EQUAL(bench.device.seen, 6);
    expect_command(4, COMPARE, 1, 40, 2);
    begin_read(&op[5], 0, 0, 40, 1);
    answer_cold(&op[5]);
    complete(4, GOOD);
    complete(5, GOOD);
    CHECK(op[3].completed && op[3].status == GOOD);
    begin_read(&op[5], 0, 0, 40, 1);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[5].completed && op[4].completed);
    bench_close();
}

/* However many commands others have: those that are not hot are not looked at. */
static void what_it_costs_is_not_for_others_to_say(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 0, 0, 40, 1);
    begin_write(&op[1], 1, 0, 40, 1); /* which gathers its data */
    rounds();
    s2n_task *rest = op[1].task->live_next;
    op[1].task->live_next = (s2n_task *)-1; /* where nobody may go */
    swap(&op[2], 40, 1, 0);
    op[1].task->live_next = rest;
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    complete(0, GOOD);
    CHECK_EQUAL(bench.device.seen, 3);
    complete(1, GOOD);
    complete(2, GOOD);
    CHECK(op[2].completed && op[2].status == GOOD);
    gathered(&op[1]);
    complete_all();
    bench_close();
}

/* What waits for a buffer may wait for that of the one which waits for it. */
static void what_waits_for_buffers_is_the_engines(void)
{
    start_swaps(DEPTH, FUSED);
    begin_write(&op[0], 0, 0, 1000, 6 * BLOCKS_64K);
    begin_write(&op[1], 1, 0, 5000, 6 * BLOCKS_64K);
    begin_read(&op[2], 2, 0, 40, 2 * BLOCKS_64K);
    CHECK(!bench.device.seen && op[2].task->waits_for_pool);
    swap(&op[3], 40, 1, 0);
    answer_cold(&op[2]);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    complete(0, GOOD);
    complete(1, GOOD);
    CHECK(op[3].completed);
    complete_all();
    gathered(&op[0]);
    gathered(&op[1]);
    bench_close();
}

static void too_many_are_the_engines(void)
{
    bench_open_able(8 * OPS, 16 * POOL);
    bench.params.fused_blocks = FUSED;
    s2n_lu_update(bench.lu[0], &bench.params);
    for (uint8_t lba = 0; lba < S2N_MOST_ALONE; lba++)
        swap(&op[lba], lba, 1, 0);
    swap(&op[S2N_MOST_ALONE], S2N_MOST_ALONE, 1, 0);
    answer_cold(&op[S2N_MOST_ALONE]);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2 * S2N_MOST_ALONE);
    complete(0, GOOD);
    complete(1, GOOD);
    swap(&op[S2N_MOST_ALONE], S2N_MOST_ALONE, 1, 0);
    complete_all();
    CHECK(op[S2N_MOST_ALONE].completed && op[S2N_MOST_ALONE].status == GOOD);
    bench_close();
}

static void a_range_and_a_drain_wait_for_it(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 0, 0, 40, 1);
    swap(&op[1], 40, 2, 0);
    rounds();
    s2n_lu_drain_range(bench.lu[0], 41, 42, 31);
    s2n_lu_drain(bench.lu[0], 32);
    complete(0, GOOD);
    complete(1, GOOD);
    no_event();
    complete(2, GOOD);
    expect_drained(31, 0);
    expect_drained(32, 0);
    s2n_lu_release_range(bench.lu[0], 31);
    s2n_lu_set_aside(bench.lu[0], false);
    bench_close();
}

static void commands_of_the_engine_are_excluded(void)
{
    start_swaps(DEPTH, FUSED);
    CHECK(!s2n_lu_share(bench.lu[0], 40, 42, 7));
    CHECK(!s2n_lu_share(bench.lu[0], 41, 43, 8)); /* which exclude one another not */
    swap(&op[0], 41, 1, 0);
    answer_cold(&op[0]);
    swap(&op[0], 39, 1, 0);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    s2n_lu_unshare(bench.lu[0], 7);
    swap(&op[1], 42, 1, 0);
    answer_cold(&op[1]);
    s2n_lu_unshare(bench.lu[0], 8);
    s2n_lu_unshare(bench.lu[0], 8); /* which nobody has */
    swap(&op[1], 42, 1, 0);
    CHECK(!s2n_lu_share(bench.lu[0], 40, 42, 7));
    CHECK(s2n_lu_share(bench.lu[0], 42, 43, 8));
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[0].completed && op[1].completed);
    s2n_lu_unshare(bench.lu[0], 7);
    s2n_lu_unshare(bench.lu[0], 8);
    bench_close();
}

/* ---- resets and aborts ---- */

static void reset(void)
{
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    device_reset(&bench.device);
    s2n_controller_resume(bench.controller);
}

/* Sent again it would meet what it wrote itself. What else was under way is. */
static void a_pair_is_not_sent_again(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 0, 0, 10, 1);
    swap(&op[1], 40, 1, 0);
    swap(&op[2], 50, 1, 0);
    swap(&op[3], 60, 1, 0);
    begin_read(&op[4], 0, 0, 70, 1);
    rounds();
    complete(3, GOOD);
    complete(5, COMPARE_FAILURE);
    reset();
    s2n_task *holder[2];
    bool seen[2] = {false};
    for (int i = 0; i < 2; i++) {
        s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
        uint64_t which = event.lba / 10 - 4;
        CHECK(which < 2 && event.task == op[1 + which].task && event.holder && !seen[which]);
        CHECK_EQUAL(event.status, SQ_DELETION);
        CHECK_EQUAL(event.nvme, which == 1 ? WRITE : COMPARE);
        holder[which] = event.holder;
        seen[which] = true;
    }
    rounds();
    CHECK_EQUAL(bench.device.seen, 11);
    expect_command(8, READ, 0, 10, 1);
    expect_command(9, READ, 0, 70, 1);
    expect_command(10, READ, 0, 60, 1); /* which finds where that one has failed */
    for (int i = 0; i < 2; i++)
        end_failed(&op[1 + i], holder[i]);
    complete(8, GOOD);
    complete(9, GOOD);
    complete(10, GOOD);
    expect_miscompare(&op[3], false, 0);
    bench_close();
}

/* What it reads, or then writes, is harmless to repeat: nobody else has the blocks. */
static void without_a_pair_a_reset_repeats(void)
{
    start_swaps(DEPTH, 0);
    swap(&op[0], 40, 1, 0);
    rounds();
    reset();
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    memcpy(memory(1), data, BLOCK);
    complete(1, GOOD);
    reset();
    rounds();
    CHECK_EQUAL(bench.device.seen, 4);
    expect_command(3, WRITE, 0, 40, 1);
    complete(3, GOOD);
    CHECK(op[0].completed && op[0].status == GOOD);
    bench_close();
}

/* It has the blocks of which another reset has made others, and the engine none of them. */
static void after_a_reset_nothing_is_found_in_other_blocks(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 1, 0);
    rounds();
    complete(0, COMPARE_FAILURE);
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    s2n_lu_set_aside(bench.lu[0], true);
    s2n_lu_recall(bench.lu[0], bench.controller, true);
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK(event.task == op[0].task && !event.holder);
    CHECK_EQUAL(event.status, COMPARE_FAILURE);
    device_reset(&bench.device);
    s2n_controller_resume(bench.controller);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
    bench_close();
}

/* Its controller goes on, with others under its number. */
static void what_is_recalled_does_not_go_on(void)
{
    static const struct {
        uint32_t fused, last;
        uint16_t status, told;
        uint8_t opcode;
    } ends[] = {
        {FUSED, 1, FAILED_FUSED, COMPARE_FAILURE, COMPARE},
        {0, 0, GOOD, SQ_DELETION, READ}, /* as expected, and then not */
        {0, 0, GOOD, SQ_DELETION, READ},
    };

    for (uint32_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        start_swaps(DEPTH, ends[i].fused);
        swap(&op[0], 40, 1, 0);
        rounds();
        if (ends[i].fused)
            complete(0, COMPARE_FAILURE);
        s2n_lu_set_aside(bench.lu[0], true);
        s2n_lu_recall(bench.lu[0], bench.controller, false);
        rounds();
        no_event();
        if (i == 1)
            memcpy(memory(0), data, BLOCK);
        complete(ends[i].last, ends[i].status);
        CHECK_EQUAL(bench.device.seen, ends[i].last + 1);
        end_failed(&op[0], expect_failure(&op[0], ends[i].opcode, ends[i].told));
        bench_close();
    }
}

/* What has done all that it was to do has done it. */
static void what_is_recalled_may_be_done(void)
{
    for (uint32_t fused = 0; fused <= FUSED; fused += FUSED) {
        start_swaps(DEPTH, fused);
        swap(&op[0], 40, 1, 0);
        rounds();
        if (!fused) {
            memcpy(memory(0), data, BLOCK);
            complete(0, GOOD);
        }
        s2n_lu_recall(bench.lu[0], bench.controller, false);
        complete_all();
        CHECK(op[0].completed && op[0].status == GOOD);
        CHECK_EQUAL(bench.device.seen, 2);
        bench_close();
    }
}

static void abort_all(uint64_t token)
{
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    token);
}

static void what_is_aborted_lets_go(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 1, 0, 40, 1);
    swap(&op[1], 40, 1, 0); /* waits for it */
    swap(&op[2], 50, 1, 0); /* under way */
    rounds();
    abort_all(71);
    CHECK(op[1].completed && op[1].aborted && !op[2].completed);
    no_event();
    begin_read(&op[3], 1, 0, 40, 1);
    begin_read(&op[4], 1, 0, 50, 1);
    answer_cold(&op[4]);
    complete(1, COMPARE_FAILURE);
    complete(2, FAILED_FUSED);
    CHECK(op[2].completed && op[2].aborted);
    expect_drained(71, 2);
    begin_read(&op[4], 1, 0, 50, 1);
    complete_all();
    bench_close();
}

/* In the midst of a reset it is answered, and what the device still does excludes others. */
static void what_is_left_of_it_is_alone(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 1, 0);
    rounds();
    abort_all(71);
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    op[0].task->abort_ms -= 1800;
    s2n_queue_urge(&bench.controller->queue[0].urge);
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    begin_read(&op[1], 0, 0, 40, 1);
    answer_cold(&op[1]);
    device_reset(&bench.device);
    s2n_controller_resume(bench.controller);
    begin_read(&op[1], 0, 0, 40, 1);
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    CHECK_EQUAL(bench.device.seen, 3);
    bench_close();
}

/* All that was under way ends, and so does what waited for it. */
static void a_lost_controller_ends_it(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 0, 0, 40, 1);
    swap(&op[1], 40, 1, 0);
    swap(&op[2], 50, 1, 0);
    rounds();
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    s2n_controller_fail(bench.controller, INTERNAL_ERROR);
    rounds();
    for (int i = 0; i < 3; i++) {
        s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
        CHECK_EQUAL(event.status, INTERNAL_ERROR);
        CHECK_EQUAL(!event.holder, event.task == op[0].task);
        s2n_task_end(event.task, CHECK_CONDITION, NULL, 0, NULL, 0);
        if (event.holder)
            s2n_holder_release(event.holder);
    }
    bench_close();
}

int main(void)
{
    RUN(it_waits_for_what_meets_it_and_excludes_it);
    RUN(what_it_costs_is_not_for_others_to_say);
    RUN(what_waits_for_buffers_is_the_engines);
    RUN(too_many_are_the_engines);
    RUN(a_range_and_a_drain_wait_for_it);
    RUN(commands_of_the_engine_are_excluded);
    RUN(after_a_reset_nothing_is_found_in_other_blocks);
    RUN(what_is_recalled_does_not_go_on);
    RUN(what_is_recalled_may_be_done);
    RUN(a_pair_is_not_sent_again);
    RUN(without_a_pair_a_reset_repeats);
    RUN(what_is_aborted_lets_go);
    RUN(what_is_left_of_it_is_alone);
    RUN(a_lost_controller_ends_it);
    return 0;
}
