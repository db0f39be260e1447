/* The plane's reactors, for those who choose one. */
#ifndef S2N_PLANE_H
#define S2N_PLANE_H

#include "dataplane.h"

struct s2n_reactor;

/* Which reactor new work of a nexus goes to, the least busy of those that have queue pairs for
 * all that it sees, if there are any. Control thread, once LUNs are mapped. */
struct s2n_reactor *s2n_plane_pick(s2n_plane *plane, s2n_nexus *nexus);
/* …and that it has gone. */
void s2n_plane_unpick(struct s2n_reactor *reactor);
/* Whether they all have. */
bool s2n_plane_all_hot(const s2n_plane *plane, s2n_nexus *nexus);
/* The reactors by number, from 0. */
uint32_t s2n_plane_reactors(const s2n_plane *plane);
struct s2n_reactor *s2n_plane_reactor(s2n_plane *plane, uint32_t index);

#endif
