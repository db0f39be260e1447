/* On which reactor a TCMU device is served, by what its commands cost on each of them. */
#include "check.h"
#include "tcmu.h"

enum { HOME = 1, MANY = 100000 };

static struct s2n_seat seat;
static uint64_t now_us;
static uint32_t at;       /* where the device is */
static uint32_t spent[8]; /* commands on each reactor */

static void begin(uint32_t reactors)
{
    now_us = 12345678;
    at = HOME;
    s2n_seat_begin(&seat, HOME, reactors);
}

/* `count` commands, each of which takes what its reactor is said to cost. */
static void commands(uint32_t count, bool lone, const uint32_t *cost_us)
{
    for (uint32_t i = 0; i < 8; i++)
        spent[i] = 0;
    while (count--) {
        now_us += cost_us[at];
        spent[at]++;
        at = s2n_seat_choose(&seat, lone, now_us);
    }
}

static void the_only_reactor_is_the_best(void)
{
    now_us = 0;
    at = 0;
    s2n_seat_begin(&seat, 0, 1);
    commands(MANY, true, (const uint32_t[]){50});
    CHECK_EQUAL(spent[0], MANY);
}

static void many_at_a_time_stay_at_home(void)
{
    begin(3);
    commands(MANY, false, (const uint32_t[]){10, 50, 20});
    CHECK_EQUAL(spent[HOME], MANY);
}

static void lone_commands_go_where_they_are_fast(void)
{
    static const uint32_t cost_us[] = {90, 100, 70, 101};

    begin(4);
    commands(10000, true, cost_us);
    commands(MANY, true, cost_us);
    CHECK(spent[2] > MANY / 100 * 97);
    CHECK(spent[0] && spent[1] && spent[3]); /* it is looked whether that is still so */
}

static void what_was_fast_is_left_when_it_no_longer_is(void)
{
    begin(3);
    commands(10000, true, (const uint32_t[]){50, 100, 100});
    CHECK_EQUAL(at, 0);
    commands(MANY, true, (const uint32_t[]){100, 100, 50});
    CHECK(spent[2] > MANY / 2);
}

static void where_all_are_alike_home_is_best(void)
{
    begin(3);
    commands(10000, true, (const uint32_t[]){100, 100, 100});
    commands(MANY, true, (const uint32_t[]){97, 100, 103}); /* as much as chance does */
    CHECK(spent[HOME] > MANY / 100 * 97);
}

static void a_bad_seat_is_left_soon(void)
{
    static const uint32_t cost_us[] = {15000, 50, 15000};

    begin(3);
    commands(10000, true, cost_us);
    CHECK(spent[0] && spent[2]);
    CHECK(spent[0] + spent[2] < 200);
    CHECK(spent[HOME] > 9800);
}

static void a_crowd_goes_home_and_the_last_one_returns(void)
{
    static const uint32_t cost_us[] = {100, 100, 50};

    begin(3);
    commands(10000, true, cost_us);
    CHECK_EQUAL(at, 2);
    commands(16, false, cost_us);
    CHECK_EQUAL(at, HOME);
    commands(1000, false, cost_us);
    CHECK_EQUAL(spent[HOME], 1000);
    commands(1024, true, cost_us); /* that they may come back is known by now */
    CHECK_EQUAL(at, 2);
}

static void a_crowd_that_always_comes_back_stays_at_home(void)
{
    static const uint32_t cost_us[] = {100, 100, 50};
    uint32_t away = 0;

    begin(3);
    commands(10000, true, cost_us);
    for (int i = 0; i < 100; i++) {
        commands(100, true, cost_us);
        away += spent[2];
        commands(100, false, cost_us);
    }
    CHECK(away < 300);
}

static void one_more_now_and_then_is_no_crowd(void)
{
    static const uint32_t cost_us[] = {100, 100, 50};

    begin(3);
    commands(10000, true, cost_us);
    for (int i = 0; i < 1000; i++) {
        commands(8, true, cost_us);
        commands(1, false, cost_us);
        CHECK(!seat.crowded);
    }
}

static void idle_time_is_nobodys_fault(void)
{
    static const uint32_t rare_us[] = {21000, 20001, 20000};

    begin(3);
    commands(MANY, true, rare_us);
    CHECK_EQUAL(spent[HOME], MANY); /* nothing is known */
}

static void who_comes_after_a_while_begins_at_home(void)
{
    static const uint32_t cost_us[] = {100, 100, 50};

    begin(3);
    commands(10000, true, cost_us);
    CHECK_EQUAL(at, 2);
    commands(1, true, (const uint32_t[]){0, 0, 1000000});
    CHECK_EQUAL(at, HOME);
    commands(256, true, cost_us);
    CHECK_EQUAL(at, 2);
}

static void other_work_is_looked_at_soon(void)
{
    begin(2);
    commands(MANY, true, (const uint32_t[]){50, 60});
    CHECK_EQUAL(at, 0);
    commands(4000, true, (const uint32_t[]){200, 150});
    CHECK(spent[HOME] > 2000);
    CHECK_EQUAL(at, HOME);
}

/* The same to the command, and to the microsecond: so much it takes, and no more. */

static void come(uint64_t gap_us, bool lone)
{
    now_us += gap_us;
    at = s2n_seat_choose(&seat, lone, now_us);
}

static void each_after(uint64_t gap_us, uint32_t times)
{
    while (times--)
        come(gap_us, true);
}

/* Begin with nobody else under way, and settled. */
static void begin_calm(uint32_t reactors)
{
    begin(reactors);
    come(1, true);
    seat.crowd = 0;
    seat.crowded = false;
    each_after(1, 16);
    CHECK_EQUAL(seat.commands, 16);
    CHECK_EQUAL(seat.sum_us, 0);
}

static void a_crowd_ends_when_all_have_come_alone(void)
{
    begin(3);
    CHECK(seat.crowded);
    CHECK_EQUAL(seat.crowd, 256);
    come(1, false); /* there are no more than all */
    each_after(1, 2);
    come(1, false);
    CHECK_EQUAL(seat.crowd, 256);
    each_after(1, 10);
    come(1, false); /* which counts as much as four */
    CHECK_EQUAL(seat.crowd, 250);
    each_after(1, 249);
    CHECK(seat.crowded);
    CHECK_EQUAL(seat.commands, 0);
    each_after(1, 1);
    CHECK(!seat.crowded);
    CHECK_EQUAL(seat.commands, 1);
    each_after(1, 1);
    CHECK_EQUAL(seat.crowd, 0);
}

static void a_crowd_begins_when_enough_have_come_together(void)
{
    static const uint32_t calm[] = {1024, 4096, 4096};

    begin_calm(3);
    for (unsigned i = 0; i < sizeof calm / sizeof *calm; i++) {
        seat.trying = true;
        seat.samples = 3;
        seat.sum_us = 4;
        for (unsigned j = 0; j < 15; j++)
            come(1, false);
        come(1, true);
        come(1, false);
        CHECK_EQUAL(seat.crowd, 63);
        CHECK(!seat.crowded);
        CHECK(seat.trying);
        come(1, false);
        CHECK(seat.crowded);
        CHECK_EQUAL(at, HOME);
        CHECK_EQUAL(seat.calm, calm[i]);
        CHECK_EQUAL(seat.crowd, calm[i]);
        CHECK(!seat.trying);
        CHECK_EQUAL(seat.samples, 0);
        CHECK_EQUAL(seat.commands, 0);
        CHECK_EQUAL(seat.sum_us, 0);
        seat.crowd = 0;
        seat.crowded = false;
    }
    come(999999, false);
    CHECK_EQUAL(seat.calm, 4096);
    come(1000000, false); /* somebody else */
    CHECK(seat.crowded);
    CHECK_EQUAL(seat.calm, 256);
    CHECK_EQUAL(seat.crowd, 256);
}

/* How many commands tell how fast the seat is, each of which takes so long. */
static uint32_t sample(uint64_t gap_us)
{
    uint64_t before = seat.usual_us;

    for (uint32_t count = 1;; count++) {
        uint32_t commands = seat.commands;
        come(gap_us, true);
        if (!seat.commands)
            return count;
        CHECK_EQUAL(seat.commands, commands + 1);
        CHECK_EQUAL(seat.usual_us, before);
    }
}

static void samples_are_long_enough(void)
{
    static const struct {
        uint32_t gap_us, count;
    } given[] = {{100, 256}, {390, 256}, {391, 256}, {392, 256}, {1000, 100},
                 {3125, 32}, {3000, 34}, {3226, 32}, {19999, 32}};

    for (unsigned i = 0; i < sizeof given / sizeof *given; i++) {
        begin_calm(3);
        CHECK_EQUAL(sample(given[i].gap_us), given[i].count);
        CHECK_EQUAL(seat.usual_us, given[i].gap_us);
        CHECK_EQUAL(seat.sum_us, 0);
    }
    begin_calm(3);
    each_after(20000, 100);
    come(10, false);
    CHECK_EQUAL(seat.commands, 16);
}

static void a_hopeless_trial_ends_early(void)
{
    begin_calm(3);
    seat.usual_us = 5000;
    CHECK_EQUAL(sample(5000), 32);
    CHECK(seat.trying);
    each_after(5000, 16);
    CHECK_EQUAL(sample(10001), 10);
    CHECK(!seat.trying);
    seat.trying = true;
    each_after(5000, 16);
    CHECK_EQUAL(sample(10000), 32);
}

static void a_seat_is_better_by_a_sixteenth(void)
{
    for (uint32_t us = 149; us <= 150; us++) {
        begin_calm(3);
        sample(160);
        CHECK_EQUAL(at, 2);
        each_after(1, 16);
        CHECK_EQUAL(sample(us), 256);
        CHECK(!seat.trying);
        CHECK_EQUAL(seat.samples, 0);
        CHECK_EQUAL(at, us < 150 ? 2 : HOME);
        CHECK_EQUAL(seat.best, at);
        CHECK_EQUAL(seat.usual_us, us < 150 ? us : 160);
        CHECK_EQUAL(seat.patience, 4);
    }
    seat.patience = 32;
    seat.trying = true;
    each_after(1, 16);
    sample(100);
    CHECK_EQUAL(seat.patience, 4);
}

static void trials_that_fail_become_rare_and_are_of_all_others(void)
{
    static const uint32_t patience[] = {1, 4, 8, 16, 32, 64, 64}, tried[] = {2, 3, 0};

    begin_calm(4);
    for (unsigned i = 0; i < sizeof patience / sizeof *patience; i++) {
        CHECK_EQUAL(seat.patience, patience[i]);
        for (uint32_t samples = patience[i]; samples; samples--) {
            CHECK_EQUAL(at, HOME);
            sample(100);
            each_after(1, 16);
        }
        CHECK_EQUAL(at, tried[i % 3]);
        sample(100);
        each_after(1, 16);
    }
}

static void other_work_is_tried_soon(void)
{
    static const struct {
        uint32_t us, patience;
    } given[] = {{74, 4}, {75, 32}, {100, 32}, {125, 32}, {126, 4}};

    for (unsigned i = 0; i < sizeof given / sizeof *given; i++) {
        begin_calm(3);
        seat.usual_us = 100;
        seat.patience = 32;
        sample(given[i].us);
        CHECK_EQUAL(seat.patience, given[i].patience);
        CHECK_EQUAL(seat.usual_us, given[i].us);
        CHECK_EQUAL(seat.samples, 1);
    }
}

int main(void)
{
    RUN(the_only_reactor_is_the_best);
    RUN(many_at_a_time_stay_at_home);
    RUN(lone_commands_go_where_they_are_fast);
    RUN(what_was_fast_is_left_when_it_no_longer_is);
    RUN(where_all_are_alike_home_is_best);
    RUN(a_bad_seat_is_left_soon);
    RUN(a_crowd_goes_home_and_the_last_one_returns);
    RUN(a_crowd_that_always_comes_back_stays_at_home);
    RUN(one_more_now_and_then_is_no_crowd);
    RUN(idle_time_is_nobodys_fault);
    RUN(who_comes_after_a_while_begins_at_home);
    RUN(other_work_is_looked_at_soon);
    RUN(a_crowd_ends_when_all_have_come_alone);
    RUN(a_crowd_begins_when_enough_have_come_together);
    RUN(samples_are_long_enough);
    RUN(a_hopeless_trial_ends_early);
    RUN(a_seat_is_better_by_a_sixteenth);
    RUN(trials_that_fail_become_rare_and_are_of_all_others);
    RUN(other_work_is_tried_soon);
    return 0;
}
