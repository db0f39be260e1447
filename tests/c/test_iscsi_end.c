/* The end of connections: by whom, and in the middle of what. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "initiator.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, REJECTS = 64 };

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
    request(bhs, S2N_SCSI_COMMAND, 7, i.cmd_sn - 2);
    bhs[1] = F | W;
    s2n_put32(bhs + S2N_AT_TTT, 8192);
    s2n_put24(bhs + S2N_AT_DATA_LENGTH, 8192);
    memcpy(bhs + 32, write10(0, 16), 16);
    put_bytes(&i, bhs, 48);
    put_bytes(&i, pattern(100), 100);
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

/* As many as an honest initiator might earn. */
static void earn_rejects(struct initiator *on, uint32_t *cmd_sn)
{
    for (uint32_t at = 0; at < REJECTS; at++) {
        put_malformed(on, (*cmd_sn)++);
        CHECK_EQUAL(expect(on, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_FIELD);
    }
}

static void one_malformed_command_too_many_ends_the_connection(void)
{
    login(&i, &usual);
    earn_rejects(&i, &i.cmd_sn);
    put_malformed(&i, i.cmd_sn);
    CHECK_EQUAL(expect_closed(&i), EPROTO);
    expect_nothing_left(&i);
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

    params.maximum_recv = 2 << 20;
    login(&i, &params);
    login_more(&j, &i);
    request(bhs, S2N_TEXT, 1, i.cmd_sn + 1);
    put(&j, bhs, pattern(1 << 20), 1 << 20);
    request(bhs, S2N_TEXT, 2, i.cmd_sn + 2);
    put(&j, bhs, pattern(1), 1);
    CHECK_EQUAL(expect_closed(&j), ENOBUFS);
    expect_no_gap(2);
}

int main(void)
{
    RUN(whatever_was_under_way_is_freed);
    RUN(the_peer_may_go_at_any_time);
    RUN(a_graceful_close_does_not_wait_forever);
    RUN(a_graceful_close_sends_what_is_queued);
    RUN(a_flood_of_rejects_ends_the_connection);
    RUN(one_malformed_command_too_many_ends_the_connection);
    RUN(the_number_of_a_malformed_command_is_taken);
    RUN(the_number_of_a_request_that_cannot_be_held_is_taken);
    return 0;
}
