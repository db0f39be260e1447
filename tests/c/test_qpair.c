/* Queue pairs against a controller that does exactly what a test tells it. */
#include "check.h"
#include "little_endian.h"
#include "queue.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 4096, DEPTH = 8, IOVA = 0x40000000 };

struct fake {
    s2n_port port;
    uint32_t sq_tail, cq_head;
    uint32_t sq_rings, cq_rings;
};

static void ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    struct fake *fake = (struct fake *)port;

    CHECK_EQUAL(qid, 3);
    fake->sq_tail = tail;
    fake->sq_rings++;
}

static void ring_cq(s2n_port *port, uint16_t qid, uint32_t head)
{
    struct fake *fake = (struct fake *)port;

    CHECK_EQUAL(qid, 3);
    fake->cq_head = head;
    fake->cq_rings++;
}

static const struct s2n_port_ops ops = {.ring_sq = ring_sq, .ring_cq = ring_cq};

/* A queue pair with the controller's side of its rings. */
struct bench {
    struct fake fake;
    s2n_region memory;
    s2n_qpair *qp;
    uint16_t depth, cq_tail;
    bool phase;
};

static void open_bench(struct bench *bench, uint16_t depth)
{
    memset(bench, 0, sizeof *bench);
    bench->fake.port.ops = &ops;
    bench->depth = depth;
    bench->phase = true;
    bench->memory.iova = IOVA;
    bench->memory.length = s2n_qpair_bytes(depth);
    bench->memory.vaddr = aligned_alloc(PAGE, bench->memory.length);
    memset(bench->memory.vaddr, 0xAA, bench->memory.length);
    bench->qp = s2n_qpair_new(&bench->fake.port, 3, depth, &bench->memory);
    CHECK(bench->qp);
}

static void close_bench(struct bench *bench)
{
    s2n_qpair_free(bench->qp);
    free(bench->memory.vaddr);
}

static uint8_t *at(struct bench *bench, uint64_t iova)
{
    CHECK(iova >= IOVA && iova < IOVA + bench->memory.length);
    return bench->memory.vaddr + (iova - IOVA);
}

static const uint8_t *sq_entry(struct bench *bench, uint32_t index)
{
    return at(bench, s2n_qpair_sq_iova(bench->qp) + 64 * (uint64_t)index);
}

/* Post a completion as a controller would. */
static void post(struct bench *bench, uint16_t cid, uint32_t status, uint32_t dw0)
{
    uint8_t *cqe = at(bench, s2n_qpair_cq_iova(bench->qp) + 16 * (uint64_t)bench->cq_tail);

    s2n_put_le32(cqe, dw0);
    s2n_put_le32(cqe + 8, 3 << 16);
    s2n_put_le32(cqe + 12, cid | (uint32_t)bench->phase << 16 | status << 17);
    if (++bench->cq_tail == bench->depth) {
        bench->cq_tail = 0;
        bench->phase = !bench->phase;
    }
}

static int place(struct bench *bench, uint8_t opcode, uint64_t cookie)
{
    uint8_t sqe[64] = {opcode};

    return s2n_qpair_place(bench->qp, sqe, NULL, cookie, 1000);
}

static void test_sizes_and_alignment_are_checked(void)
{
    struct fake fake = {.port.ops = &ops};
    s2n_region memory = {.iova = IOVA, .length = s2n_qpair_bytes(DEPTH)};

    memory.vaddr = aligned_alloc(PAGE, memory.length + PAGE);
    CHECK_EQUAL(memory.length, PAGE + PAGE + (DEPTH - 1) * PAGE);
    CHECK_EQUAL(s2n_qpair_bytes(65), 2 * PAGE + PAGE + 64 * PAGE);
    CHECK(!s2n_qpair_new(&fake.port, 3, 1, &memory));
    memory.iova += 512;
    CHECK(!s2n_qpair_new(&fake.port, 3, DEPTH, &memory));
    memory.iova -= 512;
    memory.length--;
    CHECK(!s2n_qpair_new(&fake.port, 3, DEPTH, &memory));
    free(memory.vaddr);
}

static void test_entry_is_the_image_with_its_cid(void)
{
    struct bench bench;
    uint8_t sqe[64];
    int cid;

    open_bench(&bench, DEPTH);
    for (int i = 0; i < 64; i++)
        sqe[i] = (uint8_t)(i + 1);
    cid = s2n_qpair_place(bench.qp, sqe, NULL, 7, 1000);
    CHECK(cid >= 0);
    s2n_put_le16(sqe + 2, (uint16_t)cid);
    CHECK(memcmp(sq_entry(&bench, 0), sqe, 64) == 0);
    CHECK(memcmp(s2n_qpair_sqe(bench.qp, (uint16_t)cid), sqe, 64) == 0);
    CHECK(!s2n_qpair_sqe(bench.qp, DEPTH));
    close_bench(&bench);
}

static void test_one_doorbell_per_batch(void)
{
    struct bench bench;

    open_bench(&bench, DEPTH);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_rings, 0);
    for (int i = 0; i < 3; i++)
        CHECK(place(&bench, 2, 0) >= 0);
    CHECK_EQUAL(bench.fake.sq_rings, 0);
    s2n_qpair_ring(bench.qp);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_rings, 1);
    CHECK_EQUAL(bench.fake.sq_tail, 3);
    close_bench(&bench);
}

static void test_full_at_one_less_than_the_depth(void)
{
    struct bench bench;
    s2n_completion done[DEPTH];

    open_bench(&bench, DEPTH);
    for (int i = 0; i < DEPTH - 1; i++) {
        CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1 - i);
        CHECK(place(&bench, 2, (uint64_t)i) >= 0);
    }
    CHECK_EQUAL(place(&bench, 2, 99), -EAGAIN);
    CHECK_EQUAL(s2n_qpair_in_flight(bench.qp), DEPTH - 1);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_tail, DEPTH - 1);
    post(&bench, 2, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 1);
    CHECK_EQUAL(place(&bench, 2, 99), 2);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_tail, 0);
    close_bench(&bench);
}

static void test_completion_fields(void)
{
    struct bench bench;
    s2n_completion done;
    int cid;

    open_bench(&bench, DEPTH);
    cid = place(&bench, 2, UINT64_C(0x123456789ABCDEF0));
    /* DNR, M, CRD 2, SCT 2, SC 81h */
    post(&bench, (uint16_t)cid, 0x4000 | 0x2000 | 2 << 11 | 0x281, 0xCAFEF00D);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK_EQUAL(done.cid, cid);
    CHECK_EQUAL(done.status, 0x281);
    CHECK_EQUAL(done.dnr, 1);
    CHECK_EQUAL(done.more, 1);
    CHECK_EQUAL(done.crd, 2);
    CHECK_EQUAL(done.dw0, 0xCAFEF00D);
    CHECK_EQUAL(done.cookie, UINT64_C(0x123456789ABCDEF0));
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 0);
    CHECK_EQUAL(bench.fake.cq_rings, 1);
    CHECK_EQUAL(bench.fake.cq_head, 1);
    close_bench(&bench);
}

static void test_whoever_polls_acknowledges_before_it_sleeps(void)
{
    enum { DEEP = 16 };
    struct bench bench;
    s2n_completion done[DEEP];

    open_bench(&bench, DEEP);
    s2n_qpair_set_polled(bench.qp, true);
    for (int i = 0; i < 3; i++) {
        post(&bench, (uint16_t)place(&bench, 2, 1), 0, 0);
        CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEEP), 1);
    }
    CHECK_EQUAL(bench.fake.cq_rings, 0);
    s2n_qpair_acknowledge(bench.qp);
    s2n_qpair_acknowledge(bench.qp);
    CHECK_EQUAL(bench.fake.cq_rings, 1);
    CHECK_EQUAL(bench.fake.cq_head, 3);
    /* The device must always have room. */
    for (int i = 0; i < DEEP / 4; i++)
        post(&bench, (uint16_t)place(&bench, 2, 1), 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEEP), DEEP / 4);
    CHECK_EQUAL(bench.fake.cq_rings, 2);
    CHECK_EQUAL(bench.fake.cq_head, 7);
    post(&bench, (uint16_t)place(&bench, 2, 1), 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEEP), 1);
    s2n_qpair_reset(bench.qp, false); /* the queue is new: there is nothing to acknowledge */
    s2n_qpair_acknowledge(bench.qp);
    CHECK_EQUAL(bench.fake.cq_rings, 2);
    close_bench(&bench);
}

/* Many turns of both rings, of every small depth, completing out of order. */
static void test_wrap(void)
{
    for (uint16_t depth = 2; depth < 12; depth++) {
        struct bench bench;
        s2n_completion done[16];
        uint64_t cookie = 0;

        open_bench(&bench, depth);
        for (uint32_t round = 0; round < 5u * depth; round++) {
            uint32_t batch = round % (depth - 1u) + 1;
            int cids[16];

            for (uint32_t i = 0; i < batch; i++)
                cids[i] = place(&bench, 2, cookie + i);
            s2n_qpair_ring(bench.qp);
            for (uint32_t i = batch; i-- > 0;)
                post(&bench, (uint16_t)cids[i], 0, i);
            CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, 16), batch);
            for (uint32_t i = 0; i < batch; i++)
                CHECK_EQUAL(done[i].cookie, cookie + batch - 1 - i);
            cookie += batch;
            CHECK_EQUAL(bench.fake.cq_head, cookie % depth);
            CHECK_EQUAL(bench.fake.sq_tail, cookie % depth);
        }
        close_bench(&bench);
    }
}

static void test_poll_takes_no_more_than_asked(void)
{
    struct bench bench;
    s2n_completion done[DEPTH];

    open_bench(&bench, DEPTH);
    for (int i = 0; i < 5; i++)
        post(&bench, (uint16_t)place(&bench, 2, (uint64_t)i), 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, 0), 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, 2), 2);
    CHECK_EQUAL(bench.fake.cq_head, 2);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 3);
    CHECK_EQUAL(done[0].cookie, 2);
    close_bench(&bench);
}

static void test_bogus_completions_are_counted_and_ignored(void)
{
    struct bench bench;
    s2n_completion done[DEPTH];
    int cid;

    open_bench(&bench, DEPTH);
    cid = place(&bench, 2, 5);
    post(&bench, DEPTH - 1, 0, 0); /* beyond the slots */
    post(&bench, 0xFFFF, 0, 0);
    post(&bench, (uint16_t)(cid + 1), 0, 0); /* not under way */
    post(&bench, (uint16_t)cid, 0, 0);
    post(&bench, (uint16_t)cid, 0, 0); /* twice */
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 1);
    CHECK_EQUAL(done[0].cookie, 5);
    CHECK_EQUAL(s2n_qpair_unexpected(bench.qp), 4);
    CHECK_EQUAL(bench.fake.cq_head, 5);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    close_bench(&bench);
}

/* An exact image of what the PRP rules say, computed page by page. */
static void check_prps(struct bench *bench, int cid, const struct s2n_span *spans, uint32_t count)
{
    const uint8_t *sqe = s2n_qpair_sqe(bench->qp, (uint16_t)cid);
    uint64_t pages[600];
    uint32_t n = 0;

    for (uint32_t i = 0; i < count; i++) {
        for (uint64_t byte = spans[i].iova; byte < spans[i].iova + spans[i].length;
             byte = (byte / PAGE + 1) * PAGE)
            pages[n++] = byte;
    }
    CHECK_EQUAL(s2n_get_le64(sqe + 24), pages[0]);
    if (n <= 2) {
        CHECK_EQUAL(s2n_get_le64(sqe + 32), n == 2 ? pages[1] : 0);
    } else {
        uint64_t list = s2n_get_le64(sqe + 32);

        CHECK_EQUAL(list % PAGE, 0);
        for (uint32_t i = 1; i < n; i++)
            CHECK_EQUAL(s2n_get_le64(at(bench, list + 8 * (i - 1))), pages[i]);
    }
    CHECK(memcmp(sq_entry(bench, (bench->fake.sq_tail)), sqe, 64) == 0);
}

static void one_transfer(struct bench *bench, const struct s2n_span *spans, uint32_t count)
{
    uint8_t sqe[64] = {2};
    s2n_completion done;
    int cid = s2n_qpair_place_spans(bench->qp, sqe, spans, count, 0, 1000);

    CHECK(cid >= 0);
    check_prps(bench, cid, spans, count);
    s2n_qpair_ring(bench->qp);
    post(bench, (uint16_t)cid, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench->qp, &done, 1), 1);
}

/* Every dword offset near both ends of a page, every length near page borders. */
static void test_prps_around_page_borders(void)
{
    struct bench bench;
    static const uint32_t pages[] = {0, 1, 2, 3, 4, 255, 256, 510, 511, 512};

    open_bench(&bench, 3);
    for (uint32_t offset = 0; offset < PAGE; offset += offset == 64 ? PAGE - 128 : 4) {
        for (size_t p = 0; p < sizeof pages / sizeof pages[0]; p++) {
            for (int32_t delta = -12; delta <= 12; delta++) {
                int64_t length = (int64_t)pages[p] * PAGE + delta - offset % 16;

                if (length > 0 && offset + length <= 513 * PAGE) {
                    struct s2n_span span = {0x100000000 + offset, (uint32_t)length};

                    one_transfer(&bench, &span, 1);
                }
            }
        }
    }
    close_bench(&bench);
}

static void test_prps_of_several_spans(void)
{
    struct bench bench;
    struct s2n_span spans[] = {
        {0x10000000 + 512, PAGE - 512},
        {0x20000000, PAGE},
        {0x30000000, 4 * PAGE},
        {0x40000000, 100},
    };

    open_bench(&bench, DEPTH);
    for (uint32_t count = 1; count <= 4; count++)
        one_transfer(&bench, spans, count);
    close_bench(&bench);
}

static void test_what_no_prp_can_say_is_refused(void)
{
    static const struct {
        struct s2n_span spans[2];
        uint32_t count;
    } bad[] = {
        {{{0x1000, 0}}, 1},                   /* empty */
        {{{0x1002, 512}}, 1},                 /* not dword aligned */
        {{{0x1000, 512}, {0x3000, 512}}, 2},  /* ends within a page */
        {{{0x1000, PAGE}, {0x3200, 512}}, 2}, /* begins within a page */
        {{{0x1000, 513 * PAGE + 4}}, 1},      /* list beyond its page */
        {{{0x1004, 513 * PAGE}}, 1},
        {{{UINT64_MAX - 4095, 4096}}, 1}, /* wraps */
        {{{UINT64_MAX - 4091, 4000}}, 1},
    };
    struct bench bench;
    uint8_t sqe[64] = {2};
    s2n_region region = {NULL, 0x1000, UINT64_C(0x100000200)};

    open_bench(&bench, DEPTH);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQUAL(s2n_qpair_place_spans(bench.qp, sqe, bad[i].spans, bad[i].count, 0, 1000),
                    -EINVAL);
        CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    }
    CHECK_EQUAL(s2n_qpair_place(bench.qp, sqe, &region, 0, 1000), -EINVAL);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_rings, 0);
    close_bench(&bench);
}

static void test_each_command_has_its_own_list(void)
{
    struct bench bench;
    struct s2n_span span = {0x100000000, 3 * PAGE};
    uint8_t sqe[64] = {2};
    uint64_t lists[DEPTH];

    open_bench(&bench, DEPTH);
    for (int i = 0; i < DEPTH - 1; i++) {
        int cid = s2n_qpair_place_spans(bench.qp, sqe, &span, 1, 0, 1000);

        lists[i] = s2n_get_le64(s2n_qpair_sqe(bench.qp, (uint16_t)cid) + 32);
        CHECK(lists[i] >= s2n_qpair_cq_iova(bench.qp) + PAGE);
        CHECK(lists[i] + PAGE <= IOVA + bench.memory.length);
        for (int j = 0; j < i; j++)
            CHECK(lists[i] != lists[j]);
    }
    close_bench(&bench);
}

static void test_replay_keeps_order_and_identity(void)
{
    struct bench bench;
    s2n_completion done[DEPTH];
    int cids[5];

    open_bench(&bench, DEPTH);
    for (int i = 0; i < 5; i++) /* so that slots are used in no simple order */
        cids[i] = place(&bench, 2, 0);
    s2n_qpair_ring(bench.qp);
    for (int i = 0; i < 5; i++)
        post(&bench, (uint16_t)cids[i * 2 % 5], 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 5);
    for (int i = 0; i < 5; i++)
        cids[i] = place(&bench, (uint8_t)(0x10 + i), (uint64_t)(100 + i));
    s2n_qpair_ring(bench.qp);
    post(&bench, (uint16_t)cids[1], 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 1);
    bench.fake.sq_rings = 0;

    s2n_qpair_reset(bench.qp, true);
    CHECK_EQUAL(bench.fake.sq_rings, 0);
    CHECK_EQUAL(s2n_qpair_in_flight(bench.qp), 4);
    CHECK_EQUAL(sq_entry(&bench, 0)[0], 0x10);
    CHECK_EQUAL(sq_entry(&bench, 1)[0], 0x12);
    CHECK_EQUAL(sq_entry(&bench, 2)[0], 0x13);
    CHECK_EQUAL(sq_entry(&bench, 3)[0], 0x14);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_tail, 4);
    bench.cq_tail = 0;
    bench.phase = true;
    post(&bench, (uint16_t)cids[3], 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 1);
    CHECK_EQUAL(done[0].cookie, 103);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1 - 3);
    for (int i = 0; i < DEPTH - 1 - 3; i++)
        CHECK(place(&bench, 2, 0) >= 0);
    CHECK_EQUAL(place(&bench, 2, 0), -EAGAIN);
    close_bench(&bench);
}

static void test_reset_without_replay_forgets(void)
{
    struct bench bench;
    s2n_completion done[DEPTH];
    int cid;

    open_bench(&bench, DEPTH);
    cid = place(&bench, 2, 1);
    s2n_qpair_ring(bench.qp);
    post(&bench, (uint16_t)cid, 0, 0); /* an old entry must not be seen as new */
    s2n_qpair_reset(bench.qp, false);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, DEPTH), 0);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_rings, 1);
    close_bench(&bench);
}

static void test_abandoned_commands_end_without_the_device(void)
{
    struct bench bench;
    s2n_completion done[DEPTH];
    uint8_t before[DEPTH * 64];
    uint64_t seen = 0;

    open_bench(&bench, DEPTH);
    for (int i = 0; i < 3; i++)
        CHECK(place(&bench, 2, (uint64_t)i) >= 0);
    memcpy(before, sq_entry(&bench, 0), sizeof before);
    s2n_qpair_abandon(bench.qp, 0x371);
    CHECK(place(&bench, 1, 3) >= 0);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, 2), 2);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done + 2, DEPTH), 2);
    for (int i = 0; i < 4; i++) {
        seen |= UINT64_C(1) << done[i].cookie;
        CHECK_EQUAL(done[i].status, 0x371);
        CHECK_EQUAL(done[i].dnr, 0);
    }
    CHECK_EQUAL(seen, 0xF);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    CHECK(memcmp(before, sq_entry(&bench, 0), sizeof before) == 0);
    CHECK_EQUAL(bench.fake.sq_rings + bench.fake.cq_rings, 0);
    close_bench(&bench);
}

static void test_deadlines(void)
{
    struct bench bench;
    s2n_completion done;
    uint8_t sqe[64] = {2};
    uint16_t cid = 0;
    int forever, late, soon, left;

    open_bench(&bench, DEPTH);
    CHECK_EQUAL(s2n_qpair_next_deadline(bench.qp, &cid), -1);
    forever = s2n_qpair_place(bench.qp, sqe, NULL, 0, 0);
    CHECK_EQUAL(s2n_qpair_next_deadline(bench.qp, &cid), -1);
    late = s2n_qpair_place(bench.qp, sqe, NULL, 0, 1000000);
    soon = s2n_qpair_place(bench.qp, sqe, NULL, 0, 1);
    while ((left = s2n_qpair_next_deadline(bench.qp, &cid)) > 0)
        CHECK(left <= 1);
    CHECK_EQUAL(cid, soon);
    s2n_qpair_extend(bench.qp, cid, 500000);
    left = s2n_qpair_next_deadline(bench.qp, &cid);
    CHECK(left > 400000 && left <= 500000);
    post(&bench, (uint16_t)soon, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    s2n_qpair_extend(bench.qp, (uint16_t)soon, 1); /* completed meanwhile: nothing */
    CHECK(s2n_qpair_next_deadline(bench.qp, &cid) > 400000);
    post(&bench, (uint16_t)late, 0, 0);
    post(&bench, (uint16_t)forever, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK_EQUAL(s2n_qpair_next_deadline(bench.qp, &cid), -1);
    close_bench(&bench);
}

static void test_mmio_doorbells(void)
{
    uint32_t doorbells[16] = {0};
    s2n_port *port = s2n_port_mmio(doorbells, 8);

    port->ops->ring_sq(port, 2, 0x1234);
    port->ops->ring_cq(port, 3, 0x56);
    CHECK_EQUAL(le32toh(doorbells[2 * 2 * 2]), 0x1234);
    CHECK_EQUAL(le32toh(doorbells[7 * 2]), 0x56);
    s2n_port_free(port);
    s2n_port_free(NULL);
}

int main(void)
{
    RUN(test_sizes_and_alignment_are_checked);
    RUN(test_entry_is_the_image_with_its_cid);
    RUN(test_one_doorbell_per_batch);
    RUN(test_full_at_one_less_than_the_depth);
    RUN(test_completion_fields);
    RUN(test_whoever_polls_acknowledges_before_it_sleeps);
    RUN(test_wrap);
    RUN(test_poll_takes_no_more_than_asked);
    RUN(test_bogus_completions_are_counted_and_ignored);
    RUN(test_prps_around_page_borders);
    RUN(test_prps_of_several_spans);
    RUN(test_what_no_prp_can_say_is_refused);
    RUN(test_each_command_has_its_own_list);
    RUN(test_replay_keeps_order_and_identity);
    RUN(test_reset_without_replay_forgets);
    RUN(test_abandoned_commands_end_without_the_device);
    RUN(test_deadlines);
    RUN(test_mmio_doorbells);
    return 0;
}
