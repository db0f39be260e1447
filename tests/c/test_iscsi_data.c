/* SCSI commands and their data, both ways. */
#include <string.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, SIMPLE = 1, CHECK_CONDITION = 2 };

static struct initiator i;

/* ---- data-in ---- */

static void one_read_is_one_pdu(void)
{
    login(&i, &usual);
    put_command(&i, F | R | SIMPLE, AN_ITT, 4096, read10(3, 8), NULL, 0);
    struct pdu *pdu = expect_status(&i, 0);
    CHECK_EQUAL(pdu->opcode, S2N_DATA_IN);
    CHECK_EQUAL(pdu->flags, F | S2N_STATUS);
    CHECK_EQUAL(pdu->length, 4096);
    CHECK(!memcmp(pdu->data, fake.disk + 3 * FAKE_BLOCK, 4096));
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), AN_ITT);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_TTT), S2N_RESERVED_TAG);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_EXP_CMD_SN), FIRST_CMD_SN + 1);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_MAX_CMD_SN), FIRST_CMD_SN + WINDOW);
    expect_none(&i);
    logout(&i);
}

/* Bursts of 16384 in PDUs of at most `limit`, over chunks of 65536. */
static void read_in_pdus(uint32_t limit, bool digests)
{
    s2n_conn_params params = usual;
    uint32_t offset = 0, bytes = 300 * FAKE_BLOCK, sn = 0;

    params.maximum_send = limit;
    params.header_digest = params.data_digest = digests;
    login(&i, &params);
    put_command(&i, F | R, AN_ITT, bytes, read10(0, 300), NULL, 0);
    while (offset < bytes) {
        struct pdu *pdu = expect(&i, S2N_DATA_IN);
        bool last = offset + pdu->length == bytes;
        bool burst_ends = (offset + pdu->length) % 16384 == 0;
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_DATA_SN), sn++);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_OFFSET), offset);
        CHECK_EQUAL(pdu->flags, (last || burst_ends ? F : 0) | (last ? S2N_STATUS : 0));
        CHECK(pdu->length && offset / 16384 == (offset + pdu->length - 1) / 16384);
        CHECK(pdu->flags & F || pdu->length % 4 == 0);
        CHECK(!memcmp(pdu->data, fake.disk + offset, pdu->length));
        offset += pdu->length;
    }
    CHECK_EQUAL(offset, bytes);
    expect_none(&i);
    logout(&i);
}

static void long_reads_are_split(void)
{
    static const uint32_t limits[] = {512, 1000, 1001, 8191, 8192, 16384, 100000};

    for (unsigned at = 0; at < sizeof limits / sizeof *limits; at++) {
        read_in_pdus(limits[at], false);
        read_in_pdus(limits[at], true);
    }
}

static void sense_follows_data_in_a_response(void)
{
    login(&i, &usual);
    fake.hold = true;
    put_command(&i, F | R, AN_ITT, 512, read10(0, 1), NULL, 0);
    fake_run();
    fake_end(fake.executed[0], CHECK_CONDITION, 18, pattern(100), 100);
    struct pdu *pdu = expect(&i, S2N_DATA_IN);
    CHECK_EQUAL(pdu->flags, F);
    CHECK_EQUAL(pdu->length, 100);
    pdu = expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(pdu->flags, F | S2N_UNDERFLOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), 412);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_DATA_SN), 1);
    CHECK_EQUAL(pdu->length, 20);
    CHECK_EQUAL(s2n_get16(pdu->data), 18);
    CHECK_EQUAL(pdu->data[2], 0x5e);
    logout(&i);
}

/* ---- data-out ---- */

/* Answer R2Ts in PDUs of at most `piece` until a response comes. */
static struct pdu *answer_r2ts(const uint8_t *data, uint32_t offset, uint32_t piece)
{
    static struct pdu pdu;
    uint32_t r2t_sn = 0;

    while (get(&i, &pdu) && pdu.opcode == S2N_R2T) {
        uint32_t ttt = s2n_get32(pdu.bhs + S2N_AT_TTT), sn = 0;
        uint32_t left = s2n_get32(pdu.bhs + S2N_AT_RESIDUAL);
        CHECK_EQUAL(s2n_get32(pdu.bhs + S2N_AT_DATA_SN), r2t_sn++);
        CHECK_EQUAL(s2n_get32(pdu.bhs + S2N_AT_OFFSET), offset);
        CHECK(left && left <= i.params.maximum_burst);
        while (left) {
            uint32_t now = left < piece ? left : piece;
            left -= now;
            put_data_out(&i, AN_ITT, ttt, sn++, offset, !left, data + offset, now);
            offset += now;
        }
    }
    return &pdu;
}

static void write_with(uint32_t immediate, uint32_t unsolicited, uint32_t piece, bool digests,
                       uint32_t r2ts)
{
    uint32_t bytes = 900 * FAKE_BLOCK, offset = immediate, sn = 0;
    s2n_conn_params params = usual;

    params.first_burst = 200000;
    params.maximum_recv = 262144;
    params.maximum_burst = 200001;
    params.maximum_r2t = r2ts;
    params.header_digest = params.data_digest = digests;
    login(&i, &params);
    memset(fake.disk, 0, sizeof fake.disk);
    const uint8_t *data = pattern(bytes);
    put_command(&i, (unsolicited ? 0 : F) | W, AN_ITT, bytes, write10(5, 900), data, immediate);
    while (offset < immediate + unsolicited) {
        uint32_t left = immediate + unsolicited - offset;
        uint32_t now = left < piece ? left : piece;
        put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, sn++, offset, now == left, data + offset, now);
        offset += now;
    }
    struct pdu *pdu = answer_r2ts(data, offset, piece);
    CHECK_EQUAL(pdu->opcode, S2N_SCSI_RESPONSE);
    CHECK_EQUAL(pdu->bhs[S2N_AT_STATUS], 0);
    CHECK_EQUAL(pdu->flags, F);
    CHECK_EQUAL(fake.executions, 1);
    CHECK(!memcmp(fake.disk + 5 * FAKE_BLOCK, pattern(bytes), bytes));
    CHECK_EQUAL(fake.watched_otherwise, 0); /* the socket had room for all that was sent */
    logout(&i);
}

static void writes_gather_all_kinds_of_data(void)
{
    static const uint32_t pieces[] = {1001, 8192, 70003, 262144};

    for (unsigned at = 0; at < sizeof pieces / sizeof *pieces; at++) {
        write_with(0, 0, pieces[at], at % 2, 1);
        write_with(5003, 0, pieces[at], at % 2, 1);
        write_with(0, 150001, pieces[at], !(at % 2), 1);
        write_with(4096, 195904, pieces[at], at % 2, 2);
        write_with(199999, 0, pieces[at], !(at % 2), 3);
    }
}

/* All outstanding R2Ts come at once, and no more than negotiated. */
static void r2ts_are_bounded(void)
{
    s2n_conn_params params = usual;

    params.maximum_r2t = 3;
    login(&i, &params);
    put_command(&i, F | W, AN_ITT, 65536, write10(0, 128), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    expect(&i, S2N_R2T);
    CHECK_EQUAL(s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_OFFSET), 32768);
    expect_none(&i);
    put_data_out(&i, AN_ITT, ttt, 0, 0, true, pattern(16384), 16384);
    CHECK_EQUAL(s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_OFFSET), 49152);
    expect_none(&i);
    logout(&i);
}

/* Whatever was negotiated, a command has one. */
static void a_write_has_an_r2t(void)
{
    s2n_conn_params params = usual;

    params.maximum_r2t = 0;
    login(&i, &params);
    put_command(&i, F | W, AN_ITT, 65536, write10(0, 128), NULL, 0);
    CHECK_EQUAL(answer_r2ts(pattern(65536), 0, 65536)->bhs[S2N_AT_STATUS], 0);
    logout(&i);
}

/* Whatever Python's header says. */
static void what_is_sent_has_no_additional_header(void)
{
    uint8_t bhs[48] = {S2N_TEXT_RESPONSE, F, [S2N_AT_AHS_LENGTH] = 0xff, 0xff, 0xff, 0xff};

    login(&i, &usual);
    s2n_conn_send(i.conn, bhs, NULL, 0, true);
    struct pdu *pdu = expect(&i, S2N_TEXT_RESPONSE);
    CHECK_EQUAL(pdu->bhs[S2N_AT_AHS_LENGTH], 0);
    CHECK_EQUAL(pdu->length, 0);
    logout(&i);
}

static void an_r2t_has_the_tag_and_the_unit_of_its_command(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    request(bhs, S2N_SCSI_COMMAND, AN_ITT, i.cmd_sn++);
    bhs[1] = F | W;
    bhs[S2N_AT_LUN] = 0x40;
    s2n_put32(bhs + S2N_AT_TTT, FAKE_BLOCK);
    memcpy(bhs + 32, write10(0, 1), 16);
    put(&i, bhs, NULL, 0);
    struct pdu *r2t = expect(&i, S2N_R2T);
    CHECK(!memcmp(r2t->bhs + S2N_AT_LUN, bhs + S2N_AT_LUN, 8));
    CHECK_EQUAL(s2n_get32(r2t->bhs + S2N_AT_ITT), AN_ITT);
    CHECK_EQUAL(r2t->flags, F);
    CHECK_EQUAL(s2n_get32(r2t->bhs + S2N_AT_RESIDUAL), FAKE_BLOCK);
    logout(&i);
}

/* Data of a task that was aborted come late, when another task has its initiator task tag. */
static void late_data_is_not_taken_for_another_commands(void)
{
    login(&i, &usual);
    put_command(&i, F | W, AN_ITT, 1024, write10(0, 2), NULL, 0);
    uint32_t late = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    CHECK(fake_abort(AN_ITT, false));
    expect_none(&i);
    put_command(&i, F | W, AN_ITT, 1024, write10(0, 2), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    put_data_out(&i, AN_ITT, late, 0, 0, true, pattern(2048) + 1024, 1024);
    expect_none(&i);
    put_data_out(&i, AN_ITT, ttt, 0, 0, true, pattern(1024), 1024);
    expect_status(&i, 0);
    CHECK(!memcmp(fake.disk, pattern(1024), 1024));
    logout(&i);
}

/* Tags run on beyond the reserved one, which says that data were not asked for. */
static void transfer_tags_wrap_around_the_reserved_one(void)
{
    s2n_conn_params params = usual;

    params.maximum_r2t = 2;
    login(&i, &params);
    i.session->next_ttt = S2N_RESERVED_TAG - 1;
    put_command(&i, F | W, AN_ITT, 32768, write10(0, 64), NULL, 0);
    CHECK_EQUAL(s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT), 0);
    CHECK_EQUAL(s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT), 1);
    logout(&i);
}

/* Sequences are ended by F, be it in a PDU of its own, and take empty PDUs before. */
static void empty_data_out_is_taken(void)
{
    s2n_conn_params params = usual;
    const uint8_t *data = pattern(20480);
    uint32_t burst = 16384;

    params.initial_r2t = false;
    login(&i, &params);
    memset(fake.disk, 0, sizeof fake.disk);
    put_command(&i, W, AN_ITT, 20480 + 1024, write10(0, 42), data, 512);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 0, 512, false, data, 0);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 1, 512, false, data + 512, 512);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 2, 1024, true, data, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    put_data_out(&i, AN_ITT, ttt, 0, 1024, false, data, 0);
    put_data_out(&i, AN_ITT, ttt, 1, 1024, false, data + 1024, burst);
    expect_none(&i);
    put_data_out(&i, AN_ITT, ttt, 2, 1024 + burst, true, data, 0);
    struct pdu *r2t = expect(&i, S2N_R2T);
    CHECK_EQUAL(s2n_get32(r2t->bhs + S2N_AT_OFFSET), 1024 + burst);
    ttt = s2n_get32(r2t->bhs + S2N_AT_TTT);
    uint32_t rest = s2n_get32(r2t->bhs + S2N_AT_RESIDUAL);
    CHECK_EQUAL(rest, 42 * 512 - 1024 - burst);
    put_data_out(&i, AN_ITT, ttt, 0, 1024 + burst, false, data + burst, rest);
    expect_none(&i);
    CHECK_EQUAL(fake.executions, 0);
    put_data_out(&i, AN_ITT, ttt, 1, 42 * 512, true, data, 0);
    expect_status(&i, 0);
    CHECK_EQUAL(fake.executions, 1);
    CHECK(!memcmp(fake.disk, data, 1024 + burst));
    CHECK(!memcmp(fake.disk + 1024 + burst, data + burst, rest));
    logout(&i);
}

/* Nothing more comes than was asked for, though its sequence was not ended. */
static void data_out_beyond_its_sequence_is_refused(void)
{
    login(&i, &usual);
    put_command(&i, F | W, AN_ITT, 1024, write10(0, 2), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    put_data_out(&i, AN_ITT, ttt, 0, 0, false, pattern(1024), 1024);
    expect_none(&i);
    put_data_out(&i, AN_ITT, ttt, 1, 1024, true, pattern(4), 4);
    expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(fake.refusal, S2N_SENSE_DATA_AMOUNT);
    CHECK_EQUAL(fake.executions, 0);
    logout(&i);
}

/* One Data-Out that is wrong in one way, in answer to an R2T of 1024 bytes. */
static const struct {
    const char *what;
    uint32_t ttt_off, data_sn, offset, length;
    bool final;
    uint32_t sense;
} faults[] = {
    {"tag", 1, 0, 0, 1024, true, S2N_SENSE_DATA_PHASE},
    {"sequence number", 0, 1, 0, 1024, true, S2N_SENSE_DATA_PHASE},
    {"offset", 0, 0, 512, 512, true, S2N_SENSE_DATA_PHASE},
    {"too long", 0, 0, 0, 1028, true, S2N_SENSE_DATA_AMOUNT},
    {"early end", 0, 0, 0, 512, true, S2N_SENSE_DATA_AMOUNT},
    {"early end, empty", 0, 0, 0, 0, true, S2N_SENSE_DATA_AMOUNT},
    {"far offset", 0, 0, 0xfffffe00, 1024, true, S2N_SENSE_DATA_PHASE},
};

static void wrong_data_out_fails_the_write(void)
{
    for (unsigned at = 0; at < sizeof faults / sizeof *faults; at++) {
        login(&i, &usual);
        put_command(&i, F | W, AN_ITT, 1024, write10(0, 2), NULL, 0);
        uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
        put_data_out(&i, AN_ITT, ttt + faults[at].ttt_off, faults[at].data_sn, faults[at].offset,
                     faults[at].final, pattern(2048), faults[at].length);
        expect_status(&i, CHECK_CONDITION);
        CHECK_EQUAL(fake.refusal, faults[at].sense);
        CHECK_EQUAL(fake.executions, 0);
        /* What still comes for it is dropped. */
        put_data_out(&i, AN_ITT, ttt, 0, 0, true, pattern(1024), 1024);
        expect_none(&i);
        logout(&i);
    }
}

static const struct {
    const char *what;
    bool immediate_data, initial_r2t;
    uint8_t flags;
    uint32_t edtl, immediate;
    uint32_t sense;
} unasked[] = {
    {"no immediate data negotiated", false, false, F | W, 1024, 512, S2N_SENSE_UNEXPECTED_DATA},
    {"beyond FirstBurstLength", true, false, F | W, 10240, 8196, S2N_SENSE_UNEXPECTED_DATA},
    {"beyond EDTL", true, false, F | W, 512, 1024, S2N_SENSE_DATA_AMOUNT},
    {"InitialR2T=Yes", true, true, W, 1024, 512, S2N_SENSE_UNEXPECTED_DATA},
    {"direction", true, false, F | R, 1024, 0, S2N_SENSE_INFORMATION_UNIT},
};

static void unasked_data_is_refused(void)
{
    for (unsigned at = 0; at < sizeof unasked / sizeof *unasked; at++) {
        s2n_conn_params params = usual;
        params.immediate_data = unasked[at].immediate_data;
        params.initial_r2t = unasked[at].initial_r2t;
        login(&i, &params);
        put_command(&i, unasked[at].flags, AN_ITT, unasked[at].edtl, write10(0, 2),
                    pattern(unasked[at].immediate), unasked[at].immediate);
        expect_status(&i, CHECK_CONDITION);
        CHECK_EQUAL(fake.refusal, unasked[at].sense);
        CHECK_EQUAL(fake.executions, 0);
        logout(&i);
    }
}

static void unsolicited_data_beyond_first_burst_is_absorbed_and_refused(void)
{
    login(&i, &usual);
    put_command(&i, W, AN_ITT, 16384, write10(0, 32), pattern(8192), 8192);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 0, 8192, false, pattern(512), 512);
    expect_none(&i);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 1, 8704, true, pattern(512), 512);
    expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(fake.refusal, S2N_SENSE_UNEXPECTED_DATA);
    expect_none(&i);
    logout(&i);
}

/* Nothing is solicited, and nothing kept, where the CDB cannot be carried out. */
/* The initiator may expect to send more than the CDB asks for, as much as FirstBurstLength, and
 * no more. */
static void what_the_cdb_does_not_ask_for_may_come_unasked(void)
{
    enum { EDTL = 8192, HALF = EDTL / 2 };

    login(&i, &usual);
    CHECK(usual.first_burst >= EDTL && !usual.initial_r2t);
    put_command(&i, W, 1, EDTL, write10(0, 1), NULL, 0);
    put_data_out(&i, 1, S2N_RESERVED_TAG, 0, 0, true, pattern(HALF), HALF);
    expect_status(&i, 0);
    put_command(&i, W, 2, EDTL, write10(0, 1), pattern(HALF), HALF);
    put_data_out(&i, 2, S2N_RESERVED_TAG, 0, HALF, false, pattern(HALF), HALF);
    put_data_out(&i, 2, S2N_RESERVED_TAG, 1, EDTL, true, pattern(HALF), HALF);
    expect_status(&i, 2);
    CHECK(fake.refusal);
    logout(&i);
}

static void hopeless_commands_get_no_memory(void)
{
    static const uint8_t unknown[16] = {0xc0};
    uint8_t bhs[48];

    login(&i, &usual);
    put_command(&i, W, AN_ITT, 1 << 30, unknown, pattern(4096), 4096);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 0, 4096, true, pattern(4096), 4096);
    expect_status(&i, CHECK_CONDITION);
    put_command(&i, F | W, AN_ITT, 0xffffffff, write10(0, 0xffff), pattern(4096), 4096);
    expect_status(&i, CHECK_CONDITION);
    request(bhs, S2N_SCSI_COMMAND, AN_ITT, i.cmd_sn++);
    bhs[1] = F | W;
    bhs[S2N_AT_LUN + 1] = 9;
    s2n_put32(bhs + S2N_AT_TTT, 4096);
    memcpy(bhs + 32, write10(0, 8), 16);
    put(&i, bhs, pattern(4096), 4096);
    expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(fake.executions, 3);
    logout(&i);
}

static void without_a_buffer_commands_wait(void)
{
    login(&i, &usual);
    fake.pool_bytes = 100;
    put_command(&i, F | W, AN_ITT, 4096, write10(0, 8), NULL, 0);
    expect_none(&i);
    fake_give((1 << 26) - 100);
    CHECK_EQUAL(answer_r2ts(pattern(4096), 0, 4096)->bhs[S2N_AT_STATUS], 0);
    logout(&i);
}

/* Data that came unasked is kept until there is a buffer for all of it. */
static void early_data_waits_for_a_buffer(void)
{
    const uint8_t *data = pattern(8192);

    login(&i, &usual);
    memset(fake.disk, 0, 16 * FAKE_BLOCK);
    fake.pool_bytes = 100;
    put_command(&i, W, AN_ITT, 8192, write10(0, 16), data, 1024);
    put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, 0, 1024, true, data + 1024, 2048);
    expect_none(&i);
    CHECK_EQUAL(fake.charged, 8192);
    fake_give((1 << 26) - 100);
    fake_run();
    CHECK_EQUAL(fake.charged, 0); /* it has moved */
    CHECK_EQUAL(answer_r2ts(data, 3072, 4096)->bhs[S2N_AT_STATUS], 0);
    CHECK(!memcmp(fake.disk, data, 8192));
    fake_give(100 - (1 << 26));
    put_command(&i, F | W, 2, 4096, write10(0, 8), data + 100, 4096);
    expect_none(&i);
    CHECK(fake_abort(2, false)); /* what was kept goes with it */
    put_command(&i, F | W, 3, 4096, write10(0, 8), data + 200, 4096);
    expect_none(&i);
    CHECK_EQUAL(fake.executions, 1);
    fake_give((1 << 26) - 100);
    expect_status(&i, 0);
    CHECK(!memcmp(fake.disk, data + 200, 4096));
    logout(&i);
}

static void too_much_early_data_is_sent_back(void)
{
    s2n_conn_params params = usual;
    uint32_t bytes = params.first_burst = 1 << 20, kept = S2N_EARLY_BYTES / bytes;

    login(&i, &params);
    fake.pool_bytes = 100;
    for (uint32_t tag = 0; tag <= kept; tag++)
        put_command(&i, W, tag, bytes, write10(0, 2048), pattern(4096), 4096);
    put_data_out(&i, kept - 1, S2N_RESERVED_TAG, 0, 4096, true, pattern(2048), 2048);
    expect_none(&i); /* that one has the last of the room */
    put_data_out(&i, kept, S2N_RESERVED_TAG, 0, 4096, true, pattern(2048), 2048);
    CHECK_EQUAL(s2n_get32(expect_status(&i, S2N_TASK_SET_FULL)->bhs + S2N_AT_ITT), kept);
    fake_give((1 << 26) - 100);
    CHECK(!fake.executions && fake.finished == 1);
    logout(&i);
}

int main(void)
{
    RUN(one_read_is_one_pdu);
    RUN(long_reads_are_split);
    RUN(sense_follows_data_in_a_response);
    RUN(writes_gather_all_kinds_of_data);
    RUN(r2ts_are_bounded);
    RUN(a_write_has_an_r2t);
    RUN(what_is_sent_has_no_additional_header);
    RUN(an_r2t_has_the_tag_and_the_unit_of_its_command);
    RUN(late_data_is_not_taken_for_another_commands);
    RUN(transfer_tags_wrap_around_the_reserved_one);
    RUN(empty_data_out_is_taken);
    RUN(data_out_beyond_its_sequence_is_refused);
    RUN(wrong_data_out_fails_the_write);
    RUN(unasked_data_is_refused);
    RUN(unsolicited_data_beyond_first_burst_is_absorbed_and_refused);
    RUN(what_the_cdb_does_not_ask_for_may_come_unasked);
    RUN(hopeless_commands_get_no_memory);
    RUN(without_a_buffer_commands_wait);
    RUN(early_data_waits_for_a_buffer);
    RUN(too_much_early_data_is_sent_back);
    return 0;
}
