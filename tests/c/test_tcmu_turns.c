/* A ring with large commands leaves others of its reactor their turns, and loses none of its own.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "played_ring.h"
#include "tcmu.h"

enum { MANY = 24, BLOCKS = 512, BYTES = BLOCKS * FAKE_BLOCK };

/* Have many reads in the ring, told of at once, and let the first round have its part of them. */
static void begin_many(void)
{
    const struct extent extent = {DATA, BYTES};

    begin();
    fake.hold = true;
    for (uint16_t id = 1; id <= MANY; id++)
        add_rw(id, 0x28, BLOCKS, &extent, 1);
    put32(AT_HEAD, head);
    CHECK(write(doorbell, "\1\0\0", 4) == 4);
    CHECK(fake_round());
    CHECK(fake.executed_count && fake.executed_count < MANY);
}

static void end_all(void)
{
    fake_run();
    while (fake.executed_count)
        fake_carry_out(fake.executed[0]);
    fake_run();
}

static void a_round_takes_no_more_than_a_quantum(void)
{
    begin_many();
    CHECK_EQUAL(fake.executed_count, S2N_ROUND_BYTES / BYTES);
    for (uint32_t taken = fake.executed_count; taken < MANY; taken = fake.executed_count) {
        CHECK(fake_round()); /* though the doorbell is not rung again */
        CHECK(fake.executed_count > taken);
        CHECK(fake.executed_count - taken <= S2N_ROUND_BYTES / BYTES);
    }
    CHECK(!tcmu->flow.waits);
    end_all();
    uint32_t answers = 0;
    for (struct answer answer; next_answer(&answer); answers++)
        CHECK_EQUAL(answer.status, 0);
    CHECK_EQUAL(answers, MANY);
    finish();
}

static void a_drain_waits_for_what_is_not_taken(void)
{
    s2n_event event;

    begin_many();
    s2n_tcmu_drain(tcmu, 7);
    while (fake.executed_count)
        fake_carry_out(fake.executed[0]);
    CHECK(fake_round());
    CHECK(!fake_next_event(&event));
    while (fake_round())
        while (fake.executed_count)
            fake_carry_out(fake.executed[0]);
    end_all();
    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_DRAINED);
    CHECK_EQUAL(event.cookie, 7);
    CHECK_EQUAL(get32(AT_TAIL), head);
    finish();
}

static void a_device_ends_while_it_waits(void)
{
    begin_many();
    s2n_tcmu_close(tcmu);
    fake_run();
    while (fake.executed_count) {
        CHECK(fake.executed[0]->aborted);
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    }
    expect_end(0);
    CHECK(!s2n_reactor_flows(fake_reactor())->first);
}

int main(void)
{
    make_memory();
    RUN(a_round_takes_no_more_than_a_quantum);
    RUN(a_drain_waits_for_what_is_not_taken);
    RUN(a_device_ends_while_it_waits);
    return 0;
}
