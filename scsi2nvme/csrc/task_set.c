/* Task sets: who waits for whom.
 *
 * An ORDERED command waits for all that came before it, and all that comes later waits for it.
 * A HEAD OF QUEUE command waits for nobody, and what comes later waits for it. Anything else
 * waits for those two. What waits is dormant, in a queue; the rest is enabled, and counted.
 * Spec: SAM-5 8.6.
 *
 * Dormant commands hold no buffers: those before them, which they wait for, may want these. */
#include "task_set.h"

enum { AT_ONCE = 64 };

static bool is_ordered(const s2n_task *task)
{
    return task->attribute == S2N_ATTRIBUTE_ORDERED;
}

static bool is_head(const s2n_task *task)
{
    return task->attribute == S2N_ATTRIBUTE_HEAD_OF_QUEUE;
}

static bool is_barrier(const s2n_task *task)
{
    return is_ordered(task) || is_head(task);
}

/* Whether what is enabled lets a command be so, too. */
static bool admits(const struct s2n_task_set *set, const s2n_task *task)
{
    return !set->barriers && (!is_ordered(task) || !set->enabled);
}

/* ---- the list of those that are ready ---- */

static void list(struct s2n_ready_sets *ready, struct s2n_task_set *set)
{
    set->ready = true;
    set->next = NULL;
    if (ready->first)
        ready->last->next = set;
    else
        ready->first = set;
    ready->last = set;
}

static void unlist(struct s2n_ready_sets *ready, struct s2n_task_set *set)
{
    struct s2n_task_set **at = &ready->first, *before = NULL;

    set->ready = false;
    for (; *at != set; at = &before->next)
        before = *at;
    *at = set->next;
    if (ready->last == set)
        ready->last = before;
}

/* A set is in the list only while commands of it are dormant: it may go with its last one. */
static void look(struct s2n_ready_sets *ready, struct s2n_task_set *set)
{
    bool now = set->dormant && admits(set, set->dormant);

    if (now && !set->ready)
        list(ready, set);
    else if (!now && set->ready)
        unlist(ready, set);
}

/* ---- tasks ---- */

static void enable(struct s2n_task_set *set, s2n_task *task)
{
    task->standing = S2N_ENABLED;
    set->enabled++;
    set->barriers += is_barrier(task);
}

/* What asks for the logical unit's state waits for nobody, unless it is ordered to: it is in
 * the head of the queue implicitly, and nothing waits for it but what is ordered. */
static bool waits_for_nobody(const s2n_task *task)
{
    return is_head(task) || (task->row && task->row->asks && !is_ordered(task));
}

bool s2n_task_join_order(s2n_task *task)
{
    struct s2n_task_set *set = task->set;

    if (!set)
        return true; /* no such logical unit: it is refused */
    if (waits_for_nobody(task) || (!set->dormant && admits(set, task))) {
        enable(set, task);
        return true;
    }
    task->standing = S2N_DORMANT;
    task->next = NULL;
    if (set->dormant)
        set->last->next = task;
    else
        set->dormant = task;
    set->last = task;
    return false;
}

static void remove_dormant(struct s2n_task_set *set, s2n_task *task)
{
    s2n_task **at = &set->dormant, *before = NULL;

    for (; *at != task; at = &before->next)
        before = *at;
    *at = task->next;
    if (set->last == task)
        set->last = before;
}

void s2n_task_leave_order(s2n_task *task)
{
    struct s2n_task_set *set = task->set;

    if (task->standing == S2N_DORMANT) {
        remove_dormant(set, task);
    } else {
        set->enabled--;
        set->barriers -= is_barrier(task);
    }
    task->standing = S2N_APART;
    if (set->dormant || set->ready)
        look(s2n_reactor_ready_sets(task->reactor), set);
}

void s2n_ready_sets_enable(struct s2n_ready_sets *ready)
{
    struct s2n_task_set *set;

    for (int turns = 0; turns < AT_ONCE && (set = ready->first); turns++) {
        s2n_task *task = set->dormant;
        unlist(ready, set);
        if (!admits(set, task))
            continue; /* a HEAD OF QUEUE command came in between; its end looks again */
        remove_dormant(set, task);
        enable(set, task);
        look(ready, set);
        task->front_end->enabled(task); /* the set may go with it */
    }
}
