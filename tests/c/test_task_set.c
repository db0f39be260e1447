/* Task sets: what ORDERED and HEAD OF QUEUE mean for the other commands of an I_T nexus. */
#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, MANY = OPS, DEPTH = 256, ORDERED = 2, HEAD = 3 };

static const uint8_t inquiry[6] = {0x12, 0, 0, 0, 96}; /* the engine's */
static const uint8_t test_unit_ready[6] = {0};

static void read_as(uint32_t i, uint8_t attribute)
{
    op[i].attribute = attribute;
    begin_read(&op[i], 0, 0, i, 1);
}

/* The device has seen so many commands, the last of which is this one's; it is carried out. */
static void expect_last(uint32_t seen, uint32_t i)
{
    rounds();
    CHECK_EQUAL(bench.device.seen, seen);
    CHECK_EQUAL(bench.device.log[seen - 1].slba, i);
    CHECK(!op[i].completed);
}

static void end(uint32_t seen)
{
    device_complete(&bench.device, seen, 0);
    rounds();
}

static void an_ordered_command_waits_and_is_waited_for(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, 0);
    read_as(1, 0);
    read_as(2, ORDERED);
    read_as(3, 0);
    read_as(4, 0);
    expect_last(2, 1);
    end(1);
    CHECK(op[1].completed && op[2].dormant && op[3].dormant);
    CHECK_EQUAL(bench.device.seen, 2);
    end(0);
    expect_last(3, 2);
    end(2);
    rounds();
    CHECK(op[2].completed);
    expect_last(5, 4);
    end(3);
    end(4);
    CHECK(op[3].completed && op[4].completed && !op[4].status);
    bench_close();
}

static void only_one_ordered_command_is_begun(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 8; i++)
        read_as(i, ORDERED);
    for (uint32_t i = 0; i < 8; i++) {
        expect_last(i + 1, i);
        end(i);
    }
    bench_close();
}

static void other_task_sets_do_not_wait(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, ORDERED);
    begin_read(&op[1], 0, 1, 1, 1); /* another logical unit's, */
    begin_read(&op[2], 1, 0, 2, 1); /* and another nexus' */
    expect_last(3, 2);
    device_complete_all(&bench.device);
    bench_close();
}

/* It passes what is dormant, and what comes later waits for it. */
static void the_head_of_the_queue_goes_first(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, 0);
    read_as(1, ORDERED);
    read_as(2, HEAD);
    read_as(3, 0);
    expect_last(2, 2);
    end(0);
    CHECK(op[1].dormant);
    end(1);
    CHECK(op[2].completed);
    expect_last(3, 1);
    read_as(4, HEAD);
    expect_last(4, 4);
    end(2);
    CHECK(op[3].dormant);
    end(3);
    expect_last(5, 3);
    end(4);
    read_as(5, HEAD);
    read_as(6, 0);
    CHECK(op[6].dormant);
    expect_last(6, 5);
    end(5);
    expect_last(7, 6);
    end(6);
    bench_close();
}

/* What the engine has counts as what the device has. */
static void the_engine_is_waited_for(void)
{
    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, inquiry, sizeof inquiry);
    s2n_task *task = next_event(S2N_EVENT_TASK).task;
    op[1].attribute = ORDERED;
    begin_command(&op[1], 0, 0, inquiry, sizeof inquiry);
    read_as(2, 0);
    rounds();
    no_event();
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    rounds();
    task = next_event(S2N_EVENT_TASK).task;
    CHECK(task == op[1].task && op[2].dormant);
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    expect_last(1, 2);
    end(0);
    bench_close();
}

/* Unless it is ordered to. */
static void what_asks_for_the_state_waits_for_nobody(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, ORDERED);
    begin_command(&op[1], 0, 0, inquiry, sizeof inquiry);
    begin_command(&op[2], 0, 0, test_unit_ready, sizeof test_unit_ready);
    CHECK(op[2].completed);
    op[3].attribute = op[4].attribute = ORDERED;
    begin_command(&op[3], 0, 0, inquiry, sizeof inquiry);
    begin_command(&op[4], 0, 0, test_unit_ready, sizeof test_unit_ready);
    s2n_task *task = next_event(S2N_EVENT_TASK).task;
    CHECK(task == op[1].task && op[3].dormant && op[4].dormant);
    expect_last(1, 0);
    end(0);
    no_event();
    s2n_task_end(task, 0, NULL, 0, NULL, 0);
    rounds();
    CHECK(op[4].dormant);
    s2n_task_end(next_event(S2N_EVENT_TASK).task, 0, NULL, 0, NULL, 0);
    rounds();
    CHECK(op[4].completed);
    bench_close();
}

/* In the order of arrival, not of data; and without a buffer, which the first may want. */
static void data_on_their_way_are_waited_for(void)
{
    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 0, 8);
    op[1].attribute = ORDERED;
    begin_write(&op[1], 0, 0, 1, 8);
    read_as(2, 0);
    CHECK(op[0].reserved && !op[1].reserved && op[1].dormant);
    rounds();
    CHECK_EQUAL(bench.device.seen, 0);
    gathered(&op[0]);
    rounds();
    end(0);
    CHECK(op[1].reserved && op[2].dormant);
    gathered(&op[1]);
    rounds();
    end(1);
    expect_last(3, 2);
    end(2);
    bench_close();
}

static void an_order_is_kept_over_portions(void)
{
    bench_open(DEPTH, 4 << 20);
    op[0].attribute = ORDERED;
    static const uint8_t cdb[16] = {0x88, [12] = 0x48}; /* 9 MiB */
    begin_command(&op[0], 0, 0, cdb, sizeof cdb);
    read_as(1, 0);
    rounds();
    uint32_t done = 0;
    while (!op[0].completed) {
        CHECK(op[1].dormant);
        end(done++);
    }
    CHECK_EQUAL(op[0].portions, 8);
    expect_last(done + 1, 1);
    end(done);
    bench_close();
}

static void aborted(uint32_t scope, uint32_t tag, uint64_t token, uint32_t count)
{
    s2n_plane_abort(bench.plane, scope, bench.nexus[0], bench.lu[0], tag, false, false, UINT64_MAX,
                    token);
    rounds();
    expect_drained(token, count);
}

static void what_is_dormant_is_aborted_at_once(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 6; i++)
        read_as(i, i == 1 || i == 4 ? ORDERED : 0);
    rounds();
    aborted(S2N_SCOPE_TASK, op[3].task->tag, 1, 1);
    aborted(S2N_SCOPE_TASK, op[1].task->tag, 2, 1); /* the first: the next need not wait */
    CHECK(op[1].discarded && op[3].discarded);
    expect_last(2, 2);
    CHECK(op[4].dormant && op[5].dormant);
    end(0);
    end(1);
    expect_last(3, 4);
    op[5].keeps = true;
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS_LU, bench.nexus[0], bench.lu[0], 0, false, true,
                    UINT64_MAX, 3);
    rounds();
    CHECK(op[5].discarded && op[5].told && !op[4].completed);
    end(2);
    expect_drained(3, 2);
    CHECK(op[4].completed && op[4].aborted);
    taken(&op[5]);
    read_as(6, ORDERED);
    expect_last(4, 6);
    end(3);
    bench_close();
}

/* Nothing of what is to be aborted is begun on the way. */
static void an_abort_of_all_begins_nothing(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, HEAD);
    for (uint32_t i = 1; i < 5; i++)
        read_as(i, i & 1 ? ORDERED : 0);
    read_as(5, HEAD);
    rounds();
    CHECK_EQUAL(bench.device.seen, 2);
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    UINT64_MAX, 9);
    rounds();
    device_complete_all(&bench.device);
    rounds();
    expect_drained(9, 6);
    CHECK_EQUAL(bench.device.seen, 2);
    bench_close();
}

/* Of each end of one the next is begun: not deeper and deeper. */
static void many_that_end_at_once(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, 0);
    for (uint32_t i = 1; i < MANY; i++) {
        op[i].attribute = ORDERED;
        begin_read(&op[i], 0, 0, i, 0);
    }
    rounds();
    end(0);
    for (uint32_t i = 0; i < 8; i++)
        rounds();
    for (uint32_t i = 0; i < MANY; i++)
        CHECK(op[i].completed && !op[i].status);
    bench_close();
}

/* What a data-out on its way to `nexus` kept waiting is ready, between two rounds. */
static void let_go(struct op *write, unsigned nexus, uint64_t token)
{
    s2n_plane_abort(bench.plane, S2N_SCOPE_TASK, bench.nexus[nexus], bench.lu[0], write->task->tag,
                    false, false, UINT64_MAX, token);
    CHECK(write->discarded);
    expect_drained(token, 1);
}

/* A task set with very much to do that is done at once does not keep the others waiting. */
static void task_sets_take_turns(void)
{
    enum { OF_FIRST = MANY - 10 };
    struct op *second = &op[OF_FIRST];

    bench_open(DEPTH, POOL);
    begin_write(&op[0], 0, 0, 0, 8);
    begin_write(&second[0], 1, 0, 0, 8);
    for (uint32_t i = 1; i < OF_FIRST; i++) {
        op[i].attribute = ORDERED;
        begin_read(&op[i], 0, 0, 0, 0);
    }
    for (uint32_t i = 1; i < 4; i++) {
        second[i].attribute = ORDERED;
        begin_read(&second[i], 1, 0, 0, 0);
    }
    let_go(&op[0], 0, 1);
    let_go(&second[0], 1, 2);
    s2n_reactor_round(bench.reactor);
    CHECK(second[1].completed && second[2].completed && second[3].completed);
    CHECK(op[1].completed && !op[OF_FIRST - 1].completed);
    for (uint32_t i = 0; i < 8; i++)
        rounds();
    CHECK(op[OF_FIRST - 1].completed);
    bench_close();
}

/* What came to the head of a queue in between holds up its own task set alone. */
static void a_late_head_of_the_queue_holds_up_no_other_task_set(void)
{
    bench_open(DEPTH, POOL);
    for (unsigned nexus = 0; nexus < 2; nexus++) {
        begin_write(&op[2 * nexus], nexus, 0, 0, 8);
        op[2 * nexus + 1].attribute = ORDERED;
        begin_read(&op[2 * nexus + 1], nexus, 0, nexus, 1);
    }
    let_go(&op[0], 0, 1);
    let_go(&op[2], 1, 2);
    read_as(4, HEAD);
    expect_last(2, 1);
    CHECK(op[1].dormant && !op[3].dormant);
    end(0);
    expect_last(3, 0);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[1].completed && op[3].completed && op[4].completed);
    bench_close();
}

/* Whatever leaves the list of those that are ready, and from where, the others stay in it. */
static void what_leaves_the_list_takes_nobody_along(void)
{
    for (unsigned leaves = 0; leaves < NEXUSES; leaves++) {
        bench_open(DEPTH, POOL);
        for (unsigned nexus = 0; nexus < NEXUSES; nexus++) {
            begin_write(&op[nexus], nexus, 0, 0, 8);
            op[10 + nexus].attribute = op[20 + nexus].attribute = ORDERED;
            begin_read(&op[10 + nexus], nexus, 0, nexus, 0);
            begin_read(&op[20 + nexus], nexus, 0, nexus, 0);
        }
        for (unsigned nexus = 0; nexus < NEXUSES - 1; nexus++)
            let_go(&op[nexus], nexus, 1);
        /* The last one first, while the list is looked at for the first one. */
        let_go(&op[20 + leaves], leaves, 2);
        let_go(&op[10 + leaves], leaves, 2);
        if (leaves < NEXUSES - 1)
            let_go(&op[NEXUSES - 1], NEXUSES - 1, 1);
        else
            gathered(&op[leaves]);
        bench.device.automatic = true;
        rounds();
        rounds();
        for (unsigned nexus = 0; nexus < NEXUSES; nexus++)
            if (nexus != leaves)
                CHECK(op[10 + nexus].completed && op[20 + nexus].completed);
        bench_close();
    }
}

/* Wherever in the queue an aborted command stood, what comes later has its turn. */
static void a_queue_goes_on_after_any_that_is_aborted(void)
{
    for (uint32_t gone = 1; gone < 4; gone++) {
        bench_open(DEPTH, POOL);
        for (uint32_t i = 0; i < 4; i++)
            read_as(i, ORDERED);
        aborted(S2N_SCOPE_TASK, op[gone].task->tag, 1, 1);
        read_as(4, ORDERED);
        uint32_t seen = 0;
        for (uint32_t i = 0; i < 5; i++)
            if (i != gone) {
                expect_last(++seen, i);
                end(seen - 1);
                CHECK(op[i].completed);
            }
        bench_close();
    }
}

static void a_reset_keeps_the_order(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 4; i++)
        read_as(i, ORDERED);
    rounds();
    s2n_controller_pause(bench.controller, 5);
    rounds();
    expect_drained(5, 0);
    read_as(4, ORDERED);
    device_reset(&bench.device);
    s2n_controller_resume(bench.controller);
    rounds();
    device_complete_all(&bench.device);
    for (uint32_t i = 0; i < 8; i++)
        rounds();
    for (uint32_t i = 0; i < 5; i++)
        CHECK(op[i].completed && !op[i].status && !op[i].aborted);
    bench_close();
}

/* Each meets the answer that it deserves, in its turn. */
static void a_lost_controller_fails_all_in_order(void)
{
    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 4; i++)
        read_as(i, ORDERED);
    rounds();
    s2n_controller_fail(bench.controller, 0x371);
    for (uint32_t i = 0; i < 4; i++) {
        rounds();
        s2n_task *task = next_event(S2N_EVENT_TASK_FAILED).task;
        CHECK(task == op[i].task);
        no_event();
        s2n_task_end(task, 2, NULL, 0, NULL, 0);
    }
    bench_close();
}

/* What is dormant holds up no drain, nor does it go on beside one. */
static void a_drain_does_not_wait_for_what_is_dormant(void)
{
    bench_open(DEPTH, POOL);
    read_as(0, ORDERED);
    read_as(1, ORDERED);
    rounds();
    s2n_lu_drain(bench.lu[0], 7);
    rounds();
    no_event();
    device_complete(&bench.device, 0, 0);
    rounds();
    s2n_event event = next_event(S2N_EVENT_DRAINED);
    CHECK_EQUAL(event.cookie, 7);
    rounds();
    CHECK_EQUAL(bench.device.seen, 1);
    s2n_lu_set_aside(bench.lu[0], false);
    complete_all();
    CHECK(op[1].completed);
    bench_close();
}

int main(void)
{
    RUN(an_ordered_command_waits_and_is_waited_for);
    RUN(only_one_ordered_command_is_begun);
    RUN(other_task_sets_do_not_wait);
    RUN(the_head_of_the_queue_goes_first);
    RUN(the_engine_is_waited_for);
    RUN(what_asks_for_the_state_waits_for_nobody);
    RUN(data_on_their_way_are_waited_for);
    RUN(an_order_is_kept_over_portions);
    RUN(what_is_dormant_is_aborted_at_once);
    RUN(an_abort_of_all_begins_nothing);
    RUN(many_that_end_at_once);
    RUN(task_sets_take_turns);
    RUN(a_late_head_of_the_queue_holds_up_no_other_task_set);
    RUN(what_leaves_the_list_takes_nobody_along);
    RUN(a_queue_goes_on_after_any_that_is_aborted);
    RUN(a_reset_keeps_the_order);
    RUN(a_lost_controller_fails_all_in_order);
    RUN(a_drain_does_not_wait_for_what_is_dormant);
    return 0;
}
