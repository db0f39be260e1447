/* The hot translation: rows, fields, limits, cuts. */
#include <string.h>

#include "check.h"
#include "hot_kind.h"
#include "little_endian.h"

enum { FUA_10 = 0x08 };

static const s2n_lu_params lu = {.nsid = 7,
                                 .block_shift = 9,
                                 .blocks = 100000,
                                 .maximum_blocks = 256,
                                 .boundary_blocks = 64,
                                 .volatile_cache = 1};
static s2n_nvme_op op[8192];

/* Of a command without data, or whose data nobody looks at. */
static int translate(const s2n_lu_params *unit, const uint8_t *cdb, uint16_t length,
                     s2n_nvme_op *out, int maximum)
{
    return s2n_hot_translate(unit, cdb, length, NULL, 0, out, maximum);
}

static void be(uint8_t *at, int bytes, uint64_t value)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* A READ or WRITE of `size` bytes. */
static const uint8_t *cdb_of(uint8_t opcode, uint64_t lba, uint32_t blocks)
{
    static uint8_t cdb[16];

    memset(cdb, 0, sizeof cdb);
    cdb[0] = opcode;
    if (opcode < 0x20) {
        be(cdb + 1, 3, lba);
        cdb[4] = (uint8_t)blocks;
    } else if (opcode < 0x80) {
        be(cdb + 2, 4, lba);
        be(cdb + 7, 2, blocks);
    } else if (opcode < 0xa0) {
        be(cdb + 2, 8, lba);
        be(cdb + 10, 4, blocks);
    } else {
        be(cdb + 2, 4, lba);
        be(cdb + 6, 4, blocks);
    }
    return cdb;
}

static const struct {
    uint8_t opcode, length, direction;
} transfers[] = {
    {0x08, 6, S2N_IN},  {0x28, 10, S2N_IN},  {0xa8, 12, S2N_IN},  {0x88, 16, S2N_IN},
    {0x0a, 6, S2N_OUT}, {0x2a, 10, S2N_OUT}, {0xaa, 12, S2N_OUT}, {0x8a, 16, S2N_OUT},
};

static void reads_and_writes_of_every_length(void)
{
    for (unsigned i = 0; i < sizeof transfers / sizeof *transfers; i++) {
        const uint8_t *cdb = cdb_of(transfers[i].opcode, 0x1234, 5);
        uint8_t direction, length = transfers[i].length;
        CHECK_EQUAL(s2n_hot_data_bytes(cdb, length, 512, &direction), 5 * 512);
        CHECK_EQUAL(direction, transfers[i].direction);
        CHECK_EQUAL(translate(&lu, cdb, length, op, 1), 1);
        CHECK_EQUAL(op[0].opcode, direction == S2N_IN ? 2 : 1);
        CHECK_EQUAL(op[0].slba, 0x1234);
        CHECK_EQUAL(op[0].blocks, 5);
        CHECK_EQUAL(op[0].nsid, 7);
        CHECK_EQUAL(op[0].cdw12, 0);
        /* A CDB that is cut short is none. */
        CHECK(!s2n_hot_find(cdb, length - 1u));
    }
    CHECK(!s2n_hot_find(cdb_of(0x28, 0, 1), 0));
}

/* LBAs and counts that need every byte of their fields. */
static void fields_are_read_whole(void)
{
    static const struct {
        uint64_t lba;
        uint32_t blocks;
    } vast[] = {
        {0x1fedcb, 0xfe}, {0xfedcba98, 0x3a98}, {0xfedcba98, 0x3a98}, {0x123456789abc, 0x3a98}};
    s2n_lu_params large = lu;

    large.blocks = UINT64_C(1) << 60;
    large.maximum_blocks = 65536;
    large.boundary_blocks = 0;
    for (unsigned i = 0; i < sizeof transfers / sizeof *transfers; i++) {
        uint64_t lba = vast[i % 4].lba;
        uint32_t blocks = vast[i % 4].blocks;
        uint8_t direction;
        const uint8_t *cdb = cdb_of(transfers[i].opcode, lba, blocks);
        CHECK_EQUAL(s2n_hot_data_bytes(cdb, transfers[i].length, 4096, &direction), blocks * 4096);
        CHECK_EQUAL(translate(&large, cdb, transfers[i].length, op, 1), 1);
        CHECK_EQUAL(op[0].slba, lba);
        CHECK_EQUAL(op[0].blocks, blocks);
        CHECK_EQUAL(s2n_get_le64(op[0].sqe + 40), lba);
        CHECK_EQUAL(s2n_get_le32(op[0].sqe + 48), blocks - 1);
    }
}

static void zero_blocks_mean_256_in_six_bytes_only(void)
{
    uint8_t direction;

    CHECK_EQUAL(s2n_hot_data_bytes(cdb_of(0x08, 0, 0), 6, 512, &direction), 256 * 512);
    CHECK_EQUAL(s2n_hot_data_bytes(cdb_of(0x28, 0, 0), 10, 512, &direction), 0);
    CHECK_EQUAL(translate(&lu, cdb_of(0x28, 0, 0), 10, op, 8), 0);
}

static void the_last_block_and_no_further(void)
{
    CHECK_EQUAL(translate(&lu, cdb_of(0x88, 99999, 1), 16, op, 8), 1);
    CHECK_EQUAL(translate(&lu, cdb_of(0x88, 100000, 0), 16, op, 8), 0);
    CHECK(translate(&lu, cdb_of(0x88, 99999, 2), 16, op, 8) < 0);
    CHECK(translate(&lu, cdb_of(0x88, 100001, 0), 16, op, 8) < 0);
    CHECK(translate(&lu, cdb_of(0x88, UINT64_MAX, 1), 16, op, 8) < 0);
    CHECK(translate(&lu, cdb_of(0x88, UINT64_MAX - 2, UINT32_MAX), 16, op, 8) < 0);
    CHECK(translate(&lu, cdb_of(0x88, 0, UINT32_MAX), 16, op, 8) < 0);
}

static void fua_is_passed_on_and_other_bits_step_aside(void)
{
    uint8_t cdb[16];

    memcpy(cdb, cdb_of(0x2a, 1, 1), sizeof cdb);
    cdb[1] = FUA_10;
    CHECK_EQUAL(translate(&lu, cdb, 10, op, 8), 1);
    CHECK_EQUAL(op[0].cdw12, 1 << 30);
    cdb[1] = 0x20; /* WRPROTECT */
    CHECK(translate(&lu, cdb, 10, op, 8) < 0);
    cdb[1] = 0;
    cdb[9] = 0x04; /* NACA */
    CHECK(translate(&lu, cdb, 10, op, 8) < 0);
}

static void flush_follows_the_cache(void)
{
    s2n_lu_params without = lu;

    CHECK_EQUAL(translate(&lu, cdb_of(0x35, 0, 0), 10, op, 8), 1);
    CHECK_EQUAL(op[0].opcode, 0);
    CHECK_EQUAL(op[0].nsid, 7);
    CHECK_EQUAL(translate(&lu, cdb_of(0x35, 99000, 1000), 10, op, 8), 1);
    CHECK_EQUAL(translate(&lu, cdb_of(0x91, 1, 1), 16, op, 8), 1);
    CHECK_EQUAL(translate(&lu, cdb_of(0x91, 70000, 0), 16, op, 8), 1);
    CHECK_EQUAL(s2n_get_le32(op[0].sqe), 0);
    without.volatile_cache = 0;
    CHECK_EQUAL(translate(&without, cdb_of(0x35, 0, 0), 10, op, 8), 0);
}

/* The commands cover the range, in order, and none crosses a boundary or a limit. */
static void check_cuts(uint32_t maximum, uint32_t boundary, uint64_t lba, uint32_t blocks)
{
    s2n_lu_params cut = lu;
    uint64_t at = lba;

    cut.maximum_blocks = maximum;
    cut.boundary_blocks = boundary;
    int count = translate(&cut, cdb_of(0x88, lba, blocks), 16, op, 8192);
    CHECK(count > 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQUAL(op[i].slba, at);
        CHECK(op[i].blocks && op[i].blocks <= maximum);
        if (boundary)
            CHECK(at / boundary == (at + op[i].blocks - 1) / boundary);
        at += op[i].blocks;
        /* Each is as long as may be. */
        CHECK(op[i].blocks == maximum || (boundary && !(at % boundary)) || at == lba + blocks);
    }
    CHECK_EQUAL(at, lba + blocks);
    CHECK(translate(&cut, cdb_of(0x88, lba, blocks), 16, op, count - 1) < 0);
}

static void cuts_at_limits_and_boundaries(void)
{
    static const uint32_t maxima[] = {1, 2, 7, 8, 64, 4096}, boundaries[] = {0, 1, 3, 8, 64, 100};
    static const uint32_t lengths[] = {1, 2, 7, 8, 9, 63, 64, 65, 1000};

    for (unsigned m = 0; m < 6; m++)
        for (unsigned b = 0; b < 6; b++)
            for (unsigned l = 0; l < 9; l++)
                for (uint64_t lba = 0; lba < 130; lba += 13)
                    check_cuts(maxima[m], boundaries[b], lba, lengths[l]);
    check_cuts(2048, 0, 0, S2N_MAXIMUM_TRANSFER / 512);
}

static void a_boundary_beyond_32_bits_of_lba(void)
{
    s2n_lu_params vast = lu;

    vast.blocks = UINT64_C(1) << 52;
    CHECK_EQUAL(translate(&vast, cdb_of(0x88, (UINT64_C(1) << 51) + 60, 8), 16, op, 8), 2);
    CHECK_EQUAL(op[0].blocks, 4);
    CHECK_EQUAL(op[1].slba, (UINT64_C(1) << 51) + 64);
}

static void the_entry_says_what_the_plan_does(void)
{
    uint8_t sqe[64];

    const s2n_lu_params vast = {.nsid = 7, .block_shift = 9, .maximum_blocks = 65536};
    const struct s2n_hot_plan plan = {
        .opcode = 1, .lba = 0x123456789abc, .blocks = 65536, .cdw12 = 1u << 30};
    const struct s2n_hot_kind *write = s2n_hot_find(cdb_of(0x8a, 0, 1), 16)->hot;
    const struct s2n_hot_kind *flush = s2n_hot_find(cdb_of(0x91, 0, 1), 16)->hot;

    memset(sqe, 0xff, sizeof sqe);
    write->place(&vast, &plan, sqe);
    CHECK_EQUAL(s2n_get_le32(sqe), 1);
    CHECK_EQUAL(s2n_get_le32(sqe + 4), 7);
    CHECK_EQUAL(s2n_get_le64(sqe + 40), 0x123456789abc);
    CHECK_EQUAL(s2n_get_le32(sqe + 48), 1u << 30 | 0xffff);
    CHECK_EQUAL(s2n_get_le64(sqe + 52), 0);
    flush->place(&vast, &plan, sqe);
    CHECK_EQUAL(s2n_get_le64(sqe + 40) | s2n_get_le32(sqe + 48), 0);
}

int main(void)
{
    RUN(reads_and_writes_of_every_length);
    RUN(fields_are_read_whole);
    RUN(zero_blocks_mean_256_in_six_bytes_only);
    RUN(the_last_block_and_no_further);
    RUN(fua_is_passed_on_and_other_bits_step_aside);
    RUN(flush_follows_the_cache);
    RUN(cuts_at_limits_and_boundaries);
    RUN(a_boundary_beyond_32_bits_of_lba);
    RUN(the_entry_says_what_the_plan_does);
    return 0;
}
