/* The reactor that front ends are on, in their tests: its loop goes round when they say so. */
#ifndef S2N_FAKE_REACTOR_H
#define S2N_FAKE_REACTOR_H

#include "front_end.h"

/* Forget what was to be done. */
void fake_reactor_start(void);
/* The only one. */
struct s2n_reactor *fake_reactor(void);
/* One round: whether anything happened, or is left for the next. */
bool fake_round(void);
/* Rounds until nothing happens any more. */
void fake_run(void);
/* Let time pass, and run. */
void fake_advance(uint64_t ms);

#endif
