/* Task management: what the reactor answers, and how aborted commands end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, IMMEDIATE = S2N_IMMEDIATE };

static struct initiator i, j;

/* A request for task management was answered by the reactor, and nobody else told of it. */
static void expect_answer(uint8_t response)
{
    const struct pdu *pdu = expect(&i, S2N_TASK_MANAGEMENT_RESPONSE);

    CHECK_EQUAL(pdu->bhs[S2N_AT_RESPONSE], response);
    CHECK_EQUAL(tag_of(pdu), 0xabcd);
    expect_no_request();
}

static void put_management(uint8_t function, uint8_t lun, uint32_t tag)
{
    uint8_t bhs[48];

    request(bhs, IMMEDIATE | S2N_TASK_MANAGEMENT, 0xabcd, i.cmd_sn);
    bhs[1] = F | function;
    bhs[S2N_AT_LUN + 1] = lun;
    s2n_put32(bhs + S2N_AT_TTT, tag);
    put(&i, bhs, NULL, 0);
}

static const uint8_t enders[] = {S2N_ABORT_TASK, S2N_ABORT_TASK_SET, S2N_CLEAR_TASK_SET};

static void what_ends_nothing_is_answered_here(void)
{
    login(&i, &usual);
    for (unsigned at = 0; at < sizeof enders; at++) {
        put_management(enders[at], 0, 1);
        expect_answer(enders[at] == S2N_ABORT_TASK ? S2N_TASK_DOES_NOT_EXIST
                                                   : S2N_FUNCTION_COMPLETE);
        put_management(enders[at], 1, 1); /* a LUN that there is not */
        expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    }
    for (uint8_t function = 5; function < 16; function++) {
        put_management(function, 0, 1);
        expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
        answer(&i, S2N_TASK_MANAGEMENT_RESPONSE);
        expect(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    }
    logout(&i);
}

/* Python has others take their turns. */
static void a_flood_of_what_ends_nothing_is_pythons(void)
{
    s2n_event event;

    login(&i, &usual);
    for (unsigned at = 0; at < S2N_MANAGEMENT; at++) {
        put_management(S2N_ABORT_TASK_SET, 0, 0);
        expect_answer(S2N_FUNCTION_COMPLETE);
    }
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    fake_run();
    CHECK(fake_next_event(&event) && event.type == S2N_EVENT_PDU && event.count == 1);
    answer(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    expect(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    fake_advance(1000);
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_answer(S2N_FUNCTION_COMPLETE);
    logout(&i);
}

static void what_ends_a_task_is_not_answered_here(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    fake.hold = true;
    put_numbered(&j, FIRST_CMD_SN); /* by another connection of the session */
    fake_run();
    i.cmd_sn = FIRST_CMD_SN + 1;
    for (unsigned at = 0; at < sizeof enders; at++) {
        put_management(enders[at], 0, FIRST_CMD_SN + 0x10000);
        expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    }
    put_management(S2N_ABORT_TASK, 0, 1); /* another task */
    expect_answer(S2N_TASK_DOES_NOT_EXIST);
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_status(&j, 0);
    acknowledge(&j, S2N_RESERVED_TAG);
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_answer(S2N_FUNCTION_COMPLETE);
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
    fake.hold = false;
    logout(&i);
}

static void abort_of_an_unseen_command_takes_its_number(void)
{
    login(&i, &usual);
    /* 100 has not come; 101 waits for it. */
    put_numbered(&i, FIRST_CMD_SN + 1);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 2, 0x55, FIRST_CMD_SN);
    expect_answer(S2N_FUNCTION_COMPLETE);
    CHECK_EQUAL(tag_of(expect_status(&i, 0)), FIRST_CMD_SN + 1 + 0x10000);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 2);
    put_numbered(&i, FIRST_CMD_SN); /* it comes after all */
    expect_none(&i);
    /* Not in the window, not before the request itself, or not unseen: not so. */
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 2, 0x55, FIRST_CMD_SN + 1);
    expect_answer(S2N_TASK_DOES_NOT_EXIST);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 2, 0x55, FIRST_CMD_SN + 2);
    expect_answer(S2N_TASK_DOES_NOT_EXIST);
    put_numbered(&i, FIRST_CMD_SN + 3);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 4,
                   FIRST_CMD_SN + 3 + 0x10000, FIRST_CMD_SN + 3);
    expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 2);
    /* Again, as its answer may have come too late. */
    for (int at = 0; at < 2; at++) {
        put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 7, 0x66,
                       FIRST_CMD_SN + 6);
        expect_answer(S2N_FUNCTION_COMPLETE);
    }
    logout(&i);
}

/* Task management means the commands before it, by CmdSN, whichever connection was faster; an
 * immediate command has none of its own, and is before it as it came before it. */
static void task_management_means_what_was_sent_before(void)
{
    uint8_t bhs[48];
    s2n_event event;

    login(&i, &usual);
    fake.hold = true;
    put_numbered(&i, FIRST_CMD_SN);
    put_numbered(&i, FIRST_CMD_SN + 1);
    put_numbered(&i, FIRST_CMD_SN + 3); /* held */
    put_command(&i, F, 1, 0, test_unit_ready, NULL, 0);
    request(bhs, IMMEDIATE | S2N_TASK_MANAGEMENT, 2, FIRST_CMD_SN + 1);
    put(&i, bhs, NULL, 0);
    fake_run();
    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_PDU);
    const uint32_t tags[] = {FIRST_CMD_SN + 0x10000, FIRST_CMD_SN + 0x10001,
                             FIRST_CMD_SN + 0x10003};
    for (uint32_t at = 0; at < 3; at++) {
        const s2n_task *task = s2n_command_find(i.session, tags[at])->task;
        CHECK_EQUAL(task->arrived <= event.arrived, at < 1);
    }
    fake.hold = false;
    s2n_event_free(&event);
    logout(&i);
}

/* Task management that another connection brings before commands with lower numbers than its own:
 * these are not to be carried out after the answer. */
static void task_management_waits_for_what_was_sent_before(void)
{
    static const uint8_t all[] = {S2N_ABORT_TASK_SET, S2N_CLEAR_TASK_SET, S2N_LOGICAL_UNIT_RESET,
                                  S2N_TARGET_WARM_RESET, S2N_I_T_NEXUS_RESET};
    s2n_event event;

    login(&i, &usual);
    login_more(&j, &i);
    for (uint32_t at = 0; at < sizeof all; at++) {
        uint32_t missing = i.cmd_sn++;
        fake.hold = true;
        put_management(all[at], 0, 0);
        expect_no_request();
        expect_none(&i);
        uint8_t bhs[48]; /* which comes after it */
        request(bhs, IMMEDIATE | S2N_SCSI_COMMAND, 7, i.cmd_sn);
        bhs[1] = F;
        put(&i, bhs, NULL, 0);
        fake_run();
        put_numbered(&j, missing);
        fake_run();
        CHECK(fake_next_event(&event) && event.type == S2N_EVENT_PDU && !event.count);
        CHECK_EQUAL(event.bhs[1], F | all[at]);
        CHECK(s2n_command_find(i.session, missing + 0x10000)->task->arrived <= event.arrived);
        CHECK(s2n_command_find(i.session, 7)->task->arrived > event.arrived);
        s2n_event_free(&event);
        answer(&i, S2N_TASK_MANAGEMENT_RESPONSE);
        expect(&i, S2N_TASK_MANAGEMENT_RESPONSE);
        fake.hold = false;
        for (uint32_t end = fake.executed_count; end--;)
            fake_end(fake.executed[end], 0, 0, NULL, 0);
        expect_status(&i, 0);
        expect_status(&j, 0);
        acknowledge(&j, S2N_RESERVED_TAG);
    }
    i.cmd_sn++; /* one that never comes */
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_no_request();
    put_management(S2N_ABORT_TASK, 0, 0x55); /* means one */
    expect_answer(S2N_TASK_DOES_NOT_EXIST);
    i.cmd_sn += WINDOW; /* nor can what is beyond the window */
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_answer(S2N_FUNCTION_COMPLETE);
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
    expect_answer(S2N_FUNCTION_COMPLETE); /* nobody is left that could bring it */
    i.cmd_sn -= WINDOW;
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_answer(S2N_FUNCTION_COMPLETE);
    logout(&i);
}

/* The NOP-In that asks whether answers have come. */
static uint32_t expect_ping(struct initiator *on)
{
    return s2n_get32(expect(on, S2N_NOP_IN)->bhs + S2N_AT_TTT);
}

/* Have another connection answer a command, and then ask for what ends nothing any more. */
static void begin_fence(void)
{
    fake.hold = true;
    put_numbered(&j, i.cmd_sn++);
    fake_run();
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_no_request();
    expect_none(&i);
}

static void leave_both(void)
{
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
    logout(&i);
}

static void no_answer_overtakes_one_of_another_connection(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    begin_fence();
    expect_status(&j, 0);
    uint32_t tag = expect_ping(&j);
    acknowledge(&j, S2N_RESERVED_TAG);
    acknowledge(&j, tag - 1);
    expect_none(&i);
    acknowledge(&j, tag);
    expect_answer(S2N_FUNCTION_COMPLETE);
    put_management(S2N_ABORT_TASK_SET, 0, 0); /* all is known to be there */
    expect_answer(S2N_FUNCTION_COMPLETE);
    expect_none(&j);
    fake.hold = false;
    leave_both();
}

/* What Python answers does not, either. */
static void an_answer_of_python_waits_for_others(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    put_numbered(&j, i.cmd_sn++);
    put_management(S2N_LOGICAL_UNIT_RESET, 0, 0);
    expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    answer(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    expect_none(&i);
    expect_status(&j, 0);
    acknowledge(&j, expect_ping(&j));
    expect(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    leave_both();
}

static void a_fence_ends_with_time_and_with_connections(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    begin_fence();
    fake_advance(S2N_FENCE_MS - 1);
    expect_none(&i);
    fake_advance(1);
    expect_answer(S2N_FUNCTION_COMPLETE);
    put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_none(&i);
    expect_status(&j, 0);
    expect_ping(&j);
    expect_ping(&j);
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
    expect_answer(S2N_FUNCTION_COMPLETE);
    fake.hold = false;
    logout(&i);
}

/* Who asks is gone before it can be answered. */
static void a_fence_goes_with_who_asked(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    begin_fence();
    close(i.fd);
    i.fd = -1;
    CHECK_EQUAL(expect_closed(&i), 0);
    fake_advance(S2N_FENCE_MS);
    fake.hold = false;
    expect_status(&j, 0);
    expect_ping(&j);
    logout(&j);
}

/* It has a few requests under way, as those that Python has. */
static void fences_are_few(void)
{
    uint32_t left = S2N_PYTHON_REQUESTS + 1;

    login(&i, &usual);
    login_more(&j, &i);
    begin_fence();
    for (uint32_t at = 1; at < left; at++)
        put_management(S2N_ABORT_TASK_SET, 0, 0);
    expect_none(&i);
    fake_advance(S2N_FENCE_MS);
    for (uint32_t at = 1; at < left; at++)
        expect_answer(S2N_FUNCTION_COMPLETE);
    expect_none(&i);
    fake_advance(S2N_FENCE_MS);
    expect_answer(S2N_FUNCTION_COMPLETE);
    fake.hold = false;
    expect_status(&j, 0);
    while (left--)
        expect_ping(&j);
    leave_both();
}

/* Abort one command in each state that it can be in. */
static void aborted_commands_end_silently(void)
{
    login(&i, &usual);
    fake.hold = true;
    /* While its R2T is out, with and without TASK ABORTED. */
    put_command(&i, F | W, 1, 4096, write10(0, 8), NULL, 0);
    put_command(&i, F | W, 2, 4096, write10(0, 8), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    expect(&i, S2N_R2T);
    CHECK(fake_abort(1, false));
    CHECK(fake_abort(2, true));
    CHECK(!fake_abort(2, false));
    CHECK_EQUAL(tag_of(expect_status(&i, S2N_TASK_ABORTED)), 2);
    put_data_out(&i, 1, ttt, 0, 0, true, pattern(4096), 4096);
    expect_none(&i);
    /* In the middle of its data, while it arrives. */
    put_part_of_write(&i, 3, i.cmd_sn++, write10(0, 8), 4096, 4096, 1000);
    fake_run();
    CHECK(fake_abort(3, false));
    put_bytes(&i, pattern(4096), 3096);
    expect_none(&i);
    /* While it waits for its turn, and then its number is not missed. */
    i.cmd_sn++;
    put_command(&i, F | W, 4, 4096, write10(0, 8), pattern(4096), 4096);
    fake_run();
    CHECK(fake_abort(4, false));
    put_numbered(&i, i.cmd_sn - 2);
    fake_run();
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), i.cmd_sn + 1);
    CHECK_EQUAL(fake.executed_count, 1);
    /* While it is under way elsewhere. */
    CHECK(fake_abort(i.cmd_sn - 1 + 0x10000, false));
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_none(&i);
    CHECK_EQUAL(fake.live_tasks, 0);
    logout(&i);
}

/* A peer that takes nothing, and is in the middle of a PDU: the rest of it is dropped, though the
 * command is there until its answer has left. */
static void an_abort_whose_answer_waits_takes_no_more_data(void)
{
    enum { READ_BYTES = 1 << 20 };
    struct pdu *pdu;

    login(&i, &usual);
    put_command(&i, F | R, 1, READ_BYTES, read10(0, READ_BYTES / FAKE_BLOCK), NULL, 0);
    put_part_of_write(&i, 2, i.cmd_sn++, write10(8000, 8), 4096, 4096, 1000);
    fake_run();
    CHECK(fake_abort(2, true));
    put_bytes(&i, pattern(4096) + 1000, 3096);
    fake_run();
    CHECK_EQUAL(fake.executions, 1);
    do
        pdu = expect(&i, S2N_DATA_IN);
    while (!(pdu->flags & S2N_STATUS));
    pdu = expect_status(&i, S2N_TASK_ABORTED);
    CHECK_EQUAL(tag_of(pdu), 2);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), 4096); /* as when it was aborted */
    expect_none(&i);
    CHECK_EQUAL(fake.executions, 1);
    CHECK_EQUAL(fake.live_tasks, 0);
    logout(&i);
}

/* Commands that are aborted before their turn, again and again: when the gap before them closes,
 * all of them count as come, and none as under way. */
static void a_window_outlives_what_was_aborted_in_it(void)
{
    login(&i, &usual);
    for (uint32_t round = 0; round < 3 * WINDOW; round++) {
        uint32_t missing = i.cmd_sn++, early = 1 + round % (WINDOW - 1);

        for (uint32_t at = 0; at < early; at++) {
            put_command(&i, F | (at % 2 ? W : 0), at, at % 2 ? 512 : 0,
                        at % 2 ? write10(0, 1) : test_unit_ready, pattern(512), at % 2 ? 512 : 0);
            fake_run();
            CHECK(fake_abort(at, false));
        }
        uint32_t next = i.cmd_sn;
        put_numbered(&i, missing);
        i.cmd_sn = next;
        const struct pdu *pdu = expect_status(&i, 0);
        CHECK_EQUAL(tag_of(pdu), missing + 0x10000);
        expect_none(&i);
        CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), next);
        CHECK_EQUAL(i.session->outstanding, 0);
    }
    put_command(&i, F, 1, 0, test_unit_ready, NULL, 0);
    CHECK_EQUAL(s2n_get32(expect_status(&i, 0)->bhs + S2N_AT_MAX_CMD_SN), i.cmd_sn - 1 + WINDOW);
    logout(&i);
}

/* An R2T that is queued, not sent, when its task goes. */
static void an_abort_overtakes_the_r2t(void)
{
    login(&i, &usual);
    fake.pool_bytes = 0;
    put_command(&i, F | W, 1, 4096, write10(0, 8), NULL, 0);
    put_command(&i, F | W, 2, 4096, write10(0, 8), NULL, 0);
    fake_run();
    fake_give(1 << 26);
    CHECK(fake_abort(1, false));
    CHECK(fake_abort(2, true));
    CHECK_EQUAL(tag_of(expect_status(&i, S2N_TASK_ABORTED)), 2);
    expect_none(&i);
    logout(&i);
}

int main(void)
{
    RUN(what_ends_nothing_is_answered_here);
    RUN(a_flood_of_what_ends_nothing_is_pythons);
    RUN(what_ends_a_task_is_not_answered_here);
    RUN(abort_of_an_unseen_command_takes_its_number);
    RUN(task_management_means_what_was_sent_before);
    RUN(task_management_waits_for_what_was_sent_before);
    RUN(no_answer_overtakes_one_of_another_connection);
    RUN(an_answer_of_python_waits_for_others);
    RUN(a_fence_ends_with_time_and_with_connections);
    RUN(a_fence_goes_with_who_asked);
    RUN(fences_are_few);
    RUN(aborted_commands_end_silently);
    RUN(an_abort_whose_answer_waits_takes_no_more_data);
    RUN(a_window_outlives_what_was_aborted_in_it);
    RUN(an_abort_overtakes_the_r2t);
    return 0;
}
