/* CIDs that an Abort is to name. */
#include "check.h"
#include "qpair_bench.h"

#include <errno.h>

static void complete_one(struct bench *bench, uint16_t cid)
{
    s2n_completion done;

    post(bench, cid, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench->qp, &done, 1), 1);
    CHECK_EQUAL(done.cid, cid);
}

static void a_pinned_cid_is_no_other_commands(void)
{
    struct bench bench;

    open_bench(&bench, DEPTH);
    uint16_t cid = (uint16_t)place(&bench, 2, 1);
    s2n_qpair_pin(bench.qp, cid);
    s2n_qpair_pin(bench.qp, cid);
    complete_one(&bench, cid);
    CHECK_EQUAL(s2n_qpair_find(bench.qp, 1, 0), -1);
    for (int i = 0; i < DEPTH - 2; i++) {
        int other = place(&bench, 2, 2);
        CHECK(other >= 0 && other != cid);
    }
    CHECK_EQUAL(place(&bench, 2, 2), -EAGAIN);
    s2n_qpair_unpin(bench.qp, cid);
    CHECK_EQUAL(place(&bench, 2, 2), -EAGAIN);
    s2n_qpair_unpin(bench.qp, cid);
    CHECK_EQUAL(place(&bench, 2, 2), cid);
    s2n_qpair_unpin(bench.qp, cid); /* once too often: nothing */
    CHECK_EQUAL(place(&bench, 2, 2), -EAGAIN);
    close_bench(&bench);
}

static void a_cid_that_is_unpinned_first_ends_as_ever(void)
{
    struct bench bench;

    open_bench(&bench, DEPTH);
    uint16_t cid = (uint16_t)place(&bench, 2, 1);
    s2n_qpair_pin(bench.qp, cid);
    s2n_qpair_unpin(bench.qp, cid);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 2);
    complete_one(&bench, cid);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    close_bench(&bench);
}

/* A replay keeps CIDs; what forgets the commands forgets that they were pinned. */
static void resets_of_pinned_cids(void)
{
    struct bench bench;

    open_bench(&bench, DEPTH);
    uint16_t ended = (uint16_t)place(&bench, 2, 1), left = (uint16_t)place(&bench, 2, 2);
    s2n_qpair_pin(bench.qp, ended);
    s2n_qpair_pin(bench.qp, left);
    complete_one(&bench, ended);
    s2n_qpair_reset(bench.qp, true);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 3);
    s2n_qpair_unpin(bench.qp, ended);
    CHECK_EQUAL(place(&bench, 2, 3), ended);
    s2n_qpair_reset(bench.qp, false);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), DEPTH - 1);
    close_bench(&bench);
}

int main(void)
{
    RUN(a_pinned_cid_is_no_other_commands);
    RUN(a_cid_that_is_unpinned_first_ends_as_ever);
    RUN(resets_of_pinned_cids);
    return 0;
}
