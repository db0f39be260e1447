/* The end of connections: by whom, and in the middle of what. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, REJECTS = 64, PING_MS = 1000 };

static struct initiator i, j;

/* A command whose additional header segment is of no known type. */
static void put_malformed(struct initiator *on, uint32_t cmd_sn)
{
    uint8_t bytes[48 + 8];

    request(bytes, S2N_SCSI_COMMAND, cmd_sn, cmd_sn);
    memset(bytes + 48, 0, 8);
    bytes[S2N_AT_AHS_LENGTH] = 2;
    s2n_put16(bytes + 48, 5);
    bytes[48 + 2] = 2;
    put_bytes(on, bytes, sizeof bytes);
}

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
    put_part_of_write(&i, 7, i.cmd_sn - 2, write10(0, 16), 8192, 100);
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

/* ---- memory ---- */

static void put_request(uint8_t opcode, uint32_t cmd_sn, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, 0x99, cmd_sn);
    put(&i, bhs, pattern(length), length);
}

/* Of everything that takes memory: replies, requests, data, commands of every kind. */
static void use_memory(void)
{
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

/* Both connections are closed, each told of once. */
static void expect_both_closed(void)
{
    uint32_t closed = 0;
    s2n_event event;

    while (fake_next_event(&event)) {
        closed += event.type == S2N_EVENT_CONN_CLOSED;
        s2n_event_free(&event);
    }
    CHECK_EQUAL(closed, 2);
}

static void whatever_allocation_fails_ends_one_connection(void)
{
    s2n_conn_params params = usual;
    bool failed = true;
    uint32_t at = 0;

    for (params.ping_ms = PING_MS; failed; at++) {
        login(&i, &params);
        login_more(&j, &i);
        fake.fail_in = at + 1;
        use_memory();
        failed = !fake.fail_in;
        fake.fail_in = 0;
        s2n_conn_close(i.conn, false);
        s2n_conn_close(j.conn, false);
        end_held();
        expect_both_closed();
        release(&i);
        release(&j);
        expect_nothing_left(&i);
    }
    CHECK(at > 10);
}

/* ---- rejects ---- */

static void a_flood_of_rejects_ends_the_connection(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    request(bhs, 0x1f, 1, 0);
    for (int at = 0; at < 64; at++)
        put(&i, bhs, NULL, 0);
    for (int at = 0; at < 64; at++)
        expect(&i, S2N_REJECT);
    fake_advance(1000);
    for (int at = 0; at < 64; at++)
        put(&i, bhs, NULL, 0);
    for (int at = 0; at < 64; at++)
        expect(&i, S2N_REJECT);
    put(&i, bhs, NULL, 0);
    CHECK_EQUAL(expect_closed(&i), EPROTO);
    expect_nothing_left(&i);
}

/* As many as an honest initiator might earn. */
static void earn_rejects(struct initiator *on, uint32_t *cmd_sn)
{
    for (uint32_t at = 0; at < REJECTS; at++) {
        put_malformed(on, (*cmd_sn)++);
        expect(on, S2N_REJECT);
    }
}

static void put_damaged(uint8_t *bhs, uint32_t length)
{
    uint8_t damaged[4096];

    memcpy(damaged, pattern(length), length);
    i.params.data_digest = 0;
    put(&i, bhs, damaged, length);
    put_bytes(&i, damaged, 4); /* no digest of anything */
}

static void malformed_command(void)
{
    put_malformed(&i, i.cmd_sn);
}

static void damaged_command(void)
{
    uint8_t bhs[48];

    request(bhs, S2N_SCSI_COMMAND, 1, i.cmd_sn);
    bhs[1] = F | W;
    s2n_put32(bhs + S2N_AT_TTT, 4096);
    memcpy(bhs + 32, write10(0, 8), 16);
    put_damaged(bhs, 4096);
}

static void damaged_data_out(void)
{
    uint8_t bhs[48];

    put_command(&i, F | W, 1, 4096, write10(0, 8), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    request(bhs, S2N_DATA_OUT, 1, 0);
    s2n_put32(bhs + S2N_AT_TTT, ttt);
    put_damaged(bhs, 4096);
}

static void damaged_ping(void)
{
    uint8_t bhs[48];

    request(bhs, S2N_NOP_OUT | S2N_IMMEDIATE, 1, i.cmd_sn);
    put_damaged(bhs, 100);
}

static void unknown_pdu(void)
{
    put_request(0x1f, i.cmd_sn, 0);
}

static void too_long_pdu(void)
{
    uint8_t bhs[48];

    request(bhs, S2N_TEXT, 1, i.cmd_sn);
    s2n_put24(bhs + S2N_AT_DATA_LENGTH, 65537);
    put_bytes(&i, bhs, 48);
}

/* Whatever it is that earns one too many, it comes to nothing. */
static void one_reject_too_many_ends_the_connection(void)
{
    static void (*const last[])(void) = {malformed_command, damaged_command, damaged_data_out,
                                         damaged_ping,      unknown_pdu,     too_long_pdu};
    s2n_conn_params params = usual;

    params.data_digest = 1;
    for (unsigned at = 0; at < sizeof last / sizeof *last; at++) {
        login(&i, &params);
        earn_rejects(&i, &i.cmd_sn);
        last[at]();
        CHECK_EQUAL(expect_closed(&i), EPROTO);
        expect_nothing_left(&i);
        CHECK_EQUAL(fake.executions + fake.refusal, 0);
    }
}

/* Its socket tells of more to read, in the same round but later. */
static void who_is_ended_by_another_is_not_read_any_more(void)
{
    s2n_conn_params params = usual;

    params.discovery = 1;
    login(&j, &params);
    login_more(&i, &j);
    i.cmd_sn = j.cmd_sn;
    earn_rejects(&i, &i.cmd_sn);
    put_request(S2N_TASK_MANAGEMENT, i.cmd_sn + 1, 0);
    fake_run();
    j.cmd_sn = i.cmd_sn;
    put_command(&j, F, 1, 0, test_unit_ready, NULL, 0);
    put_request(S2N_TEXT | S2N_IMMEDIATE, i.cmd_sn, 100);
    CHECK_EQUAL(expect_closed(&i), EPROTO);
    expect(&j, S2N_REJECT);
    logout(&j);
}

/* A command, and another after `taken` numbers of a connection that ended. */
static void expect_no_gap(uint32_t taken)
{
    put_command(&i, F, 1, 0, test_unit_ready, NULL, 0);
    i.cmd_sn += taken;
    put_command(&i, F, 2, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    expect_status(&i, 0);
    logout(&i);
}

static void the_number_of_a_malformed_command_is_taken(void)
{
    login(&i, &usual);
    login_more(&j, &i);
    earn_rejects(&j, &i.cmd_sn);
    put_malformed(&j, i.cmd_sn + 1);
    CHECK_EQUAL(expect_closed(&j), EPROTO);
    expect_no_gap(1);
}

static void the_number_of_a_request_that_cannot_be_held_is_taken(void)
{
    s2n_conn_params params = usual;
    uint8_t bhs[48];

    params.maximum_recv = params.maximum_send = 2 << 20;
    login(&i, &params);
    login_more(&j, &i);
    request(bhs, S2N_NOP_OUT, 1, i.cmd_sn + 1);
    put(&j, bhs, pattern(S2N_HELD_BYTES), S2N_HELD_BYTES);
    request(bhs, S2N_NOP_OUT, 2, i.cmd_sn + 2);
    put(&j, bhs, pattern(1), 1);
    CHECK_EQUAL(expect_closed(&j), ENOBUFS);
    expect_no_gap(2);
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

int main(void)
{
    RUN(whatever_was_under_way_is_freed);
    RUN(the_peer_may_go_at_any_time);
    RUN(a_graceful_close_does_not_wait_forever);
    RUN(a_graceful_close_sends_what_is_queued);
    RUN(a_graceful_close_of_an_idle_connection_is_told_at_once);
    RUN(a_graceful_close_begins_nothing);
    RUN(the_socket_is_closed_once);
    RUN(other_connections_go_on);
    RUN(whatever_allocation_fails_ends_one_connection);
    RUN(a_flood_of_rejects_ends_the_connection);
    RUN(one_reject_too_many_ends_the_connection);
    RUN(who_is_ended_by_another_is_not_read_any_more);
    RUN(the_number_of_a_malformed_command_is_taken);
    RUN(the_number_of_a_request_that_cannot_be_held_is_taken);
    RUN(what_was_not_taken_is_given_up_once);
    return 0;
}
