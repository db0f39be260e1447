/* Claims of blocks: who waits has its turn, whoever else comes, ends or gives up. */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "unit.h"

enum { CLAIMS = S2N_MOST_ALONE + 32, PARTIES = 3, BLOCKS = 40, TOKENS = 4, STEPS = 20000 };

static s2n_lu lu; /* of which there are claims only */
static struct s2n_claims *const claims = &lu.claims;
static struct s2n_claim claim[CLAIMS];
static struct s2n_claim *told[CLAIMS]; /* in this order */
static uint32_t told_count;
static const char party[PARTIES];

static void note(struct s2n_claim *which)
{
    told[told_count++] = which;
}

static void start(void)
{
    lu.claims = (struct s2n_claims){0};
    memset(claim, 0, sizeof claim);
    pthread_mutex_init(&claims->lock, NULL);
    told_count = 0;
}

static enum s2n_claim_state want(uint32_t which, unsigned whose, uint64_t first, uint64_t end)
{
    claim[which] =
        (struct s2n_claim){.blocks = {first, end}, .party = &party[whose], .ended_wait = note};
    return s2n_claim_alone(claims, &claim[which]);
}

static void end(uint32_t which)
{
    s2n_claim_end(claims, &claim[which]);
    claim[which].state = S2N_CLAIM_NONE;
}

/* It is the next that was told, and holds its blocks. */
static void has_its_turn(uint32_t number, uint32_t which)
{
    CHECK(number < told_count && told[number] == &claim[which]);
    CHECK_EQUAL(claim[which].state, S2N_CLAIM_HELD);
}

/* However many are alone: who waits for others is not held against them. */
static void who_ends_is_of_no_account_elsewhere(void)
{
    start();
    want(0, 0, 10, 11);
    want(1, 0, 12, 13);
    want(2, 1, 10, 11);
    claim[0].next = (struct s2n_claim *)-1; /* where nobody may go */
    end(1);
    claim[0].next = NULL;
    CHECK_EQUAL(told_count, 0);
    end(0);
    has_its_turn(0, 2);
}

static void whoever_was_passed_over_has_its_turn(void)
{
    start();
    for (uint32_t i = 0; i < S2N_MOST_ALONE - 1; i++)
        CHECK_EQUAL(want(i, 0, 10 * i, 10 * i + 1), S2N_CLAIM_HELD);
    CHECK_EQUAL(want(S2N_MOST_ALONE, 1, 0, 11), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(S2N_MOST_ALONE + 1, 2, 20, 21), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(S2N_MOST_ALONE + 2, 2, 1, 9), S2N_CLAIM_WAITS);
    end(0);
    CHECK_EQUAL(told_count, 0);
    CHECK_EQUAL(want(0, 0, 5000, 5001), S2N_CLAIM_HELD);
    CHECK_EQUAL(want(S2N_MOST_ALONE - 1, 0, 5002, 5003), S2N_CLAIM_HELD);
    CHECK(s2n_claim_give_up(claims, &claim[S2N_MOST_ALONE])); /* in the way of the last */
    CHECK_EQUAL(told_count, 0);
    end(S2N_MOST_ALONE - 1);
    has_its_turn(0, S2N_MOST_ALONE + 2);
    end(2);
    has_its_turn(1, S2N_MOST_ALONE + 1);
    CHECK_EQUAL(claims->alone, S2N_MOST_ALONE);
}

/* What it waits for waits for it. */
static void whoever_is_in_front_does_not_wait(void)
{
    start();
    want(0, 2, 10, 11);
    want(1, 0, 10, 11);
    want(2, 0, 10, 13);
    CHECK_EQUAL(want(3, 1, 12, 13), S2N_CLAIM_WAITS); /* after the latter has come, but before it */
    end(0);
    has_its_turn(0, 1);
    has_its_turn(1, 3);
    end(1);
    end(3);
    has_its_turn(2, 2);
}

/* ---- at random ---- */

static bool meets_any(const struct s2n_claim *list, const struct s2n_claim *until,
                      const struct s2n_claim *one)
{
    for (; list != until; list = list->next)
        if (list != one && !list->token && s2n_blocks_meet(list->blocks, one->blocks))
            return true;
    return false;
}

/* Nobody holds another's blocks, and who waits does so for somebody, or is looked at next. */
static void check_order(void)
{
    uint32_t alone = 0, waiting = 0;

    for (const struct s2n_claim *one = claims->first; one; one = one->next) {
        CHECK(one->token || !meets_any(claims->first, NULL, one));
        alone += !one->token;
    }
    for (const struct s2n_claim *one = claims->waiting; one; one = one->next) {
        CHECK(claims->passed_over || meets_any(claims->first, NULL, one) ||
              meets_any(claims->waiting, one, one));
        waiting++;
    }
    CHECK(alone || !waiting);
    CHECK_EQUAL(claims->alone, alone);
    CHECK_EQUAL(claims->waiting_count, waiting);
}

static void step(uint32_t *state)
{
    static uint64_t shared;
    uint32_t which = draw(state, 30), token = 1 + draw(state, TOKENS);
    uint64_t first = draw(state, BLOCKS);

    if (!draw(state, 20)) {
        if (shared >> token & 1)
            s2n_lu_unshare(&lu, token);
        else
            s2n_lu_share(&lu, first, first + 2, token);
        shared ^= UINT64_C(1) << token;
    } else if (claim[which].state == S2N_CLAIM_NONE) {
        want(which, draw(state, PARTIES), first, first + 1 + draw(state, 4));
    } else if (claim[which].state == S2N_CLAIM_HELD) {
        end(which);
    } else if (!draw(state, 4)) {
        CHECK(s2n_claim_give_up(claims, &claim[which]));
    }
}

static void nobody_waits_for_nothing(void)
{
    uint32_t state = (uint32_t)time(NULL) | 1;

    printf("seed %" PRIu32 "\n", state);
    start();
    for (uint32_t i = 0; i < STEPS; i++) {
        step(&state);
        check_order();
        told_count = 0;
    }
    for (uint32_t i = 0; i < CLAIMS; i = claim[i].state == S2N_CLAIM_HELD ? (end(i), 0) : i + 1)
        told_count = 0;
    CHECK(!claims->waiting && !claims->alone);
    for (uint64_t token = 1; token <= TOKENS; token++)
        s2n_lu_unshare(&lu, token);
    CHECK(!claims->first);
}

int main(void)
{
    RUN(who_ends_is_of_no_account_elsewhere);
    RUN(whoever_was_passed_over_has_its_turn);
    RUN(whoever_is_in_front_does_not_wait);
    RUN(nobody_waits_for_nothing);
    return 0;
}
