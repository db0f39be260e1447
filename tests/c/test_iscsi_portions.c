/* Commands that move their data in portions, both ways, and what may come in between. */
#include <errno.h>
#include <string.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, CHECK_CONDITION = 2, TASK_ABORTED = 0x40 };
enum { PORTION = 20480, BLOCKS = 150, BYTES = BLOCKS * FAKE_BLOCK, BURST = 16384, ALL = 1 << 26 };

static struct initiator i;

/* Let tasks have no more memory than this together, from the beginning. */
static void limit_pool(int64_t bytes)
{
    fake.pool_bytes -= ALL - bytes;
}

static void begin_with(const s2n_conn_params *params)
{
    login(&i, params);
    fake.portion_bytes = PORTION;
    limit_pool(PORTION); /* no command has more at a time */
    memcpy(fake.disk, pattern(BYTES), BYTES);
}

/* The end of a session, which has given back what it had. */
static void end(void)
{
    fake.pool_bytes += ALL - PORTION;
    logout(&i);
}

/* Take Data-In up to `end`. Sequences end with their burst, and with each portion. */
static void expect_data(uint32_t from, uint32_t end, uint32_t sn)
{
    while (from < end) {
        struct pdu *pdu = expect(&i, S2N_DATA_IN);
        uint32_t to = from + pdu->length;
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_DATA_SN), sn++);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_OFFSET), from);
        CHECK(!memcmp(pdu->data, pattern(BYTES) + from, pdu->length));
        CHECK_EQUAL(!!(pdu->flags & F), !(to % PORTION) || !(to % BURST) || to == BYTES);
        CHECK_EQUAL(!!(pdu->flags & S2N_STATUS), to == BYTES);
        from = to;
    }
    CHECK_EQUAL(from, end);
}

/* ---- reads ---- */

static void a_read_goes_in_portions(void)
{
    s2n_conn_params params = usual;

    for (int digests = 0; digests < 2; digests++) {
        params.header_digest = params.data_digest = digests;
        begin_with(&params);
        put_command(&i, F | R, AN_ITT, BYTES, read10(0, BLOCKS), NULL, 0);
        expect_data(0, BYTES, 0);
        CHECK_EQUAL(fake.executions, (BYTES + PORTION - 1) / PORTION);
        expect_none(&i);
        end();
    }
}

static void portions_that_nobody_wants_are_read_all_the_same(void)
{
    begin_with(&usual);
    put_command(&i, F | R, AN_ITT, 100, read10(0, BLOCKS), NULL, 0);
    CHECK_EQUAL(expect(&i, S2N_DATA_IN)->length, 100);
    struct pdu *pdu = expect_status(&i, 0);
    CHECK_EQUAL(pdu->opcode, S2N_SCSI_RESPONSE);
    CHECK_EQUAL(pdu->flags, F | S2N_OVERFLOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), BYTES - 100);
    CHECK_EQUAL(fake.executions, (BYTES + PORTION - 1) / PORTION);
    end();
}

/* A read of which one portion was taken, and another one is held. */
static s2n_task *begin_second(void)
{
    begin_with(&usual);
    fake.hold = true;
    put_command(&i, F | R, AN_ITT, BYTES, read10(0, BLOCKS), NULL, 0);
    fake_run();
    fake_carry_out(fake.executed[0]);
    expect_data(0, PORTION, 0);
    expect_none(&i);
    CHECK_EQUAL(fake.executed_count, 1);
    CHECK_EQUAL(fake.executed[0]->portion_at, PORTION);
    return fake.executed[0];
}

static void what_fails_in_the_middle_leaves_the_rest_over(void)
{
    fake_end(begin_second(), CHECK_CONDITION, 18, NULL, 0);
    struct pdu *pdu = expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(pdu->flags, F | S2N_UNDERFLOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), BYTES - PORTION);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_DATA_SN), 3);
    end();
}

static void an_engine_brings_portions_too(void)
{
    fake_end(begin_second(), 0, 0, pattern(BYTES) + PORTION, PORTION);
    expect_data(PORTION, 2 * PORTION, 3);
    CHECK_EQUAL(fake.executed[0]->portion_at, 2 * PORTION);
    CHECK(fake_abort(AN_ITT, false));
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_none(&i);
    end();
}

/* A portion's Data-In are built, and fill the socket: the peer takes none. */
static void begin_untaken(void)
{
    s2n_conn_params params = usual;

    begin_with(&params);
    fake.portion_bytes = 5 << 20;
    fake.pool_bytes += (5 << 20) - PORTION;
    put_command(&i, F | R, AN_ITT, FAKE_BLOCKS * FAKE_BLOCK - FAKE_BLOCK,
                read10(0, FAKE_BLOCKS - 1), NULL, 0);
    fake_run();
    CHECK(i.conn->wire_count);
    CHECK_EQUAL(i.conn->commands->phase, S2N_HANDING_ON);
}

static void end_untaken(void)
{
    fake.pool_bytes += ALL - (5 << 20);
    logout(&i);
}

/* Take what is on its way; the PDU that follows it. */
static struct pdu *after_data(uint32_t *bytes)
{
    static struct pdu pdu;

    *bytes = 0;
    while (get(&i, &pdu) && pdu.opcode == S2N_DATA_IN) {
        CHECK(!(pdu.flags & S2N_STATUS));
        *bytes += pdu.length;
    }
    return &pdu;
}

static void an_abort_lets_whole_pdus_leave(void)
{
    uint32_t bytes;

    begin_untaken();
    CHECK(fake_abort(AN_ITT, false));
    CHECK_EQUAL(i.conn->commands->phase, S2N_WITHDRAWN);
    CHECK(!fake_abort(AN_ITT, false)); /* it is over for whoever asks */
    put_command(&i, F | S2N_ATTRIBUTE_ORDERED, AN_ITT + 1, 0, test_unit_ready, NULL, 0);
    fake_run();
    CHECK_EQUAL(fake.executions, 2); /* nor does anybody wait for it who is ordered after it */
    struct pdu *pdu = after_data(&bytes);
    CHECK_EQUAL(pdu->opcode, S2N_SCSI_RESPONSE);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), AN_ITT + 1);
    CHECK(bytes && bytes < 5 << 20);
    CHECK_EQUAL(fake.pool_bytes, 5 << 20);
    CHECK_EQUAL(fake.live_tasks, 0);
    end_untaken();
}

static void an_abort_that_promised_a_status_keeps_it(void)
{
    uint32_t bytes;

    begin_untaken();
    CHECK(fake_abort(AN_ITT, true));
    struct pdu *pdu = after_data(&bytes);
    CHECK_EQUAL(pdu->opcode, S2N_SCSI_RESPONSE);
    CHECK_EQUAL(pdu->bhs[S2N_AT_STATUS], TASK_ABORTED);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL),
                FAKE_BLOCKS * FAKE_BLOCK - FAKE_BLOCK - bytes);
    CHECK_EQUAL(fake.pool_bytes, 5 << 20);
    end_untaken();
}

static void a_connection_ends_in_the_middle(void)
{
    begin_untaken();
    s2n_conn_close(i.conn, false);
    fake_run();
    CHECK_EQUAL(fake.live_tasks, 0);
    CHECK_EQUAL(fake.pool_bytes, 5 << 20);
    end_untaken();
    begin_untaken();
    CHECK(fake_abort(AN_ITT, false));
    s2n_conn_close(i.conn, false);
    fake_run();
    CHECK_EQUAL(fake.live_tasks, 0);
    end_untaken();
}

static void a_graceful_end_does_not_begin_another_portion(void)
{
    uint32_t bytes;

    begin_untaken();
    s2n_conn_close(i.conn, true);
    after_data(&bytes);
    CHECK_EQUAL(bytes, 5 << 20);
    CHECK_EQUAL(fake.executions, 1);
    CHECK_EQUAL(fake.live_tasks, 0);
    end_untaken();
}

static void who_takes_nothing_of_a_portion_does_not_keep_others_waiting(void)
{
    begin_untaken();
    fake.wanted = true;
    for (uint32_t ms = 0; ms <= S2N_PRESSED_MS; ms += 500)
        fake_advance(500);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    fake.pool_bytes += ALL - (5 << 20);
    expect_nothing_left(&i);
}

/* ---- writes ---- */

/* Answer R2Ts, none of which is for more than the portion, up to `end` of the data. */
static void answer_up_to(uint32_t end)
{
    struct pdu *pdu;
    uint32_t offset, left;

    do {
        pdu = expect(&i, S2N_R2T);
        offset = s2n_get32(pdu->bhs + S2N_AT_OFFSET);
        left = s2n_get32(pdu->bhs + S2N_AT_RESIDUAL);
        CHECK(left && left <= BURST);
        CHECK_EQUAL(offset / PORTION, (offset + left - 1) / PORTION);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_TTT), s2n_get32(pdu->bhs + S2N_AT_DATA_SN));
        put_data_out(&i, AN_ITT, s2n_get32(pdu->bhs + S2N_AT_TTT), 0, offset, true,
                     pattern(BYTES) + offset, left);
    } while (offset + left < end);
    CHECK_EQUAL(offset + left, end);
}

static void begin_write(uint32_t edtl, uint32_t immediate, uint32_t r2ts)
{
    s2n_conn_params params = usual;

    params.maximum_r2t = r2ts;
    begin_with(&params);
    memset(fake.disk, 0, sizeof fake.disk);
    put_command(&i, F | W, AN_ITT, edtl, write10(0, BLOCKS), pattern(immediate), immediate);
}

static void a_write_goes_in_portions(void)
{
    for (uint32_t r2ts = 1; r2ts <= 3; r2ts++) {
        begin_write(BYTES, r2ts == 2 ? 5000 : 0, r2ts);
        answer_up_to(BYTES);
        expect_status(&i, 0);
        CHECK_EQUAL(fake.executions, (BYTES + PORTION - 1) / PORTION);
        CHECK(!memcmp(fake.disk, pattern(BYTES), BYTES));
        end();
    }
}

static void no_more_is_asked_for_than_a_portion(void)
{
    begin_write(BYTES, 0, 8);
    fake.hold = true;
    answer_up_to(PORTION);
    expect_none(&i);
    fake_end(fake.executed[0], 0x18, 0, NULL, 0);
    struct pdu *pdu = expect_status(&i, 0x18);
    CHECK_EQUAL(pdu->flags, F | S2N_UNDERFLOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), BYTES - PORTION);
    end();
}

static void a_write_is_aborted_between_portions(void)
{
    for (int told = 0; told < 2; told++) {
        begin_write(BYTES, 0, 1);
        answer_up_to(PORTION);
        expect(&i, S2N_R2T);
        CHECK(fake_abort(AN_ITT, told));
        if (told)
            expect_status(&i, TASK_ABORTED);
        expect_none(&i);
        CHECK_EQUAL(fake.executions, 1);
        end();
    }
}

static void a_portion_waits_for_its_buffer(void)
{
    begin_write(BYTES, 0, 1);
    fake.hold = true;
    answer_up_to(PORTION);
    fake_run();
    fake.pool_bytes -= 100;
    fake_carry_out(fake.executed[0]);
    expect_none(&i);
    fake_give(100);
    fake.hold = false;
    answer_up_to(BYTES);
    expect_status(&i, 0);
    end();
}

static void who_sends_nothing_in_the_middle_is_dropped(void)
{
    begin_write(BYTES, 0, 1);
    fake.hold = true;
    answer_up_to(PORTION);
    expect_none(&i);
    fake_advance(S2N_STALL_MS); /* nothing is due meanwhile */
    CHECK(i.conn->state == S2N_OPEN);
    fake_carry_out(fake.executed[0]);
    expect(&i, S2N_R2T);
    fake_advance(S2N_STALL_MS);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    fake.pool_bytes += ALL - PORTION;
    expect_nothing_left(&i);
}

static void unasked_data_must_fit_into_the_first_portion(void)
{
    s2n_conn_params params = usual;

    params.first_burst = BYTES;
    begin_with(&params);
    put_command(&i, W, AN_ITT, BYTES, write10(0, BLOCKS), pattern(8192), 8192);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 0, 8192, true, pattern(PORTION), PORTION);
    expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(fake.refusal, S2N_SENSE_UNEXPECTED_DATA);
    end();
}

int main(void)
{
    RUN(a_read_goes_in_portions);
    RUN(portions_that_nobody_wants_are_read_all_the_same);
    RUN(what_fails_in_the_middle_leaves_the_rest_over);
    RUN(an_engine_brings_portions_too);
    RUN(an_abort_lets_whole_pdus_leave);
    RUN(an_abort_that_promised_a_status_keeps_it);
    RUN(a_connection_ends_in_the_middle);
    RUN(a_graceful_end_does_not_begin_another_portion);
    RUN(who_takes_nothing_of_a_portion_does_not_keep_others_waiting);
    RUN(a_write_goes_in_portions);
    RUN(no_more_is_asked_for_than_a_portion);
    RUN(a_write_is_aborted_between_portions);
    RUN(a_portion_waits_for_its_buffer);
    RUN(who_sends_nothing_in_the_middle_is_dropped);
    RUN(unasked_data_must_fit_into_the_first_portion);
    return 0;
}
