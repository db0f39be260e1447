/* The task set of an I_T nexus on a logical unit: in which order its commands are begun.
 * Each nexus has its own (TST 001b). Spec: SAM-5 8, SPC-4 7.5.8. */
#ifndef S2N_TASK_SET_H
#define S2N_TASK_SET_H

#include "task.h"

struct s2n_task_set {
    s2n_task *dormant, *last;   /* in the order in which they came; `last` if there are any */
    uint32_t enabled, barriers; /* and how many of the enabled ones keep later ones waiting */
    bool ready;                 /* in its reactor's list */
    bool fe;                    /* free for the front end */
    struct s2n_task_set *next;
};

/* The same where something waits, or is waited for. */
bool s2n_task_join_order(s2n_task *task);
void s2n_task_leave_order(s2n_task *task);

static inline bool s2n_task_is_simple(const s2n_task *task)
{
    return task->attribute <= S2N_ATTRIBUTE_SIMPLE;
}

/* A command is delivered: it enters its task set, in the order of these calls. False: it is
 * dormant, which means that it holds no buffer and is not executed, until `enabled` is called.
 * A front end whose commands have no attributes need not call it. */
static inline bool s2n_task_join(s2n_task *task)
{
    struct s2n_task_set *set = task->set;

    if (!set || set->dormant || set->barriers || !s2n_task_is_simple(task))
        return s2n_task_join_order(task);
    task->standing = S2N_ENABLED;
    set->enabled++;
    return true;
}

/* Its status is decided: nothing waits for it any more. s2n_task_free does so, too. */
static inline void s2n_task_leave_set(s2n_task *task)
{
    if (task->standing == S2N_APART)
        return;
    if (task->set->dormant || !s2n_task_is_simple(task)) {
        s2n_task_leave_order(task);
        return;
    }
    task->standing = S2N_APART;
    task->set->enabled--;
}

/* ---- for the floors above ---- */

/* Task sets whose first dormant command may be enabled. */
struct s2n_ready_sets {
    struct s2n_task_set *first, *last;
};

/* The reactor's own. */
struct s2n_ready_sets *s2n_reactor_ready_sets(struct s2n_reactor *reactor);
/* Enable commands, one of each task set in turn, and some of them at most: what one begins may
 * end at once. Between rounds only, and with nothing of any task further up the stack. */
void s2n_ready_sets_enable(struct s2n_ready_sets *ready);

#endif
