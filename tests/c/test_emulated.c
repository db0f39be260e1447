/* The emulated controller's commands: what each does, and what it refuses. */
#include "check.h"
#include "emu.h"
#include "emulator_rig.h"
#include "little_endian.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int in_memory(void)
{
    return IN_MEMORY;
}

static int (*new_medium)(void); /* what namespaces are on */

static void test_what_is_written_is_read(void)
{
    struct rig rig;
    static const uint32_t lengths[] = {1, 7, 8, 9, 16, 17, 255, 2048};
    static const uint32_t offsets[] = {0, 4, 512, 4092};

    open_rig(&rig, new_medium());
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < 4; j++) {
            uint64_t bytes = lengths[i] * (uint64_t)BLOCK;
            struct request request = {.opcode = WRITE,
                                      .slba = 100 + i,
                                      .blocks = lengths[i],
                                      .offset = offsets[j],
                                      .length = bytes,
                                      .flags = (i + j) % 2 ? FUA : 0};
            uint8_t *again = rig.data + (2 << 20) + offsets[3 - j];

            fill(rig.data + offsets[j], bytes, (uint32_t)(i + 16 * j));
            CHECK_EQUAL(execute(&rig, request), 0);
            request.opcode = READ;
            request.offset = (2 << 20) + offsets[3 - j];
            memset(again, 0, bytes);
            CHECK_EQUAL(execute(&rig, request), 0);
            CHECK(memcmp(again, rig.data + offsets[j], bytes) == 0);
        }
    }
    close_rig(&rig);
}

static void test_memory_file_and_cache_off(void)
{
    struct rig rig;
    struct request request = {.opcode = WRITE, .slba = 3, .blocks = 8, .length = 8 * BLOCK};
    uint8_t file[8 * BLOCK];

    open_rig(&rig, memfd_create("namespace", 0));
    attach(&rig, 2, BLOCKS - 2, 0);
    fill(rig.data, sizeof file, 1);
    CHECK_EQUAL(execute(&rig, request), 0);
    CHECK(pread(rig.fd, file, sizeof file, 5 * BLOCK) == sizeof file);
    CHECK(memcmp(file, rig.data, sizeof file) == 0);
    request.opcode = READ;
    request.offset = 1 << 20;
    CHECK_EQUAL(execute(&rig, request), 0);
    CHECK(memcmp(file, rig.data + request.offset, sizeof file) == 0);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = FLUSH}), 0);
    close_rig(&rig);
}

static void test_statuses(void)
{
    static const struct {
        struct request request;
        uint16_t status;
    } rows[] = {
        {{.opcode = 0x7F}, 0x001},
        {{.opcode = READ, .nsid = 2, .length = BLOCK}, 0x00B},
        {{.opcode = READ, .nsid = UINT32_MAX, .length = BLOCK}, 0x00B},
        {{.opcode = FLUSH, .nsid = UINT32_MAX}, 0},
        {{.opcode = FLUSH}, 0},
        {{.opcode = READ, .slba = BLOCKS - 1, .length = BLOCK}, 0},
        {{.opcode = READ, .slba = BLOCKS, .length = BLOCK}, 0x080},
        {{.opcode = READ, .slba = BLOCKS - 1, .blocks = 2, .length = 2 * BLOCK}, 0x080},
        {{.opcode = READ, .slba = UINT64_MAX, .blocks = 2, .length = 2 * BLOCK}, 0x080},
        {{.opcode = READ, .blocks = 2048, .length = 2048 * BLOCK}, 0},
        {{.opcode = READ, .blocks = 2049, .length = 2049 * BLOCK}, 0x002},
        {{.opcode = READ, .blocks = 1}, 0x004}, /* PRP1 0 is no memory of ours */
        {{.opcode = READ, .blocks = 1, .offset = DATA_BYTES, .length = BLOCK}, 0x004},
        {{.opcode = READ, .blocks = 9, .offset = DATA_BYTES - PAGE, .length = 9 * BLOCK}, 0x004},
        {{.opcode = READ, .blocks = 32, .offset = DATA_BYTES - PAGE, .length = 32 * BLOCK}, 0x004},
        {{.opcode = WRITE_ZEROES, .slba = BLOCKS - 1, .blocks = 2}, 0x080},
        {{.opcode = VERIFY, .slba = BLOCKS - 1, .blocks = 2}, 0x080},
        {{.opcode = VERIFY, .blocks = BLOCKS}, 0},
        {{.opcode = COMPARE, .fuse = 1, .length = BLOCK}, 0x00A},
        {{.opcode = WRITE, .fuse = 2, .length = BLOCK}, 0x00A},
        {{.opcode = WRITE, .fuse = 3, .length = BLOCK}, 0x002},
        {{.opcode = READ, .fuse = 1 << 6, .length = BLOCK}, 0x002}, /* PSDT */
    };
    struct rig rig;

    open_rig(&rig, new_medium());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_EQUAL(execute(&rig, rows[i].request), rows[i].status);
    close_rig(&rig);
}

static void test_write_protected_and_formatting(void)
{
    struct rig rig;

    open_rig(&rig, new_medium());
    attach(&rig, 0, BLOCKS, CACHED | PROTECTED);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = WRITE, .length = BLOCK}), 0x020);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = WRITE_ZEROES}), 0x020);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = DSM, .length = 16}), 0x020);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = READ, .length = BLOCK}), 0);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = FLUSH}), 0);
    attach(&rig, 0, BLOCKS, FORMATTING);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = READ, .length = BLOCK}), 0x084);
    CHECK_EQUAL(s2n_emu_remove_namespace(rig.emu, 1), 0);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = READ, .length = BLOCK}), 0x00B);
    CHECK_EQUAL(s2n_emu_remove_namespace(rig.emu, 1), -ENOENT);
    close_rig(&rig);
}

/* Entries whose PRPs no honest driver would build. */
static void test_hostile_prps(void)
{
    struct rig rig;
    uint8_t *list;
    struct request read = {.opcode = READ, .blocks = 64, .length = 64 * BLOCK};
    struct {
        uint64_t prp1, prp2;
        uint32_t blocks;
        uint16_t status;
    } rows[] = {
        {2, 0, 1, 0x013},              /* PRP1 not dword aligned */
        {0, PAGE + 4, 16, 0x013},      /* PRP2 with an offset */
        {0, 64 * PAGE + 4, 64, 0x013}, /* list not qword aligned */
        {0, DATA_BYTES, 64, 0x004},    /* list outside */
        {0, 65 * PAGE, 64, 0x013},     /* an entry with an offset */
        {0, 66 * PAGE - 8, 64, 0x004}, /* chain to nowhere */
        {0, 68 * PAGE - 8, 64, 0},     /* an honest chain */
        {0, 69 * PAGE - 8, 64, 0x013}, /* a chain pointer with an offset */
    };

    open_rig(&rig, new_medium());
    list = rig.data;
    for (int i = 0; i < 8; i++)
        s2n_put_le64(list + 65 * PAGE + 8 * i, rig.data_iova + 4u * (i == 5));
    s2n_put_le64(list + 66 * PAGE - 8, 0x7000);
    s2n_put_le64(list + 68 * PAGE - 8, rig.data_iova + 70 * PAGE);
    s2n_put_le64(list + 69 * PAGE - 8, rig.data_iova + 70 * PAGE + 8);
    for (int i = 0; i < 7; i++)
        s2n_put_le64(list + 70 * PAGE + 8 * i, rig.data_iova + (uint64_t)(i + 1) * PAGE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t sqe[64] = {READ};
        s2n_completion done;

        s2n_put_le32(sqe + 4, 1);
        s2n_put_le64(sqe + 24, rig.data_iova + rows[i].prp1);
        s2n_put_le64(sqe + 32, rig.data_iova + rows[i].prp2);
        s2n_put_le32(sqe + 48, rows[i].blocks - 1);
        CHECK(s2n_qpair_place(rig.qp[1], sqe, NULL, 0, 0) >= 0);
        s2n_qpair_ring(rig.qp[1]);
        take(&rig, 1, &done, 1);
        CHECK_EQUAL(done.status, rows[i].status);
    }
    CHECK_EQUAL(execute(&rig, read), 0);
    close_rig(&rig);
}

static uint16_t write_by_list(struct rig *rig, uint64_t list_at, uint32_t pages)
{
    uint8_t sqe[64] = {WRITE};
    s2n_completion done;

    s2n_put_le32(sqe + 4, 1);
    s2n_put_le64(sqe + 24, rig->data_iova + 20 * PAGE);
    s2n_put_le64(sqe + 32, rig->data_iova + list_at);
    s2n_put_le32(sqe + 48, pages * (PAGE / BLOCK) - 1);
    CHECK(s2n_qpair_place(rig->qp[1], sqe, NULL, 0, 0) >= 0);
    s2n_qpair_ring(rig->qp[1]);
    take(rig, 1, &done, 1);
    return done.status;
}

/* Addresses that follow each other lead to memory that does not. */
static void test_pages_of_several_regions(void)
{
    static uint8_t there[5 * PAGE];
    static const uint64_t at[] = {20 * PAGE, 8 * PAGE, 9 * PAGE, 4 * PAGE, 30 * PAGE};
    struct rig rig;

    open_rig(&rig, new_medium());
    s2n_region first = {rig.data + at[1], 0x10000, 2 * PAGE};
    s2n_region second = {rig.data + at[3], 0x12000, PAGE};
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &first), 0);
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &second), 0);
    fill(rig.data, 40 * PAGE, 7);
    for (uint32_t i = 0; i < 3; i++)
        s2n_put_le64(rig.data + 8 * i, 0x10000 + i * PAGE);
    s2n_put_le64(rig.data + 24, rig.data_iova + at[4]);
    CHECK_EQUAL(write_by_list(&rig, 0, 5), 0);
    look(&rig, 0, sizeof there / BLOCK, there);
    for (uint32_t i = 0; i < 5; i++)
        CHECK(memcmp(there + i * PAGE, rig.data + at[i], PAGE) == 0);
    s2n_put_le64(rig.data + 24, 0x13000);
    CHECK_EQUAL(write_by_list(&rig, 0, 5), 0x004);
    close_rig(&rig);
}

static void put_range(uint8_t *at, uint64_t slba, uint32_t blocks)
{
    s2n_put_le32(at, 0);
    s2n_put_le32(at + 4, blocks);
    s2n_put_le64(at + 8, slba);
}

static bool zero_at(struct rig *rig, uint64_t slba, uint32_t blocks)
{
    static uint8_t there[64 * BLOCK];

    look(rig, slba, blocks, there);
    for (size_t i = 0; i < blocks * (size_t)BLOCK; i++) {
        if (there[i])
            return false;
    }
    return true;
}

static void test_deallocate_and_write_zeroes(void)
{
    struct rig rig;
    struct request write = {.opcode = WRITE, .blocks = 64, .length = 64 * BLOCK};
    struct request trim = {.opcode = DSM, .cdw10 = 2, .offset = PAGE - 16, .length = 48};

    open_rig(&rig, new_medium());
    memset(rig.data, 0x55, 64 * BLOCK);
    CHECK_EQUAL(execute(&rig, write), 0);
    put_range(rig.data + PAGE - 16, 1, 3);
    put_range(rig.data + PAGE, 0, 0);
    put_range(rig.data + PAGE + 16, 10, 20);
    CHECK_EQUAL(execute(&rig, trim), 0); /* without AD: a hint */
    CHECK(!zero_at(&rig, 1, 1));
    trim.cdw11 = 4;
    CHECK_EQUAL(execute(&rig, trim), 0);
    CHECK(zero_at(&rig, 1, 3) && zero_at(&rig, 10, 20));
    CHECK(!zero_at(&rig, 0, 1) && !zero_at(&rig, 4, 1) && !zero_at(&rig, 30, 1));
    put_range(rig.data + PAGE + 16, BLOCKS - 1, 2);
    put_range(rig.data + PAGE - 16, 40, 1);
    CHECK_EQUAL(execute(&rig, trim), 0x080);
    CHECK(!zero_at(&rig, 40, 1)); /* nothing happens unless all of it can */
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = WRITE_ZEROES, .slba = 40, .blocks = 2}),
                0);
    CHECK_EQUAL(execute(&rig,
                        (struct request){
                            .opcode = WRITE_ZEROES, .slba = 50, .blocks = 3, .flags = DEAC | FUA}),
                0);
    CHECK(zero_at(&rig, 40, 2) && zero_at(&rig, 50, 3));
    CHECK(!zero_at(&rig, 42, 1) && !zero_at(&rig, 53, 1));
    close_rig(&rig);
}

static void test_compare(void)
{
    struct rig rig;
    struct request request = {.opcode = WRITE, .blocks = 200, .length = 200 * BLOCK, .offset = 8};

    open_rig(&rig, new_medium());
    fill(rig.data + 8, 200 * BLOCK, 3);
    CHECK_EQUAL(execute(&rig, request), 0);
    request.opcode = COMPARE;
    CHECK_EQUAL(execute(&rig, request), 0);
    rig.data[8 + 200 * BLOCK - 1] ^= 1;
    CHECK_EQUAL(execute(&rig, request), 0x285);
    close_rig(&rig);
}

/* Compare `offset`, and write `offset` + 64 KiB, in one ring; statuses go to `out`. */
static void compare_and_write(struct rig *rig, uint32_t blocks, uint64_t write_slba, uint16_t *out)
{
    struct request first = {
        .opcode = COMPARE, .fuse = 1, .blocks = blocks, .length = blocks * (uint64_t)BLOCK};
    struct request second = {.opcode = WRITE,
                             .fuse = 2,
                             .slba = write_slba,
                             .blocks = blocks,
                             .offset = 65536,
                             .length = blocks * (uint64_t)BLOCK};
    s2n_completion done[2];
    int cid = place(rig, 1, &first);

    CHECK(place(rig, 1, &second) >= 0);
    s2n_qpair_ring(rig->qp[1]);
    take(rig, 1, done, 2);
    CHECK_EQUAL(done[0].cid, cid);
    out[0] = done[0].status;
    out[1] = done[1].status;
}

static void test_fused_compare_and_write(void)
{
    struct rig rig;
    uint16_t status[2];

    open_rig(&rig, new_medium());
    memset(rig.data + 65536, 0x77, 65536);
    compare_and_write(&rig, 64, 0, status);
    CHECK_EQUAL(status[0], 0);
    CHECK_EQUAL(status[1], 0);
    CHECK(!zero_at(&rig, 63, 1) && zero_at(&rig, 64, 1));
    memset(rig.data + 65536, 0, 65536);
    compare_and_write(&rig, 64, 0, status);
    CHECK_EQUAL(status[0], 0x285);
    CHECK_EQUAL(status[1], 0x009);
    CHECK(!zero_at(&rig, 0, 1));
    compare_and_write(&rig, 1, 1, status); /* other blocks */
    CHECK_EQUAL(status[0], 0x002);
    CHECK_EQUAL(status[1], 0x002);
    compare_and_write(&rig, 65, 0, status); /* more than ACWU */
    CHECK_EQUAL(status[0], 0x014);
    attach(&rig, 0, BLOCKS, PROTECTED);
    compare_and_write(&rig, 1, 0, status);
    CHECK_EQUAL(status[0], 0x009);
    CHECK_EQUAL(status[1], 0x020);
    close_rig(&rig);
}

/* ---- on a disk in memory alone ---- */

/* How many pages of memory some bytes of the disk take. */
static int pages_of(const struct rig *rig, uint64_t at, uint64_t bytes)
{
    static unsigned char there[BLOCKS * BLOCK / PAGE];
    int pages = 0;

    CHECK(mincore(rig->disk->at + at, bytes, there) == 0);
    for (uint64_t i = 0; i < bytes / PAGE; i++)
        pages += there[i] & 1;
    return pages;
}

static void write_all_blocks(struct rig *rig)
{
    struct request write = {.opcode = WRITE, .blocks = 2048, .length = 2048 * BLOCK};

    memset(rig->data, 0x55, 2048 * BLOCK);
    for (; write.slba < BLOCKS; write.slba += write.blocks)
        CHECK_EQUAL(execute(rig, write), 0);
}

static void test_what_is_deallocated_takes_no_memory(void)
{
    struct rig rig;
    struct request trim = {.opcode = DSM, .cdw10 = 0, .cdw11 = 4, .length = 16};
    struct request zeroes = {.opcode = WRITE_ZEROES, .slba = 8, .blocks = 16};
    const int all = BLOCKS * BLOCK / PAGE;

    open_rig(&rig, IN_MEMORY);
    CHECK_EQUAL(pages_of(&rig, 0, BLOCKS * BLOCK), 0);
    write_all_blocks(&rig);
    CHECK_EQUAL(pages_of(&rig, 0, BLOCKS * BLOCK), all);
    CHECK_EQUAL(execute(&rig, zeroes), 0);
    CHECK_EQUAL(pages_of(&rig, 0, BLOCKS * BLOCK), all); /* zeroes that were asked for are there */
    zeroes.flags = DEAC;
    CHECK_EQUAL(execute(&rig, zeroes), 0);
    CHECK_EQUAL(pages_of(&rig, 0, BLOCKS * BLOCK), all - 2);
    put_range(rig.data, 1023, 8192); /* and parts of the pages at both ends */
    CHECK_EQUAL(execute(&rig, trim), 0);
    CHECK_EQUAL(pages_of(&rig, 0, BLOCKS * BLOCK), all - 2 - 1023);
    CHECK(zero_at(&rig, 1023, 1) && zero_at(&rig, 9214, 1));
    CHECK(!zero_at(&rig, 1022, 1) && !zero_at(&rig, 9215, 1));
    put_range(rig.data, 9217, 6); /* less than a page */
    CHECK_EQUAL(execute(&rig, trim), 0);
    CHECK(zero_at(&rig, 9217, 6) && !zero_at(&rig, 9216, 1) && !zero_at(&rig, 9223, 1));
    CHECK_EQUAL(s2n_emu_erase(rig.emu, 1), 0);
    CHECK_EQUAL(pages_of(&rig, 0, BLOCKS * BLOCK), 0);
    CHECK(zero_at(&rig, 0, 64) && zero_at(&rig, BLOCKS - 64, 64));
    close_rig(&rig);
}

/* The pages at both ends of a namespace are no others'. */
static void test_a_namespace_ends_where_the_next_begins(void)
{
    struct rig rig;

    open_rig(&rig, IN_MEMORY);
    write_all_blocks(&rig);
    attach(&rig, 4096, 4096, CACHED);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = READ, .slba = 4096, .length = BLOCK}),
                0x080);
    CHECK_EQUAL(s2n_emu_erase(rig.emu, 1), 0);
    CHECK(zero_at(&rig, 0, 64) && zero_at(&rig, 4096 - 64, 64));
    attach(&rig, 0, BLOCKS, CACHED);
    CHECK(!zero_at(&rig, 4095, 1) && zero_at(&rig, 4096, 1));
    CHECK(zero_at(&rig, 8191, 1) && !zero_at(&rig, 8192, 1));
    close_rig(&rig);
}

/* Nothing is more durable there than it is at once, so nothing waits for a worker. */
static void test_memory_waits_for_nothing(void)
{
    static const struct request rows[] = {
        {.opcode = WRITE, .blocks = 2048, .length = 2048 * BLOCK, .flags = FUA},
        {.opcode = READ, .blocks = 2048, .length = 2048 * BLOCK, .flags = FUA},
        {.opcode = COMPARE, .blocks = 2048, .length = 2048 * BLOCK},
        {.opcode = VERIFY, .blocks = BLOCKS},
        {.opcode = FLUSH},
    };
    struct rig rig;

    open_rig(&rig, IN_MEMORY);
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        s2n_completion done;

        attach(&rig, 0, BLOCKS, i % 2 ? CACHED : 0);
        CHECK(place(&rig, 1, &rows[i / 2]) >= 0);
        s2n_qpair_ring(rig.qp[1]);
        CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 1);
        CHECK_EQUAL(done.status, 0);
    }
    close_rig(&rig);
}

/* Larger than any machine's memory: what is not written takes none. */
static void test_a_disk_larger_than_memory(void)
{
    static const uint64_t blocks = (UINT64_C(16) << 40) / BLOCK;
    struct request write = {.opcode = WRITE, .slba = blocks - 8, .blocks = 8, .length = 8 * BLOCK};
    struct rig rig;

    open_rig(&rig, IN_MEMORY);
    CHECK_EQUAL(s2n_emu_remove_namespace(rig.emu, 1), 0);
    s2n_emu_disk_free(rig.disk);
    rig.disk = s2n_emu_disk_new(blocks * BLOCK);
    CHECK(rig.disk);
    attach(&rig, 0, blocks, CACHED);
    memset(rig.data, 0x55, 8 * BLOCK);
    CHECK_EQUAL(execute(&rig, write), 0);
    CHECK(!zero_at(&rig, blocks - 1, 1) && zero_at(&rig, 0, 64) && zero_at(&rig, blocks / 2, 64));
    CHECK_EQUAL(s2n_emu_erase(rig.emu, 1), 0);
    CHECK(zero_at(&rig, blocks - 64, 64));
    close_rig(&rig);
}

/* What sanitizes a namespace, or has failed to, keeps everybody from it. */
static void test_no_command_meets_a_namespace_that_is_sanitized(void)
{
    struct request read = {.opcode = READ, .length = BLOCK};
    struct rig rig;

    open_rig(&rig, new_medium());
    write_all_blocks(&rig);
    attach(&rig, 4096, 4096, CACHED | 32);
    CHECK_EQUAL(execute(&rig, read), 0x01D);
    CHECK_EQUAL(s2n_emu_overwrite(rig.emu, 1, 0x44332211), 0);
    attach(&rig, 4096, 4096, CACHED | 64);
    CHECK_EQUAL(execute(&rig, read), 0x01C);
    attach(&rig, 4096, 4096, CACHED);
    read.slba = 4095;
    CHECK_EQUAL(execute(&rig, read), 0);
    CHECK(memcmp(rig.data, "\x11\x22\x33\x44\x11", 5) == 0 && rig.data[BLOCK - 1] == 0x44);
    attach(&rig, 0, BLOCKS, CACHED); /* nothing before it, and nothing behind, was touched */
    CHECK_EQUAL(execute(&rig, read), 0);
    CHECK(memcmp(rig.data, "\x11\x22", 2) != 0);
    read.slba = 8192;
    CHECK_EQUAL(execute(&rig, read), 0);
    CHECK(memcmp(rig.data, "\x11\x22", 2) != 0);
    CHECK_EQUAL(s2n_emu_overwrite(rig.emu, 0, 0), -ENOENT);
    close_rig(&rig);
}

static void run_all(void)
{
    RUN(test_what_is_written_is_read);
    RUN(test_statuses);
    RUN(test_write_protected_and_formatting);
    RUN(test_no_command_meets_a_namespace_that_is_sanitized);
    RUN(test_hostile_prps);
    RUN(test_pages_of_several_regions);
    RUN(test_deallocate_and_write_zeroes);
    RUN(test_compare);
    RUN(test_fused_compare_and_write);
}

int main(void)
{
    new_medium = temporary_file;
    run_all();
    new_medium = in_memory;
    run_all();
    RUN(test_memory_file_and_cache_off);
    RUN(test_what_is_deallocated_takes_no_memory);
    RUN(test_a_namespace_ends_where_the_next_begins);
    RUN(test_memory_waits_for_nothing);
    RUN(test_a_disk_larger_than_memory);
    return 0;
}
