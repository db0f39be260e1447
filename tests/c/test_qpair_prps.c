/* What queue pairs say of data in PRPs and PRP lists. */
#include "check.h"
#include "little_endian.h"
#include "place.h"
#include "qpair_bench.h"

#include <errno.h>
#include <string.h>

/* An exact image of what the PRP rules say, computed page by page. */
static void check_prps(struct bench *bench, int cid, const struct s2n_span *spans, uint32_t count)
{
    const uint8_t *sqe = s2n_qpair_sqe(bench->qp, (uint16_t)cid);
    uint64_t pages[600] = {0};
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
    uint8_t sqe[64];
    s2n_completion done;
    int cid;

    memset(sqe, 0xA5, sizeof sqe); /* whatever the pointers were */
    cid = place_entry(bench->qp, sqe, spans, count, 0, 1000);
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

/* The last addresses whose page has a successor: however large they are, they are said. */
static void test_prps_at_the_end_of_what_addresses_can_say(void)
{
    const uint64_t end = UINT64_MAX - PAGE;
    struct bench bench;

    open_bench(&bench, DEPTH);
    for (uint32_t length = 3; length < 2 * PAGE + 8; length += 4) {
        struct s2n_span span = {end - length, length};

        one_transfer(&bench, &span, 1);
        span.length += 4;
        CHECK_EQUAL(place_entry(bench.qp, (uint8_t[64]){2}, &span, 1, 0, 1000), -EINVAL);
        span.length -= 3;
        CHECK_EQUAL(place_entry(bench.qp, (uint8_t[64]){2}, &span, 1, 0, 1000), -EINVAL);
    }
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
        CHECK_EQUAL(place_entry(bench.qp, sqe, bad[i].spans, bad[i].count, 0, 1000), -EINVAL);
        CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    }
    CHECK_EQUAL(s2n_qpair_place(bench.qp, sqe, &region, 0, 1000), -EINVAL);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_rings, 0);
    close_bench(&bench);
}

static void test_a_region_is_described_whole(void)
{
    struct bench bench;
    uint8_t sqe[64] = {2};
    s2n_region region = {NULL, 0x10000000, 33 * PAGE};
    struct s2n_span span = {region.iova, 33 * PAGE};

    open_bench(&bench, DEPTH);
    check_prps(&bench, s2n_qpair_place(bench.qp, sqe, &region, 0, 1000), &span, 1);
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
        int cid = place_entry(bench.qp, sqe, &span, 1, 0, 1000);

        lists[i] = s2n_get_le64(s2n_qpair_sqe(bench.qp, (uint16_t)cid) + 32);
        CHECK(lists[i] >= s2n_qpair_cq_iova(bench.qp) + PAGE);
        CHECK(lists[i] + PAGE <= IOVA + bench.memory.length);
        for (int j = 0; j < i; j++)
            CHECK(lists[i] != lists[j]);
    }
    close_bench(&bench);
}

/* What is told in the page of a list lies in the one of the command that comes next. */
static void test_each_command_has_a_page_of_its_own(void)
{
    struct bench bench;
    struct s2n_span one, three = {0x100000000, 3 * PAGE};
    uint8_t sqe[64] = {2};

    open_bench(&bench, DEPTH);
    for (int i = 0; i < DEPTH - 1; i++) {
        const uint8_t *page = s2n_qpair_room(bench.qp, &one);
        int cid = place_entry(bench.qp, sqe, &three, 1, 0, 1000);

        CHECK_EQUAL(one.iova, s2n_get_le64(s2n_qpair_sqe(bench.qp, (uint16_t)cid) + 32));
        CHECK_EQUAL(one.length, PAGE);
        CHECK(page == at(&bench, one.iova));
    }
    close_bench(&bench);
}

int main(void)
{
    RUN(test_prps_around_page_borders);
    RUN(test_prps_of_several_spans);
    RUN(test_prps_at_the_end_of_what_addresses_can_say);
    RUN(test_what_no_prp_can_say_is_refused);
    RUN(test_a_region_is_described_whole);
    RUN(test_each_command_has_its_own_list);
    RUN(test_each_command_has_a_page_of_its_own);
    return 0;
}
