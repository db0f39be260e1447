/* Residual counts: what a command moves, against what the initiator expects. */
#include <string.h>
#include <time.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, CHECK_CONDITION = 2 };

static struct initiator i;

enum { READS, WRITES };

/* What the initiator says, the CDB, and what comes of it: bytes of data-in, and the residual. */
static const struct {
    uint8_t flags;
    uint32_t edtl;
    bool cdb;
    uint32_t blocks;
    uint32_t data, residual;
    uint8_t residual_flag;
} residuals[] = {
    {R, 512, READS, 1, 512, 0, 0},
    {R, 0, READS, 1, 0, 512, S2N_OVERFLOW},
    {R, 200, READS, 1, 200, 312, S2N_OVERFLOW},
    {R, 10000, READS, 1, 512, 9488, S2N_UNDERFLOW},
    {R, 512, READS, 0, 0, 512, S2N_UNDERFLOW},
    {R, 200000, READS, 1, 512, 199488, S2N_UNDERFLOW},
    {R, 512, READS, 300, 512, 153088, S2N_OVERFLOW},
    {0, 0, READS, 1, 0, 512, S2N_OVERFLOW},
    {W, 512, READS, 1, 0, 512, S2N_UNDERFLOW},
    {W, 0, READS, 1, 0, 512, S2N_OVERFLOW},
    {W, 200000, READS, 300, 0, 200000, S2N_UNDERFLOW},
    {W, 512, WRITES, 1, 0, 0, 0},
    {W, 0, WRITES, 1, 0, 512, S2N_OVERFLOW},
    {W, 200, WRITES, 1, 0, 312, S2N_OVERFLOW},
    {W, 10000, WRITES, 1, 0, 9488, S2N_UNDERFLOW},
    {W, 1024, WRITES, 1, 0, 512, S2N_UNDERFLOW},
    {W, 512, WRITES, 0, 0, 512, S2N_UNDERFLOW},
    {W, 200000, WRITES, 1, 0, 199488, S2N_UNDERFLOW},
    {W, 512, WRITES, 300, 0, 153088, S2N_OVERFLOW},
    {0, 0, WRITES, 1, 0, 512, S2N_OVERFLOW},
    {R, 0, WRITES, 1, 0, 512, S2N_OVERFLOW},
    {R, 512, WRITES, 1, 0, 512, S2N_UNDERFLOW},
    {R, 200000, WRITES, 1, 0, 200000, S2N_UNDERFLOW},
    /* Counts that need all 32 bits. */
    {R, 0xfedcba98, READS, 3, 1536, 0xfedcb498, S2N_UNDERFLOW},
    {W, 0xfedcba98, WRITES, 3, 0, 0xfedcb498, S2N_UNDERFLOW},
};

static void residuals_count_what_the_cdb_moves(void)
{
    for (unsigned at = 0; at < sizeof residuals / sizeof *residuals; at++) {
        bool write = residuals[at].cdb == WRITES;
        uint32_t blocks = residuals[at].blocks, edtl = residuals[at].edtl;
        uint32_t wanted = write && residuals[at].flags == W ? s2n_least(edtl, blocks * 512) : 0;
        login(&i, &usual);
        put_command(&i, F | residuals[at].flags, AN_ITT, edtl,
                    write ? write10(9, blocks) : read10(9, blocks), NULL, 0);
        if (wanted) {
            struct pdu *r2t = expect(&i, S2N_R2T);
            CHECK_EQUAL(s2n_get32(r2t->bhs + S2N_AT_RESIDUAL), wanted);
            put_data_out(&i, AN_ITT, s2n_get32(r2t->bhs + S2N_AT_TTT), 0, 0, true, pattern(wanted),
                         wanted);
        }
        bool short_write = write && wanted < blocks * 512;
        struct pdu *pdu = expect_status(&i, short_write ? CHECK_CONDITION : 0);
        CHECK_EQUAL(pdu->flags & (S2N_OVERFLOW | S2N_UNDERFLOW), residuals[at].residual_flag);
        CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), residuals[at].residual);
        CHECK_EQUAL(pdu->opcode == S2N_DATA_IN ? pdu->length : 0, residuals[at].data);
        logout(&i);
    }
}

/* What was not collected was not taken, whatever the CDB announces. */
static void what_is_not_carried_out_takes_nothing(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    put_command(&i, F | W, AN_ITT, 0x3000000, write10(0, 0xffff), NULL, 0); /* more than may be */
    struct pdu *pdu = expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(pdu->flags & (S2N_OVERFLOW | S2N_UNDERFLOW), S2N_UNDERFLOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), 0x3000000);
    request(bhs, S2N_SCSI_COMMAND, AN_ITT, i.cmd_sn++);
    bhs[1] = F | W;
    bhs[S2N_AT_LUN + 1] = 9; /* no logical unit, so no block length */
    s2n_put32(bhs + S2N_AT_TTT, 512);
    memcpy(bhs + 32, write10(0, 8), 16);
    put(&i, bhs, NULL, 0);
    pdu = expect_status(&i, CHECK_CONDITION);
    CHECK_EQUAL(pdu->flags & (S2N_OVERFLOW | S2N_UNDERFLOW), S2N_UNDERFLOW);
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_RESIDUAL), 512);
    logout(&i);
}

/* A number of any size, below 2 to the power of `bits`. */
static uint32_t any(uint32_t *state, uint32_t bits)
{
    return (draw(state, 1 << 16) << 16 | draw(state, 1 << 16)) >> (32 - 1 - draw(state, bits));
}

/* Reads of which either side may be the larger one, by any amount. */
static void residuals_of_any_size_are_told_whole(void)
{
    uint32_t state = (uint32_t)time(NULL) | 1;

    printf("seed %u\n", state);
    for (int round = 0; round < 300; round++) {
        uint32_t blocks = any(&state, 11), edtl = any(&state, round % 2 ? 32 : 20);
        uint32_t moves = blocks * FAKE_BLOCK, sent = 0;
        login(&i, &usual);
        put_command(&i, F | (edtl ? R : 0), AN_ITT, edtl, read10(9, blocks), NULL, 0);
        struct pdu pdu;
        do {
            CHECK(get(&i, &pdu));
            if (pdu.opcode == S2N_DATA_IN)
                sent += pdu.length;
        } while (pdu.opcode == S2N_DATA_IN && !(pdu.flags & S2N_STATUS));
        CHECK_EQUAL(sent, s2n_least(moves, edtl));
        CHECK_EQUAL(pdu.flags & (S2N_OVERFLOW | S2N_UNDERFLOW), moves < edtl   ? S2N_UNDERFLOW
                                                                : moves > edtl ? S2N_OVERFLOW
                                                                               : 0);
        CHECK_EQUAL(s2n_get32(pdu.bhs + S2N_AT_RESIDUAL),
                    moves < edtl ? edtl - moves : moves - edtl);
        logout(&i);
    }
}

int main(void)
{
    RUN(residuals_count_what_the_cdb_moves);
    RUN(what_is_not_carried_out_takes_nothing);
    RUN(residuals_of_any_size_are_told_whole);
    return 0;
}
