/* Memory of the heap that is counted, by nexus and for all: what is charged, and where it ends. */
#include <string.h>

#include "bench.h"
#include "check.h"
#include "front_end.h"
#include "heap.h"

enum { POOL = 1 << 20, DEPTH = 4, TASK = 4096 };

static const struct s2n_front_end nobody;

static s2n_task *task_of(unsigned nexus)
{
    s2n_task *task = s2n_task_new(bench.reactor, &nobody, bench.nexus[nexus]);

    CHECK(task);
    return task;
}

static void expect_charged(const s2n_task *task, uint64_t bytes, uint64_t nexus, uint64_t all)
{
    CHECK_EQUAL(task->charged, bytes);
    CHECK_EQUAL(task->nexus->heap_bytes, nexus);
    CHECK_EQUAL(bench.plane->heap_bytes, all);
}

static void what_is_charged_is_counted_once_for_each(void)
{
    bench_open(DEPTH, POOL);
    s2n_task *one = task_of(0), *other = task_of(0), *another = task_of(1);
    CHECK(!s2n_task_has_company(one));
    CHECK(s2n_task_charge(one, 1000));
    CHECK(!s2n_task_has_company(one) && s2n_task_has_company(other));
    CHECK(s2n_task_charge(one, 500));
    CHECK(s2n_task_charge(other, 70));
    CHECK(s2n_task_charge(another, 3));
    expect_charged(one, 1500, 1570, 1573);
    expect_charged(other, 70, 1570, 1573);
    expect_charged(another, 3, 3, 1573);
    CHECK(s2n_task_has_company(one) && !s2n_task_has_company(another));
    s2n_task_recharge(one, 1500);
    expect_charged(one, 1500, 1570, 1573);
    s2n_task_recharge(one, 40);
    expect_charged(one, 40, 110, 113);
    s2n_task_recharge(one, 90);
    expect_charged(one, 90, 160, 163);
    s2n_task_free(other);
    expect_charged(one, 90, 90, 93);
    s2n_task_free(one);
    s2n_task_free(another);
    bench_close();
}

static void a_nexus_has_its_limit_to_the_byte(void)
{
    bench_open(DEPTH, POOL);
    s2n_task *task = task_of(0);
    CHECK(!s2n_task_charge(task, S2N_NEXUS_HEAP + 1));
    expect_charged(task, 0, 0, 0);
    CHECK(s2n_task_charge(task, S2N_NEXUS_HEAP - 1));
    CHECK(!s2n_task_charge(task, 2));
    CHECK(s2n_task_charge(task, 1));
    CHECK(!s2n_task_charge(task, 1));
    expect_charged(task, S2N_NEXUS_HEAP, S2N_NEXUS_HEAP, S2N_NEXUS_HEAP);
    CHECK(!s2n_heap_is_short(bench.reactor)); /* that was nobody else's fault */
    s2n_task_free(task);
    bench_close();
}

/* A nexus gets no more than all of them leave free beside it: who has little is served longer.
 * That others had too much is remembered for a second. */
static void all_have_their_limit_to_the_byte(void)
{
    enum { LEFT = 1000 };

    bench_open(DEPTH, POOL);
    rounds();
    bench.reactor->now_ms = 50000;
    s2n_task *task = task_of(0);
    atomic_fetch_add(&bench.plane->heap_bytes, S2N_PLANE_HEAP - LEFT);
    CHECK(s2n_task_charge(task, LEFT / 2)); /* as much as is left then */
    CHECK(!s2n_heap_is_short(bench.reactor));
    CHECK(!s2n_task_charge(task, 1));
    expect_charged(task, LEFT / 2, LEFT / 2, S2N_PLANE_HEAP - LEFT / 2);
    CHECK(s2n_heap_is_short(bench.reactor));
    s2n_task_recharge(task, 0);
    CHECK(!s2n_task_charge(task, LEFT + 1));
    CHECK(s2n_task_charge(task, LEFT));
    bench.reactor->now_ms += 999;
    CHECK(s2n_heap_is_short(bench.reactor));
    bench.reactor->now_ms++;
    CHECK(!s2n_heap_is_short(bench.reactor));
    s2n_task_free(task);
    atomic_fetch_sub(&bench.plane->heap_bytes, S2N_PLANE_HEAP - LEFT);
    bench_close();
}

/* What the engine takes for a command, with data-out that have come and what it may answer. */
static void cold_bytes_are_of_the_data(void)
{
    enum { LARGEST = S2N_MAXIMUM_TRANSFER / BLOCK };
    static const struct {
        uint8_t cdb[16], length;
        uint64_t bytes;
    } commands[] = {
        {{0x00}, 6, TASK},
        {{0xff}, 6, TASK},
        {{0x28, [8] = 9}, 10, TASK + 9 * BLOCK},
        {{0x28, [7] = LARGEST >> 8}, 10, TASK + S2N_MAXIMUM_TRANSFER},
        {{0x28, [7] = 0xff}, 10, TASK + S2N_PORTION},
        {{0x2a, [8] = 9}, 10, TASK + 123},
        {{0x12, [3] = 0, 96}, 6, TASK + 96},
        {{0x12, [3] = 0xff, 0xff}, 6, TASK + 65535},
        {{0xa0, [6] = 0, 1, 0, 0}, 12, TASK + 65536},
        {{0xa0, [6] = 0, 1, 0, 1}, 12, TASK + 65536},
        {{0x5f, [8] = 24}, 10, TASK + 123},
    };

    bench_open(DEPTH, POOL);
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        s2n_task *task = task_of(0);
        memcpy(task->cdb, commands[i].cdb, commands[i].length);
        task->cdb_length = commands[i].length;
        task->expected = UINT32_MAX;
        s2n_task_begin(task);
        if (task->direction == S2N_OUT)
            task->data_out_length = 123;
        CHECK_EQUAL(s2n_task_cold_bytes(task), commands[i].bytes);
        s2n_task_free(task);
    }
    bench_close();
}

int main(void)
{
    RUN(what_is_charged_is_counted_once_for_each);
    RUN(a_nexus_has_its_limit_to_the_byte);
    RUN(all_have_their_limit_to_the_byte);
    RUN(cold_bytes_are_of_the_data);
    return 0;
}
