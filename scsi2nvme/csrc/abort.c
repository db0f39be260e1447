/* Orders to abort: which tasks one means, and whether the last of these has ended. */
#include "abort.h"

#include <stdlib.h>

#include "events.h"
#include "state.h"

bool s2n_task_matches(const s2n_task *task, const struct s2n_abort *abort)
{
    if (task->state == S2N_DONE || task->state == S2N_REMAINS)
        return false;
    if (task->nexus == abort->nexus && task->arrived > abort->up_to)
        return false;
    switch (abort->scope) {
    case S2N_SCOPE_TASK:
        return task->nexus == abort->nexus && task->tag == abort->itt &&
               (!abort->lu || task->lu == abort->lu);
    case S2N_SCOPE_NEXUS_LU:
        return task->nexus == abort->nexus && task->lu == abort->lu;
    case S2N_SCOPE_LU:
        return task->lu == abort->lu;
    case S2N_SCOPE_NEXUS:
        return task->nexus == abort->nexus;
    default:
        return false;
    }
}

void s2n_abort_done(struct s2n_abort *abort)
{
    if (atomic_fetch_sub(&abort->reactors_left, 1) != 1)
        return;
    s2n_event event = {
        .type = S2N_EVENT_DRAINED, .cookie = abort->token, .count = atomic_load(&abort->found)};
    s2n_plane_emit(abort->plane, &event);
    free(abort);
}

static bool abort_waits(const struct s2n_reactor *reactor, const struct s2n_abort_wait *wait)
{
    for (const s2n_task *task = reactor->live; task; task = task->live_next)
        if (task->aborted && task->serial <= wait->up_to && s2n_task_matches(task, wait->abort))
            return true;
    return false;
}

void s2n_reactor_check_aborts(struct s2n_reactor *reactor)
{
    struct s2n_abort_wait **at = &reactor->aborts;

    while (*at) {
        struct s2n_abort_wait *wait = *at;
        if (abort_waits(reactor, wait)) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        s2n_abort_done(wait->abort);
        free(wait);
    }
}
