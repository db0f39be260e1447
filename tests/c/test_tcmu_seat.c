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
    return 0;
}
