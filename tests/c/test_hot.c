/* The hot translation: rows, fields, limits, cuts. */
#include <string.h>

#include "check.h"
#include "hot_sqe.h"

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

static s2n_lu_params able(void)
{
    s2n_lu_params all = lu;

    all.boundary_blocks = 0;
    all.compares = 1;
    all.verify_blocks = all.write_zeroes_blocks = all.write_same_blocks = 65535;
    all.unmap_ranges = 256;
    all.unmap_range_blocks = 10;
    all.unmap_blocks = 10000;
    return all;
}

/* One Write, whatever is optimal, or none at all. */
static void an_atomic_write_is_never_cut(void)
{
    uint8_t cdb[16] = {0x9c, FUA_10, [9] = 16, [13] = 200};
    s2n_lu_params unit = lu;

    CHECK(translate(&unit, cdb, 16, op, 8) < 0);
    unit.atomic_blocks = 200;
    unit.atomic_alignment = 16;
    CHECK_EQUAL(translate(&unit, cdb, 16, op, 8), 1);
    CHECK_EQUAL(op[0].opcode, 1);
    CHECK_EQUAL(op[0].slba, 16);
    CHECK_EQUAL(op[0].blocks, 200);
    CHECK_EQUAL(op[0].data_bytes, 200 * 512);
    CHECK_EQUAL(op[0].cdw12, 1u << 30);
    cdb[13] = 201;
    CHECK(translate(&unit, cdb, 16, op, 8) < 0);
    cdb[13] = 0;
    CHECK_EQUAL(translate(&unit, cdb, 16, op, 8), 0);
    cdb[13] = 1;
    cdb[9] = 17;
    CHECK(translate(&unit, cdb, 16, op, 8) < 0);
    cdb[9] = 16;
    cdb[11] = 1; /* ATOMIC BOUNDARY */
    CHECK(translate(&unit, cdb, 16, op, 8) < 0);
}

/* Whatever a plan that was refused holds: the refusal is what counts. */
static void no_kind_goes_beyond_the_last_block(void)
{
    static const uint8_t opcodes[] = {0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35, 0x41};
    static uint8_t buffer[S2N_PAGE];
    const struct s2n_hot_data data = {buffer, sizeof buffer};
    s2n_lu_params all = able();
    struct s2n_hot_plan plan;

    for (unsigned i = 0; i < sizeof opcodes; i++) {
        const struct s2n_hot_row *row = s2n_hot_find(cdb_of(opcodes[i], 0, 1), 10);
        CHECK(row && row->hot);
        CHECK(s2n_hot_plan(&all, row, cdb_of(opcodes[i], 99998, 2), &data, &plan));
        CHECK(!s2n_hot_plan(&all, row, cdb_of(opcodes[i], 99998, 3), &data, &plan));
        CHECK(!s2n_hot_plan(&all, row, cdb_of(opcodes[i], 100000, 1), &data, &plan));
    }
}

/* Of the block alone, and of all of it. */
static void zeroes_are_known_by_every_byte(void)
{
    static const uint8_t write_same[10] = {0x41, [8] = 9};
    const s2n_lu_params all = able();
    static uint8_t buffer[S2N_PAGE];

    for (unsigned at = 0; at <= 512; at++) {
        memset(buffer, 0, sizeof buffer);
        buffer[at] = 0x80;
        CHECK_EQUAL(s2n_hot_translate(&all, write_same, 10, buffer, sizeof buffer, op, 8), 1);
        CHECK_EQUAL(op[0].opcode, at < 512 ? 1 : 8);
        CHECK_EQUAL(op[0].period, at < 512 ? S2N_PAGE : 0);
        CHECK_EQUAL(op[0].data_at, 0);
        CHECK_EQUAL(op[0].cdw12, 0);
        CHECK_EQUAL(s2n_get_le32(op[0].sqe + 48), 9 - 1);
    }
}

static void the_longest_write_same_is_hot(void)
{
    static const uint8_t write_same[16] = {0x93, [12] = 1, [13] = 1}; /* 257 blocks */
    static uint8_t buffer[S2N_PAGE] = {1};
    s2n_lu_params all = able();

    for (all.write_same_blocks = 256; all.write_same_blocks < 258; all.write_same_blocks++)
        CHECK_EQUAL(s2n_hot_translate(&all, write_same, 16, buffer, S2N_PAGE, op, 8) > 0,
                    all.write_same_blocks == 257);
}

/* Neither before the data nor behind their room, wherever that ends. */
static void nothing_is_done_without_room(void)
{
    static const uint8_t write_same[10] = {0x41, [8] = 9}, each[10] = {0x2f, 3 << 1, [8] = 9},
                         unmap[10] = {0x42, [8] = 24};
    s2n_lu_params all = able();
    static uint8_t buffer[8192];
    uint8_t *list = buffer + 4096;

    buffer[0] = 1;
    memset(list, 0xee, S2N_PAGE);
    for (all.block_shift = 9; all.block_shift < 13; all.block_shift++) {
        CHECK(s2n_hot_translate(&all, write_same, 10, buffer, S2N_PAGE - 1, op, 8) < 0);
        CHECK_EQUAL(s2n_hot_translate(&all, write_same, 10, buffer, S2N_PAGE, op, 8), 1);
        CHECK(s2n_hot_translate(&all, each, 10, buffer, S2N_PAGE - 1, op, 8) < 0);
        CHECK_EQUAL(s2n_hot_translate(&all, each, 10, buffer, S2N_PAGE, op, 8), 1);
        CHECK(s2n_hot_translate(&all, write_same, 10, NULL, S2N_PAGE, op, 8) < 0);
        CHECK(s2n_hot_translate(&all, each, 10, NULL, S2N_PAGE, op, 8) < 0);
    }
    for (uint32_t at = 0; at < S2N_PAGE; at++)
        CHECK_EQUAL(list[at], 0xee);
    all.block_shift = 13;
    CHECK(s2n_hot_translate(&all, write_same, 10, buffer, 8191, op, 8) < 0);
    CHECK_EQUAL(s2n_hot_translate(&all, write_same, 10, buffer, 8192, op, 8), 1);
    memset(list, 0, S2N_PAGE);
    /* Three ranges of 16 bytes, behind 24 that are rounded up to 32. */
    be(list, 2, 22);
    be(list + 2, 2, 16);
    be(list + 16, 4, 25);
    for (uint32_t room = 0; room < 96; room++) {
        memset(list + 24, 0xff, 4072);
        int count = s2n_hot_translate(&all, unmap, 10, list, room, op, 8);
        CHECK_EQUAL(count > 0, room >= 80);
        for (uint32_t at = room < 24 ? 24 : room; at < 96; at++)
            CHECK_EQUAL(list[at], 0xff);
    }
    CHECK(s2n_hot_translate(&all, unmap, 10, NULL, 4096, op, 8) < 0);
}

/* Nor what the namespace does not do, is beyond its end, or is no list. */
static void unmap_is_judged_first(void)
{
    static const uint8_t two[10] = {0x42, [8] = 40}, short_list[10] = {0x42, [8] = 7},
                         header[10] = {0x42, [8] = 8}, no_list[10] = {0x42};
    static uint8_t list[4096];
    s2n_lu_params lu = able();

    memset(list, 0xff, sizeof list);
    be(list + 2, 2, 32);
    for (int at = 8; at < 40; at += 16) {
        be(list + at, 8, 1000);
        be(list + at + 8, 4, 1);
    }
    CHECK_EQUAL(s2n_hot_translate(&lu, two, 10, list, sizeof list, op, 8), 1);
    CHECK_EQUAL(op[0].data_bytes, 32);
    CHECK(!list[op[0].data_at] && !list[op[0].data_at + 3]); /* no context attributes */
    be(list + 2, 2, 31);                                     /* the second is cut off */
    CHECK_EQUAL(s2n_hot_translate(&lu, two, 10, list, sizeof list, op, 8), 1);
    CHECK_EQUAL(op[0].data_bytes, 16);
    CHECK(s2n_hot_translate(&lu, short_list, 10, list, sizeof list, op, 8) < 0);
    CHECK_EQUAL(s2n_hot_translate(&lu, header, 10, list, sizeof list, op, 8), 0);
    CHECK_EQUAL(s2n_hot_translate(&lu, no_list, 10, list, sizeof list, op, 8), 0);
    lu.unmap_ranges = 0;
    CHECK(s2n_hot_translate(&lu, two, 10, list, sizeof list, op, 8) < 0);
    CHECK(s2n_hot_translate(&lu, no_list, 10, list, sizeof list, op, 8) < 0);
    lu = able();
    lu.unmap_range_blocks = 0;
    CHECK(s2n_hot_translate(&lu, two, 10, list, sizeof list, op, 8) < 0);
    CHECK(s2n_hot_translate(&lu, no_list, 10, list, sizeof list, op, 8) < 0);
}

/* What is compared with, as BYTCHK says, and how much of that. */
static void verify_compares_what_it_can(void)
{
    enum { FROM_MEDIUM = 0, RESERVED = 2, ONE_BLOCK = 3 };
    static const uint32_t most = S2N_MAXIMUM_TRANSFER / 512;
    static uint8_t buffer[S2N_PAGE];
    s2n_lu_params lu = able();
    uint8_t verify[16] = {0x8f};

    for (lu.compares = 0; lu.compares < 2; lu.compares++) {
        for (unsigned bytchk = FROM_MEDIUM; bytchk <= ONE_BLOCK; bytchk++) {
            verify[1] = (uint8_t)(bytchk << 1);
            be(verify + 10, 4, 8);
            int count = s2n_hot_translate(&lu, verify, 16, buffer, sizeof buffer, op, 8);
            CHECK_EQUAL(count > 0, !bytchk || (lu.compares && bytchk != RESERVED));
        }
    }
    be(verify + 10, 4, most);
    lu.maximum_blocks = 65536;
    CHECK_EQUAL(s2n_hot_translate(&lu, verify, 16, buffer, sizeof buffer, op, 8), 1);
    be(verify + 10, 4, most + 1);
    CHECK(s2n_hot_translate(&lu, verify, 16, buffer, sizeof buffer, op, 8) < 0);
}

/* Neither the row of another action nor of the operation code behind it. */
static void an_action_that_there_is_not_has_no_row(void)
{
    uint8_t cdb[32] = {0};

    for (unsigned opcode = 0; opcode < 256; opcode++) {
        cdb[0] = (uint8_t)opcode;
        for (unsigned action = 0; action < 32; action++) {
            cdb[1] = (uint8_t)action;
            const struct s2n_hot_row *row = s2n_hot_find(cdb, sizeof cdb);
            CHECK(!row || row->opcode == opcode);
            CHECK(!row || !row->action.mask || row->action.at != 1 || row->action_value == action);
        }
    }
    cdb[0] = 0x9e; /* SERVICE ACTION IN(16) */
    cdb[1] = 0x1f;
    CHECK(!s2n_hot_find(cdb, 16));
    cdb[1] = 0x10; /* READ CAPACITY(16) */
    CHECK(s2n_hot_find(cdb, 16));
    CHECK(!s2n_hot_find(cdb, 15));
}

static void a_swap_is_within_the_end_and_the_largest_transfer(void)
{
    uint8_t swap[16] = {0x89, [13] = 2};
    static uint8_t buffer[4 * S2N_PAGE];
    s2n_lu_params lu = able();

    be(swap + 2, 8, 99998);
    CHECK(s2n_hot_translate(&lu, swap, 16, buffer, sizeof buffer, op, 8) > 0);
    be(swap + 2, 8, 99999);
    CHECK(s2n_hot_translate(&lu, swap, 16, buffer, sizeof buffer, op, 8) < 0);
    be(swap + 2, 8, 0);
    lu.block_shift = 22; /* twice of it is all of S2N_MAXIMUM_TRANSFER */
    CHECK(s2n_hot_translate(&lu, swap, 16, buffer, sizeof buffer, op, 8) < 0);
}

/* Flush, Write Zeroes and Dataset Management; and a limit that is longer or none is kept. */
static void what_has_no_data_has_more_time(void)
{
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        bool slow = opcode == 0 || opcode == 8 || opcode == 9;
        CHECK_EQUAL(s2n_hot_timeout_ms((uint8_t)opcode, 1), slow ? 300000 : 1);
        CHECK_EQUAL(s2n_hot_timeout_ms((uint8_t)opcode, 299999), slow ? 300000 : 299999);
        CHECK_EQUAL(s2n_hot_timeout_ms((uint8_t)opcode, 300001), 300001);
        CHECK_EQUAL(s2n_hot_timeout_ms((uint8_t)opcode, 0), 0);
    }
}

/* The engine has what writes zones, and what meets more than one or a gap. */
static void one_zone_is_read(void)
{
    static const int64_t reads[][3] = {
        {0, 75, 2},  {25, 50, 2}, {25, 51, -1},   {74, 1, 1},  {75, 1, -1},
        {99, 2, -1}, {100, 1, 1}, {99900, 75, 3}, {75, 0, -1}, {0, UINT32_MAX, -1}};
    s2n_lu_params zoned = lu;

    zoned.zone_blocks = 100;
    zoned.zone_capacity = 75;
    for (unsigned i = 0; i < sizeof reads / sizeof *reads; i++) {
        uint8_t *cdb = (uint8_t *)cdb_of(0x88, (uint64_t)reads[i][0], (uint32_t)reads[i][1]);
        int count = translate(&zoned, cdb, 16, op, 8);
        CHECK_EQUAL(count < 0 ? -1 : count, reads[i][2]);
        cdb[0] = 0x8a;
        CHECK(translate(&zoned, cdb, 16, op, 8) < 0);
    }
    CHECK_EQUAL(translate(&zoned, cdb_of(0x35, 75, 0), 10, op, 8), 1);
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
    RUN(an_atomic_write_is_never_cut);
    RUN(a_boundary_beyond_32_bits_of_lba);
    RUN(the_entry_says_what_the_plan_does);
    RUN(no_kind_goes_beyond_the_last_block);
    RUN(zeroes_are_known_by_every_byte);
    RUN(the_longest_write_same_is_hot);
    RUN(nothing_is_done_without_room);
    RUN(unmap_is_judged_first);
    RUN(verify_compares_what_it_can);
    RUN(an_action_that_there_is_not_has_no_row);
    RUN(a_swap_is_within_the_end_and_the_largest_transfer);
    RUN(what_has_no_data_has_more_time);
    RUN(one_zone_is_read);
    return 0;
}
