/* Connections that end in the middle of something. */
#include <errno.h>
#include <string.h>

#include "initiator.h"

enum { F = S2N_FINAL, REJECTS = 64 };

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
    RUN(one_malformed_command_too_many_ends_the_connection);
    RUN(the_number_of_a_malformed_command_is_taken);
    RUN(the_number_of_a_request_that_cannot_be_held_is_taken);
    return 0;
}
