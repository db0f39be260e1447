/* What reactors tell Python. */
#ifndef S2N_EVENTS_H
#define S2N_EVENTS_H

#include "dataplane.h"

/* Tell Python. From any thread; the event is copied, `data` is taken over. */
void s2n_plane_emit(s2n_plane *plane, const s2n_event *event);

#endif
