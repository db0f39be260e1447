/* When the device is told of what was aborted, whatever else is. */
#include "bench.h"
#include "check.h"
#include "task_abort.h"

enum { POOL = 1 << 20, DEPTH = 4 };

/* What ends a session, too, aborts what may be aborted already. */
static void whoever_was_promised_a_response_gets_it(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 0, 0, 0, 1);
    rounds();
    s2n_task_abort(op[0].task, true);
    s2n_task_abort(op[1].task, false);
    uint64_t since_ms = op[0].task->abort_ms;
    bench.reactor->now_ms += 500;
    s2n_task_abort(op[0].task, false);
    s2n_task_abort(op[1].task, true);
    CHECK_EQUAL(op[0].task->abort_ms, since_ms);
    complete_all();
    CHECK(op[0].aborted && op[0].told);
    CHECK(op[1].aborted && !op[1].told);
    bench_close();
}

/* The time of the first, whatever is aborted after it. */
static void the_device_is_told_in_time_of_each(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    const struct s2n_timer *urge = &s2n_queue_of(op[0].task)->urge;
    CHECK(!urge->armed);
    s2n_task_abort(op[0].task, false);
    uint64_t at_ms = bench.reactor->now_ms + 1000;
    CHECK_EQUAL(urge->at_ms, at_ms);
    bench.reactor->now_ms += 300;
    s2n_task_abort(op[1].task, false);
    CHECK(urge->armed);
    CHECK_EQUAL(urge->at_ms, at_ms);
    complete_all();
    CHECK(op[0].aborted && op[1].aborted);
    bench_close();
}

/* Whichever of them is due next, the younger or the older. */
static void what_is_due_next_is_told_next(void)
{
    bench_open(DEPTH, POOL);
    begin_read(&op[0], 0, 0, 0, 1);
    begin_read(&op[1], 1, 0, 0, 1);
    rounds();
    struct s2n_timer *urge = &s2n_queue_of(op[0].task)->urge;
    uint64_t begun_ms = bench.reactor->now_ms;
    s2n_task_abort(op[1].task, false);
    bench.reactor->now_ms += 300;
    s2n_task_abort(op[0].task, false);
    static const uint64_t due_ms[] = {1000, 1300, 1500, 1750};
    for (int at = 0; at < 3; at++) {
        CHECK_EQUAL(urge->at_ms - begun_ms, due_ms[at]);
        bench.reactor->now_ms = begun_ms + due_ms[at];
        s2n_timer_cancel(bench.reactor, urge);
        s2n_queue_urge(urge);
        next_event(S2N_EVENT_ABORT);
        no_event();
    }
    CHECK_EQUAL(urge->at_ms - begun_ms, due_ms[3]);
    complete_all();
    bench_close();
}

int main(void)
{
    RUN(whoever_was_promised_a_response_gets_it);
    RUN(the_device_is_told_in_time_of_each);
    RUN(what_is_due_next_is_told_next);
    return 0;
}
