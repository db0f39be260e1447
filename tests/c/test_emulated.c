/* The emulated controller's commands: what each does, and what it refuses. */
#include "check.h"
#include "emulator_rig.h"
#include "little_endian.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_what_is_written_is_read(void)
{
    struct rig rig;
    static const uint32_t lengths[] = {1, 7, 8, 9, 16, 17, 255, 2048};
    static const uint32_t offsets[] = {0, 4, 512, 4092};

    open_rig(&rig, temporary_file());
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
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 2 * BLOCK, BLOCKS - 2, BLOCK, 0), 0);
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

    open_rig(&rig, temporary_file());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_EQUAL(execute(&rig, rows[i].request), rows[i].status);
    close_rig(&rig);
}

static void test_write_protected_and_formatting(void)
{
    struct rig rig;

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, BLOCKS, BLOCK, CACHED | PROTECTED), 0);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = WRITE, .length = BLOCK}), 0x020);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = WRITE_ZEROES}), 0x020);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = DSM, .length = 16}), 0x020);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = READ, .length = BLOCK}), 0);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = FLUSH}), 0);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, BLOCKS, BLOCK, FORMATTING), 0);
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

    open_rig(&rig, temporary_file());
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

static void put_range(uint8_t *at, uint64_t slba, uint32_t blocks)
{
    s2n_put_le32(at, 0);
    s2n_put_le32(at + 4, blocks);
    s2n_put_le64(at + 8, slba);
}

static bool zero_at(struct rig *rig, uint64_t slba, uint32_t blocks)
{
    static uint8_t file[64 * BLOCK];
    size_t bytes = blocks * (size_t)BLOCK;

    CHECK(pread(rig->fd, file, bytes, (off_t)slba * BLOCK) == (ssize_t)bytes);
    for (size_t i = 0; i < bytes; i++) {
        if (file[i])
            return false;
    }
    return true;
}

static void test_deallocate_and_write_zeroes(void)
{
    struct rig rig;
    struct request write = {.opcode = WRITE, .blocks = 64, .length = 64 * BLOCK};
    struct request trim = {.opcode = DSM, .cdw10 = 2, .offset = PAGE - 16, .length = 48};

    open_rig(&rig, temporary_file());
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

    open_rig(&rig, temporary_file());
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

    open_rig(&rig, temporary_file());
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
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, BLOCKS, BLOCK, PROTECTED), 0);
    compare_and_write(&rig, 1, 0, status);
    CHECK_EQUAL(status[0], 0x009);
    CHECK_EQUAL(status[1], 0x020);
    close_rig(&rig);
}

int main(void)
{
    RUN(test_what_is_written_is_read);
    RUN(test_memory_file_and_cache_off);
    RUN(test_statuses);
    RUN(test_write_protected_and_formatting);
    RUN(test_hostile_prps);
    RUN(test_deallocate_and_write_zeroes);
    RUN(test_compare);
    RUN(test_fused_compare_and_write);
    return 0;
}
