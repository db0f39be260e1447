/* The plane that front ends are on, in their tests: one nexus, one reactor, and what is told. */
#ifndef S2N_FAKE_PLANE_H
#define S2N_FAKE_PLANE_H

#include "front_end.h"

/* Forget what was told. */
s2n_plane *fake_plane_start(void);
/* The nexus that tests use. */
s2n_nexus *fake_nexus(void);
/* The next event told to Python; false: none. Free it with s2n_event_free. */
bool fake_next_event(s2n_event *event);

#endif
