/* Orders to abort: which tasks one means, and whether the last of these has ended. */
#include "abort.h"

#include <stdlib.h>

#include "events.h"
#include "state.h"
#include "unit.h"

/* Whether a task was sent to a logical unit, or to another whose LUN leads there by now: it is the
 * LUN that task management names. */
static bool is_at(const s2n_task *task, const s2n_lu *lu)
{
    struct s2n_slot *slot = s2n_slot_of(task);

    return task->lu == lu || (slot && atomic_load_explicit(&slot->lu, memory_order_acquire) == lu);
}

bool s2n_task_matches(const s2n_task *task, const struct s2n_abort *abort)
{
    if (abort->scope == S2N_SCOPE_HELD)
        return task->lu == abort->lu;
    if (task->state == S2N_DONE || task->state == S2N_REMAINS)
        return false;
    if (task->nexus == abort->nexus && task->arrived > abort->up_to)
        return false;
    switch (abort->scope) {
    case S2N_SCOPE_TASK:
        return task->nexus == abort->nexus && task->tag == abort->itt &&
               (!abort->lu || is_at(task, abort->lu));
    case S2N_SCOPE_NEXUS_LU:
        return task->nexus == abort->nexus && is_at(task, abort->lu);
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

/* Whatever it is to wait for was aborted when it began, and stands behind `at` in the list. */
static bool abort_waits(struct s2n_abort_wait *wait)
{
    s2n_task *task = wait->at;

    while (task &&
           !(task->aborted && task->serial <= wait->up_to && s2n_task_matches(task, wait->abort)))
        task = task->live_next;
    wait->at = task;
    if (task)
        task->awaited = true;
    return task;
}

void s2n_reactor_check_aborts(struct s2n_reactor *reactor)
{
    struct s2n_abort_wait **at = &reactor->aborts;

    while (*at) {
        struct s2n_abort_wait *wait = *at;
        if (abort_waits(wait)) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        s2n_abort_done(wait->abort);
        free(wait);
    }
}

/* ---- walks ---- */

void s2n_walk_begin(struct s2n_reactor *reactor, struct s2n_walk *walk)
{
    *walk = (struct s2n_walk){reactor->live, reactor->walks};
    reactor->walks = walk;
}

s2n_task *s2n_walk_next(struct s2n_walk *walk)
{
    s2n_task *task = walk->next;

    if (task)
        walk->next = task->live_next;
    return task;
}

void s2n_walk_end(struct s2n_reactor *reactor, const struct s2n_walk *walk)
{
    reactor->walks = walk->outer;
}

void s2n_reactor_pass(struct s2n_reactor *reactor, const s2n_task *task)
{
    for (struct s2n_walk *walk = reactor->walks; walk; walk = walk->outer)
        if (walk->next == task)
            walk->next = task->live_next;
    if (!task->awaited)
        return;
    for (struct s2n_abort_wait *wait = reactor->aborts; wait; wait = wait->next)
        if (wait->at == task)
            wait->at = task->live_next;
}
