/* On which reactor a device is served best, by what its commands tell.
 *
 * Where commands come one at a time, most of each one's time goes into waking who waits for it,
 * and waking somebody on one's own CPU is cheaper than on another, which may sleep deeply. The
 * kernel does not say on which CPU it puts commands into the ring, so now and then another
 * reactor is tried, and kept if commands follow each other sooner there. Where many are under
 * way, the device is better off beside whoever sends them: on the reactor that it was given,
 * which no more devices share than others. */
#include "tcmu.h"

enum {
    SAMPLE = 256,       /* commands that tell how fast a seat is, or those of so long a time, */
    SAMPLE_US = 100000, /* … */
    SAMPLE_LEAST = 32,  /* and so many at least */
    SETTLE = 16,        /* after a change, commands that do not count */
    CROWD = 64,         /* how much more often several come at a time, that makes a crowd */
    CALM = 256,         /* lone commands, one after the other, that end it, */
    MAX_CALM = 4096,    /* and so many at most if it always comes back */
    WEIGHT = 4,         /* of several at a time, against that of a lone command */
    IDLE_US = 20000,    /* who comes later than that did not wait for us, */
    ANEW_US = 1000000,  /* and later than that is somebody else */
    BETTER = 16,        /* one part of so many */
    CHANGED = 4,        /* the same, from one sample to the next: it is other work */
    MIN_PATIENCE = 4,   /* samples between two trials; the first one comes sooner */
    MAX_PATIENCE = 64,  /* more with each one that failed */
};

static void begin_sample(struct s2n_seat *seat)
{
    seat->commands = 0;
    seat->sum_us = 0;
}

/* Nothing is tried while there is a crowd. */
static void begin_crowd(struct s2n_seat *seat)
{
    seat->crowd = seat->calm;
    seat->crowded = true;
    seat->trying = false;
    seat->samples = 0;
    begin_sample(seat);
}

void s2n_seat_begin(struct s2n_seat *seat, uint32_t home, uint32_t reactors)
{
    *seat = (struct s2n_seat){.home = home,
                              .reactors = reactors,
                              .best = home,
                              .candidate = home,
                              .calm = CALM,
                              .patience = 1};
    begin_crowd(seat);
}

/* Several commands are under way more often than now and then, or not. */
static void count_heads(struct s2n_seat *seat, bool lone)
{
    uint32_t limit = seat->crowded ? seat->calm : CROWD;

    if (!lone)
        seat->crowd = seat->crowd + WEIGHT < limit ? seat->crowd + WEIGHT : limit;
    else if (seat->crowd)
        seat->crowd--;
    if (!seat->crowd) {
        seat->crowded = false;
    } else if (!seat->crowded && seat->crowd == CROWD) {
        seat->calm = 4 * seat->calm < MAX_CALM ? 4 * seat->calm : MAX_CALM;
        begin_crowd(seat);
    }
}

static void next_candidate(struct s2n_seat *seat)
{
    do
        seat->candidate = (seat->candidate + 1) % seat->reactors;
    while (seat->candidate == seat->best);
    seat->trying = true;
}

static void judge_trial(struct s2n_seat *seat, uint64_t us)
{
    seat->trying = false;
    seat->samples = 0;
    if (us < seat->usual_us - seat->usual_us / BETTER) {
        seat->best = seat->candidate;
        seat->usual_us = us;
        seat->patience = MIN_PATIENCE;
    } else if (seat->patience < MIN_PATIENCE) {
        seat->patience = MIN_PATIENCE;
    } else if (seat->patience < MAX_PATIENCE) {
        seat->patience *= 2;
    }
}

/* A command of the present sample takes so long. */
static void judge(struct s2n_seat *seat, uint64_t us)
{
    uint64_t change = us > seat->usual_us ? us - seat->usual_us : seat->usual_us - us;

    begin_sample(seat);
    if (seat->trying) {
        judge_trial(seat, us);
        return;
    }
    if (change > seat->usual_us / CHANGED && seat->patience > MIN_PATIENCE)
        seat->patience = MIN_PATIENCE;
    seat->usual_us = us;
    if (++seat->samples >= seat->patience)
        next_candidate(seat);
}

static void count_time(struct s2n_seat *seat, uint64_t gap_us)
{
    if (++seat->commands <= SETTLE)
        return;
    seat->sum_us += gap_us;
    uint32_t count = seat->commands - SETTLE;
    uint64_t us = seat->sum_us / count;
    bool hopeless = seat->trying && us > 2 * seat->usual_us;
    if (count == SAMPLE || (seat->sum_us >= SAMPLE_US && (count >= SAMPLE_LEAST || hopeless)))
        judge(seat, us);
}

uint32_t s2n_seat_choose(struct s2n_seat *seat, bool lone, uint64_t now_us)
{
    uint64_t gap_us = now_us - seat->latest_us;

    seat->latest_us = now_us;
    if (seat->reactors == 1)
        return seat->home;
    if (gap_us >= ANEW_US) {
        seat->calm = CALM;
        begin_crowd(seat);
    }
    count_heads(seat, lone);
    if (seat->crowded)
        return seat->home;
    if (lone && gap_us < IDLE_US)
        count_time(seat, gap_us);
    return seat->trying ? seat->candidate : seat->best;
}
