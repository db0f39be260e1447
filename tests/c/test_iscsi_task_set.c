/* Task attributes on the wire: the order of CmdSN, data of commands that are dormant, aborts. */
#include <string.h>
#include <unistd.h>

#include "initiator.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, SIMPLE = 1, ORDERED = 2, HEAD = 3 };
enum { ROOM = 1 << 26, BLOCKS = 8, BYTES = BLOCKS * FAKE_BLOCK };

static struct initiator i, j;

static void start(const s2n_conn_params *params)
{
    login(&i, params);
    memset(fake.disk, 0, 64 * BYTES);
}

/* A write of the pattern from `seed` on, all of whose data go with it. */
static void put_write(uint32_t itt, uint8_t attribute, uint32_t lba, uint32_t seed)
{
    put_command(&i, F | W | attribute, itt, BYTES, write10(lba, BLOCKS),
                pattern(BYTES + seed) + seed, BYTES);
}

static void expect_end(struct initiator *on, uint32_t itt)
{
    CHECK_EQUAL(tag_of(expect_status(on, 0)), itt);
}

static bool holds(uint32_t lba, uint32_t seed)
{
    return !memcmp(fake.disk + lba * FAKE_BLOCK, pattern(BYTES + seed) + seed, BYTES);
}

/* Carry out what has been begun, which is this alone. */
static void carry_out(uint32_t itt)
{
    fake_run();
    CHECK_EQUAL(fake.executed_count, 1);
    CHECK_EQUAL(fake.executed[0]->tag, itt);
    fake_carry_out(fake.executed[0]);
}

static void data_of_dormant_commands_are_kept(void)
{
    start(&usual);
    fake.hold = true;
    put_write(1, SIMPLE, 0, 1);
    put_write(2, ORDERED, 0, 2);
    put_write(3, SIMPLE, 0, 3);
    fake_run();
    CHECK_EQUAL(fake.pool_bytes, ROOM - BYTES); /* of the first */
    carry_out(1);
    expect_end(&i, 1);
    CHECK(holds(0, 1));
    carry_out(2);
    expect_end(&i, 2);
    CHECK(holds(0, 2));
    carry_out(3);
    expect_end(&i, 3);
    CHECK(holds(0, 3));
    logout(&i);
}

static void dormant_commands_ask_for_no_data(void)
{
    start(&usual);
    put_command(&i, F | W | SIMPLE, 1, BYTES, write10(0, BLOCKS), NULL, 0);
    uint32_t first = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    put_command(&i, F | W | ORDERED, 2, BYTES, write10(0, BLOCKS), pattern(512), 512);
    put_command(&i, F | W | SIMPLE, 3, BYTES, write10(0, BLOCKS), NULL, 0);
    expect_none(&i);
    put_data_out(&i, 1, first, 0, 0, true, pattern(BYTES), BYTES);
    expect_end(&i, 1);
    struct pdu *pdu = expect(&i, S2N_R2T);
    CHECK_EQUAL(tag_of(pdu), 2);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_OFFSET), 512);
    expect_none(&i);
    put_data_out(&i, 2, s2n_get32(pdu->bhs + S2N_AT_TTT), 0, 512, true, pattern(BYTES) + 512,
                 BYTES - 512);
    expect_end(&i, 2);
    CHECK(holds(0, 0));
    CHECK_EQUAL(tag_of(expect(&i, S2N_R2T)), 3);
    logout(&i);
}

/* What arrived before its turn has a buffer. If it is dormant when its turn has come, another
 * may want that buffer which it waits for. */
static void what_turns_out_to_be_dormant_gives_its_buffer_back(void)
{
    start(&usual);
    fake.pool_bytes = 2 * BYTES;
    i.cmd_sn = FIRST_CMD_SN + 1;
    put_write(2, SIMPLE, 0, 2);
    put_write(3, SIMPLE, 16, 3);
    fake_run();
    CHECK_EQUAL(fake.pool_bytes, 0);
    i.cmd_sn = FIRST_CMD_SN;
    put_command(&i, F | W | ORDERED, 1, 2 * BYTES, write10(0, 2 * BLOCKS), NULL, 0);
    struct pdu *pdu = expect(&i, S2N_R2T);
    CHECK_EQUAL(tag_of(pdu), 1);
    CHECK_EQUAL(fake.pool_bytes, 0);
    put_data_out(&i, 1, s2n_get32(pdu->bhs + S2N_AT_TTT), 0, 0, true, pattern(2 * BYTES),
                 2 * BYTES);
    expect_end(&i, 1);
    CHECK_EQUAL(tag_of(expect_status(&i, 0)) + tag_of(expect_status(&i, 0)), 2 + 3);
    CHECK(holds(0, 2) && holds(16, 3));
    fake_give(ROOM - 2 * BYTES);
    logout(&i);
}

/* Of what comes at once, which is not all, more than a chunk of a buffer is in the first part. */
enum {
    LONG_BLOCKS = 360,
    LONG = LONG_BLOCKS * FAKE_BLOCK,
    AT_ONCE = LONG / 6 * 5,
    SENT = LONG / 2
};

/* In the middle of a PDU, which another connection's command makes dormant. */
static void receive_half(bool kept)
{
    s2n_conn_params params = usual;

    params.first_burst = AT_ONCE;
    params.maximum_burst = params.maximum_recv = LONG;
    start(&params);
    login_more(&j, &i);
    put_part_of_write(&j, 2, FIRST_CMD_SN + 1, write10(0, LONG_BLOCKS), LONG, AT_ONCE, SENT);
    fake_run();
    CHECK_EQUAL(fake.pool_bytes, ROOM - LONG);
    fake.hold = true;
    fake.fail_in = kept ? 0 : 2; /* of task and room the latter */
    put_command(&i, F | ORDERED, 1, 0, test_unit_ready, NULL, 0);
    fake_run();
    fake.fail_in = 0;
    CHECK_EQUAL(fake.pool_bytes, ROOM);
}

static void end_ordered(void)
{
    CHECK_EQUAL(fake.executed_count, 1);
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_end(&i, 1);
}

static void receive_rest(void)
{
    put_bytes(&j, pattern(LONG) + SENT, AT_ONCE - SENT);
    fake_run();
}

static void receive_what_is_asked_for(void)
{
    struct pdu *pdu = expect(&j, S2N_R2T);

    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_OFFSET), AT_ONCE);
    put_data_out(&j, 2, s2n_get32(pdu->bhs + S2N_AT_TTT), 0, AT_ONCE, true, pattern(LONG) + AT_ONCE,
                 LONG - AT_ONCE);
}

static void leave_both(void)
{
    close(j.fd);
    j.fd = -1;
    expect_closed(&j);
    logout(&i);
}

static void a_pdu_may_be_received_half(void)
{
    for (int before = 0; before < 2; before++) {
        receive_half(true);
        if (before) { /* it is dormant no more when the rest comes */
            end_ordered();
            expect_none(&j);
        }
        receive_rest();
        if (!before)
            end_ordered();
        receive_what_is_asked_for();
        carry_out(2);
        expect_end(&j, 2);
        CHECK(!memcmp(fake.disk, pattern(LONG), LONG));
        leave_both();
    }
    receive_half(false);
    receive_rest();
    CHECK_EQUAL(tag_of(expect_status(&j, S2N_TASK_SET_FULL)), 2);
    end_ordered();
    leave_both();
}

/* CmdSN says what came first, not the data nor the connection. */
static void order_is_that_of_cmd_sn(void)
{
    start(&usual);
    fake.hold = true;
    i.cmd_sn = FIRST_CMD_SN + 2;
    put_write(3, SIMPLE, 0, 3);
    i.cmd_sn = FIRST_CMD_SN + 1;
    put_write(2, ORDERED, 0, 2);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 0);
    i.cmd_sn = FIRST_CMD_SN;
    put_write(1, SIMPLE, 0, 1);
    for (uint32_t itt = 1; itt <= 3; itt++) {
        carry_out(itt);
        expect_end(&i, itt);
    }
    CHECK(holds(0, 3));
    logout(&i);
}

static void the_head_of_the_queue_passes(void)
{
    start(&usual);
    fake.hold = true;
    put_command(&i, F | ORDERED, 1, 0, test_unit_ready, NULL, 0);
    put_write(2, SIMPLE, 0, 2);
    put_write(3, HEAD, 16, 3);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 2);
    fake_carry_out(fake.executed[1]);
    expect_end(&i, 3);
    CHECK(holds(16, 3));
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_end(&i, 1);
    carry_out(2);
    expect_end(&i, 2);
    logout(&i);
}

static void dormant_commands_are_aborted_at_once(void)
{
    start(&usual);
    fake.hold = true;
    for (uint32_t itt = 1; itt <= 5; itt++)
        put_write(itt, ORDERED, 0, itt);
    fake_run();
    CHECK(fake_abort(2, false) && fake_abort(4, true));
    CHECK_EQUAL(tag_of(expect_status(&i, S2N_TASK_ABORTED)), 4);
    carry_out(1);
    expect_end(&i, 1);
    carry_out(3);
    expect_end(&i, 3);
    fake_run();
    CHECK(fake_abort(5, false));
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_none(&i);
    CHECK_EQUAL(fake.charged, 0);
    logout(&i);
}

/* Their connection goes, and another one's need not wait any longer. */
static void dormant_commands_go_with_their_connection(void)
{
    start(&usual);
    login_more(&j, &i);
    fake.hold = true;
    for (uint32_t itt = 1; itt <= 5; itt++)
        put_write(itt, ORDERED, 0, itt);
    fake_run();
    j.cmd_sn = FIRST_CMD_SN + 5;
    put_command(&j, F | SIMPLE, 9, 0, inquiry(0), NULL, 0);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 1);
    close(i.fd);
    i.fd = -1;
    fake_run();
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_closed(&i);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 1);
    CHECK_EQUAL(fake.executed[0]->tag, 9);
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_end(&j, 9);
    logout(&j);
}

/* Its initiator takes it for undone. */
static void dormant_commands_are_not_begun_after_a_logout(void)
{
    start(&usual);
    login_more(&j, &i);
    fake.hold = true;
    put_write(1, ORDERED, 0, 1);
    put_write(2, ORDERED, 0, 2);
    j.cmd_sn = FIRST_CMD_SN + 2;
    put_command(&j, F | ORDERED, 3, 0, test_unit_ready, NULL, 0);
    fake_run();
    s2n_conn_close(i.conn, true);
    carry_out(1);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 1);
    CHECK_EQUAL(fake.executed[0]->tag, 3);
    CHECK(holds(0, 1));
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_end(&j, 3);
    close(i.fd);
    i.fd = -1;
    expect_closed(&i);
    logout(&j);
}

/* A response that nobody takes holds up no other command. */
static void what_was_decided_is_not_waited_for(void)
{
    start(&usual);
    fake.hold = true;
    put_command(&i, F | R | ORDERED, 1, 4 << 20, read10(0, 8192), NULL, 0);
    put_write(2, ORDERED, 0, 2);
    carry_out(1); /* more than the socket takes */
    carry_out(2);
    CHECK(holds(0, 2));
    while (!(expect(&i, S2N_DATA_IN)->flags & S2N_STATUS))
        ;
    expect_end(&i, 2);
    logout(&i);
}

/* Nor does one that was decided by an abort before the command's turn came. */
static void what_was_aborted_before_its_turn_is_not_waited_for(void)
{
    start(&usual);
    login_more(&j, &i);
    put_command(&i, F | R | SIMPLE, 1, 4 << 20, read10(0, 8192), NULL, 0);
    fake_run(); /* more than the socket takes */
    i.cmd_sn = FIRST_CMD_SN + 2;
    put_command(&i, F | ORDERED, 3, 0, test_unit_ready, NULL, 0);
    fake_run();
    CHECK(fake_abort(3, true));
    j.cmd_sn = FIRST_CMD_SN + 1;
    put_command(&j, F | SIMPLE, 2, 0, test_unit_ready, NULL, 0);
    expect_end(&j, 2);
    j.cmd_sn = FIRST_CMD_SN + 3;
    put_command(&j, F | SIMPLE, 4, 0, test_unit_ready, NULL, 0);
    expect_end(&j, 4);
    while (!(expect(&i, S2N_DATA_IN)->flags & S2N_STATUS))
        ;
    CHECK_EQUAL(tag_of(expect_status(&i, S2N_TASK_ABORTED)), 3);
    close(i.fd);
    i.fd = -1;
    expect_closed(&i);
    logout(&j);
}

int main(void)
{
    RUN(data_of_dormant_commands_are_kept);
    RUN(dormant_commands_ask_for_no_data);
    RUN(what_turns_out_to_be_dormant_gives_its_buffer_back);
    RUN(a_pdu_may_be_received_half);
    RUN(order_is_that_of_cmd_sn);
    RUN(the_head_of_the_queue_passes);
    RUN(dormant_commands_are_aborted_at_once);
    RUN(dormant_commands_go_with_their_connection);
    RUN(dormant_commands_are_not_begun_after_a_logout);
    RUN(what_was_decided_is_not_waited_for);
    RUN(what_was_aborted_before_its_turn_is_not_waited_for);
    return 0;
}
