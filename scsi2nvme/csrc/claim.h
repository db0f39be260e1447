/* Who works on which blocks of a logical unit, as far as not all may do so at the same time: the
 * engine's commands, and hot tasks that must be alone. What others of the hot path do is their
 * reactors' to know (drain.h). Used by all threads. */
#ifndef S2N_CLAIM_H
#define S2N_CLAIM_H

#include <pthread.h>

#include "hot_kind.h"

enum s2n_claim_state {
    S2N_CLAIM_NONE,
    S2N_CLAIM_WAITS,
    S2N_CLAIM_HELD,
};

struct s2n_claim {
    struct s2n_claim *next, **at;
    struct s2n_blocks blocks;
    uint64_t token; /* of the engine's; 0: a hot task's, which is alone */
    /* Of a hot task. */
    enum s2n_claim_state state;
    const void *party; /* whose turn it is: its nexus */
    uint64_t turn;
    /* It no longer waits: it is held, or, as the engine has some of the blocks, none. Called on
     * whichever reactor, once, and without the lock. */
    void (*ended_wait)(struct s2n_claim *claim);
    struct s2n_claim *also; /* the next that no longer waits */
};
/* Hot tasks that are alone at the same time, at most: each hot command is held against them. And
 * those that wait for that, of all and of one party: each that ends is held against them, and those
 * that had its blocks in mind against what is alone. A party may be all initiators of the kernel's
 * target. */
enum { S2N_MOST_ALONE = 128, S2N_MOST_WAITING = 256, S2N_MOST_OWN_WAITING = 128 };
struct s2n_claims {
    pthread_mutex_t lock;
    uint32_t alone, waiting_count; /* hot tasks */
    struct s2n_claim *first, *waiting;
    uint64_t turn;    /* the latest that has come */
    bool passed_over; /* one that waits has others' blocks no longer in its way */
};

/* Claim the blocks of `claim` for a hot task alone, or wait for those that have some: parties
 * in turn, each in its order, and nobody overtakes another with the same blocks. Returns its state,
 * which may change at once if it waits; S2N_CLAIM_NONE, and nothing is done, where the engine has
 * some, or too many are alone or wait. */
enum s2n_claim_state s2n_claim_alone(struct s2n_claims *claims, struct s2n_claim *claim);
/* Others may have the blocks of one that is held. */
void s2n_claim_end(struct s2n_claims *claims, struct s2n_claim *claim);
/* No longer wait; false: it does not, so that `ended_wait` was called or is about to be. */
bool s2n_claim_give_up(struct s2n_claims *claims, struct s2n_claim *claim);

#endif
