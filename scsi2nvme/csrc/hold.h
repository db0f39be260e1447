/* A hot task that must be alone on its blocks holds them: no hot task of any reactor that meets
 * them begins, and it begins itself when the last of those has ended that did before. Where
 * another holds some, it waits for its turn. */
#ifndef S2N_HOLD_H
#define S2N_HOLD_H

#include "claim.h"
#include "drain.h"

struct s2n_hold {
    struct s2n_drain drain; /* first: the hold is found from it */
    struct s2n_claim claim;
    struct s2n_reactor *reactor; /* its task's, which alone looks at the rest */
    s2n_task *task;              /* NULL: it has ended */
    void (*its_turn)(void *hold);
    bool queued;  /* it waits for its turn, or for being told of that */
    bool granted; /* nobody else is there any more */
    bool waits;   /* the task does, for that */
};

/* Claim the blocks of a task, which is hot but not counted yet; NULL where the engine is to
 * do it: that has some, too many have or wait for any, or memory is short. If it is queued,
 * `its_turn` is called with the hold on the task's reactor, unless it ends before: the claim may
 * be held then. `done` is called when all
 * reactors have been drained of the blocks, on the last. */
struct s2n_hold *s2n_hold_new(s2n_task *task, void (*its_turn)(void *hold),
                              void (*done)(struct s2n_drain *drain));
/* Of one whose turn has come: do without the blocks. No reactor was kept off them. */
void s2n_hold_free(struct s2n_hold *hold);
/* All reactors have been drained. False if nobody waits for that: the hold is gone. */
bool s2n_hold_grant(struct s2n_hold *hold);
/* Others may have the blocks again. The handle is invalid afterwards. */
void s2n_hold_end(struct s2n_hold *hold);

#endif
