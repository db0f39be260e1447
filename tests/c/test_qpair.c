/* Queue pairs: rings, slots, deadlines, replay. */
#include "check.h"
#include "little_endian.h"
#include "qpair_bench.h"

#include <errno.h>
#include <string.h>

static void test_sizes_and_alignment_are_checked(void)
{
    struct fake fake = {.port.ops = &fake_ops};
    s2n_region memory = {.iova = IOVA, .length = s2n_qpair_bytes(DEPTH)};

    memory.vaddr = aligned_alloc(PAGE, memory.length + PAGE);
    CHECK_EQUAL(memory.length, PAGE + PAGE + (DEPTH - 1) * PAGE);
    CHECK_EQUAL(s2n_qpair_bytes(65), 2 * PAGE + PAGE + 64 * PAGE);
    s2n_qpair_free(NULL);
    CHECK(!s2n_qpair_new(&fake.port, 3, 1, &memory));
    memory.iova += 512;
    CHECK(!s2n_qpair_new(&fake.port, 3, DEPTH, &memory));
    memory.iova -= 512;
    memory.vaddr += 512;
    CHECK(!s2n_qpair_new(&fake.port, 3, DEPTH, &memory));
    memory.vaddr -= 512;
    memory.length--;
    CHECK(!s2n_qpair_new(&fake.port, 3, DEPTH, &memory));
    free(memory.vaddr);
    CHECK_EQUAL(s2n_qpair_bytes(0), 0);
    CHECK_EQUAL(s2n_qpair_bytes(1), 0);
    CHECK_EQUAL(s2n_qpair_bytes(2), 3 * PAGE);
    CHECK_EQUAL(s2n_qpair_bytes(64), PAGE + PAGE + 63 * PAGE); /* exactly a page of entries */
    CHECK_EQUAL(s2n_qpair_bytes(256), 4 * PAGE + PAGE + 255 * PAGE);
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
    CHECK(s2n_qpair_sqe(bench.qp, DEPTH - 2));
    CHECK(!s2n_qpair_sqe(bench.qp, DEPTH - 1));
    CHECK(!s2n_qpair_sqe(bench.qp, DEPTH));
    close_bench(&bench);
}

static void test_a_buffer_of_nothing_is_none(void)
{
    const s2n_region buffers[] = {{NULL, 0x100000004, 0}, {NULL, 0x100000004, 1}};
    struct bench bench;

    open_bench(&bench, DEPTH);
    for (unsigned i = 0; i < 2; i++) {
        int cid = s2n_qpair_place(bench.qp, (uint8_t[64]){2}, &buffers[i], 0, 1000);

        CHECK(cid >= 0);
        CHECK_EQUAL(s2n_get_le64(s2n_qpair_sqe(bench.qp, (uint16_t)cid) + 24),
                    buffers[i].length ? buffers[i].iova : 0);
    }
    close_bench(&bench);
}

static void test_rings_begin_empty(void)
{
    static const uint8_t nothing[DEPTH * 64];
    struct bench bench; /* whose memory was not */

    open_bench(&bench, DEPTH);
    CHECK(memcmp(sq_entry(&bench, 0), nothing, DEPTH * 64) == 0);
    CHECK(memcmp(at(&bench, s2n_qpair_cq_iova(bench.qp)), nothing, DEPTH * 16) == 0);
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

static void test_each_bit_of_a_status_has_its_place(void)
{
    struct bench bench;
    s2n_completion done;

    open_bench(&bench, DEPTH);
    for (uint32_t word = 1; word < 0x8000; word <<= 1) {
        post(&bench, (uint16_t)place(&bench, 2, word), (uint16_t)word, 0);
        CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
        CHECK_EQUAL(done.cookie, word);
        CHECK_EQUAL(done.status, word & 0x7FF);
        CHECK_EQUAL(done.crd, word >> 11 & 3);
        CHECK_EQUAL(done.more, word >> 13 & 1);
        CHECK_EQUAL(done.dnr, word >> 14);
    }
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
    CHECK(place(&bench, 2, 2) >= 0);   /* nor is it told of what it had not been told of */
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

static void test_what_is_handed_over_keeps_its_place(void)
{
    struct bench bench;
    s2n_completion done[3];
    int cids[3];

    open_bench(&bench, DEPTH);
    for (uint64_t i = 0; i < 3; i++)
        cids[i] = place(&bench, 2, 7 + i % 2);
    s2n_qpair_hand_over(bench.qp, 7, 9);
    CHECK_EQUAL(s2n_qpair_find(bench.qp, 7, 0), -1);
    for (int i = 0; i < 3; i++)
        post(&bench, (uint16_t)cids[i], 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, done, 3), 3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(done[i].cid, cids[i]);
        CHECK_EQUAL(done[i].cookie, i == 1 ? 8 : 9);
    }
    close_bench(&bench);
}

static void test_what_is_dropped_is_counted_and_its_slots_are_free(void)
{
    struct bench bench;

    open_bench(&bench, DEPTH);
    for (uint64_t i = 0; i < 5; i++)
        CHECK(place(&bench, 2, 7 + i % 2) >= 0);
    CHECK_EQUAL(s2n_qpair_drop(bench.qp, 7), 3);
    CHECK_EQUAL(s2n_qpair_drop(bench.qp, 7), 0);
    CHECK_EQUAL(s2n_qpair_in_flight(bench.qp), 2);
    CHECK_EQUAL(s2n_qpair_drop(bench.qp, 8), 2);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    close_bench(&bench);
}

static void test_who_is_revived_sends_to_the_device(void)
{
    struct bench bench;

    open_bench(&bench, DEPTH);
    s2n_qpair_abandon(bench.qp, 0x371);
    CHECK(s2n_qpair_abandoned(bench.qp));
    s2n_qpair_revive(bench.qp);
    CHECK(!s2n_qpair_abandoned(bench.qp));
    CHECK(place(&bench, 2, 0) >= 0);
    s2n_qpair_ring(bench.qp);
    CHECK_EQUAL(bench.fake.sq_tail, 1);
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
    RUN(test_a_buffer_of_nothing_is_none);
    RUN(test_rings_begin_empty);
    RUN(test_one_doorbell_per_batch);
    RUN(test_full_at_one_less_than_the_depth);
    RUN(test_completion_fields);
    RUN(test_each_bit_of_a_status_has_its_place);
    RUN(test_whoever_polls_acknowledges_before_it_sleeps);
    RUN(test_wrap);
    RUN(test_poll_takes_no_more_than_asked);
    RUN(test_bogus_completions_are_counted_and_ignored);
    RUN(test_replay_keeps_order_and_identity);
    RUN(test_reset_without_replay_forgets);
    RUN(test_abandoned_commands_end_without_the_device);
    RUN(test_what_is_handed_over_keeps_its_place);
    RUN(test_what_is_dropped_is_counted_and_its_slots_are_free);
    RUN(test_who_is_revived_sends_to_the_device);
    RUN(test_mmio_doorbells);
    return 0;
}
