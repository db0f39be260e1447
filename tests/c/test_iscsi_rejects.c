/* Rejects: how many a connection may earn, and what becomes of numbers that came with them. */
#include <errno.h>
#include <string.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, REJECTS = 64, PING_MS = 1000 };

static struct initiator i, j;

static void put_request(uint8_t opcode, uint32_t cmd_sn, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, 0x99, cmd_sn);
    put(&i, bhs, pattern(length), length);
}

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

int main(void)
{
    RUN(a_flood_of_rejects_ends_the_connection);
    RUN(one_reject_too_many_ends_the_connection);
    RUN(who_is_ended_by_another_is_not_read_any_more);
    RUN(the_number_of_a_malformed_command_is_taken);
    RUN(the_number_of_a_request_that_cannot_be_held_is_taken);
    return 0;
}
