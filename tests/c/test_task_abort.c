/* Aborts: which tasks they reach, in every state, and when they are done. */
#include "bench.h"

#include <stdlib.h>
#include <unistd.h>

#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4, SLOTS = DEPTH - 1 };

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

/* What an earlier request has aborted is waited for, though it has overtaken another one. */
static void an_abort_waits_for_what_a_later_request_does_not_mean(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS_LU, bench.nexus[0], bench.lu[0], 0, false, false,
                    s2n_reactor_arrived(bench.reactor), 51);
    s2n_task_arrive_later(op[0].task);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[1], NULL, 0, false, false, UINT64_MAX,
                    52);
    device_complete(&bench.device, 1, 0);
    rounds();
    expect_drained(52, 1);
    CHECK(!op[0].completed);
    no_event();
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK(op[0].completed);
    expect_drained(51, 1);
    bench_close();
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

/* Whatever ends meanwhile: an Abort names its command by the CID. */
static void what_is_told_of_keeps_its_cid_until_it_was_attended_to(void)
{
    bench_open(16, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    rounds();
    uint16_t cid = bench.device.log[0].cid;
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
    CHECK_EQUAL(told_of(1, 0), 1u << cid);
    device_complete(&bench.device, 0, 0);
    rounds();
    CHECK(op[0].completed && op[0].aborted);
    expect_drained(71, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    CHECK(bench.device.log[1].cid != cid);
    s2n_controller_attended(bench.controller, 2, cid);
    rounds();
    begin_read(&op[2], 1, 0, 0, 1);
    rounds();
    CHECK_EQUAL(bench.device.log[2].cid, cid);
    complete_all();
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

/* ---- many at once ---- */

enum { MANY = 60000, SOON_S = 10 };

static void keep_response(s2n_task *task)
{
    CHECK(task->aborted && task->task_aborted_status);
    task->state = S2N_DONE;
}

/* As many as all hosts together may have, whose responses are taken while the abort still waits
 * for an older command. What each costs does not grow with the others: else this takes minutes. */
static void many_are_aborted_in_no_time(void)
{
    static const struct s2n_front_end keeper = {.complete = keep_response,
                                                .discard = keep_response};
    static const uint8_t inquiry[6] = {0x12};
    s2n_task **many = calloc(MANY, sizeof *many);

    CHECK(many);
    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, inquiry, sizeof inquiry);
    next_event(S2N_EVENT_TASK);
    for (uint32_t i = 0; i < MANY; i++) {
        CHECK(many[i] = s2n_task_new(bench.reactor, &keeper, bench.nexus[0]));
        s2n_task_begin(many[i]); /* it gathers */
    }
    alarm(SOON_S);
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, bench.nexus[1], bench.lu[0], 0, false, true,
                    UINT64_MAX, 71);
    for (uint32_t i = 0; i < MANY; i++)
        s2n_task_free(many[i]);
    alarm(0);
    next_event(S2N_EVENT_TASK_ABORTED);
    no_event();
    s2n_task_end(op[0].task, 0, NULL, 0, NULL, 0);
    expect_drained(71, MANY + 1);
    bench_close();
    free(many);
}

/* The one that an abort waits for goes, while those before it have answers that nobody takes. */
static void what_is_waited_for_may_go_in_any_order(void)
{
    static const uint8_t inquiry[6] = {0x12};
    static const uint8_t order[] = {2, 0, 3, 1};

    bench_open(DEPTH, POOL);
    for (uint32_t i = 0; i < 4; i++) {
        op[i].keeps = i & 1;
        begin_command(&op[i], 0, 0, inquiry, sizeof inquiry);
        next_event(S2N_EVENT_TASK);
    }
    for (uint64_t token = 71; token < 73; token++)
        s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false,
                        UINT64_MAX, token);
    for (uint32_t i = 0; i < 4; i++)
        next_event(S2N_EVENT_TASK_ABORTED);
    for (uint32_t i = 0; i < 4; i++) {
        no_event();
        s2n_task_end(op[order[i]].task, 0, NULL, 0, NULL, 0);
    }
    CHECK_EQUAL(next_event(S2N_EVENT_DRAINED).cookie, 72);
    expect_drained(71, 4);
    taken(&op[1]);
    taken(&op[3]);
    bench_close();
}

/* Task management names a LUN: what was sent there while it led elsewhere is meant, too. */
static void what_was_sent_to_a_lun_before_it_led_elsewhere_is_meant(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    CHECK(!s2n_nexus_map(bench.nexus[0], 0, bench.lu[1]));
    s2n_plane_abort(bench.plane, S2N_SCOPE_TASK, bench.nexus[0], bench.lu[1], op[0].task->tag, true,
                    false, UINT64_MAX, 51);
    rounds();
    expect_drained(51, 1);
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS_LU, bench.nexus[0], bench.lu[1], 0, false, false,
                    UINT64_MAX, 52);
    rounds();
    no_event();
    complete_all();
    expect_drained(52, 1);
    CHECK(op[0].aborted && !op[1].aborted);
    bench_close();
}

int main(void)
{
    RUN(aborts_reach_tasks_in_every_state);
    RUN(aborts_end_nothing_that_came_later);
    RUN(an_abort_waits_for_what_a_later_request_does_not_mean);
    RUN(aborts_reach_their_scope_only);
    RUN(an_abort_does_not_wait_for_responses);
    RUN(a_second_abort_waits_for_the_same_task);
    RUN(what_stays_on_the_device_is_aborted_there);
    RUN(what_is_told_of_keeps_its_cid_until_it_was_attended_to);
    RUN(a_reset_ends_what_was_aborted);
    RUN(aborts_during_a_pause);
    RUN(an_aborted_drain_is_done);
    RUN(many_are_aborted_in_no_time);
    RUN(what_is_waited_for_may_go_in_any_order);
    RUN(what_was_sent_to_a_lun_before_it_led_elsewhere_is_meant);
    return 0;
}
