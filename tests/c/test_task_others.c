/* What tasks must not do to one another: those of one batch, portions of one task, nexuses of
 * several controllers. */
#include "bench.h"
#include "check.h"

enum { PORTION = S2N_PORTION / BLOCK, COMMANDS = PORTION / 256 };
enum { RETRYABLE = INTERNAL_ERROR, SECOND = 10 };

static void complete(uint32_t from, uint32_t end)
{
    for (; from < end; from++)
        device_complete(&bench.device, from, 0);
}

/* A task that goes on with its next portion takes the entries of the one before, while another's
 * failure in the same batch is still to be told. */
static void a_failure_is_told_of_its_own_blocks(void)
{
    bench_open(64, 16 << 20);
    begin_read(&op[0], 0, 0, 0, 10 * PORTION);
    begin_read(&op[1], 1, 0, 1000000, 1);
    rounds();
    complete(0, COMMANDS);
    device_complete(&bench.device, COMMANDS, UNRECOVERED_READ);
    rounds();
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);
    CHECK(event.task == op[1].task);
    CHECK_EQUAL(event.lba, 1000000);
    CHECK_EQUAL(event.count, 1);
    s2n_task_end(event.task, 2, NULL, 0, NULL, 0);
    device_complete_all(&bench.device);
    for (int i = 0; i < 10; i++)
        rounds();
    CHECK(op[0].completed && !op[0].status && op[1].completed);
    bench_close();
}

static void what_failed_in_one_portion_has_not_in_the_next(void)
{
    static const uint8_t data[S2N_PORTION];

    bench_open(64, 16 << 20);
    begin_read(&op[0], 0, 0, 0, 10 * PORTION);
    rounds();
    device_complete(&bench.device, 0, RETRYABLE);
    complete(1, COMMANDS);
    rounds();
    s2n_task_end(next_event(S2N_EVENT_TASK_FAILED).task, 0, NULL, 0, data, sizeof data);
    rounds();
    device_complete_all(&bench.device);
    for (int i = 0; i < 10; i++)
        rounds();
    no_event();
    CHECK(op[0].completed && !op[0].status);
    bench_close();
}

/* A device that completes what it is rung for does not keep the reactor from all else. */
static void portions_leave_the_round_to_others(void)
{
    bench_open(64, 16 << 20);
    bench.device.automatic = true;
    begin_read(&op[0], 0, 0, 0, 65535);
    s2n_reactor_round(bench.reactor);
    CHECK(op[0].portions && !op[0].completed);
    for (int i = 0; i < 8 && !op[0].completed; i++)
        s2n_reactor_round(bench.reactor);
    CHECK(op[0].completed && !op[0].status);
    bench_close();
}

/* Each pool is its controller's: what a nexus holds of one is nothing to another. */
static void a_pool_is_shared_by_those_who_use_it(void)
{
    struct device second;

    bench_open(64, 1 << 20);
    device_open(&second, 64, 1 << 20);
    s2n_controller *controller = s2n_controller_new(bench.plane, CONTROLLER + 1);
    CHECK(!s2n_controller_set_queue(controller, 0, second.qp, -1, &second.pool_memory));
    s2n_lu *lu = s2n_lu_new(controller, &bench.params);
    s2n_lu_set_aside(lu, false);
    CHECK(!s2n_nexus_map(bench.nexus[0], SECOND, lu));
    s2n_nexus_set_aside(bench.nexus[0], SECOND, false);

    begin_read(&op[0], 0, 0, 0, 10 * BLOCKS_64K);
    begin_read(&op[1], 0, SECOND, 0, 10 * BLOCKS_64K);
    begin_read(&op[2], 0, SECOND, 0, 5 * BLOCKS_64K);
    rounds();
    CHECK(!op[1].task->waits_for_pool && op[2].task->waits_for_pool);
    device_complete_all(&second);
    rounds();
    rounds();
    CHECK(op[1].completed && op[2].completed && !op[0].completed);
    device_complete_all(&bench.device);
    rounds();
    CHECK(op[0].completed);

    CHECK(!s2n_nexus_map(bench.nexus[0], SECOND, NULL));
    s2n_lu_free(lu);
    s2n_controller_free(controller);
    bench_close();
    device_close(&second);
}

static void whoever_leaves_a_line_leaves_it_to_others(void)
{
    bench_open(64, 16 << 20);
    op[0].keeps = op[1].keeps = true;
    begin_read(&op[0], 0, 0, 0, 5 * BLOCKS_64K);
    begin_read(&op[1], 1, 0, 0, 40 * BLOCKS_64K);
    rounds();
    device_complete_all(&bench.device);
    rounds();
    begin_read(&op[2], 0, 0, 0, 128 * BLOCKS_64K);
    begin_read(&op[3], 0, 0, 0, BLOCKS_64K);
    rounds();
    CHECK(op[2].task->waits_for_pool && op[3].task->waits_for_pool);
    s2n_task_abort(op[2].task, false);
    rounds();
    CHECK(op[3].completed && !op[3].status);
    taken(&op[0]);
    taken(&op[1]);
    bench_close();
}

int main(void)
{
    RUN(a_failure_is_told_of_its_own_blocks);
    RUN(what_failed_in_one_portion_has_not_in_the_next);
    RUN(portions_leave_the_round_to_others);
    RUN(a_pool_is_shared_by_those_who_use_it);
    RUN(whoever_leaves_a_line_leaves_it_to_others);
    return 0;
}
