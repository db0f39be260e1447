/* Command numbering, immediate commands, requests for Python, aborts. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, IMMEDIATE = S2N_IMMEDIATE };

static struct initiator i, j;

/* TEST UNIT READY with this CmdSN; it also is the tag, but for the reserved one. */
static void put_numbered(struct initiator *on, uint32_t cmd_sn)
{
    on->cmd_sn = cmd_sn;
    put_command(on, F, cmd_sn + 0x10000, 0, test_unit_ready, NULL, 0);
}

static uint32_t tag_of(const struct pdu *pdu)
{
    return s2n_get32(pdu->bhs + S2N_AT_ITT);
}

static void put_request(struct initiator *on, uint8_t opcode, uint32_t itt, uint32_t cmd_sn,
                        const uint8_t *data, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, itt, cmd_sn);
    put(on, bhs, data, length);
}

static void put_abort_task(struct initiator *on, uint8_t opcode, uint32_t cmd_sn, uint32_t tag,
                           uint32_t ref_cmd_sn)
{
    uint8_t bhs[48];

    request(bhs, opcode, 0xabcd, cmd_sn);
    bhs[1] = F | S2N_ABORT_TASK;
    s2n_put32(bhs + S2N_AT_TTT, tag);
    s2n_put32(bhs + 32, ref_cmd_sn);
    put(on, bhs, NULL, 0);
}

/* The next event is this PDU; returns its `count`. */
static uint32_t expect_request(uint8_t opcode, uint32_t length)
{
    s2n_event event;

    fake_run();
    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_PDU);
    CHECK_EQUAL(event.bhs[0], opcode);
    CHECK_EQUAL(event.data_length, length);
    CHECK(!length || !memcmp(event.data, pattern(length), length));
    s2n_event_free(&event);
    return event.count;
}

static void expect_no_request(void)
{
    s2n_event event;

    fake_run();
    CHECK(!fake_next_event(&event));
}

/* Answer a request as Python does. */
static void answer(struct initiator *on, uint8_t opcode)
{
    uint8_t bhs[48] = {opcode, F};

    s2n_conn_send(on->conn, bhs, NULL, 0, true);
}

/* ---- CmdSN ---- */

static const struct {
    uint32_t first, offset;
    bool taken;
} windows[] = {
    {100, 0, true},           {100, -1u, false},           {100, WINDOW, false},
    {100, 0x7fffffff, false}, {100, 0x80000000, false},    {0xfffffff0, 0, true},
    {0xfffffff0, -1u, false}, {0xfffffff0, WINDOW, false},
};

static void outside_the_window_is_ignored(void)
{
    for (unsigned at = 0; at < sizeof windows / sizeof *windows; at++) {
        login(&i, &usual);
        s2n_conn_close(i.conn, false);
        expect_closed(&i);
        expect_nothing_left(&i);
        /* Anew, with numbers that begin elsewhere. */
        memset(&i, 0, sizeof i);
        i.params = usual;
        i.session = s2n_session_new(fake_start(), fake_nexus(), windows[at].first, WINDOW);
        login_more(&j, &i);
        uint32_t cmd_sn = windows[at].first + windows[at].offset;
        j.cmd_sn = cmd_sn;
        /* Its data goes with it. */
        put_command(&j, W, 5, 1024, write10(0, 2), pattern(512), 512);
        put_data_out(&j, 5, S2N_RESERVED_TAG, 0, 512, true, pattern(512), 512);
        if (windows[at].taken)
            CHECK_EQUAL(tag_of(expect_status(&j, 0)), 5);
        expect_none(&j);
        CHECK_EQUAL(s2n_session_expected_cmd_sn(j.session), windows[at].first + windows[at].taken);
        put_numbered(&j, windows[at].first + windows[at].taken);
        expect_status(&j, 0);
        logout(&j);
    }
}

static void every_number_of_the_window_counts_once_over_its_wrap(void)
{
    memset(&i, 0, sizeof i);
    i.params = usual;
    i.session = s2n_session_new(fake_start(), fake_nexus(), 0xffffff00, WINDOW);
    login_more(&j, &i);
    for (uint32_t cmd_sn = 0xffffff00; cmd_sn != 0x100; cmd_sn++) {
        put_numbered(&j, cmd_sn);
        struct pdu *pdu = expect_status(&j, 0);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_EXP_CMD_SN), cmd_sn + 1);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_MAX_CMD_SN), cmd_sn + WINDOW);
    }
    logout(&j);
}

static void early_commands_wait_for_their_turn(void)
{
    login(&i, &usual);
    put_numbered(&i, FIRST_CMD_SN + 2);
    put_numbered(&i, FIRST_CMD_SN + 2); /* a repetition is ignored, not rejected */
    i.cmd_sn = FIRST_CMD_SN + 1;
    put_command(&i, F | W, 7, 4096, write10(0, 8), pattern(2048), 2048);
    put_request(&i, S2N_NOP_OUT, 8, FIRST_CMD_SN + 3, pattern(10), 10);
    expect_none(&i);
    CHECK_EQUAL(fake.executions, 0);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN);
    put_numbered(&i, FIRST_CMD_SN);
    /* In order, but that the write still needs its data. */
    struct pdu *pdu = expect(&i, S2N_R2T);
    CHECK_EQUAL(tag_of(pdu), 7);
    uint32_t ttt = s2n_get32(pdu->bhs + S2N_AT_TTT);
    CHECK_EQUAL(tag_of(expect_status(&i, 0)), FIRST_CMD_SN + 2 + 0x10000);
    pdu = expect(&i, S2N_NOP_IN);
    CHECK_EQUAL(tag_of(pdu), 8);
    CHECK(pdu->length == 10 && !memcmp(pdu->data, pattern(10), 10));
    CHECK_EQUAL(tag_of(expect_status(&i, 0)), FIRST_CMD_SN + 0x10000);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 4);
    put_data_out(&i, 7, ttt, 0, 2048, true, pattern(2048), 2048);
    expect_status(&i, 0);
    logout(&i);
}

static void order_spans_the_connections_of_a_session(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    put_numbered(&j, FIRST_CMD_SN + 1);
    put_numbered(&j, FIRST_CMD_SN + 3);
    put_abort_task(&j, S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 4, 1, 1);
    expect_none(&j);
    put_numbered(&i, FIRST_CMD_SN);
    expect_status(&i, 0);
    CHECK_EQUAL(tag_of(expect_status(&j, 0)), FIRST_CMD_SN + 1 + 0x10000);
    expect_no_request();
    /* What an ended connection still owed counts as received. */
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
    put_numbered(&i, FIRST_CMD_SN + 2);
    expect_status(&i, 0);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 5);
    put_numbered(&i, FIRST_CMD_SN + 5);
    expect_status(&i, 0);
    logout(&i);
}

static void the_window_shrinks_by_what_is_outstanding(void)
{
    login(&i, &usual);
    fake.hold = true;
    for (uint32_t at = 0; at < WINDOW; at++)
        put_numbered(&i, FIRST_CMD_SN + at);
    fake_run();
    CHECK_EQUAL(fake.executed_count, WINDOW);
    put_numbered(&i, FIRST_CMD_SN + WINDOW); /* the window is closed */
    fake_run();
    CHECK_EQUAL(fake.executed_count, WINDOW);
    fake_end(fake.executed[3], 0, 0, NULL, 0);
    struct pdu *pdu = expect_status(&i, 0);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_EXP_CMD_SN), FIRST_CMD_SN + WINDOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_MAX_CMD_SN), FIRST_CMD_SN + WINDOW);
    put_numbered(&i, FIRST_CMD_SN + WINDOW);
    fake_run();
    CHECK_EQUAL(fake.executed_count, WINDOW);
    while (fake.executed_count)
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    for (uint32_t at = 0; at < WINDOW; at++)
        CHECK_EQUAL(s2n_get32(expect_status(&i, 0)->bhs + S2N_AT_MAX_CMD_SN),
                    FIRST_CMD_SN + WINDOW + 1 + at);
    logout(&i);
}

static void immediate_commands_are_bounded(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    fake.hold = true;
    for (uint32_t at = 0; at <= 16; at++) {
        request(bhs, IMMEDIATE | S2N_SCSI_COMMAND, at, FIRST_CMD_SN + 500);
        put(&i, bhs, NULL, 0);
    }
    struct pdu *pdu = expect(&i, S2N_REJECT);
    CHECK_EQUAL(pdu->bhs[S2N_AT_RESPONSE], S2N_REJECT_IMMEDIATE);
    CHECK_EQUAL(fake.executed_count, 16);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN);
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_status(&i, 0);
    put(&i, bhs, NULL, 0);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 16);
    logout(&i);
}

/* ---- requests for Python ---- */

static void requests_reach_python_in_order(void)
{
    login(&i, &usual);
    put_request(&i, S2N_LOGOUT, 3, FIRST_CMD_SN + 1, NULL, 0);
    put_request(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, 2, FIRST_CMD_SN, NULL, 0);
    put_request(&i, S2N_TEXT, 1, FIRST_CMD_SN, pattern(70), 70);
    expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    expect_request(S2N_TEXT, 70);
    expect_request(S2N_LOGOUT, 0);
    uint8_t bhs[48] = {S2N_TEXT_RESPONSE, F};
    s2n_put32(bhs + S2N_AT_ITT, 1);
    s2n_conn_send(i.conn, bhs, pattern(33), 33, true);
    answer(&i, S2N_LOGOUT_RESPONSE);
    s2n_conn_close(i.conn, true);
    struct pdu *pdu = expect(&i, S2N_TEXT_RESPONSE);
    CHECK_EQUAL(tag_of(pdu), 1);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_EXP_CMD_SN), FIRST_CMD_SN + 2);
    CHECK(pdu->length == 33 && !memcmp(pdu->data, pattern(33), 33));
    expect(&i, S2N_LOGOUT_RESPONSE);
    expect_none(&i);
    CHECK(i.eof);
    logout(&i);
}

static void reading_stops_while_python_owes_answers(void)
{
    login(&i, &usual);
    for (uint32_t at = 0; at < 20; at++)
        put_request(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, at, FIRST_CMD_SN, NULL, 0);
    for (int at = 0; at < 16; at++)
        expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    expect_no_request();
    answer(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    expect_no_request();
    for (int at = 0; at < 3; at++) {
        answer(&i, S2N_REJECT);
        expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0);
    }
    expect_no_request();
    expect(&i, S2N_TASK_MANAGEMENT_RESPONSE);
    for (int at = 0; at < 3; at++)
        expect(&i, S2N_REJECT);
    /* A peer that goes meanwhile is noticed all the same. */
    close(i.fd);
    i.fd = -1;
    CHECK_EQUAL(expect_closed(&i), ECONNRESET);
    expect_nothing_left(&i);
}

static void data_of_held_requests_is_bounded(void)
{
    s2n_conn_params params = usual;

    params.maximum_recv = 262144;
    login(&i, &params);
    for (uint32_t at = 1; at <= 5; at++)
        put_request(&i, S2N_TEXT, at, FIRST_CMD_SN + at, pattern(262144), 262144);
    CHECK_EQUAL(expect_closed(&i), ENOBUFS);
    expect_nothing_left(&i);
}

static void discovery_sessions_run_no_commands(void)
{
    s2n_conn_params params = usual;

    params.discovery = 1;
    login(&i, &params);
    put_numbered(&i, FIRST_CMD_SN);
    CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_PROTOCOL);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 1, 1, 1);
    CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_PROTOCOL);
    put_request(&i, S2N_TEXT, 1, FIRST_CMD_SN + 1, pattern(16), 16);
    expect_request(S2N_TEXT, 16);
    CHECK_EQUAL(fake.executions, 0);
    logout(&i);
}

/* ---- aborts ---- */

static void abort_of_an_unseen_command_takes_its_number(void)
{
    login(&i, &usual);
    /* 100 has not come; 101 waits for it. */
    put_numbered(&i, FIRST_CMD_SN + 1);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 2, 0x55, FIRST_CMD_SN);
    CHECK_EQUAL(expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0), 1);
    CHECK_EQUAL(tag_of(expect_status(&i, 0)), FIRST_CMD_SN + 1 + 0x10000);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 2);
    put_numbered(&i, FIRST_CMD_SN); /* it comes after all */
    expect_none(&i);
    /* Not in the window, not before the request itself, or not unseen: not so. */
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 2, 0x55, FIRST_CMD_SN + 1);
    CHECK_EQUAL(expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0), 0);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 2, 0x55, FIRST_CMD_SN + 2);
    CHECK_EQUAL(expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0), 0);
    put_numbered(&i, FIRST_CMD_SN + 3);
    put_abort_task(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, FIRST_CMD_SN + 4,
                   FIRST_CMD_SN + 3 + 0x10000, FIRST_CMD_SN + 3);
    CHECK_EQUAL(expect_request(IMMEDIATE | S2N_TASK_MANAGEMENT, 0), 0);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 2);
    logout(&i);
}

/* Task management means the commands before it, by CmdSN, whichever connection was faster; an
 * immediate command has none of its own, and is before it as it came before it. */
static void task_management_means_what_was_sent_before(void)
{
    s2n_event event;

    login(&i, &usual);
    fake.hold = true;
    put_numbered(&i, FIRST_CMD_SN);
    put_numbered(&i, FIRST_CMD_SN + 1);
    put_numbered(&i, FIRST_CMD_SN + 3); /* held */
    put_command(&i, F, 1, 0, test_unit_ready, NULL, 0);
    put_request(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, 2, FIRST_CMD_SN + 1, NULL, 0);
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
    put_part_of_write(&i, 3, i.cmd_sn++, write10(0, 8), 4096, 1000);
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
    put_part_of_write(&i, 2, i.cmd_sn++, write10(8000, 8), 4096, 1000);
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
    RUN(outside_the_window_is_ignored);
    RUN(every_number_of_the_window_counts_once_over_its_wrap);
    RUN(early_commands_wait_for_their_turn);
    RUN(order_spans_the_connections_of_a_session);
    RUN(the_window_shrinks_by_what_is_outstanding);
    RUN(immediate_commands_are_bounded);
    RUN(requests_reach_python_in_order);
    RUN(reading_stops_while_python_owes_answers);
    RUN(data_of_held_requests_is_bounded);
    RUN(discovery_sessions_run_no_commands);
    RUN(abort_of_an_unseen_command_takes_its_number);
    RUN(task_management_means_what_was_sent_before);
    RUN(aborted_commands_end_silently);
    RUN(an_abort_whose_answer_waits_takes_no_more_data);
    RUN(a_window_outlives_what_was_aborted_in_it);
    RUN(an_abort_overtakes_the_r2t);
    return 0;
}
