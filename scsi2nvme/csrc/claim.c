/* Claims of blocks: those that are held in no order, those that wait by turns. */
#include "claim.h"

#include <stdlib.h>

#include "unit.h"

static void link_in(struct s2n_claim **at, struct s2n_claim *claim)
{
    claim->next = *at;
    claim->at = at;
    if (claim->next)
        claim->next->at = &claim->next;
    *at = claim;
}

static void unlink_from(struct s2n_claim *claim)
{
    *claim->at = claim->next;
    if (claim->next)
        claim->next->at = claim->at;
}

/* Whether the engine, or a hot task, has some of the blocks. */
static bool has_some(const struct s2n_claims *claims, struct s2n_blocks blocks, bool engine)
{
    for (const struct s2n_claim *claim = claims->first; claim; claim = claim->next)
        if (!claim->token != engine && s2n_blocks_meet(claim->blocks, blocks))
            return true;
    return false;
}

/* Whether one that waits before `end` wants some of the blocks. */
static bool wants_some(const struct s2n_claims *claims, struct s2n_blocks blocks,
                       const struct s2n_claim *end)
{
    for (const struct s2n_claim *claim = claims->waiting; claim != end; claim = claim->next)
        if (s2n_blocks_meet(claim->blocks, blocks))
            return true;
    return false;
}

static void hold(struct s2n_claims *claims, struct s2n_claim *claim)
{
    claim->state = S2N_CLAIM_HELD;
    link_in(&claims->first, claim);
    claims->alone++;
}

/* ---- those that wait ---- */

static bool has_to_wait(const struct s2n_claims *claims, const struct s2n_claim *claim)
{
    return has_some(claims, claim->blocks, false) || wants_some(claims, claim->blocks, claim);
}

static bool wait_for_others(struct s2n_claims *claims, struct s2n_claim *claim)
{
    struct s2n_claim **at = &claims->waiting;
    uint32_t own = 0;

    for (const struct s2n_claim *other = claims->waiting; other; other = other->next)
        own += other->party == claim->party;
    if (claims->waiting_count >= S2N_MOST_WAITING || own >= S2N_MOST_OWN_WAITING)
        return false;
    claim->turn = claims->turn + 1 + own;
    while (*at && (*at)->turn <= claim->turn)
        at = &(*at)->next;
    link_in(at, claim);
    claim->state = S2N_CLAIM_WAITS;
    claims->waiting_count++;
    claims->passed_over |= !has_to_wait(claims, claim); /* its turn is before that of others */
    return true;
}

static void wait_no_more(struct s2n_claims *claims, struct s2n_claim *claim)
{
    unlink_from(claim);
    claims->waiting_count--;
    claim->state = S2N_CLAIM_NONE;
}

static struct s2n_blocks hull(struct s2n_blocks one, struct s2n_blocks other)
{
    return (struct s2n_blocks){one.first < other.first ? one.first : other.first,
                               one.end > other.end ? one.end : other.end};
}

/* Somebody no longer has `free` blocks, or wants them. Take those from the ones that wait which no
 * longer have to; what meets a claim of the engine's is for the engine. They are told when the lock
 * is free. */
static struct s2n_claim *pass_on(struct s2n_claims *claims, struct s2n_blocks free)
{
    struct s2n_claim *told = NULL, **end = &told;
    bool all = claims->passed_over;

    claims->passed_over = false;
    for (struct s2n_claim *claim = claims->waiting, *next; claim; claim = next) {
        next = claim->next;
        if (!all && !s2n_blocks_meet(claim->blocks, free))
            continue;
        claims->passed_over = claims->alone >= S2N_MOST_ALONE;
        if (claims->passed_over)
            break;
        if (has_to_wait(claims, claim))
            continue;
        bool engine = has_some(claims, claim->blocks, true);
        wait_no_more(claims, claim);
        if (engine)
            free = hull(free, claim->blocks);
        else
            hold(claims, claim);
        if (claim->turn > claims->turn)
            claims->turn = claim->turn;
        claim->also = NULL;
        *end = claim;
        end = &claim->also;
    }
    return told;
}

/* Each may be gone when it was told. */
static void tell(struct s2n_claim *claim)
{
    for (struct s2n_claim *also; claim; claim = also) {
        also = claim->also;
        claim->ended_wait(claim);
    }
}

/* ---- of hot tasks ---- */

enum s2n_claim_state s2n_claim_alone(struct s2n_claims *claims, struct s2n_claim *claim)
{
    enum s2n_claim_state state = S2N_CLAIM_NONE;

    pthread_mutex_lock(&claims->lock);
    if (claims->alone < S2N_MOST_ALONE && !has_some(claims, claim->blocks, true)) {
        state = S2N_CLAIM_HELD;
        if (has_some(claims, claim->blocks, false) || wants_some(claims, claim->blocks, NULL))
            state = wait_for_others(claims, claim) ? S2N_CLAIM_WAITS : S2N_CLAIM_NONE;
        else
            hold(claims, claim);
    }
    pthread_mutex_unlock(&claims->lock);
    return state;
}

void s2n_claim_end(struct s2n_claims *claims, struct s2n_claim *claim)
{
    pthread_mutex_lock(&claims->lock);
    unlink_from(claim);
    claims->alone--;
    struct s2n_claim *told = pass_on(claims, claim->blocks);
    pthread_mutex_unlock(&claims->lock);
    tell(told);
}

bool s2n_claim_give_up(struct s2n_claims *claims, struct s2n_claim *claim)
{
    struct s2n_claim *told = NULL;

    pthread_mutex_lock(&claims->lock);
    bool waited = claim->state == S2N_CLAIM_WAITS;
    if (waited) {
        wait_no_more(claims, claim);
        told = pass_on(claims, claim->blocks); /* what it was in the way of */
    }
    pthread_mutex_unlock(&claims->lock);
    tell(told);
    return waited;
}

/* ---- of the engine ---- */

bool s2n_lu_share(s2n_lu *lu, uint64_t first, uint64_t end, uint64_t token)
{
    struct s2n_claim *claim = malloc(sizeof *claim);

    if (!claim)
        abort(); /* two would change the same blocks */
    *claim = (struct s2n_claim){.blocks = {first, end}, .token = token};
    pthread_mutex_lock(&lu->claims.lock);
    bool met = has_some(&lu->claims, claim->blocks, false);
    link_in(&lu->claims.first, claim);
    pthread_mutex_unlock(&lu->claims.lock);
    return met;
}

void s2n_lu_unshare(s2n_lu *lu, uint64_t token)
{
    struct s2n_claim *claim;

    pthread_mutex_lock(&lu->claims.lock);
    for (claim = lu->claims.first; claim && claim->token != token;)
        claim = claim->next;
    if (claim)
        unlink_from(claim);
    pthread_mutex_unlock(&lu->claims.lock);
    free(claim);
}
