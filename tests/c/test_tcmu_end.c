/* How a TCMU device is drained and ends. */
#include <errno.h>
#include <malloc.h>
#include <sys/socket.h>

#include "check.h"
#include "played_ring.h"
#include "tcmu.h"

static uint64_t drained(void)
{
    s2n_event event;

    fake_run();
    if (!fake_next_event(&event))
        return 0;
    CHECK_EQUAL(event.type, S2N_EVENT_DRAINED);
    return event.cookie;
}

static void a_drain_waits_for_the_last_answer(void)
{
    begin();
    s2n_tcmu_drain(tcmu, 1);
    CHECK_EQUAL(drained(), 1);
    fake.hold = true;
    add_bare(1);
    add_bare(2);
    ring();
    s2n_tcmu_drain(tcmu, 2);
    CHECK_EQUAL(drained(), 0);
    fake_end(held(0), 0, 0, NULL, 0);
    CHECK_EQUAL(drained(), 0);
    fake_end(held(0), 0, 0, NULL, 0);
    s2n_event event;
    CHECK(!fake_next_event(&event)); /* the kernel knows of it first */
    CHECK_EQUAL(drained(), 2);
    CHECK_EQUAL(get32(AT_TAIL), head);
    finish();
}

static void closing_waits_for_what_is_elsewhere(void)
{
    s2n_event event;

    begin();
    fake.hold = true;
    add_bare(1);
    ring();
    s2n_task *task = held(0);
    s2n_tcmu_close(tcmu);
    fake_run();
    CHECK(!fake_next_event(&event));
    CHECK(task->aborted);
    fake_end(task, 0, 0, NULL, 0);
    CHECK_EQUAL(get32(AT_TAIL), 0); /* the ring was left as it was */
    expect_end(0);
}

static void a_device_that_goes_is_reported(void)
{
    begin();
    shutdown(doorbell, SHUT_RDWR);
    expect_end(ENODEV);
}

/* Whether it ends by itself or is drained, a device that was about to leave its reactor stays,
 * and no timer of it is left. */
static void what_ends_does_not_move(void)
{
    for (int drains = 0; drains < 2; drains++) {
        begin();
        tcmu->move.leaving = true;
        s2n_timer_arm(tcmu->reactor, &tcmu->move.patience, 10);
        if (drains) {
            s2n_tcmu_drain(tcmu, 3);
            CHECK_EQUAL(drained(), 3);
            CHECK_EQUAL(fake.armed_timers, 0);
        }
        finish();
        CHECK_EQUAL(fake.armed_timers, 0);
    }
}

/* Memory that is in use when a device is gone that had several commands at once, and some without
 * a task. */
static size_t in_use_after(uint16_t failures)
{
    struct answer answer;

    begin();
    fake.hold = true;
    for (uint16_t id = 0; id < 4; id++)
        add_bare(id);
    ring();
    while (fake.executed_count)
        fake_end(held(0), 0, 0, NULL, 0);
    fake_run();
    for (int taken = 0; taken < 4; taken++)
        CHECK(next_answer(&answer));
    for (uint16_t id = 0; id < failures; id++) {
        add_bare(id);
        fake.fail_in = 1;
        ring();
        expect(id, 8); /* BUSY */
    }
    finish();
    return mallinfo2().uordblks;
}

static void commands_that_had_no_task_are_freed(void)
{
    for (int round = 0; round < 4; round++)
        in_use_after(8); /* until what malloc keeps for itself does not grow */
    size_t usual = in_use_after(8);
    for (int round = 0; round < 8; round++)
        CHECK_EQUAL(in_use_after(8), usual);
}

int main(void)
{
    make_memory();
    RUN(a_drain_waits_for_the_last_answer);
    RUN(closing_waits_for_what_is_elsewhere);
    RUN(a_device_that_goes_is_reported);
    RUN(what_ends_does_not_move);
    RUN(commands_that_had_no_task_are_freed);
    return 0;
}
