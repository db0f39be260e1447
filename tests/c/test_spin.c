/* Whether a reactor spins for requests, by how they have come. The clock is played, and so is
 * whoever sends them. */
#include "check.h"
#include "spin.h"

enum { BOUND_US = 50, SERVICE_US = 8, WAKE_US = 30, LOOK_US = 1, SETTLED = 20000, MANY = 100000 };

/* Whoever sends, and the CPU: after all that were there are answered, `together` commands come
 * within `gap_us`, the rest of them `apart_us` later each. */
struct work {
    uint32_t gap_us;
    uint32_t depth; /* commands under way at whoever sends them; they come `apart_us` apart */
    uint32_t apart_us;
    bool same_cpu;            /* nothing is sent while the reactor looks */
    uint32_t others_us;       /* whoever else wants the CPU has it so long, … */
    uint32_t others_every_us; /* … this often; 0: nobody does */
};

static struct s2n_spin spin;
static uint64_t now_us, others_us, serial;
static uint64_t looks, spun, slept; /* looks, and waits that ended in one, or in a sleep */

static void begin(uint32_t bound_us)
{
    s2n_spin_begin(&spin, bound_us);
    now_us = others_us = 12345678;
    serial = 1000;
}

/* A look in vain, after which others are let have the CPU. */
static void look(const struct work *work)
{
    uint64_t had_us = 0;

    now_us += LOOK_US;
    if (work->others_every_us && now_us >= others_us) {
        had_us = work->others_us;
        now_us += had_us;
        others_us = now_us + work->others_every_us;
    }
    s2n_spin_yielded(&spin, had_us, now_us);
    looks++;
}

/* Wait for what comes at `at_us`. */
static void await(const struct work *work, uint64_t at_us)
{
    uint64_t began_us = now_us;

    while (s2n_spin_goes_on(&spin, now_us)) {
        if (now_us >= at_us && !work->same_cpu) {
            spun++;
            return;
        }
        look(work);
    }
    if (work->same_cpu)
        at_us += now_us - began_us;
    now_us = (now_us > at_us ? now_us : at_us) + WAKE_US;
    slept++;
}

/* Serve that many commands. Those that are there are served together, in less time each. */
static void serve(const struct work *work, uint32_t commands)
{
    uint64_t sent_us = now_us; /* when the next command is sent, by whoever keeps many under way */

    looks = spun = slept = 0;
    while (commands) {
        uint64_t at_us = work->depth > 1 ? sent_us : now_us + work->gap_us;
        uint32_t there = 0;
        await(work, at_us);
        s2n_spin_came(&spin, now_us, serial);
        do {
            there++;
            sent_us += work->apart_us;
        } while (there < work->depth && sent_us <= now_us);
        serial += there;
        now_us += work->depth > 1 ? there : SERVICE_US;
        commands -= there < commands ? there : commands;
    }
}

static const struct work lone = {.gap_us = 15, .depth = 1};
static const struct work crowd = {.depth = 64, .apart_us = 4};

static void lone_commands_are_spun_for(void)
{
    begin(BOUND_US);
    serve(&lone, SETTLED);
    serve(&lone, MANY);
    CHECK(spun > MANY / 100 * 97);
    CHECK(slept); /* it is looked whether that is still so */
}

/* Who sleeps is woken late: what took longer than the bound then may come within it. */
static void being_woken_is_no_part_of_a_wait(void)
{
    const struct work late = {.gap_us = BOUND_US - 5, .depth = 1};

    begin(BOUND_US);
    serve(&late, SETTLED);
    serve(&late, MANY);
    CHECK(spun > MANY / 100 * 97);
}

static void many_under_way_are_slept_for(void)
{
    begin(BOUND_US);
    serve(&crowd, SETTLED);
    serve(&crowd, MANY);
    CHECK(slept > MANY / 100);
    CHECK(spun < slept / 3);
}

static void what_comes_later_than_the_bound_is_slept_for(void)
{
    begin(BOUND_US);
    serve(&(struct work){.gap_us = 200, .depth = 1}, MANY);
    CHECK_EQUAL(slept, MANY);
    CHECK_EQUAL(looks, 0);
}

static void what_comes_hardly_sooner_is_slept_for(void)
{
    begin(4 * BOUND_US);
    serve(&(struct work){.gap_us = 180, .depth = 1}, SETTLED);
    serve(&(struct work){.gap_us = 180, .depth = 1}, MANY);
    CHECK(spun < MANY / 50);
}

static void without_a_bound_nothing_is_spun_for(void)
{
    begin(0);
    serve(&lone, MANY);
    CHECK_EQUAL(looks, 0);
}

static void work_that_changes_is_noticed(void)
{
    begin(BOUND_US);
    for (int i = 0; i < 3; i++) {
        serve(&crowd, 4 * MANY);
        serve(&crowd, MANY);
        CHECK(spun < slept / 3);
        serve(&lone, SETTLED);
        serve(&lone, MANY);
        CHECK(spun > MANY / 100 * 97);
    }
}

/* A pause costs one bound, and nothing after that. */
static void idleness_is_slept_through(void)
{
    begin(BOUND_US);
    serve(&lone, SETTLED);
    serve(&(struct work){.gap_us = 60000000, .depth = 1}, 1);
    CHECK_EQUAL(slept, 1);
    CHECK(looks <= BOUND_US / LOOK_US);
    serve(&(struct work){.gap_us = 60000000, .depth = 1}, 100);
    CHECK_EQUAL(slept, 100);
    CHECK(looks <= 10 * BOUND_US);
    serve(&lone, 1000);
    CHECK(spun > 980);
}

static void whoever_sends_on_the_same_cpu_is_let(void)
{
    const struct work same = {.gap_us = 15, .depth = 1, .same_cpu = true};

    begin(BOUND_US);
    serve(&same, SETTLED);
    serve(&same, MANY);
    CHECK(looks < MANY / 2); /* one part in a hundred of the time: that is still tried */
}

static void a_busy_cpu_is_left_to_others(void)
{
    const struct work busy = {.gap_us = 15, .depth = 1, .others_us = 3000, .others_every_us = 1};

    begin(BOUND_US);
    serve(&lone, SETTLED);
    serve(&busy, SETTLED);
    serve(&busy, MANY);
    CHECK(spun < 10);
    CHECK(looks < 10);
    serve(&lone, MANY);
    serve(&lone, MANY);
    CHECK(spun > MANY / 100 * 97);
}

/* How long it rests after others have had the CPU for `us`, `after_us` after the last rest. */
static uint64_t rest_us(uint64_t us, uint64_t after_us)
{
    uint64_t rested_us = 0;

    now_us += after_us;
    s2n_spin_yielded(&spin, us, now_us);
    for (; s2n_spin_rests(&spin, now_us); rested_us += 1000)
        now_us += 1000;
    return rested_us;
}

static void rests_grow_while_they_are_needed(void)
{
    static const uint64_t ms[] = {5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000};

    begin(BOUND_US);
    CHECK_EQUAL(rest_us(199, 0), 0);
    for (unsigned i = 0; i < sizeof ms / sizeof *ms; i++)
        CHECK_EQUAL(rest_us(200, 1000), ms[i] * 1000);
    CHECK_EQUAL(rest_us(200, 13000), 5000);
    CHECK_EQUAL(rest_us(3000, 150000), 10000);
    CHECK_EQUAL(rest_us(3000, 200000), 5000);
}

/* What has the CPU for a moment now and then is in nobody's way. */
static void short_work_of_others_changes_little(void)
{
    const struct work others = {
        .gap_us = 15, .depth = 1, .others_us = 300, .others_every_us = 100000};

    begin(BOUND_US);
    serve(&others, SETTLED);
    serve(&others, MANY);
    CHECK(spun > MANY / 100 * 85);
}

/* The same to the microsecond, and to the command: so much it takes, and no more. */

/* Wait for `commands`, which come after so long. */
static void come(uint64_t us, uint64_t commands)
{
    s2n_spin_goes_on(&spin, now_us);
    now_us += us;
    serial += commands;
    s2n_spin_came(&spin, now_us, serial);
}

/* The same of `times` lone commands. */
static void each_after(uint64_t us, uint32_t times)
{
    while (times--)
        come(us, 1);
}

/* Settle, and have a sample judged in which commands follow each other after `us` each. */
static void sample(uint64_t us)
{
    uint32_t least = us * 256 < 4000 ? (uint32_t)((3999 + us) / us) : 256;
    uint64_t before = spin.usual_ns;

    each_after(us, (uint32_t)(32 - spin.settling) + least - 1);
    CHECK_EQUAL(spin.usual_ns, before);
    CHECK_EQUAL(spin.commands, least - 1);
    each_after(us, 1);
    CHECK_EQUAL(spin.commands, 0);
    CHECK_EQUAL(spin.sum_us, 0);
}

static void a_wait_is_spun_for_up_to_the_bound(void)
{
    begin(BOUND_US);
    CHECK(!s2n_spin_goes_on(&spin, now_us)); /* it is not settled that it pays */
    spin.spins = true;
    CHECK(s2n_spin_goes_on(&spin, now_us + BOUND_US - 1));
    CHECK(!s2n_spin_goes_on(&spin, now_us + BOUND_US));
    spin.usual_us = BOUND_US - 1;
    CHECK(s2n_spin_goes_on(&spin, now_us));
    spin.usual_us = BOUND_US;
    CHECK(!s2n_spin_goes_on(&spin, now_us));
    spin.usual_us = 0;
    spin.tries = true;
    CHECK(!s2n_spin_goes_on(&spin, now_us));
    spin.spins = false;
    CHECK(s2n_spin_goes_on(&spin, now_us));
    spin.rests_until_us = now_us;
    CHECK(s2n_spin_goes_on(&spin, now_us));
    spin.rests_until_us = now_us + 1;
    CHECK(!s2n_spin_goes_on(&spin, now_us));
}

static void waits_are_averaged(void)
{
    begin(BOUND_US);
    spin.usual_us = 80;
    come(46, 1); /* asleep: half of it */
    CHECK_EQUAL(spin.usual_us, (7 * 80 + 23) / 8);
    come(500, 1);
    CHECK_EQUAL(spin.usual_us, (7 * 72 + 2 * BOUND_US) / 8);
    spin.usual_us = 40;
    spin.spins = true;
    come(33, 1); /* looked for */
    CHECK_EQUAL(spin.usual_us, (7 * 40 + 33) / 8);
    s2n_spin_came(&spin, now_us + 1000, serial + 1); /* no wait: it was asked in between */
    CHECK_EQUAL(spin.usual_us, 39);
    CHECK_EQUAL(spin.serial, serial);
    spin.spins = false;
    come(0, 1); /* what was looked for once is no longer */
    CHECK_EQUAL(spin.usual_us, 7 * 39 / 8);
    come(80, 1);
    CHECK_EQUAL(spin.usual_us, (7 * 34 + 40) / 8);
}

static void pauses_and_rests_are_no_part_of_a_sample(void)
{
    begin(4000);
    come(1, 1);
    CHECK_EQUAL(spin.settling, 0); /* since the beginning */
    come(999, 3);
    CHECK_EQUAL(spin.settling, 3);
    come(1000, 1);
    CHECK_EQUAL(spin.settling, 3);
    spin.rests_until_us = now_us + 2;
    come(1, 1);
    CHECK_EQUAL(spin.settling, 3);
    come(1, 1);
    CHECK_EQUAL(spin.settling, 4);
    spin.usual_us = 8000;
    come(1, 1);
    CHECK_EQUAL(spin.settling, 4);
}

static void samples_are_long_enough(void)
{
    begin(BOUND_US);
    come(0, 1);
    sample(10);
    CHECK_EQUAL(spin.usual_ns, 10000);
    CHECK(spin.tries); /* the first trial comes soon */
    CHECK_EQUAL(spin.settling, 0);
    begin(BOUND_US);
    come(0, 1);
    sample(20);
    CHECK_EQUAL(spin.usual_ns, 20000);
    begin(BOUND_US);
    come(0, 1);
    come(1, 31);
    come(1, 31); /* what settles is not cut */
    CHECK_EQUAL(spin.settling, 62);
    for (unsigned i = 0; i < 399; i++)
        come(10, 4);
    CHECK_EQUAL(spin.commands, 4 * 399);
    CHECK_EQUAL(spin.sum_us, 3990);
    come(10, 4);
    CHECK_EQUAL(spin.usual_ns, 2500);
}

/* Have a trial judged: the commands follow each other after 10 us, but for one that comes sooner
 * (1) or in time (0). */
static void trial(uint64_t sooner)
{
    CHECK(spin.tries);
    each_after(10, 32);
    come(10 - sooner, 1);
    each_after(10, 398 + (uint32_t)sooner);
    CHECK(spin.tries);
    come(10, 1);
    CHECK(!spin.tries);
    CHECK_EQUAL(spin.samples, 0);
    CHECK_EQUAL(spin.settling, 0);
}

static void it_pays_by_a_sixth(void)
{
    for (uint64_t sooner = 0; sooner < 2; sooner++) {
        begin(BOUND_US);
        come(0, 1);
        sample(12);
        trial(sooner);
        CHECK_EQUAL(spin.spins, sooner);
        CHECK_EQUAL(spin.patience, 4);
        CHECK_EQUAL(spin.usual_ns, sooner ? 4009000 / 401 : 12000);
    }
}

/* 10 us it takes awake, and so many asleep, which is tried. */
static void sleep_is_tried(uint64_t us, bool pays)
{
    begin(BOUND_US);
    spin.spins = true;
    come(0, 1);
    sample(10);
    CHECK(spin.tries);
    spin.patience = 8;
    each_after(us, 32 + (3999 + (uint32_t)us) / (uint32_t)us);
    CHECK(!spin.tries);
    CHECK_EQUAL(spin.spins, pays);
    CHECK_EQUAL(spin.patience, pays ? 16 : 4);
    CHECK_EQUAL(spin.usual_ns, pays ? 10000 : us * 1000);
}

static void sleep_is_tried_too(void)
{
    sleep_is_tried(11, false);
    sleep_is_tried(12, false);
    sleep_is_tried(13, true);
}

static void trials_that_change_nothing_become_rare(void)
{
    static const uint32_t patience[] = {4, 8, 16, 32, 64, 128, 128};

    begin(BOUND_US);
    come(0, 1);
    for (unsigned i = 0; i < sizeof patience / sizeof *patience; i++) {
        for (uint32_t samples = i ? patience[i - 1] : 1; samples; samples--) {
            CHECK(!spin.tries);
            sample(12);
        }
        CHECK(spin.tries);
        each_after(12, 32 + 334);
        CHECK(!spin.tries);
        CHECK(!spin.spins);
        CHECK_EQUAL(spin.patience, patience[i]);
    }
}

/* Twice as fast, or slow, is as before; more than that is other work. */
static void other_work_is_tried_soon(void)
{
    static const struct {
        uint64_t usual_ns;
        uint32_t patience;
    } given[] = {{6000, 32}, {5999, 4}, {24000, 32}, {24001, 4}, {12000, 32}};

    for (unsigned i = 0; i < sizeof given / sizeof *given; i++) {
        begin(BOUND_US);
        come(0, 1);
        spin.patience = 32;
        spin.usual_ns = given[i].usual_ns;
        each_after(12, 32 + 334);
        CHECK_EQUAL(spin.usual_ns, 12000);
        CHECK_EQUAL(spin.patience, given[i].patience);
        CHECK_EQUAL(spin.samples, 1);
    }
}

/* Whoever has the CPU again within 64 times as long is in the way again. */
static void harm_ends(void)
{
    begin(BOUND_US);
    for (uint64_t at_us = 12799; at_us <= 12800; at_us++) {
        spin.rest_us = 40000;
        spin.rests_until_us = now_us;
        s2n_spin_yielded(&spin, 200, now_us + at_us);
        CHECK_EQUAL(spin.rest_us, at_us < 12800 ? 80000 : 5000);
        CHECK_EQUAL(spin.rests_until_us, now_us + at_us + spin.rest_us);
    }
}

int main(void)
{
    RUN(lone_commands_are_spun_for);
    RUN(being_woken_is_no_part_of_a_wait);
    RUN(many_under_way_are_slept_for);
    RUN(what_comes_later_than_the_bound_is_slept_for);
    RUN(what_comes_hardly_sooner_is_slept_for);
    RUN(without_a_bound_nothing_is_spun_for);
    RUN(work_that_changes_is_noticed);
    RUN(idleness_is_slept_through);
    RUN(whoever_sends_on_the_same_cpu_is_let);
    RUN(a_busy_cpu_is_left_to_others);
    RUN(rests_grow_while_they_are_needed);
    RUN(short_work_of_others_changes_little);
    RUN(a_wait_is_spun_for_up_to_the_bound);
    RUN(waits_are_averaged);
    RUN(pauses_and_rests_are_no_part_of_a_sample);
    RUN(samples_are_long_enough);
    RUN(it_pays_by_a_sixth);
    RUN(sleep_is_tried_too);
    RUN(trials_that_change_nothing_become_rare);
    RUN(other_work_is_tried_soon);
    RUN(harm_ends);
    return 0;
}
