/* The emulated controller's I/O side, driven through real queue pairs. */
#include "check.h"
#include "little_endian.h"
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    BLOCK = 512,
    BLOCKS = 16384,
    DEPTH = 16,
    DATA_BYTES = 4 << 20,
    QUEUES = 3,
    FLUSH = 0,
    WRITE = 1,
    READ = 2,
    COMPARE = 5,
    WRITE_ZEROES = 8,
    DSM = 9,
    VERIFY = 0xC,
    CACHED = 1,
    PROTECTED = 2,
    FORMATTING = 8,
};

#define FUA (UINT32_C(1) << 30)
#define DEAC (UINT32_C(1) << 25)
#define BASE UINT64_C(0x100000000)

struct rig {
    s2n_emu *emu;
    s2n_port *port;
    s2n_region memory; /* queue pairs, then data */
    uint8_t *data;
    uint64_t data_iova;
    s2n_qpair *qp[QUEUES + 1];
    int eventfd[QUEUES + 1];
    int fd;
};

static int temporary_file(void)
{
    char name[] = "emulated-XXXXXX";
    int fd = mkstemp(name);

    CHECK(fd >= 0);
    CHECK(unlink(name) == 0);
    return fd;
}

static void add_queue(struct rig *rig, uint16_t qid, uint16_t depth)
{
    uint64_t bytes = s2n_qpair_bytes(DEPTH);
    s2n_region memory = {rig->memory.vaddr + (qid - 1) * bytes,
                         rig->memory.iova + (qid - 1) * bytes, bytes};

    rig->qp[qid] = s2n_qpair_new(rig->port, qid, depth, &memory);
    CHECK(rig->qp[qid]);
    rig->eventfd[qid] = eventfd(0, EFD_NONBLOCK);
    CHECK_EQUAL(
        s2n_emu_create_cq(rig->emu, qid, s2n_qpair_cq_iova(rig->qp[qid]), depth, rig->eventfd[qid]),
        0);
    CHECK_EQUAL(s2n_emu_create_sq(rig->emu, qid, qid, s2n_qpair_sq_iova(rig->qp[qid]), depth), 0);
}

static void open_rig(struct rig *rig, int fd)
{
    uint64_t queues = QUEUES * s2n_qpair_bytes(DEPTH);

    memset(rig, 0, sizeof *rig);
    rig->fd = fd;
    CHECK(ftruncate(fd, (off_t)BLOCKS * BLOCK) == 0);
    rig->memory = (s2n_region){NULL, BASE, queues + DATA_BYTES};
    rig->memory.vaddr = aligned_alloc(PAGE, rig->memory.length);
    memset(rig->memory.vaddr, 0, rig->memory.length);
    rig->data = rig->memory.vaddr + queues;
    rig->data_iova = BASE + queues;
    rig->emu = s2n_emu_new();
    rig->port = s2n_port_emulated(rig->emu);
    CHECK_EQUAL(s2n_emu_add_memory(rig->emu, &rig->memory), 0);
    CHECK_EQUAL(s2n_emu_set_limits(rig->emu, 1 << 20, 64), 0);
    CHECK_EQUAL(s2n_emu_set_namespace(rig->emu, 1, fd, 0, BLOCKS, BLOCK, CACHED), 0);
    for (uint16_t qid = 1; qid <= QUEUES; qid++)
        add_queue(rig, qid, DEPTH);
}

static void close_rig(struct rig *rig)
{
    for (uint16_t qid = 1; qid <= QUEUES; qid++) {
        s2n_qpair_free(rig->qp[qid]);
        close(rig->eventfd[qid]);
    }
    s2n_port_free(rig->port);
    s2n_emu_free(rig->emu);
    free(rig->memory.vaddr);
    close(rig->fd);
}

struct request {
    uint8_t opcode, fuse;
    uint32_t nsid;
    uint64_t slba;
    uint32_t blocks; /* 0: as if 1 */
    uint32_t flags;  /* of CDW12 */
    uint32_t cdw10, cdw11;
    uint64_t offset, length; /* of the data area */
};

static int place(struct rig *rig, uint16_t qid, const struct request *request)
{
    uint8_t sqe[64] = {request->opcode, request->fuse};
    struct s2n_span span = {rig->data_iova + request->offset, (uint32_t)request->length};

    s2n_put_le32(sqe + 4, request->nsid ? request->nsid : 1);
    if (request->opcode == DSM) {
        s2n_put_le32(sqe + 40, request->cdw10);
        s2n_put_le32(sqe + 44, request->cdw11);
    } else if (request->opcode != FLUSH) {
        s2n_put_le64(sqe + 40, request->slba);
        s2n_put_le32(sqe + 48, (request->blocks ? request->blocks - 1 : 0) | request->flags);
    }
    return s2n_qpair_place_spans(rig->qp[qid], sqe, &span, request->length != 0, request->slba,
                                 30000);
}

/* Wait for the interrupt, then take completions, as a host does. */
static int take(struct rig *rig, uint16_t qid, s2n_completion *done, int wanted)
{
    int have = s2n_qpair_poll(rig->qp[qid], done, wanted);

    while (have < wanted) {
        struct pollfd wait = {.fd = rig->eventfd[qid], .events = POLLIN};
        eventfd_t value;

        CHECK_EQUAL(poll(&wait, 1, 20000), 1);
        eventfd_read(rig->eventfd[qid], &value);
        have += s2n_qpair_poll(rig->qp[qid], done + have, wanted - have);
    }
    return have;
}

static uint16_t execute(struct rig *rig, struct request request)
{
    s2n_completion done;

    CHECK(place(rig, 1, &request) >= 0);
    s2n_qpair_ring(rig->qp[1]);
    take(rig, 1, &done, 1);
    return done.status;
}

static void fill(uint8_t *data, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)((i * 2654435761u + seed) >> 7);
}

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

static void test_host_that_does_not_take_completions(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_completion done[DEPTH];
    int total = 0;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 2), -EBUSY);
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 2), -ENOENT);
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 2, s2n_qpair_cq_iova(rig.qp[2]), DEPTH, -1), 0);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 2, 2, s2n_qpair_sq_iova(rig.qp[2]), DEPTH), 0);
    for (int i = 0; i < DEPTH - 1; i++)
        CHECK(place(&rig, 2, &read) >= 0);
    s2n_qpair_ring(rig.qp[2]);
    /* Forge a tail that makes the controller believe in DEPTH - 1 more. */
    rig.port->ops->ring_sq(rig.port, 2, DEPTH - 2);
    while (total < DEPTH - 1) {
        int taken = s2n_qpair_poll(rig.qp[2], done, 4);

        CHECK(taken > 0);
        total += taken;
    }
    CHECK_EQUAL(s2n_qpair_in_flight(rig.qp[2]), 0);
    /* The forged ones found room as completions were taken, and name nothing. */
    while (s2n_qpair_unexpected(rig.qp[2]) < DEPTH - 1)
        CHECK_EQUAL(s2n_qpair_poll(rig.qp[2], done, 4), 0);
    close_rig(&rig);
}

static void test_small_completion_queue(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    const uint8_t *cq;
    uint8_t phase = 1;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 2, s2n_qpair_cq_iova(rig.qp[2]), 4, -1), 0);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 2, 2, s2n_qpair_sq_iova(rig.qp[2]), DEPTH), 0);
    cq = rig.memory.vaddr + (s2n_qpair_cq_iova(rig.qp[2]) - BASE);
    for (int i = 0; i < 9; i++)
        CHECK(place(&rig, 2, &read) >= 0);
    s2n_qpair_ring(rig.qp[2]);
    for (uint32_t i = 0, head = 0; i < 9; i++) {
        CHECK_EQUAL(cq[head * 16 + 14] & 1, phase);
        if (++head == 4) {
            head = 0;
            phase ^= 1;
        }
        /* Three are posted ahead of the head at most. */
        if (i + 3 < 9 && i >= 3)
            CHECK((cq[((i + 3) % 4) * 16 + 14] & 1) != ((i + 3) / 4 % 2 == 0));
        rig.port->ops->ring_cq(rig.port, 2, head);
    }
    close_rig(&rig);
}

static void test_bad_doorbells_are_reported(void)
{
    struct rig rig;
    s2n_emu_error error;
    eventfd_t value;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 0);
    rig.port->ops->ring_sq(rig.port, 1, DEPTH);
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
    CHECK_EQUAL(error.sqid, 1);
    CHECK_EQUAL(error.cid, 0xFFFF);
    CHECK_EQUAL(error.status, 0);
    rig.port->ops->ring_cq(rig.port, 1, 1); /* nothing was posted */
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
    CHECK(eventfd_read(s2n_emu_admin_eventfd(rig.emu), &value) == 0);
    rig.port->ops->ring_sq(rig.port, 200, 1);
    rig.port->ops->ring_sq(rig.port, 60000, 1);
    rig.port->ops->ring_cq(rig.port, 60000, 1);
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 0);
    rig.port->ops->ring_sq(rig.port, 0, 5);
    CHECK_EQUAL(s2n_emu_admin_tail(rig.emu), 5);
    CHECK(eventfd_read(s2n_emu_admin_eventfd(rig.emu), &value) == 0);
    close_rig(&rig);
}

static void test_faults(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .slba = 10, .blocks = 4, .length = 4 * BLOCK};
    s2n_emu_fault fault = {
        .lba_first = 12, .lba_last = 12, .opcode = READ, .status = 0x281, .count = 1};
    s2n_emu_error error;
    s2n_emu_counters counters;

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
    read.slba = 13;
    CHECK_EQUAL(execute(&rig, read), 0);
    read.slba = 8;
    CHECK_EQUAL(execute(&rig, read), 0);
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 0);
    read.slba = 9;
    CHECK_EQUAL(execute(&rig, read), 0x281);
    CHECK_EQUAL(execute(&rig, read), 0); /* it struck once */
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
    CHECK_EQUAL(error.status, 0x281);
    CHECK_EQUAL(error.lba, 9);
    CHECK_EQUAL(error.nsid, 1);
    s2n_emu_counters_get(rig.emu, &counters);
    CHECK_EQUAL(counters.host_reads, 3);
    CHECK_EQUAL(counters.bytes_read, 3 * 4 * BLOCK);
    CHECK_EQUAL(counters.media_errors, 1);
    CHECK_EQUAL(counters.errors, 1);
    fault.count = 0;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
    CHECK_EQUAL(execute(&rig, read), 0x281);
    CHECK_EQUAL(execute(&rig, read), 0x281);
    s2n_emu_clear_faults(rig.emu);
    CHECK_EQUAL(execute(&rig, read), 0);
    fault.action = 3;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), -EINVAL);
    close_rig(&rig);
}

static void test_abort(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_emu_fault never = {.lba_last = UINT64_MAX, .opcode = 0xFF, .action = 1, .count = 1};
    s2n_emu_fault late = {
        .lba_last = UINT64_MAX, .opcode = 0xFF, .action = 2, .count = 1, .delay_ms = 600000};
    s2n_completion done;

    open_rig(&rig, temporary_file());
    for (int i = 0; i < 2; i++) {
        int cid;

        CHECK_EQUAL(s2n_emu_add_fault(rig.emu, i ? &late : &never), 0);
        cid = place(&rig, 1, &read);
        s2n_qpair_ring(rig.qp[1]);
        CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, (uint16_t)(cid + 1)), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 2, (uint16_t)cid), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, (uint16_t)cid), 1);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, (uint16_t)cid), 0);
        take(&rig, 1, &done, 1);
        CHECK_EQUAL(done.cid, cid);
        CHECK_EQUAL(done.status, 0x007);
    }
    late.delay_ms = 1;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &late), 0);
    CHECK_EQUAL(execute(&rig, read), 0);
    close_rig(&rig);
}

static void test_deleted_queue_gives_back_its_commands(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_emu_fault never = {.lba_last = UINT64_MAX, .opcode = 0xFF, .action = 1};
    s2n_completion done[4];

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &never), 0);
    for (int i = 0; i < 4; i++)
        CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 1), 0);
    take(&rig, 1, done, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(done[i].status, 0x008);
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 1), 0);
    close_rig(&rig);
}

static void test_disable_then_replay(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_emu_fault never = {.lba_last = UINT64_MAX, .opcode = 0xFF, .action = 1, .count = 5};
    s2n_completion done[5];

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &never), 0);
    for (int i = 0; i < 5; i++)
        CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    s2n_emu_disable(rig.emu);
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], done, 5), 0);
    s2n_qpair_reset(rig.qp[1], true);
    s2n_qpair_ring(rig.qp[1]); /* nobody listens */
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], done, 5), 0);
    s2n_qpair_reset(rig.qp[1], true);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 1, s2n_qpair_cq_iova(rig.qp[1]), DEPTH, rig.eventfd[1]),
                0);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 1, s2n_qpair_cq_iova(rig.qp[1]), DEPTH, -1), -EEXIST);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 1, 1, s2n_qpair_sq_iova(rig.qp[1]), DEPTH), 0);
    s2n_qpair_ring(rig.qp[1]);
    take(&rig, 1, done, 5);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(done[i].status, 0);
    close_rig(&rig);
}

static void test_control_arguments(void)
{
    struct rig rig;
    s2n_region region;

    open_rig(&rig, temporary_file());
    region = (s2n_region){rig.data, BASE + PAGE, PAGE};
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), -EEXIST);
    region.iova = BASE - PAGE;
    region.length = 2 * PAGE;
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), -EEXIST);
    region.length = 0;
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_limits(rig.emu, 4 << 20, 1), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 0, rig.fd, 0, 1, 512, 0), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, 1, 513, 0), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, 1, 256, 0), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, UINT64_MAX, 512, 0), -EFBIG);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, -1, 0, 1, 512, 0), -EBADF);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 9, BASE + 512, 4, -1), -EINVAL);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 9, BASE, 1, -1), -EINVAL);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 9, 0, 4, -1), -EFAULT);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 0, BASE, 4, -1), -EINVAL);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 9, 9, BASE, 4), -ENOENT);
    CHECK_EQUAL(s2n_emu_flush(rig.emu, 1), 0);
    CHECK_EQUAL(s2n_emu_flush(rig.emu, UINT32_MAX), 0);
    CHECK_EQUAL(s2n_emu_flush(rig.emu, 7), -ENOENT);
    close_rig(&rig);
}

/* A polled queue's commands that complete at once raise no interrupt. */
static void test_polled_queue(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_completion done;
    eventfd_t value;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    CHECK(eventfd_read(rig.eventfd[1], &value) == 0);
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 1);
    s2n_qpair_set_polled(rig.qp[1], true);
    CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    CHECK(eventfd_read(rig.eventfd[1], &value) < 0);
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 1);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = FLUSH}), 0); /* a worker's does */
    close_rig(&rig);
}

/* Several owners at once on the same few blocks: every read sees one whole write. */
struct owner {
    struct rig *rig;
    uint16_t qid;
    pthread_t thread;
};

enum { SHARED_BLOCKS = 24, ROUNDS = 300 };

static void *own(void *argument)
{
    struct owner *owner = argument;
    uint64_t offset = (uint64_t)owner->qid << 20;
    uint8_t *data = owner->rig->data + offset;
    struct request request = {
        .slba = 2040, .blocks = SHARED_BLOCKS, .offset = offset, .length = SHARED_BLOCKS * BLOCK};

    for (uint32_t round = 0; round < ROUNDS; round++) {
        s2n_completion done;

        request.opcode = round % 3 == 0 ? WRITE : READ;
        request.flags = round % 7 == 0 ? FUA : 0;
        if (request.opcode == WRITE)
            memset(data, (int)(round + owner->qid), SHARED_BLOCKS * BLOCK);
        CHECK(place(owner->rig, owner->qid, &request) >= 0);
        s2n_qpair_ring(owner->rig->qp[owner->qid]);
        take(owner->rig, owner->qid, &done, 1);
        CHECK_EQUAL(done.status, 0);
        for (uint32_t i = 1; i < SHARED_BLOCKS * BLOCK; i++)
            CHECK_EQUAL(data[i], data[0]);
    }
    return NULL;
}

static void test_concurrent_owners_and_changes(void)
{
    struct rig rig;
    struct owner owners[QUEUES];

    open_rig(&rig, temporary_file());
    for (uint16_t i = 0; i < QUEUES; i++) {
        owners[i] = (struct owner){.rig = &rig, .qid = (uint16_t)(i + 1)};
        CHECK(pthread_create(&owners[i].thread, NULL, own, &owners[i]) == 0);
    }
    for (int i = 0; i < 50; i++) {
        s2n_emu_counters counters;
        s2n_region region = {rig.data, (uint64_t)(i + 1) * PAGE, PAGE};

        CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, BLOCKS, BLOCK, i % 2 ? CACHED : 0),
                    0);
        CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, 77), 0);
        s2n_emu_counters_get(rig.emu, &counters);
    }
    for (int i = 0; i < QUEUES; i++)
        pthread_join(owners[i].thread, NULL);
    close_rig(&rig);
}

/* Compare and Write as a lock: no increment of the counter may be lost. */
static void *increment(void *argument)
{
    struct owner *owner = argument;
    uint64_t offset = (uint64_t)owner->qid << 20;
    uint8_t *old = owner->rig->data + offset, *new = old + PAGE;
    struct request read = {.opcode = READ, .offset = offset, .length = BLOCK};
    struct request first = {.opcode = COMPARE, .fuse = 1, .offset = offset, .length = BLOCK};
    struct request second = {.opcode = WRITE, .fuse = 2, .offset = offset + PAGE, .length = BLOCK};

    for (int won = 0; won < 30;) {
        s2n_completion done[2];

        CHECK(place(owner->rig, owner->qid, &read) >= 0);
        s2n_qpair_ring(owner->rig->qp[owner->qid]);
        take(owner->rig, owner->qid, done, 1);
        memcpy(new, old, BLOCK);
        s2n_put_le32(new, s2n_get_le32(old) + 1);
        CHECK(place(owner->rig, owner->qid, &first) >= 0);
        CHECK(place(owner->rig, owner->qid, &second) >= 0);
        s2n_qpair_ring(owner->rig->qp[owner->qid]);
        take(owner->rig, owner->qid, done, 2);
        CHECK(done[0].status == 0 || done[0].status == 0x285);
        CHECK_EQUAL(done[1].status, done[0].status ? 0x009 : 0);
        won += done[0].status == 0;
    }
    return NULL;
}

static void test_fused_pairs_are_atomic(void)
{
    struct rig rig;
    struct owner owners[QUEUES];
    uint8_t block[BLOCK];

    open_rig(&rig, temporary_file());
    for (uint16_t i = 0; i < QUEUES; i++) {
        owners[i] = (struct owner){.rig = &rig, .qid = (uint16_t)(i + 1)};
        CHECK(pthread_create(&owners[i].thread, NULL, increment, &owners[i]) == 0);
    }
    for (int i = 0; i < QUEUES; i++)
        pthread_join(owners[i].thread, NULL);
    CHECK(pread(rig.fd, block, BLOCK, 0) == BLOCK);
    CHECK_EQUAL(s2n_get_le32(block), QUEUES * 30);
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
    RUN(test_host_that_does_not_take_completions);
    RUN(test_small_completion_queue);
    RUN(test_bad_doorbells_are_reported);
    RUN(test_faults);
    RUN(test_abort);
    RUN(test_deleted_queue_gives_back_its_commands);
    RUN(test_disable_then_replay);
    RUN(test_control_arguments);
    RUN(test_polled_queue);
    RUN(test_concurrent_owners_and_changes);
    RUN(test_fused_pairs_are_atomic);
    return 0;
}
