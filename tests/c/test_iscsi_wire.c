/* Framing, digests, pings, flow control. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crc32c.h"
#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, IMMEDIATE = S2N_IMMEDIATE };

static struct initiator i;

static void digest_is_crc32c(void)
{
    uint8_t bytes[32] = {0}, out[4];

    s2n_put_digest(out, s2n_crc32c(0, bytes, 32));
    CHECK_EQUAL(s2n_get32(out), 0xaa36918a);
    memset(bytes, 0xff, 32);
    s2n_put_digest(out, s2n_crc32c(0, bytes, 32));
    CHECK_EQUAL(s2n_get32(out), 0x43aba862);
    for (uint8_t at = 0; at < 32; at++)
        bytes[at] = at;
    s2n_put_digest(out, s2n_crc32c(s2n_crc32c(0, bytes, 5), bytes + 5, 27));
    CHECK_EQUAL(s2n_get32(out), 0x4e79dd46);
}

/* ---- framing ---- */

static void put_nop(uint8_t opcode, uint32_t itt, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, itt, i.cmd_sn);
    s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    put(&i, bhs, pattern(length), length);
}

/* Three commands and a ping as one stream of bytes; returns its length. */
static uint32_t record(uint8_t *bytes, uint32_t room)
{
    int pair[2], fd = i.fd;

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    i.fd = pair[0];
    put_command(&i, F | R, 1, 1536, read10(4, 3), NULL, 0);
    put_command(&i, W, 2, 2048, write10(100, 4), pattern(2048), 1001);
    put_data_out(&i, 2, S2N_RESERVED_TAG, 0, 1001, false, pattern(2048) + 1001, 46);
    put_data_out(&i, 2, S2N_RESERVED_TAG, 1, 1047, true, pattern(2048) + 1047, 1001);
    put_nop(S2N_NOP_OUT, 3, 7);
    i.cmd_sn++;
    put_command(&i, F, 4, 0, test_unit_ready, NULL, 0);
    i.fd = fd;
    ssize_t n = recv(pair[1], bytes, room, 0);
    CHECK(n > 0 && n < (ssize_t)room);
    close(pair[0]);
    close(pair[1]);
    return (uint32_t)n;
}

static void expect_recorded(void)
{
    struct pdu *pdu = expect_status(&i, 0);

    CHECK(pdu->length == 1536 && !memcmp(pdu->data, fake.disk + 4 * FAKE_BLOCK, 1536));
    expect_status(&i, 0);
    pdu = expect(&i, S2N_NOP_IN);
    CHECK(pdu->length == 7 && !memcmp(pdu->data, pattern(7), 7));
    expect_status(&i, 0);
    expect_none(&i);
    CHECK(!memcmp(fake.disk + 100 * FAKE_BLOCK, pattern(2048), 2048));
}

static void pdus_may_be_cut_anywhere(void)
{
    static uint8_t bytes[8192];

    for (uint32_t step = 1; step < 120; step = step * 5 / 4 + 1) {
        s2n_conn_params params = usual;
        params.header_digest = step & 1;
        params.data_digest = step >> 1 & 1;
        login(&i, &params);
        uint32_t length = record(bytes, sizeof bytes);
        for (uint32_t at = 0; at < length; at += step) {
            put_bytes(&i, bytes + at, step < length - at ? step : length - at);
            fake_run();
        }
        expect_recorded();
        logout(&i);
    }
}

static void bytes_from_the_login_come_first(void)
{
    static uint8_t bytes[8192];
    int fds[2];

    login(&i, &usual);
    uint32_t length = record(bytes, sizeof bytes);
    s2n_conn_close(i.conn, false);
    expect_closed(&i);
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    i.fd = fds[0];
    i.eof = false;
    i.conn = s2n_conn_new(i.session, fds[1], &usual, FIRST_STAT_SN, bytes, 777, i.cookie);
    put_bytes(&i, bytes + 777, length - 777);
    expect_recorded();
    CHECK(!s2n_conn_new(i.session, 0, &usual, 0, bytes, 1 << 20, 9));
    logout(&i);
}

static void too_long_data_ends_the_connection(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    request(bhs, S2N_NOP_OUT | IMMEDIATE, 1, 0);
    s2n_put24(bhs + S2N_AT_DATA_LENGTH, usual.maximum_recv + 1);
    put_bytes(&i, bhs, 48);
    struct pdu *pdu = expect(&i, S2N_REJECT);
    CHECK_EQUAL(pdu->bhs[S2N_AT_RESPONSE], S2N_REJECT_PROTOCOL);
    CHECK(!memcmp(pdu->data, bhs, 48));
    expect_none(&i);
    CHECK(i.eof);
    close(i.fd);
    i.fd = -1;
    CHECK_EQUAL(expect_closed(&i), EPROTO);
    expect_nothing_left(&i);
}

/* ---- digests ---- */

static void with_digests(void)
{
    s2n_conn_params params = usual;

    params.header_digest = params.data_digest = 1;
    login(&i, &params);
}

/* Send a PDU whose byte at `damage` is changed on its way. */
static void put_damaged(uint8_t *bhs, uint32_t length, uint32_t damage)
{
    uint8_t bytes[4096];
    int pair[2], fd = i.fd;

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    i.fd = pair[0];
    put(&i, bhs, pattern(length), length);
    i.fd = fd;
    ssize_t n = recv(pair[1], bytes, sizeof bytes, 0);
    close(pair[0]);
    close(pair[1]);
    CHECK(n > (ssize_t)damage);
    bytes[damage] ^= 0x10;
    put_bytes(&i, bytes, (size_t)n);
}

static void a_damaged_header_ends_the_connection(void)
{
    uint8_t bhs[48];

    for (uint32_t damage = 0; damage < 52; damage++) {
        if (damage == S2N_AT_AHS_LENGTH)
            continue; /* then more is waited for */
        with_digests();
        request(bhs, damage % 2 ? S2N_NOP_OUT : S2N_SCSI_COMMAND, 1, FIRST_CMD_SN);
        bhs[S2N_AT_FLAGS] = F;
        put_damaged(bhs, 0, damage);
        CHECK_EQUAL(expect_closed(&i), EBADMSG);
        CHECK_EQUAL(fake.executions, 0);
        CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN);
        expect_nothing_left(&i);
    }
}

static void damaged_write_data_fails_the_write(void)
{
    uint8_t bhs[48];

    for (uint32_t damage = 52; damage < 52 + 1001 + 3 + 4; damage += 251) {
        with_digests();
        request(bhs, S2N_SCSI_COMMAND, AN_ITT, i.cmd_sn++);
        bhs[1] = F | W;
        s2n_put32(bhs + S2N_AT_TTT, 2048);
        memcpy(bhs + 32, write10(0, 4), 16);
        put_damaged(bhs, 1001, damage);
        CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_DATA_DIGEST);
        expect_status(&i, 2);
        CHECK_EQUAL(fake.refusal, S2N_SENSE_CRC);
        fake.refusal = 0;
        /* The same in a Data-Out. */
        put_command(&i, F | W, AN_ITT, 2048, write10(0, 4), pattern(1047), 1047);
        uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
        request(bhs, S2N_DATA_OUT, AN_ITT, 0);
        s2n_put32(bhs + S2N_AT_TTT, ttt);
        s2n_put32(bhs + S2N_AT_OFFSET, 1047);
        put_damaged(bhs, 1001, damage);
        CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_DATA_DIGEST);
        expect_status(&i, 2);
        CHECK_EQUAL(fake.refusal, S2N_SENSE_CRC);
        CHECK_EQUAL(fake.executions, 0);
        logout(&i);
    }
}

static void other_damaged_data_ends_the_connection(void)
{
    uint8_t bhs[48];

    with_digests();
    request(bhs, S2N_TEXT, 1, FIRST_CMD_SN);
    put_damaged(bhs, 100, 60);
    CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_DATA_DIGEST);
    expect_none(&i);
    CHECK(i.eof);
    close(i.fd);
    i.fd = -1;
    CHECK_EQUAL(expect_closed(&i), EBADMSG);
    expect_nothing_left(&i);
}

/* ---- NOP ---- */

static void pings_are_echoed_as_far_as_the_limit_allows(void)
{
    login(&i, &usual);
    put_nop(S2N_NOP_OUT | IMMEDIATE, 5, 20001);
    struct pdu *pdu = expect(&i, S2N_NOP_IN);
    CHECK_EQUAL(pdu->length, usual.maximum_send);
    CHECK(!memcmp(pdu->data, pattern(20001), pdu->length));
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), 5);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_TTT), S2N_RESERVED_TAG);
    s2n_conn_set_maximum_send(i.conn, 600);
    i.params.maximum_send = 600;
    put_nop(S2N_NOP_OUT | IMMEDIATE, 5, 5000);
    CHECK_EQUAL(expect(&i, S2N_NOP_IN)->length, 600);
    put_nop(S2N_NOP_OUT | IMMEDIATE, S2N_RESERVED_TAG, 0); /* wants no answer */
    put_nop(S2N_NOP_OUT, S2N_RESERVED_TAG, 0);             /* and is not numbered */
    expect_none(&i);
    CHECK_EQUAL(s2n_session_expected_cmd_sn(i.session), FIRST_CMD_SN);
    logout(&i);
}

/* What was echoed and sent does not count any more. */
static void pings_are_echoed_again_and_again(void)
{
    enum { LENGTH = 8192 };

    login(&i, &usual);
    for (uint32_t bytes = 0; bytes <= 2 * S2N_REPLY_BYTES; bytes += LENGTH) {
        put_nop(S2N_NOP_OUT | IMMEDIATE, 5, LENGTH);
        CHECK_EQUAL(expect(&i, S2N_NOP_IN)->length, LENGTH);
    }
    logout(&i);
}

static void silence_is_probed_and_then_ends_the_connection(void)
{
    s2n_conn_params params = usual;

    params.ping_ms = 1000;
    params.ping_timeout_ms = 300;
    login(&i, &params);
    put_nop(S2N_NOP_OUT | IMMEDIATE, 5, 0);
    expect(&i, S2N_NOP_IN);
    fake_advance(1000);
    expect_none(&i); /* it was not silent */
    fake_advance(1000);
    struct pdu *pdu = expect(&i, S2N_NOP_IN);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), S2N_RESERVED_TAG);
    CHECK(s2n_get32(pdu->bhs + S2N_AT_TTT) != S2N_RESERVED_TAG);
    fake_advance(200);
    put_nop(S2N_NOP_OUT | IMMEDIATE, S2N_RESERVED_TAG, 0);
    fake_run();
    fake_advance(200);
    fake_advance(1000);
    expect(&i, S2N_NOP_IN);
    fake_advance(299);
    CHECK_EQUAL(fake.sources, 1);
    fake_advance(1);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

static void each_ping_has_a_tag_of_its_own(void)
{
    s2n_conn_params params = usual;

    params.ping_ms = 1000;
    login(&i, &params);
    i.conn->ping_tag = S2N_RESERVED_TAG - 4;
    for (uint32_t round = 0; round < 10; round++) {
        fake_advance(1000);
        const struct pdu *pdu = expect(&i, S2N_NOP_IN);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), S2N_RESERVED_TAG);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_TTT),
                    round < 3 ? S2N_RESERVED_TAG - 3 + round : round - 3);
    }
    logout(&i);
}

static void silence_may_be_borne(void)
{
    s2n_conn_params params = usual;

    params.ping_ms = 1000;
    params.ping_timeout_ms = 0;
    login(&i, &params);
    for (int round = 0; round < 100; round++) {
        fake_advance(1000);
        expect(&i, S2N_NOP_IN);
    }
    CHECK_EQUAL(fake.sources, 1);
    logout(&i);
    params.ping_ms = 0;
    login(&i, &params);
    fake_advance(1000000);
    expect_none(&i);
    CHECK_EQUAL(fake.sources, 1);
    logout(&i);
}

/* ---- flow control ---- */

static void an_unread_connection_is_not_read(void)
{
    uint8_t bhs[48];
    uint32_t put_count = 0, got = 0;
    struct pdu pdu;

    login(&i, &usual);
    request(bhs, S2N_NOP_OUT | IMMEDIATE, 1, 0);
    s2n_put24(bhs + S2N_AT_DATA_LENGTH, 8192);
    uint8_t bytes[48 + 8192];
    memcpy(bytes, bhs, 48);
    memcpy(bytes + 48, pattern(8192), 8192);
    /* Whole PDUs until the target takes no more; memory bounds how many. */
    uint32_t at = 0;
    for (int idle = 0; idle < 2;) {
        ssize_t n = send(i.fd, bytes + at, sizeof bytes - at, MSG_DONTWAIT);
        fake_run();
        idle = n > 0 ? 0 : idle + 1;
        at += n > 0 ? (uint32_t)n : 0;
        put_count += at == sizeof bytes;
        at %= sizeof bytes;
        CHECK(put_count < 1000);
    }
    CHECK(put_count > S2N_REPLY_BYTES / 8192);
    while (get(&i, &pdu)) {
        CHECK(pdu.opcode == S2N_NOP_IN && pdu.length == 8192);
        CHECK(!memcmp(pdu.data, pattern(8192), 8192));
        got++;
        if (at) {
            ssize_t n = send(i.fd, bytes + at, sizeof bytes - at, MSG_DONTWAIT);
            at += n > 0 ? (uint32_t)n : 0;
            put_count += at == sizeof bytes;
            at %= sizeof bytes;
        }
    }
    CHECK_EQUAL(got, put_count);
    logout(&i);
}

/* Reading stops in the middle of a write, whose data has come; then it may go on, and in the
 * same round the peer goes. What was received comes before what is in the socket. */
static void what_was_received_comes_first(void)
{
    static uint8_t bytes[200000];
    int size = sizeof bytes;
    s2n_event event;

    login(&i, &usual);
    setsockopt(i.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    memset(bytes, 0xee, sizeof bytes);
    for (uint32_t at = 0; at < 16; at++)
        request(bytes + at * 48, S2N_TEXT, at, i.cmd_sn + 1 + at);
    uint8_t *write = bytes + 16 * 48;
    request(write, S2N_SCSI_COMMAND, AN_ITT, i.cmd_sn);
    write[1] = F | W;
    s2n_put24(write + S2N_AT_DATA_LENGTH, 8192);
    s2n_put32(write + S2N_AT_TTT, 8192);
    memcpy(write + 32, write10(0, 16), 16);
    memcpy(write + 48, pattern(8192), 8192);
    CHECK_EQUAL(send(i.fd, bytes, sizeof bytes, MSG_DONTWAIT), sizeof bytes);
    fake_run();
    for (int at = 0; at < 16; at++)
        CHECK(fake_next_event(&event) && event.type == S2N_EVENT_PDU);
    CHECK_EQUAL(fake.executions, 0);
    s2n_conn_send(i.conn, (uint8_t[48]){S2N_TEXT_RESPONSE}, NULL, 0, true);
    close(i.fd);
    i.fd = -1;
    fake_run();
    CHECK(!fake.executions || !memcmp(fake.disk, pattern(8192), 8192));
    expect_closed(&i);
    expect_nothing_left(&i);
}

static void output_waits_for_the_socket(void)
{
    uint32_t offset[8] = {0}, finished = 0, bytes = 1000 * FAKE_BLOCK;
    struct pdu pdu;

    login(&i, &usual);
    for (uint32_t at = 0; at < 8; at++)
        put_command(&i, F | R, at, bytes, read10(at * 100, 1000), NULL, 0);
    while (get(&i, &pdu)) {
        uint32_t at = s2n_get32(pdu.bhs + S2N_AT_ITT);
        CHECK(at < 8 && pdu.opcode == S2N_DATA_IN);
        CHECK_EQUAL(s2n_get32(pdu.bhs + S2N_AT_OFFSET), offset[at]);
        CHECK(!memcmp(pdu.data, fake.disk + at * 100 * FAKE_BLOCK + offset[at], pdu.length));
        offset[at] += pdu.length;
        finished += offset[at] == bytes;
    }
    CHECK_EQUAL(finished, 8);
    logout(&i);
}

/* Connections that together leave more responses unread than a session has spare
 * commands: reading stops, nothing is lost for good. */
static void a_session_without_spare_commands_recovers(void)
{
    static struct initiator on[3];
    static struct pdu pdu;
    uint32_t got = 0, last_got;

    login(&on[0], &usual);
    login_more(&on[1], &on[0]);
    login_more(&on[2], &on[0]);
    uint32_t cmd_sn = FIRST_CMD_SN;
    for (uint32_t at = 0; at < 600; at++) {
        on[at % 3].cmd_sn = cmd_sn++;
        put_command(&on[at % 3], F | R, at, 8192, read10(0, 16), NULL, 0);
        fake_run();
    }
    CHECK(fake.executions < 600);
    do {
        last_got = got;
        for (int at = 0; at < 3; at++)
            while (get(&on[at], &pdu))
                got += pdu.flags & S2N_STATUS;
    } while (got != last_got);
    CHECK(got > 200 && got == fake.executions);
    on[1].cmd_sn = s2n_session_expected_cmd_sn(on[0].session);
    put_command(&on[1], F, 1000, 0, test_unit_ready, NULL, 0);
    expect_status(&on[1], 0);
    for (int at = 1; at < 3; at++) {
        s2n_conn_close(on[at].conn, false);
        expect_closed(&on[at]);
    }
    logout(&on[0]);
}

/* Of many PDUs that are there at once, no more go with one call than that has room for. */
static void a_call_sends_as_many_pieces_as_it_takes(void)
{
    enum { PINGS = S2N_IOVECS / 2 - 1, LONG = 500 * FAKE_BLOCK };
    s2n_conn_params params = usual;

    params.maximum_send = params.maximum_burst = LONG;
    for (uint32_t bare = 0; bare < 4; bare++) { /* have no data, which is a piece */
        login(&i, &params);
        for (uint32_t at = 0; at < PINGS; at++)
            put_nop(S2N_NOP_OUT | IMMEDIATE, at, at < bare ? 0 : 4);
        put_command(&i, F | R, AN_ITT, LONG, read10(0, LONG / FAKE_BLOCK), NULL, 0);
        for (uint32_t at = 0; at < PINGS; at++)
            CHECK_EQUAL(expect(&i, S2N_NOP_IN)->length, at < bare ? 0 : 4);
        struct pdu *pdu = expect(&i, S2N_DATA_IN);
        CHECK_EQUAL(pdu->length, LONG);
        CHECK(!memcmp(pdu->data, pattern(LONG), LONG));
        logout(&i);
    }
}

int main(void)
{
    RUN(digest_is_crc32c);
    RUN(pdus_may_be_cut_anywhere);
    RUN(bytes_from_the_login_come_first);
    RUN(too_long_data_ends_the_connection);
    RUN(a_damaged_header_ends_the_connection);
    RUN(damaged_write_data_fails_the_write);
    RUN(other_damaged_data_ends_the_connection);
    RUN(pings_are_echoed_as_far_as_the_limit_allows);
    RUN(pings_are_echoed_again_and_again);
    RUN(silence_is_probed_and_then_ends_the_connection);
    RUN(each_ping_has_a_tag_of_its_own);
    RUN(silence_may_be_borne);
    RUN(an_unread_connection_is_not_read);
    RUN(what_was_received_comes_first);
    RUN(output_waits_for_the_socket);
    RUN(a_session_without_spare_commands_recovers);
    RUN(a_call_sends_as_many_pieces_as_it_takes);
    return 0;
}
