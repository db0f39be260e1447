/* Command numbering, immediate commands, requests for Python. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, IMMEDIATE = S2N_IMMEDIATE };

static struct initiator i, j;

static void put_request(struct initiator *on, uint8_t opcode, uint32_t itt, uint32_t cmd_sn,
                        const uint8_t *data, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, itt, cmd_sn);
    put(on, bhs, data, length);
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
    uint8_t bhs[48];
    request(bhs, S2N_NOP_OUT, 8, FIRST_CMD_SN + 3);
    s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    memcpy(bhs + S2N_AT_LUN, pattern(8), 8);
    put(&i, bhs, pattern(10), 10);
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
    CHECK(!memcmp(pdu->bhs + S2N_AT_LUN, pattern(8), 8));
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

/* Its turn comes in the round in which the connection is told to close. */
static void what_is_held_of_a_connection_that_closes_is_not_answered(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    put_request(&j, S2N_NOP_OUT, 8, FIRST_CMD_SN + 1, pattern(10), 10);
    expect_none(&j);
    s2n_conn_close(j.conn, true);
    put_numbered(&i, FIRST_CMD_SN);
    CHECK_EQUAL(tag_of(expect_status(&i, 0)), FIRST_CMD_SN + 0x10000);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN + 2);
    expect_none(&j);
    CHECK(j.eof);
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
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

/* Its connection is reinstated: what was outstanding has ended, and nothing has told of it. */
static void who_joins_with_a_used_up_window_is_told_of_room(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    expect_none(&j); /* nothing is used up */
    fake.hold = true;
    for (uint32_t at = 0; at < WINDOW; at++)
        put_numbered(&j, FIRST_CMD_SN + at);
    fake_run();
    CHECK_EQUAL(fake.executed_count, WINDOW);
    close(j.fd);
    j.fd = -1;
    fake_run();
    while (fake.executed_count)
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    CHECK_EQUAL(expect_closed(&j), 0);
    login_more(&j, &i);
    struct pdu *pdu = expect(&j, S2N_NOP_IN);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), S2N_RESERVED_TAG);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_TTT), S2N_RESERVED_TAG);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_EXP_CMD_SN), FIRST_CMD_SN + WINDOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_MAX_CMD_SN), FIRST_CMD_SN + 2 * WINDOW - 1);
    expect_none(&j);
    close(j.fd);
    j.fd = -1;
    CHECK_EQUAL(expect_closed(&j), 0);
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
    put_numbered(&i, FIRST_CMD_SN); /* others are not in excess */
    expect_none(&i);
    CHECK_EQUAL(fake.executed_count, 17);
    fake_end(fake.executed[16], 0, 0, NULL, 0);
    expect_status(&i, 0);
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
    put_request(&i, IMMEDIATE | S2N_TASK_MANAGEMENT, 2, FIRST_CMD_SN, pattern(70), 70);
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

    params.maximum_recv = params.maximum_send = 262144;
    login(&i, &params);
    for (uint32_t at = 1; at <= 5; at++)
        put_request(&i, S2N_NOP_OUT, at, FIRST_CMD_SN + at, pattern(262144), 262144);
    CHECK_EQUAL(expect_closed(&i), ENOBUFS);
    expect_nothing_left(&i);
}

/* Again and again, of several requests each time. */
static void data_of_requests_is_held_until_they_are_delivered(void)
{
    s2n_conn_params params = usual;
    uint32_t cmd_sn = FIRST_CMD_SN;

    params.maximum_recv = params.maximum_send = S2N_HELD_BYTES / 2;
    login(&i, &params);
    for (int round = 0; round < 3; round++, cmd_sn += 3) {
        for (uint32_t at = 1; at <= 2; at++) {
            uint8_t bhs[48];
            request(bhs, S2N_NOP_OUT, at, cmd_sn + at);
            s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
            put(&i, bhs, pattern(S2N_HELD_BYTES / 2), S2N_HELD_BYTES / 2);
        }
        expect_none(&i);
        put_numbered(&i, cmd_sn);
        for (uint32_t at = 1; at <= 2; at++)
            CHECK_EQUAL(tag_of(expect(&i, S2N_NOP_IN)), at);
        expect_status(&i, 0);
    }
    logout(&i);
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

static void what_is_aborted_leaves_the_window(void)
{
    login(&i, &usual);
    for (uint32_t n = 0; n < WINDOW; n++) {
        uint32_t tag = i.cmd_sn;
        put_command(&i, S2N_FINAL | S2N_WRITE, tag, FAKE_BLOCK, write10(0, 1), NULL, 0);
        expect(&i, S2N_R2T);
        CHECK(fake_abort(tag, false));
    }
    put_numbered(&i, i.cmd_sn++);
    CHECK_EQUAL(s2n_get32(expect_status(&i, 0)->bhs + S2N_AT_MAX_CMD_SN), i.cmd_sn - 1 + WINDOW);
    logout(&i);
}

/* A READ whose first portion is half of it. */
static void put_read_in_portions(uint32_t cmd_sn, uint32_t blocks)
{
    i.cmd_sn = cmd_sn;
    fake.portion_bytes = blocks / 2 * FAKE_BLOCK;
    put_command(&i, F | R, cmd_sn, blocks * FAKE_BLOCK, read10(0, blocks), NULL, 0);
    fake_run();
}

/* What is aborted before any of its data could be sent stays in its place behind them. A command
 * that finds no place free waits, and goes on without another byte once there is one. */
static void a_command_waits_for_a_place(void)
{
    uint32_t places = WINDOW + S2N_IMMEDIATE_COMMANDS + S2N_WIRES, cmd_sn = FIRST_CMD_SN;
    struct pdu pdu;

    login(&i, &usual);
    login_more(&j, &i);
    put_read_in_portions(cmd_sn++, 3 * S2N_WIRES * usual.maximum_send / FAKE_BLOCK);
    while (--places) {
        put_numbered(&j, cmd_sn++); /* its answer tells how far the window is open */
        expect_status(&j, 0);
        put_read_in_portions(cmd_sn++, 8);
        CHECK(fake_abort(cmd_sn - 1, false));
        CHECK_EQUAL(i.session->outstanding, 1);
    }
    put_numbered(&j, cmd_sn);
    expect_none(&j);
    while (get(&i, &pdu))
        CHECK_EQUAL(tag_of(&pdu), FIRST_CMD_SN);
    CHECK_EQUAL(tag_of(expect_status(&j, 0)), cmd_sn + 0x10000);
    close(j.fd);
    j.fd = -1;
    expect_closed(&j);
    logout(&i);
}

int main(void)
{
    RUN(outside_the_window_is_ignored);
    RUN(every_number_of_the_window_counts_once_over_its_wrap);
    RUN(early_commands_wait_for_their_turn);
    RUN(order_spans_the_connections_of_a_session);
    RUN(what_is_held_of_a_connection_that_closes_is_not_answered);
    RUN(the_window_shrinks_by_what_is_outstanding);
    RUN(who_joins_with_a_used_up_window_is_told_of_room);
    RUN(immediate_commands_are_bounded);
    RUN(requests_reach_python_in_order);
    RUN(reading_stops_while_python_owes_answers);
    RUN(data_of_held_requests_is_bounded);
    RUN(data_of_requests_is_held_until_they_are_delivered);
    RUN(discovery_sessions_run_no_commands);
    RUN(what_is_aborted_leaves_the_window);
    RUN(a_command_waits_for_a_place);
    return 0;
}
