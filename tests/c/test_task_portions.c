/* Tasks with much data, which they move portion by portion. */
#include <string.h>

#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4 };

/* In a pool that holds one portion, and no other task. */
static void much_data_go_in_portions(void)
{
    enum { PORTIONS = 10, BLOCKS = PORTIONS * (S2N_PORTION / BLOCK) };

    bench_open(64, 2 << 20);
    begin_read(&op[0], 0, 0, 1000, BLOCKS);
    rounds();
    CHECK_EQUAL(bench.device.seen, S2N_PORTION / BLOCK / 256);
    complete_all();
    for (int i = 0; i < PORTIONS && !op[0].completed; i++)
        rounds();
    CHECK(op[0].completed && !op[0].status);
    CHECK_EQUAL(op[0].portions, PORTIONS - 1);
    CHECK_EQUAL(op[0].data_in, S2N_PORTION); /* the last one's */
    CHECK_EQUAL(bench.device.seen, BLOCKS / 256);
    for (uint32_t i = 0; i < BLOCKS / 256; i++)
        CHECK_EQUAL(bench.device.log[i].slba, 1000 + 256 * i);
    begin_write(&op[1], 0, 0, 1000, BLOCKS);
    for (int i = 0; i < PORTIONS; i++) {
        CHECK(!op[1].completed);
        gathered(&op[1]);
        rounds();
    }
    CHECK(op[1].completed && !op[1].status);
    bench_close();
}

/* Who steps aside in the middle has the rest judged by the engine; what fails there, or is
 * aborted, is over. */
static void the_rest_may_be_the_engines(void)
{
    enum { BLOCKS = 10 * (S2N_PORTION / BLOCK) };
    s2n_portion portion;

    bench_open(64, 2 << 20);
    begin_write(&op[0], 0, 0, 0, BLOCKS);
    gathered(&op[0]);
    rounds();
    s2n_nexus_set_aside(bench.nexus[0], 0, true);
    for (uint32_t i = 0; i < bench.device.seen; i++)
        device_complete(&bench.device, i, 0);
    rounds();
    CHECK_EQUAL(op[0].task->state, S2N_GATHERING);
    CHECK_EQUAL(bench.lu[0]->local[0].under_way, 0); /* nobody waits for it meanwhile */
    gathered(&op[0]);
    s2n_event event = next_event(S2N_EVENT_TASK);
    CHECK(s2n_task_portion(event.task, &portion));
    CHECK_EQUAL(portion.announced, (uint64_t)BLOCKS * BLOCK);
    CHECK_EQUAL(portion.offset, S2N_PORTION);
    CHECK_EQUAL(portion.bytes, S2N_PORTION);
    CHECK_EQUAL(s2n_task_data_length(event.task), S2N_PORTION);
    s2n_task_end(event.task, 0x18, NULL, 0, NULL, 0);
    rounds();
    CHECK(op[0].completed && op[0].status == 0x18);
    s2n_nexus_set_aside(bench.nexus[0], 0, false);
    begin_write(&op[1], 0, 0, 0, BLOCKS);
    gathered(&op[1]);
    complete_all();
    s2n_plane_abort(bench.plane, S2N_SCOPE_LU, NULL, bench.lu[0], 0, false, false, UINT64_MAX, 5);
    rounds();
    CHECK(op[1].discarded);
    expect_drained(5, 1);
    bench_close();
}

/* What is more than can be expected is not cut, nor what is refused for its attribute. */
static void what_does_not_go_in_portions(void)
{
    uint8_t cdb[16] = {0x88, [10] = 0x7f};
    s2n_portion portion;

    bench_open(DEPTH, POOL);
    begin_command(&op[0], 0, 0, cdb, sizeof cdb);
    CHECK(!s2n_task_portion(next_event(S2N_EVENT_TASK).task, &portion));
    CHECK_EQUAL(op[0].task->portion_bytes, 0);
    s2n_task_end(op[0].task, CHECK_CONDITION, NULL, 0, NULL, 0);
    cdb[10] = 0;
    cdb[12] = 0xff;
    s2n_task *task = s2n_task_new(bench.reactor, NULL, bench.nexus[0]);
    memcpy(task->cdb, cdb, sizeof cdb);
    task->cdb_length = sizeof cdb;
    s2n_task_begin(task);
    CHECK(s2n_task_portion(task, &portion));
    for (task->attribute = 2; task->attribute <= 4; task->attribute++)
        CHECK_EQUAL(s2n_task_portion(task, &portion), task->attribute != 4);
    s2n_task_free(task);
    for (uint32_t more = 0; more <= BLOCK; more += BLOCK) {
        task = s2n_task_new(bench.reactor, NULL, bench.nexus[0]);
        memcpy(task->cdb, cdb, sizeof cdb);
        uint32_t blocks = (S2N_MAXIMUM_TRANSFER + more) / BLOCK;
        for (int at = 0; at < 4; at++)
            task->cdb[10 + at] = (uint8_t)(blocks >> 8 * (3 - at));
        task->cdb_length = sizeof cdb;
        s2n_task_begin(task);
        CHECK_EQUAL(s2n_task_portion(task, &portion), more > 0);
        CHECK_EQUAL(portion.bytes, more ? S2N_PORTION : S2N_MAXIMUM_TRANSFER);
        s2n_task_free(task);
    }
    bench_close();
}

int main(void)
{
    RUN(much_data_go_in_portions);
    RUN(the_rest_may_be_the_engines);
    RUN(what_does_not_go_in_portions);
    return 0;
}
