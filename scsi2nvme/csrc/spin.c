/* When it pays to look for requests again and again.
 *
 * To be woken takes tens of microseconds where the CPU sleeps deeply or is a virtual one: longer
 * than an initiator with one command at a time needs for its next one. So a reactor looks for it,
 * for a bounded time, before it sleeps. That costs the CPU; it is done only
 *
 *   where requests usually come within the bound, by a moving average of the waits. A pause costs
 *       one bound, and idleness nothing;
 *   where commands follow each other sooner for it. Now and then the other way is tried, and the
 *       two compared. Where an initiator keeps many commands under way, its next ones come while
 *       the reactor is being woken, are served together, and cost less;
 *   where nobody else wants the CPU. A look lets others have it, and who gets it back late has
 *       been in somebody's way: it rests, the longer the sooner that happens again. Those others
 *       may be an initiator or a disk's worker, which could not go on while we look for what they
 *       do. */
#include "spin.h"

enum {
    PAUSE_US = 1000,    /* who comes later did not wait for us */
    SAMPLE = 256,       /* so many commands at least tell how soon they follow each other, */
    SAMPLE_US = 4000,   /* in so long a time at least */
    SETTLE = 32,        /* after a change, commands that do not count */
    SOONER = 6,         /* by one part of so many, or it does not pay */
    CHANGED = 2,        /* that many times as fast, or slow: it is other work */
    MIN_PATIENCE = 4,   /* samples between two trials; the first one comes sooner */
    MAX_PATIENCE = 128, /* more with each one that changed nothing */
    STOLEN_US = 200,    /* somebody else had the CPU, not just a moment */
    HARMLESS = 64,      /* who has it for one part in so many is not in our way, nor we in his */
    MIN_REST_US = 5000,
    MAX_REST_US = 1000000,
};

/* ---- others ---- */

bool s2n_spin_rests(const struct s2n_spin *spin, uint64_t now_us)
{
    return now_us < spin->rests_until_us;
}

void s2n_spin_yielded(struct s2n_spin *spin, uint64_t us, uint64_t now_us)
{
    if (us < STOLEN_US)
        return;
    bool again = now_us < spin->rests_until_us + HARMLESS * us;
    if (!again)
        spin->rest_us = MIN_REST_US;
    else if (spin->rest_us < MAX_REST_US / 2)
        spin->rest_us *= 2;
    else
        spin->rest_us = MAX_REST_US;
    spin->rests_until_us = now_us + spin->rest_us;
}

/* ---- waits ---- */

static bool comes_soon(const struct s2n_spin *spin)
{
    return spin->usual_us < spin->bound_us;
}

bool s2n_spin_goes_on(struct s2n_spin *spin, uint64_t now_us)
{
    if (!spin->since_us)
        spin->since_us = now_us;
    bool goes_on = spin->spins != spin->tries && comes_soon(spin) &&
                   now_us - spin->since_us < spin->bound_us && !s2n_spin_rests(spin, now_us);
    spin->looked |= goes_on;
    return goes_on;
}

/* Whoever slept learns late that something came: half of the time counts. A long wait counts as
 * just too long to be spun for in half the cases, so that it does not change the habit by itself.
 */
static void note_wait(struct s2n_spin *spin, uint64_t waited_us)
{
    uint64_t limit = 2 * (uint64_t)spin->bound_us;

    if (!spin->looked)
        waited_us /= 2;
    spin->usual_us = (7 * spin->usual_us + (waited_us < limit ? waited_us : limit)) / 8;
}

/* ---- what it is worth ---- */

static void begin_sample(struct s2n_spin *spin)
{
    spin->commands = 0;
    spin->sum_us = 0;
}

static void change(struct s2n_spin *spin)
{
    spin->settling = 0;
    begin_sample(spin);
}

/* The other way has been tried, in which commands follow each other after `ns`. */
static void judge_trial(struct s2n_spin *spin, uint64_t ns)
{
    uint64_t asleep = spin->spins ? ns : spin->usual_ns;
    uint64_t awake = spin->spins ? spin->usual_ns : ns;
    bool pays = awake < asleep - asleep / SOONER;

    spin->tries = false;
    spin->samples = 0;
    if (pays != spin->spins) {
        spin->usual_ns = ns;
        spin->patience = MIN_PATIENCE;
    } else if (spin->patience < MIN_PATIENCE) {
        spin->patience = MIN_PATIENCE;
    } else if (spin->patience < MAX_PATIENCE) {
        spin->patience *= 2;
    }
    spin->spins = pays;
    change(spin);
}

static void judge(struct s2n_spin *spin)
{
    uint64_t ns = spin->sum_us * 1000 / spin->commands;

    if (spin->tries) {
        judge_trial(spin, ns);
        return;
    }
    bool changed = ns > CHANGED * spin->usual_ns || spin->usual_ns > CHANGED * ns;
    if (changed && spin->patience > MIN_PATIENCE)
        spin->patience = MIN_PATIENCE;
    spin->usual_ns = ns;
    begin_sample(spin);
    if (++spin->samples >= spin->patience) {
        spin->tries = true;
        change(spin);
    }
}

static void count(struct s2n_spin *spin, uint64_t us, uint64_t commands)
{
    if (spin->settling < SETTLE) {
        spin->settling += commands;
        return;
    }
    spin->commands += commands;
    spin->sum_us += us;
    if (spin->commands >= SAMPLE && spin->sum_us >= SAMPLE_US)
        judge(spin);
}

void s2n_spin_came(struct s2n_spin *spin, uint64_t now_us, uint64_t serial)
{
    uint64_t us = now_us - spin->came_us, commands = serial - spin->serial;

    if (!spin->since_us)
        return;
    note_wait(spin, now_us - spin->since_us);
    spin->since_us = 0;
    spin->looked = false;
    spin->came_us = now_us;
    spin->serial = serial;
    if (us < PAUSE_US && comes_soon(spin) && !s2n_spin_rests(spin, now_us))
        count(spin, us, commands);
}

void s2n_spin_begin(struct s2n_spin *spin, uint32_t bound_us)
{
    *spin = (struct s2n_spin){.bound_us = bound_us, .patience = 1};
}
