/* Queue pairs: what they note of their last commands and completions, and tell of themselves. */
#include "check.h"
#include "little_endian.h"
#include "qpair_bench.h"

#include <string.h>
#include <time.h>

static s2n_trace *new_trace(void)
{
    s2n_trace *trace = aligned_alloc(64, sizeof *trace);

    memset(trace, 0, sizeof *trace);
    return trace;
}

/* Of the clock that it keeps. */
static uint32_t now_ms(void)
{
    struct timespec now;

    CHECK(!clock_gettime(CLOCK_MONOTONIC_COARSE, &now));
    return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

static void one_command(struct bench *bench, uint8_t opcode, uint32_t status)
{
    s2n_completion done[DEPTH];
    int cid = place(bench, opcode, opcode);

    s2n_qpair_ring(bench->qp);
    post(bench, (uint16_t)cid, status, opcode);
    CHECK_EQUAL(s2n_qpair_poll(bench->qp, done, DEPTH), 1);
}

static void test_the_last_commands_are_noted(void)
{
    enum { COMMANDS = S2N_TRACE_ENTRIES + 5 };
    s2n_trace *trace = new_trace();
    uint32_t begun_ms = now_ms();
    struct bench bench;

    open_bench(&bench, DEPTH);
    s2n_qpair_set_trace(bench.qp, trace);
    CHECK_EQUAL(trace->depth, DEPTH);
    CHECK_EQUAL(trace->qid, s2n_qpair_qid(bench.qp));
    for (uint32_t i = 0; i < COMMANDS; i++)
        one_command(&bench, (uint8_t)i, i % 3);
    CHECK_EQUAL(trace->placed, COMMANDS);
    CHECK_EQUAL(trace->completed, COMMANDS);
    for (uint32_t i = 5; i < COMMANDS; i++) {
        CHECK_EQUAL(trace->sqe[i % S2N_TRACE_ENTRIES][0], (uint8_t)i);
        CHECK_EQUAL(s2n_get_le32(trace->cqe[i % S2N_TRACE_ENTRIES]), (uint8_t)i);
        CHECK((int32_t)(trace->placed_ms[i % S2N_TRACE_ENTRIES] - begun_ms) >= 0);
        CHECK((int32_t)(now_ms() - trace->placed_ms[i % S2N_TRACE_ENTRIES]) >= 0);
    }
    s2n_qpair_set_trace(bench.qp, NULL);
    one_command(&bench, 1, 0);
    CHECK_EQUAL(trace->placed, COMMANDS);
    close_bench(&bench);
    free(trace);
}

static void test_what_is_placed_again_is_noted_again(void)
{
    s2n_trace *trace = new_trace();
    struct bench bench;

    open_bench(&bench, DEPTH);
    s2n_qpair_set_trace(bench.qp, trace);
    place(&bench, 2, 7);
    s2n_qpair_reset(bench.qp, true);
    CHECK_EQUAL(trace->placed, 2);
    CHECK(memcmp(trace->sqe[0], trace->sqe[1], sizeof trace->sqe[0]) == 0);
    close_bench(&bench);
    free(trace);
}

static void test_a_queue_pair_tells_where_it_is(void)
{
    struct bench bench;
    s2n_qpair_state state;
    uint8_t sqe[64];
    int cid;

    open_bench(&bench, DEPTH);
    one_command(&bench, 1, 0);
    cid = place(&bench, 2, 7);
    s2n_qpair_look(bench.qp, &state);
    CHECK_EQUAL(state.depth, DEPTH);
    CHECK_EQUAL(state.sq_tail, 2);
    CHECK_EQUAL(state.cq_head, 1);
    CHECK_EQUAL(state.in_flight, 1);
    CHECK(state.phase);
    CHECK(s2n_qpair_look_at(bench.qp, (uint16_t)cid, sqe) >= 0);
    CHECK_EQUAL(sqe[0], 2);
    CHECK_EQUAL(s2n_qpair_look_at(bench.qp, (uint16_t)(cid + 1) % (DEPTH - 1), sqe), -1);
    CHECK_EQUAL(s2n_qpair_look_at(bench.qp, DEPTH - 1, sqe), -1);
    close_bench(&bench);
}

int main(void)
{
    RUN(test_the_last_commands_are_noted);
    RUN(test_what_is_placed_again_is_noted_again);
    RUN(test_a_queue_pair_tells_where_it_is);
    return 0;
}
