/* SCSI Command PDUs: their headers. */
#include <string.h>
#include <time.h>

#include "initiator.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE };

static struct initiator i;

static const struct {
    const char *what;
    uint8_t opcode, flags;
    uint32_t itt, edtl, immediate;
    uint8_t reason;
} headers[] = {
    {"both directions", 1, F | R | W, 1, 512, 0, S2N_REJECT_FIELD},
    {"length without direction", 1, F, 1, 512, 0, S2N_REJECT_FIELD},
    {"data without W", 1, F | R, 1, 512, 512, S2N_REJECT_FIELD},
    {"not final without W", 1, R, 1, 512, 0, S2N_REJECT_FIELD},
    {"not final though all is there", 1, W, 1, 512, 512, S2N_REJECT_FIELD},
    {"reserved tag", 1, F, 0xffffffff, 0, 0, S2N_REJECT_FIELD},
    {"reserved attribute", 1, F | 5, 1, 0, 0, S2N_REJECT_FIELD},
    {"tag in use", 1, F, 0x77, 0, 0, S2N_REJECT_IN_PROGRESS},
    {"SNACK", 0x10, F, 1, 0, 0, S2N_REJECT_PROTOCOL},
    {"login again", 0x43, F, 1, 0, 0, S2N_REJECT_PROTOCOL},
    {"vendor opcode", 0x1c, F, 1, 0, 0, S2N_REJECT_UNSUPPORTED},
    {"target's opcode", 0x21, F, 1, 0, 0, S2N_REJECT_UNSUPPORTED},
};

static void malformed_requests_are_rejected(void)
{
    uint8_t bhs[48];

    for (unsigned at = 0; at < sizeof headers / sizeof *headers; at++) {
        login(&i, &usual);
        fake.hold = true;
        put_command(&i, F, 0x77, 0, test_unit_ready, NULL, 0);
        request(bhs, headers[at].opcode, headers[at].itt, i.cmd_sn);
        i.cmd_sn += headers[at].opcode == S2N_SCSI_COMMAND;
        bhs[1] = headers[at].flags;
        s2n_put32(bhs + S2N_AT_TTT, headers[at].edtl);
        put(&i, bhs, pattern(headers[at].immediate), headers[at].immediate);
        struct pdu *pdu = expect(&i, S2N_REJECT);
        CHECK_EQUAL(pdu->bhs[S2N_AT_RESPONSE], headers[at].reason);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_ITT), S2N_RESERVED_TAG);
        CHECK_EQUAL(pdu->length, 48);
        CHECK(!memcmp(pdu->data, bhs, 48));
        /* The connection goes on, with the next number. */
        put_command(&i, F, 2, 0, test_unit_ready, NULL, 0);
        fake_run();
        CHECK_EQUAL(fake.executed_count, 2);
        fake_end(fake.executed[1], 0, 0, NULL, 0);
        expect_status(&i, 0);
        fake_end(fake.executed[0], 0, 0, NULL, 0);
        expect_status(&i, 0);
        logout(&i);
    }
}

/* An extended CDB of `cdb_length` bytes, in an AHS whose length says `said`. */
static void put_long_cdb(uint8_t type, uint32_t cdb_length, uint32_t said)
{
    uint8_t bytes[48 + 512] = {0}, *ahs = bytes + 48;
    uint32_t words = (3 + cdb_length - 15 + 3) / 4;

    request(bytes, S2N_SCSI_COMMAND, AN_ITT, i.cmd_sn++);
    bytes[S2N_AT_AHS_LENGTH] = (uint8_t)words;
    bytes[32] = 0x7f;
    s2n_put16(ahs, said);
    ahs[2] = type;
    memcpy(ahs + 4, pattern(cdb_length - 16), cdb_length - 16);
    put_bytes(&i, bytes, 48 + words * 4);
}

static void long_cdbs_come_in_ahs(void)
{
    login(&i, &usual);
    fake.hold = true;
    put_long_cdb(1, 32, 17);
    fake_run();
    CHECK_EQUAL(fake.executed_count, 1);
    CHECK_EQUAL(fake.executed[0]->cdb_length, 32);
    CHECK_EQUAL(fake.executed[0]->cdb[0], 0x7f);
    CHECK(!memcmp(fake.executed[0]->cdb + 16, pattern(16), 16));
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_status(&i, 0);
    put_long_cdb(1, 260, 245); /* cut: no command is that long */
    fake_run();
    CHECK_EQUAL(fake.executed[0]->cdb_length, S2N_CDB_BYTES);
    fake_end(fake.executed[0], 0, 0, NULL, 0);
    expect_status(&i, 0);
    put_long_cdb(1, 32, 200); /* longer than the segment */
    CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_FIELD);
    put_long_cdb(1, 32, 0);
    CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_FIELD);
    put_long_cdb(2, 20, 5); /* bidirectional */
    CHECK_EQUAL(expect(&i, S2N_REJECT)->length, 48 + 8);
    logout(&i);
}

/* One byte of the segment's length is reserved, the others are the CDB's from its 17th on. */
static void a_cdb_is_as_long_as_its_ahs_says(void)
{
    login(&i, &usual);
    fake.hold = true;
    for (uint32_t length = 16; length <= 260; length++) {
        put_long_cdb(1, length, length - 15);
        fake_run();
        CHECK_EQUAL(fake.executed_count, 1);
        const s2n_task *task = fake.executed[0];
        CHECK_EQUAL(task->cdb_length, s2n_least(length, S2N_CDB_BYTES));
        CHECK(!memcmp(task->cdb + 16, pattern(length), task->cdb_length - 16));
        fake_end(fake.executed[0], 0, 0, NULL, 0);
        expect_status(&i, 0);
        put_long_cdb(1, length, (length - 9) / 4 * 4 - 2); /* one more than there is room for */
        CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_FIELD);
        fake_advance(1000); /* who earns many at once is dropped */
    }
    logout(&i);
}

enum { TAGS = 24 };

static void expect_in_progress(uint32_t tag)
{
    put_command(&i, F, tag, 0, test_unit_ready, NULL, 0);
    CHECK_EQUAL(expect(&i, S2N_REJECT)->bhs[S2N_AT_RESPONSE], S2N_REJECT_IN_PROGRESS);
}

/* Tags of all sizes, more than have a hash to themselves: each is known from its command's
 * beginning to its end, whatever ends before. */
static void every_tag_is_known_while_its_command_is_under_way(void)
{
    uint32_t state = (uint32_t)time(NULL) | 1, tags[TAGS];

    printf("seed %u\n", state);
    for (int round = 0; round < 20; round++) {
        login(&i, &usual);
        fake.hold = true;
        for (uint32_t at = 0; at < TAGS; at++) {
            /* Unlike one another, and none of them reserved. */
            tags[at] = draw(&state, 1 << 27) << 5 | at;
            put_command(&i, F, tags[at], 0, test_unit_ready, NULL, 0);
        }
        fake_run();
        for (uint32_t left = TAGS; left; left--) {
            expect_in_progress(tags[draw(&state, left)]);
            uint32_t at = draw(&state, left), tag = tags[at];
            tags[at] = tags[left - 1];
            for (at = 0; fake.executed[at]->tag != tag;)
                at++;
            fake_end(fake.executed[at], 0, 0, NULL, 0);
            CHECK_EQUAL(s2n_get32(expect_status(&i, 0)->bhs + S2N_AT_ITT), tag);
        }
        logout(&i);
    }
}

int main(void)
{
    RUN(malformed_requests_are_rejected);
    RUN(long_cdbs_come_in_ahs);
    RUN(a_cdb_is_as_long_as_its_ahs_says);
    RUN(every_tag_is_known_while_its_command_is_under_way);
    return 0;
}
