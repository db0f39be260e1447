/* Sessions that share a reactor: one with much to do leaves others their turns, and loses none of
 * its own. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE };
enum { MANY = 30, BLOCKS = 512, BYTES = BLOCKS * FAKE_BLOCK, STEP = FAKE_CHUNK };

static struct initiator big, small; /* each with a session of its own */

static void login_both(void)
{
    s2n_conn_params params = usual;
    static s2n_session *session;

    params.maximum_send = params.maximum_burst = 1 << 17;
    login(&big, &params);
    session =
        s2n_session_new(s2n_reactor_plane(fake_reactor()), fake_nexus(), FIRST_CMD_SN, WINDOW);
    CHECK(session);
    struct initiator leading = {.session = session, .params = params, .cookie = 1};
    login_more(&small, &leading);
    small.cmd_sn = FIRST_CMD_SN;
}

static void logout_small(void)
{
    s2n_conn_close(small.conn, false);
    CHECK_EQUAL(expect_closed(&small), 0);
    s2n_session_free(small.session);
}

static void logout_both(void)
{
    logout_small();
    logout(&big);
}

static void put_many(uint8_t flags, const uint8_t *cdb)
{
    for (uint32_t i = 0; i < MANY; i++)
        put_command(&big, flags, AN_ITT + i, BYTES, cdb, NULL, 0);
}

/* Take all that the commands of the big one bring, and nothing else. */
static void take_reads(void)
{
    for (uint32_t i = 0; i < MANY; i++) {
        for (uint32_t from = 0; from < BYTES;) {
            struct pdu *pdu = expect(&big, S2N_DATA_IN);
            CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_OFFSET), from);
            CHECK(!memcmp(pdu->data, pattern(BYTES) + from, pdu->length));
            from += pdu->length;
        }
    }
    expect_none(&big);
}

/* ---- commands ---- */

static void a_round_begins_no_more_than_a_quantum(void)
{
    login_both();
    fake.hold = true;
    put_many(F | R, read10(0, BLOCKS));
    for (uint32_t begun = 0; begun < MANY; begun = fake.executed_count) {
        CHECK(fake_round());
        CHECK(fake.executed_count > begun);
        CHECK(fake.executed_count - begun <= S2N_ROUND_BYTES / BYTES);
    }
    fake_run();
    while (fake.executed_count)
        fake_carry_out(fake.executed[0]);
    take_reads();
    logout_both();
}

static void who_has_little_to_do_is_served_within_two_rounds(void)
{
    login_both();
    put_many(F | R, read10(0, BLOCKS));
    for (uint32_t i = 0; i < MANY; i++) {
        fake_round();
        put_command(&small, F | R, AN_ITT, FAKE_BLOCK, read10(i, 1), NULL, 0);
        fake_round();
        fake_round();
        struct pdu pdu;
        CHECK(!small.conn->commands);
        CHECK(get(&small, &pdu) && pdu.opcode == S2N_DATA_IN);
        if (i < 3)
            CHECK(big.conn->commands); /* which has not been at rest */
    }
    take_reads();
    logout_both();
}

/* What was received and has to wait is parsed before more is received: the buffer is full then. */
static void more_than_a_buffer_of_requests_waits(void)
{
    enum { PINGS = 3000 };
    uint8_t bhs[48];

    login_both();
    put_many(F | R, read10(0, BLOCKS));
    for (uint32_t i = 0; i < PINGS; i++) {
        request(bhs, S2N_IMMEDIATE | S2N_NOP_OUT, S2N_RESERVED_TAG, big.cmd_sn);
        s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
        put(&big, bhs, NULL, 0);
    }
    take_reads();
    CHECK_EQUAL(big.conn->state, S2N_OPEN);
    logout_both();
}

static void a_write_has_its_turns(void)
{
    login_both();
    memset(fake.disk, 0, sizeof fake.disk);
    put_many(F | W, write10(0, BLOCKS));
    for (uint32_t answered = 0; answered < MANY;) {
        struct pdu *pdu, got;
        pdu = &got;
        CHECK(get(&big, pdu));
        if (pdu->opcode == S2N_SCSI_RESPONSE) {
            CHECK_EQUAL(pdu->bhs[S2N_AT_STATUS], 0);
            answered++;
            continue;
        }
        CHECK_EQUAL(pdu->opcode, S2N_R2T);
        uint32_t offset = s2n_get32(pdu->bhs + S2N_AT_OFFSET);
        uint32_t length = s2n_get32(pdu->bhs + S2N_AT_RESIDUAL);
        for (uint32_t at = 0, sn = 0; at < length; at += big.params.maximum_recv)
            put_data_out(&big, tag_of(pdu), s2n_get32(pdu->bhs + S2N_AT_TTT), sn++, offset + at,
                         at + big.params.maximum_recv >= length, pattern(BYTES) + offset + at,
                         s2n_least(big.params.maximum_recv, length - at));
    }
    CHECK(!memcmp(fake.disk, pattern(BYTES), BYTES));
    logout_both();
}

/* ---- data ---- */

/* Have all of the data in the hands of the connection, which has sent none. */
static void bring_all(void)
{
    fake.hold = true;
    put_many(F | R, read10(0, BLOCKS));
    fake_run();
    CHECK_EQUAL(fake.executed_count, MANY);
    while (fake.executed_count)
        fake_carry_out(fake.executed[0]);
    fake.hold = false;
}

static uint64_t unsent(const s2n_conn *conn)
{
    uint64_t bytes = conn->wire_bytes - conn->wire_sent;

    for (const s2n_command *command = conn->commands; command; command = command->next)
        bytes += command->to_send - command->sent;
    return bytes;
}

static void a_round_sends_no_more_than_a_quantum(void)
{
    login_both();
    bring_all();
    for (uint64_t before = unsent(big.conn); before; before = unsent(big.conn)) {
        fake_round();
        uint64_t sent = before - unsent(big.conn);
        CHECK(sent <= S2N_ROUND_BYTES + STEP);
        CHECK(big.conn->wire_bytes <= S2N_ROUND_BYTES + 2 * big.params.maximum_send);
        if (!sent || big.conn->events & EPOLLOUT)
            break; /* the socket is full */
        CHECK(big.session->flow.waits || !unsent(big.conn));
    }
    take_reads();
    logout_both();
}

/* Connections of one session have one turn together, in which each is the first in turn. */
static void connections_of_a_session_share_its_turn(void)
{
    struct initiator other;

    login_both();
    login_more(&other, &big);
    put_many(F | R, read10(0, BLOCKS));
    other.cmd_sn = big.cmd_sn;
    put_command(&other, F | R, AN_ITT + MANY, BYTES, read10(0, BLOCKS), NULL, 0);
    for (int round = 0; round < 2 * MANY; round++)
        fake_round();
    struct pdu pdu;
    CHECK(get(&other, &pdu) && tag_of(&pdu) == AN_ITT + MANY);
    take_reads();
    s2n_conn_close(other.conn, false);
    expect_closed(&other);
    logout_both();
}

/* Send what a socket takes of requests that are not answered, from `*at` on. */
static void flood(const struct initiator *from, uint32_t cmd_sn, size_t *at)
{
    static uint8_t pings[48 * 1000];
    ssize_t n;

    for (uint8_t *bhs = pings; bhs < pings + sizeof pings; bhs += 48) {
        request(bhs, S2N_IMMEDIATE | S2N_NOP_OUT, S2N_RESERVED_TAG, cmd_sn);
        s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    }
    while ((n = send(from->fd, pings + *at, sizeof pings - *at, MSG_DONTWAIT)) > 0)
        *at = (*at + (size_t)n) % sizeof pings;
}

/* With a reactor so busy that what one of them has received takes all of the turn. */
static void connections_of_a_session_receive_in_turn(void)
{
    enum { OTHERS = 100, ROUNDS = 8 };
    struct initiator other;
    size_t at = 0;

    login_both();
    login_more(&other, &big);
    other.cmd_sn = big.cmd_sn;
    put_command(&other, F | R, AN_ITT, FAKE_BLOCK, read10(0, 1), NULL, 0);
    for (int round = 0; round < ROUNDS; round++) {
        flood(&big, big.cmd_sn, &at);
        s2n_reactor_flows(fake_reactor())->usual = OTHERS;
        fake_round();
    }
    CHECK_EQUAL(other.conn->begun, 1);
    CHECK_EQUAL(tag_of(expect(&other, S2N_DATA_IN)), AN_ITT);
    CHECK_EQUAL(big.conn->state, S2N_OPEN);
    s2n_conn_close(other.conn, false);
    expect_closed(&other);
    logout_both();
}

/* Who comes next looks at nothing of it. */
static void who_was_passed_over_may_go(void)
{
    enum { OTHERS = 100, ROUNDS = 64 };
    struct initiator other;
    size_t at = 0;

    login_both();
    login_more(&other, &big);
    for (int round = 0; big.session->passed_over != other.conn; round++) {
        CHECK(round < ROUNDS);
        flood(&other, big.cmd_sn, &at);
        s2n_reactor_flows(fake_reactor())->usual = OTHERS;
        fake_round();
    }
    close(other.fd);
    other.fd = -1;
    s2n_conn_close(other.conn, false);
    expect_closed(&other);
    put_numbered(&big, big.cmd_sn);
    expect_status(&big, 0);
    logout_both();
}

/* As much as came, its headers among it. */
static void what_is_received_counts(void)
{
    uint8_t bhs[48];

    login_both();
    for (uint32_t bytes = 0; bytes <= 60000; bytes += 30000) {
        request(bhs, S2N_IMMEDIATE | S2N_NOP_OUT, S2N_RESERVED_TAG, big.cmd_sn);
        s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
        put(&big, bhs, pattern(bytes), bytes);
        CHECK(fake_round());
        CHECK_EQUAL(s2n_flow_credit(&small.session->flow, S2N_MOVED) -
                        s2n_flow_credit(&big.session->flow, S2N_MOVED),
                    sizeof bhs + bytes);
        fake_run();
    }
    logout_both();
}

/* ---- the end ---- */

static void take_all(const struct initiator *of)
{
    static uint8_t bytes[1 << 16];

    while (recv(of->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

static void a_session_ends_while_it_waits(void)
{
    for (int graceful = 0; graceful < 2; graceful++) {
        login_both();
        put_many(F | R, read10(0, BLOCKS));
        CHECK(fake_round());
        CHECK(big.session->flow.waits);
        s2n_conn_close(big.conn, graceful);
        while (fake_round())
            take_all(&big);
        close(big.fd);
        big.fd = -1;
        CHECK_EQUAL(expect_closed(&big), 0);
        logout_small();
        expect_nothing_left(&big);
    }
}

int main(void)
{
    RUN(a_round_begins_no_more_than_a_quantum);
    RUN(who_has_little_to_do_is_served_within_two_rounds);
    RUN(more_than_a_buffer_of_requests_waits);
    RUN(a_write_has_its_turns);
    RUN(a_round_sends_no_more_than_a_quantum);
    RUN(connections_of_a_session_share_its_turn);
    RUN(connections_of_a_session_receive_in_turn);
    RUN(who_was_passed_over_may_go);
    RUN(what_is_received_counts);
    RUN(a_session_ends_while_it_waits);
    return 0;
}
