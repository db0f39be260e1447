/* How much of the engine's answers may wait to be taken. */
#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20 };

enum { TASK_SET_FULL = 0x28, LARGEST = S2N_MAXIMUM_TRANSFER / BLOCK };

/* Take from the events that a task is the engine's. */
static void expect_engine(const struct op *of)
{
    CHECK(next_event(S2N_EVENT_TASK).task == of->task);
}

static void answer(struct op *of, uint32_t bytes)
{
    static uint8_t data[S2N_MAXIMUM_TRANSFER];

    s2n_task_end(of->task, 0, NULL, 0, data, bytes);
}

/* Until they were taken, answers count. */
static void a_nexus_gets_no_more_answers_than_it_takes(void)
{
    bench_open(64, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    op[0].keeps = true;
    for (uint32_t i = 0; i < 3; i++)
        begin_read(&op[i], 0, 0, 0, LARGEST);
    expect_engine(&op[0]);
    expect_engine(&op[1]);
    CHECK(op[2].completed && op[2].status == TASK_SET_FULL);
    begin_read(&op[3], 1, 0, 0, LARGEST);
    expect_engine(&op[3]);
    answer(&op[0], S2N_MAXIMUM_TRANSFER);
    begin_read(&op[4], 0, 0, 0, LARGEST);
    CHECK(op[4].status == TASK_SET_FULL);
    begin_read(&op[5], 0, 0, 0, 8);
    expect_engine(&op[5]);
    taken(&op[0]);
    begin_read(&op[6], 0, 0, 0, LARGEST);
    expect_engine(&op[6]);
    answer(&op[1], 0);
    for (uint32_t i = 3; i < 7; i++)
        if (i != 4)
            answer(&op[i], 0);
    bench_close();
}

/* Answers that are not taken leave some for everybody; who has none is told BUSY. */
static void all_nexuses_have_no_more_than_the_sum(void)
{
    bench_open(64, POOL);
    s2n_lu_set_aside(bench.lu[0], true);
    atomic_fetch_add(&bench.plane->heap_bytes, S2N_PLANE_HEAP - (10 << 20));
    begin_read(&op[0], 0, 0, 0, LARGEST);
    expect_engine(&op[0]);
    op[1].keeps = true;
    CHECK(!s2n_task_holds_up(op[0].task));
    begin_read(&op[1], 1, 0, 0, LARGEST);
    CHECK(op[1].completed && op[1].status == BUSY);
    CHECK(s2n_task_holds_up(op[0].task) && !s2n_task_holds_up(op[1].task));
    begin_read(&op[2], 2, 0, 0, 1024);
    expect_engine(&op[2]);
    answer(&op[0], 0);
    answer(&op[2], 0);
    taken(&op[1]);
    atomic_fetch_sub(&bench.plane->heap_bytes, S2N_PLANE_HEAP - (10 << 20));
    bench_close();
}

/* An answer is one piece, a buffer as many as it has chunks; each ends where it does. */
static void what_is_moved_is_found_piece_by_piece(void)
{
    enum { CHUNK = 1 << 16, BYTES = 2 * CHUNK + 8 * BLOCK };
    uint32_t length;

    bench_open(64, POOL);
    op[0].keeps = op[1].keeps = true;
    begin_read(&op[0], 0, 0, 0, BYTES / BLOCK);
    complete_all();
    CHECK(op[0].completed);
    for (uint32_t at = 0; at < BYTES; at += BLOCK) {
        uint32_t end = at / CHUNK * CHUNK + CHUNK;
        s2n_task_span_at(op[0].task, at, &length);
        CHECK_EQUAL(length, (end < BYTES ? end : BYTES) - at);
    }
    s2n_lu_set_aside(bench.lu[0], true);
    begin_read(&op[1], 0, 0, 0, 1);
    expect_engine(&op[1]);
    answer(&op[1], BLOCK);
    const uint8_t *begin = s2n_task_span_at(op[1].task, 0, &length);
    CHECK_EQUAL(length, BLOCK);
    CHECK(s2n_task_span_at(op[1].task, 100, &length) == begin + 100);
    CHECK_EQUAL(length, BLOCK - 100);
    taken(&op[0]);
    taken(&op[1]);
    bench_close();
}

int main(void)
{
    RUN(a_nexus_gets_no_more_answers_than_it_takes);
    RUN(all_nexuses_have_no_more_than_the_sum);
    RUN(what_is_moved_is_found_piece_by_piece);
    return 0;
}
