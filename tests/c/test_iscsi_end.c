/* The end of connections: by whom, and in the middle of what. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, PING_MS = 1000 };

static struct initiator i, j;

/* ---- whatever is under way ---- */

static void keep_busy(void)
{
    uint8_t bhs[48];

    put_command(&i, F | R, 1, 65536, read10(0, 128), NULL, 0);
    put_command(&i, F | W, 2, 8192, write10(0, 16), NULL, 0);
    put_command(&i, F | W, 3, 8192, write10(0, 16), pattern(100), 100);
    fake_run();
    fake.hold = true;
    put_command(&i, F | R, 4, 512, read10(0, 1), NULL, 0);
    i.cmd_sn++;
    put_command(&i, F | W, 5, 512, write10(0, 1), pattern(512), 512);
    request(bhs, S2N_TEXT, 6, i.cmd_sn + 1);
    put(&i, bhs, pattern(100), 100);
    put_part_of_write(&i, 7, i.cmd_sn - 2, write10(0, 16), 8192, 8192, 100);
    fake_run();
}

static void end_held(void)
{
    fake_run();
    while (fake.executed_count)
        fake_end(fake.executed[0], 0, 0, NULL, 0);
}

static void whatever_was_under_way_is_freed(void)
{
    login(&i, &usual);
    keep_busy();
    s2n_conn_close(i.conn, false);
    s2n_conn_close(i.conn, true);
    s2n_conn_close(i.conn, false);
    uint8_t bhs[48] = {S2N_TEXT_RESPONSE};
    s2n_conn_send(i.conn, bhs, bhs, 48, true);
    end_held();
    CHECK_EQUAL(expect_closed(&i), 0);
    expect_nothing_left(&i);
}

/* A PDU of which a part has come, wherever that is put. */
static void what_was_being_received_is_freed(void)
{
    uint8_t bhs[48];

    for (uint32_t sent = 0; sent < 60000; sent += 14000) {
        login(&i, &usual);
        request(bhs, S2N_TEXT, 1, i.cmd_sn);
        s2n_put24(bhs + S2N_AT_DATA_LENGTH, 60000);
        put_bytes(&i, bhs, 48);
        put_bytes(&i, pattern(sent), sent);
        fake_run();
        s2n_conn_close(i.conn, false);
        CHECK_EQUAL(expect_closed(&i), 0);
        expect_nothing_left(&i);
    }
}

/* A request that waits for what another connection is to bring. */
static void what_waits_for_others_is_freed(void)
{
    enum { ABORT_TASK_SET = 2 };
    uint8_t bhs[48];

    login(&i, &usual);
    login_more(&j, &i);
    request(bhs, S2N_TASK_MANAGEMENT | S2N_IMMEDIATE, 1, i.cmd_sn + 1);
    bhs[S2N_AT_FLAGS] = F | ABORT_TASK_SET;
    s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    put(&j, bhs, NULL, 0);
    fake_run();
    CHECK(i.session->ahead);
    s2n_conn_close(j.conn, false);
    expect_closed(&j);
    CHECK(!i.session->ahead);
    logout(&i);
}

static void the_peer_may_go_at_any_time(void)
{
    login(&i, &usual);
    keep_busy();
    close(i.fd);
    i.fd = -1;
    end_held();
    CHECK_EQUAL(expect_closed(&i), ECONNRESET); /* it left data unread */
    expect_nothing_left(&i);
}

static void a_graceful_close_does_not_wait_forever(void)
{
    login(&i, &usual);
    for (uint32_t at = 0; at < 30; at++)
        put_command(&i, F | R, at, 65536, read10(0, 128), NULL, 0);
    fake_run();
    s2n_conn_close(i.conn, true);
    fake_run();
    CHECK_EQUAL(fake.sources, 1);
    fake_advance(4999);
    CHECK_EQUAL(fake.sources, 1);
    fake_advance(1);
    CHECK_EQUAL(expect_closed(&i), 0);
    expect_nothing_left(&i);
}

static void a_graceful_close_sends_what_is_queued(void)
{
    uint32_t finished = 0;
    struct pdu pdu;

    login(&i, &usual);
    for (uint32_t at = 0; at < 8; at++)
        put_command(&i, F | R, at, 65536, read10(0, 128), NULL, 0);
    fake_run();
    s2n_conn_close(i.conn, true);
    put_command(&i, F | R, 99, 512, read10(0, 1), NULL, 0); /* too late */
    while (get(&i, &pdu))
        finished += pdu.flags & S2N_STATUS;
    CHECK_EQUAL(finished, 8);
    CHECK(i.eof);
    logout(&i);
}

/* What waited for a number, for data or for a buffer comes to nothing, and keeps none. */
static void a_graceful_close_begins_nothing(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    memset(fake.disk, 0, 4096);
    fake.pool_bytes = 4096;
    put_command(&i, F | W, 1, 4096, write10(0, 8), NULL, 0);
    expect(&i, S2N_R2T);
    put_command(&i, F | W, 2, 4096, write10(0, 8), pattern(4096), 4096);
    i.cmd_sn++;
    put_command(&i, F | W, 3, 4096, write10(0, 8), pattern(4096), 4096);
    fake_run();
    CHECK_EQUAL(fake.live_tasks, 3);
    s2n_conn_close(i.conn, true);
    fake_run();
    CHECK(!fake.live_tasks && !fake.charged);
    CHECK_EQUAL(fake.pool_bytes, 4096);
    j.cmd_sn = i.cmd_sn - 2;
    put_command(&j, F, 4, 0, test_unit_ready, NULL, 0);
    put_command(&j, F, 5, 0, test_unit_ready, NULL, 0); /* by the number of one that is gone */
    put_command(&j, F, 6, 0, test_unit_ready, NULL, 0);
    CHECK_EQUAL(s2n_get32(expect_status(&j, 0)->bhs + S2N_AT_ITT), 4);
    CHECK_EQUAL(s2n_get32(expect_status(&j, 0)->bhs + S2N_AT_ITT), 6);
    CHECK_EQUAL(fake.executions, 2);
    CHECK(!fake.disk[0] && !memcmp(fake.disk, fake.disk + 1, 4095));
    close(i.fd);
    i.fd = -1;
    expect_closed(&i);
    fake_give((1 << 26) - 4096);
    logout(&j);
}

/* A number that was free to be taken again is nobody's to close. */
static void the_socket_is_closed_once(void)
{
    int pair[2], more[2];
    char byte = 'x';

    login(&i, &usual);
    s2n_conn_close(i.conn, false);
    fake_run();
    CHECK(recv(i.fd, &byte, 1, 0) == 0);
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !socketpair(AF_UNIX, SOCK_STREAM, 0, more));
    expect_closed(&i);
    expect_nothing_left(&i);
    CHECK(send(pair[0], &byte, 1, 0) == 1 && recv(pair[1], &byte, 1, 0) == 1);
    CHECK(send(more[0], &byte, 1, 0) == 1 && recv(more[1], &byte, 1, 0) == 1);
    for (int at = 0; at < 2; at++) {
        close(pair[at]);
        close(more[at]);
    }
}

/* Though what it sends still comes. */
static void a_peer_that_can_be_sent_nothing_is_gone(void)
{
    login(&i, &usual);
    CHECK(!shutdown(i.conn->source.fd, SHUT_WR));
    put_command(&i, F, 1, 0, test_unit_ready, NULL, 0);
    CHECK_EQUAL(expect_closed(&i), EPIPE);
    expect_nothing_left(&i);
}

/* What one connection waited with comes to nothing; what waits on another does not. */
static void other_connections_go_on(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    j.cmd_sn = i.cmd_sn + 1;
    put_command(&j, F | W, 1, 4096, write10(0, 8), pattern(4096), 4096);
    i.cmd_sn += 2;
    put_command(&i, F, 2, 0, test_unit_ready, NULL, 0);
    fake_run();
    s2n_conn_close(j.conn, false);
    expect_closed(&j);
    expect_none(&i);
    i.cmd_sn -= 3;
    put_command(&i, F, 3, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    expect_status(&i, 0);
    CHECK_EQUAL(fake.executions, 2);
    logout(&i);
}

/* What it has sent ahead is not done, by nobody: nor is it waited for. */
static void what_was_sent_ahead_goes_with_its_connection(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    login_more(&j, &i);
    for (uint32_t ahead = 1; ahead <= 3; ahead++) {
        request(bhs, ahead == 2 ? S2N_NOP_OUT : S2N_TEXT, ahead, i.cmd_sn + ahead);
        s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
        put(&j, bhs, pattern(100), 100);
    }
    request(bhs, S2N_TEXT, 5, i.cmd_sn + 4);
    put(&i, bhs, pattern(200), 200);
    fake_run();
    s2n_conn_close(j.conn, false);
    expect_closed(&j);
    put_command(&i, F, 6, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    expect_request(S2N_TEXT, 200);
    expect_no_request();
    expect_none(&i);
    logout(&i);
}

/* ---- memory ---- */

static void put_request(uint8_t opcode, uint32_t cmd_sn, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, 0x99, cmd_sn);
    put(&i, bhs, pattern(length), length);
}

/* A request that means what another connection has not brought yet. */
static void put_management_ahead(void)
{
    uint8_t bhs[48];

    request(bhs, S2N_TASK_MANAGEMENT | S2N_IMMEDIATE, 0x98, i.cmd_sn + 1);
    bhs[S2N_AT_FLAGS] = F | S2N_ABORT_TASK_SET;
    put(&j, bhs, NULL, 0);
    fake_run();
}

/* Of everything that takes memory: replies, requests, data, commands of every kind. */
static void use_memory(void)
{
    put_management_ahead();
    put_request(S2N_NOP_OUT | S2N_IMMEDIATE, i.cmd_sn, 100);
    put_request(S2N_SNACK, i.cmd_sn, 0);
    put_request(S2N_TEXT, i.cmd_sn++, 100);
    j.cmd_sn = i.cmd_sn + 2;
    put_command(&j, F, 0x200, 0, test_unit_ready, NULL, 0);
    fake.pool_bytes = 0;
    put_command(&i, F | W, 0x10, 4096, write10(0, 8), pattern(4096), 4096);
    fake_run();
    put_malformed(&i, i.cmd_sn++);
    fake_give(1 << 26);
    fake_advance(PING_MS);
    keep_busy();
    end_held();
}

/* How many connections were closed, each told of once; all of them for this reason. */
static uint32_t closed_for(uint32_t error)
{
    uint32_t closed = 0;
    s2n_event event;

    while (fake_next_event(&event)) {
        if (event.type == S2N_EVENT_CONN_CLOSED) {
            CHECK_EQUAL(event.count, error);
            closed++;
        }
        s2n_event_free(&event);
    }
    return closed;
}

static void whatever_allocation_fails_ends_one_connection(void)
{
    s2n_conn_params params = usual;
    bool failed = true;
    uint32_t at = 0, told_to_wait = 0;

    for (params.ping_ms = PING_MS; failed; at++) {
        login(&i, &params);
        login_more(&j, &i);
        fake.fail_in = at + 1;
        use_memory();
        failed = !fake.fail_in;
        fake.fail_in = 0;
        uint32_t closed = closed_for(ENOMEM);
        told_to_wait += failed && !closed;
        CHECK(closed <= failed);
        s2n_conn_close(i.conn, false);
        s2n_conn_close(j.conn, false);
        end_held();
        CHECK_EQUAL(closed_for(0), 2 - closed);
        release(&i);
        release(&j);
        expect_nothing_left(&i);
    }
    CHECK(at > 10);
    CHECK_EQUAL(told_to_wait, 1); /* who has no room for data that came unasked */
}

/* Begin a session with a connection, and end what there is: whether all of it was there. */
static bool begin_and_end(uint32_t fail_in)
{
    s2n_plane *plane = fake_start();
    int64_t blocks = fake_blocks;

    fake.fail_in = fail_in;
    i.session = s2n_session_new(plane, fake_nexus(), FIRST_CMD_SN, WINDOW);
    i.conn = i.session ? s2n_conn_new(i.session, -1, &usual, FIRST_STAT_SN, NULL, 0, 1) : NULL;
    CHECK_EQUAL(!i.conn, !fake.fail_in);
    if (i.conn) {
        s2n_conn_close(i.conn, false);
        fake_run();
        CHECK_EQUAL(closed_for(0), 1);
        s2n_conn_free(i.conn);
    }
    if (i.session)
        s2n_session_free(i.session);
    fake_run();
    CHECK_EQUAL(fake_blocks, blocks);
    CHECK_EQUAL(fake.mapped, 0);
    return i.conn;
}

static void whatever_allocation_fails_leaves_nothing_begun(void)
{
    uint32_t fail_in = 1;

    while (!begin_and_end(fail_in))
        fail_in++;
    CHECK(fail_in > 5);
}

/* Answers of all kinds that wait for a peer that takes none, several of them built, when it goes
 * or is sent away: each is given up once. */
static void what_was_not_taken_is_given_up_once(void)
{
    uint8_t bhs[48];

    for (uint32_t count = 1; count <= 96; count += 5) {
        for (int gone = 0; gone < 2; gone++) {
            login(&i, &usual);
            put_command(&i, F | R, 1, 65536, read10(0, 128), NULL, 0);
            for (uint32_t at = 0; at < count; at++) {
                request(bhs, S2N_NOP_OUT | S2N_IMMEDIATE, 2 + at, i.cmd_sn);
                s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
                put(&i, bhs, pattern(8000), 8000);
                fake_run();
            }
            put_command(&i, F | R, 1000, 65536, read10(0, 128), NULL, 0);
            fake_run();
            if (gone) {
                close(i.fd);
                i.fd = -1;
            } else {
                s2n_conn_close(i.conn, false);
            }
            expect_closed(&i);
            expect_nothing_left(&i);
        }
    }
}

/* Nothing need happen on it before the peer is told. */
static void a_graceful_close_of_an_idle_connection_is_told_at_once(void)
{
    login(&i, &usual);
    s2n_conn_close(i.conn, true);
    expect_none(&i);
    CHECK(i.eof);
    close(i.fd);
    i.fd = -1;
    CHECK_EQUAL(expect_closed(&i), 0);
    expect_nothing_left(&i);
}

/* ---- leaving ---- */

static uint32_t ask_whether_it_left(uint64_t token)
{
    s2n_event event;

    s2n_conn *conns[] = {i.conn};

    s2n_conns_close_if_left(conns, 1, token);
    fake_run();
    do
        CHECK(fake_next_event(&event));
    while (event.type != S2N_EVENT_DRAINED);
    CHECK_EQUAL(event.cookie, token);
    return event.count;
}

static void who_is_there_stays(void)
{
    login(&i, &usual);
    CHECK_EQUAL(ask_whether_it_left(7), 0);
    put_command(&i, F, AN_ITT, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    logout(&i);
}

static void who_has_ended_is_not_there(void)
{
    login(&i, &usual);
    s2n_conn_close(i.conn, false);
    CHECK_EQUAL(ask_whether_it_left(8), 1);
    CHECK_EQUAL(expect_closed(&i), 0);
    expect_nothing_left(&i);
}

/* It is told once, of as many as there are; which ones, each tells by itself. */
static void those_who_have_left_are_told_from_others(void)
{
    struct initiator second;
    s2n_conn *conns[2];
    s2n_event event;

    login(&i, &usual);
    login_more(&second, &i);
    conns[0] = i.conn;
    conns[1] = second.conn;
    close(second.fd);
    s2n_conns_close_if_left(conns, 2, 9);
    fake_run();
    CHECK(fake_next_event(&event) && event.type == S2N_EVENT_DRAINED);
    CHECK_EQUAL(event.count, 1);
    CHECK(!s2n_conn_left(i.conn) && s2n_conn_left(second.conn));
    expect_closed(&second);
    logout(&i);
}

int main(void)
{
    RUN(whatever_was_under_way_is_freed);
    RUN(what_was_being_received_is_freed);
    RUN(what_waits_for_others_is_freed);
    RUN(the_peer_may_go_at_any_time);
    RUN(a_graceful_close_does_not_wait_forever);
    RUN(a_graceful_close_sends_what_is_queued);
    RUN(a_graceful_close_of_an_idle_connection_is_told_at_once);
    RUN(a_graceful_close_begins_nothing);
    RUN(the_socket_is_closed_once);
    RUN(a_peer_that_can_be_sent_nothing_is_gone);
    RUN(other_connections_go_on);
    RUN(what_was_sent_ahead_goes_with_its_connection);
    RUN(whatever_allocation_fails_ends_one_connection);
    RUN(whatever_allocation_fails_leaves_nothing_begun);
    RUN(what_was_not_taken_is_given_up_once);
    RUN(who_is_there_stays);
    RUN(who_has_ended_is_not_there);
    RUN(those_who_have_left_are_told_from_others);
    return 0;
}
