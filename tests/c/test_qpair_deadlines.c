/* When what is under way in a queue pair is late. */
#include "check.h"
#include "qpair_bench.h"

/* Wait until some deadline, which is soon, is over, or there is none any more. */
static int wait_for_a_deadline(struct bench *bench, uint16_t *cid)
{
    int left;

    while ((left = s2n_qpair_next_deadline(bench->qp, cid)) > 0)
        CHECK(left <= 1000);
    return left;
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
    CHECK(!s2n_qpair_extended(bench.qp, cid));
    CHECK(!s2n_qpair_extend(bench.qp, cid, 1));
    CHECK(s2n_qpair_extended(bench.qp, cid));
    CHECK(s2n_qpair_extend(bench.qp, cid, 500000));
    CHECK(!s2n_qpair_extended(bench.qp, (uint16_t)late));
    for (uint32_t cid_beyond = DEPTH - 1; cid_beyond <= UINT16_MAX; cid_beyond++) {
        CHECK(!s2n_qpair_extended(bench.qp, (uint16_t)cid_beyond));
        CHECK_EQUAL(s2n_qpair_look_at(bench.qp, (uint16_t)cid_beyond, sqe), -1);
    }
    left = s2n_qpair_next_deadline(bench.qp, &cid);
    CHECK(left > 400000 && left <= 500000);
    post(&bench, (uint16_t)soon, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK(!s2n_qpair_extended(bench.qp, (uint16_t)soon));
    CHECK(!s2n_qpair_extend(bench.qp, (uint16_t)soon, 1)); /* completed meanwhile: nothing */
    CHECK(s2n_qpair_next_deadline(bench.qp, &cid) > 400000);
    post(&bench, (uint16_t)late, 0, 0);
    post(&bench, (uint16_t)forever, 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK_EQUAL(s2n_qpair_next_deadline(bench.qp, &cid), -1);
    close_bench(&bench);
}

/* Among the ticks of any clock of 1 to 10 ms is one that meets a deadline exactly. */
static void test_a_deadline_names_its_command(void)
{
    struct bench bench;
    s2n_completion done;
    uint16_t late;

    open_bench(&bench, DEPTH);
    s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, 0);
    for (uint32_t ms = 1; ms <= 10; ms++) {
        int cid = s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, ms, ms);

        CHECK(cid > 0);
        CHECK_EQUAL(wait_for_a_deadline(&bench, &late), 0);
        CHECK_EQUAL(late, cid);
        post(&bench, (uint16_t)cid, 0, 0);
        CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    }
    close_bench(&bench);
}

static void test_the_deadline_of_what_was_completed_is_none(void)
{
    struct bench bench;
    s2n_completion done;
    uint16_t cid;

    open_bench(&bench, DEPTH);
    s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, 0);
    post(&bench, (uint16_t)s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 1, 1), 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    CHECK_EQUAL(wait_for_a_deadline(&bench, &cid), -1);
    close_bench(&bench);
}

/* Deadlines are told from the time at which they are set, not from an earlier batch's. */
static void test_deadlines_begin_when_they_are_set(void)
{
    enum { LONG_MS = 1000000, AGE_MS = 20, TRIES = 1000 };
    struct bench bench;
    s2n_completion done;
    uint16_t cid;
    int left = 0;

    open_bench(&bench, DEPTH);
    s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, AGE_MS);
    CHECK_EQUAL(wait_for_a_deadline(&bench, &cid), 0);
    for (int i = 0; i < TRIES && left <= LONG_MS - AGE_MS; i++) { /* the machine may be busy */
        s2n_qpair_extend(bench.qp, cid, LONG_MS);
        left = s2n_qpair_next_deadline(bench.qp, &cid);
    }
    CHECK(left > LONG_MS - AGE_MS);

    s2n_qpair_reset(bench.qp, false);
    s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, AGE_MS);
    CHECK_EQUAL(wait_for_a_deadline(&bench, &cid), 0);
    bench.cq_tail = 0;
    bench.phase = true;
    left = 0;
    for (int i = 0; i < TRIES && left <= LONG_MS - AGE_MS; i++) {
        post(&bench, cid, 0, 0);
        CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
        cid = (uint16_t)s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, LONG_MS);
        left = s2n_qpair_next_deadline(bench.qp, &(uint16_t){0});
    }
    CHECK(left > LONG_MS - AGE_MS);
    close_bench(&bench);
}

static void test_what_was_forgotten_has_no_deadline(void)
{
    struct bench bench;
    uint16_t cid;

    open_bench(&bench, DEPTH);
    s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, 500000);
    CHECK(s2n_qpair_next_deadline(bench.qp, &cid) > 400000);
    s2n_qpair_reset(bench.qp, false);
    CHECK_EQUAL(s2n_qpair_next_deadline(bench.qp, &cid), -1);
    close_bench(&bench);
}

static void test_what_is_replayed_has_all_its_time_again(void)
{
    struct bench bench;
    s2n_completion done;
    uint16_t cid;

    open_bench(&bench, DEPTH);
    s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, 1000000);
    post(&bench, (uint16_t)s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 1, 500000), 0, 0);
    CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
    s2n_qpair_reset(bench.qp, true);
    CHECK(s2n_qpair_next_deadline(bench.qp, &cid) > 900000);
    close_bench(&bench);
}

/* Who has a CID later was given no more time, and is as old as it is. */
static void test_each_command_is_looked_at_by_itself(void)
{
    enum { LONG_MS = 1000000 };
    struct bench bench;
    s2n_completion done;
    uint8_t sqe[64];

    open_bench(&bench, DEPTH);
    for (int i = 0; i < 2 * DEPTH; i++) {
        int cid = s2n_qpair_place(bench.qp, (uint8_t[64]){2}, NULL, 0, i % 3 ? LONG_MS : 0);
        CHECK(!s2n_qpair_extended(bench.qp, (uint16_t)cid));
        int64_t age = s2n_qpair_look_at(bench.qp, (uint16_t)cid, sqe);
        CHECK(i % 3 ? age >= 0 && age < LONG_MS : age == INT64_MAX);
        s2n_qpair_extend(bench.qp, (uint16_t)cid, LONG_MS);
        CHECK(s2n_qpair_extended(bench.qp, (uint16_t)cid));
        CHECK_EQUAL(s2n_qpair_look_at(bench.qp, (uint16_t)cid, sqe), INT64_MAX);
        post(&bench, (uint16_t)cid, 0, 0);
        CHECK_EQUAL(s2n_qpair_poll(bench.qp, &done, 1), 1);
        CHECK_EQUAL(s2n_qpair_look_at(bench.qp, (uint16_t)cid, sqe), -1);
    }
    close_bench(&bench);
}

int main(void)
{
    RUN(test_deadlines);
    RUN(test_a_deadline_names_its_command);
    RUN(test_the_deadline_of_what_was_completed_is_none);
    RUN(test_deadlines_begin_when_they_are_set);
    RUN(test_what_was_forgotten_has_no_deadline);
    RUN(test_what_is_replayed_has_all_its_time_again);
    RUN(test_each_command_is_looked_at_by_itself);
    return 0;
}
