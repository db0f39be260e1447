/* What a nexus' LUN leads to: a logical unit, its controller, and that one's queue on each
 * reactor. */
#ifndef S2N_UNIT_H
#define S2N_UNIT_H

#include <stdatomic.h>

#include "claim.h"
#include "loop.h"
#include "pool.h"
#include "qpair.h"
#include "state.h"
#include "tally.h"
#include "task.h"
#include "task_set.h"

/* A controller's queue pair on one reactor. */
struct s2n_queue {
    struct s2n_source interrupt; /* first: found from the source */
    struct s2n_queue *next;
    s2n_controller *controller;
    struct s2n_reactor *reactor;
    s2n_qpair *qp;
    struct s2n_pool *pool;
    bool attached; /* the control thread's notes: whether there is a queue pair, */
    bool hot;
    uint16_t qid;
    bool paused;
    bool dirty;               /* something was placed since the last ring */
    bool resumable;           /* tasks that wait may find a slot or a buffer now */
    s2n_task *slot_lines;     /* the first tasks of those that wait for a submission slot */
    s2n_task *pair;           /* one of these, which waits for two slots at once */
    s2n_task *lines;          /* the same of those that wait for a buffer */
    bool claimed;             /* for one of them: what is common of the pool */
    struct s2n_timer urge;    /* aborted tasks are still on the device */
    struct s2n_share remains; /* what those hold that were answered nevertheless */
};

struct s2n_controller {
    s2n_plane *plane;
    uint64_t cookie;
    _Atomic uint32_t timeout_ms;
    atomic_uint users;        /* its owner, and each reactor with a queue of it */
    atomic_uint unpaused;     /* reactors that its latest pause has not come to yet */
    struct s2n_queue queue[]; /* one for each reactor */
};

struct s2n_drain_wait;
struct s2n_range;
struct s2n_watch;

/* Tasks of a logical unit on one reactor: the hot ones, and what is counted of all. */
struct s2n_lu_local {
    uint64_t under_way;
    s2n_task *tasks; /* these */
    struct s2n_drain_wait *drains;
    struct s2n_range *ranges;               /* that it keeps off */
    struct s2n_watch *watch;                /* what it does not change; NULL: nothing */
    s2n_task *put_off_first, *put_off_last; /* until a drain is over */
    uint32_t put_off_count;
    struct s2n_tally tally;
    _Atomic uint64_t cold[S2N_ROWS + 1]; /* that the engine got, by their rows' numbers */
    char pad[64];                        /* no cache line is another reactor's, too */
};

struct s2n_lu {
    _Atomic(s2n_controller *) controller; /* changes only while drained */
    s2n_lu_params params;                 /* changes only while drained */
    _Atomic uint32_t block_shift;         /* the same, for those who do not wait for that */
    _Atomic uint32_t tuple_bytes;         /* likewise */
    atomic_bool zoned;                    /* likewise */
    atomic_bool aside;
    atomic_bool left; /* its controller, by the engine */
    atomic_bool descriptor_sense;
    atomic_bool drained; /* and so aside, for a short time or until that is told */
    struct s2n_claims claims;
    struct s2n_failures failures; /* that its reactors' tallies share */
    uint32_t reactors;
    struct s2n_lu_local local[];
};

struct s2n_slot {
    struct s2n_task_set set; /* first: the slot is found from it. The reactor's own */
    _Atomic(s2n_lu *) lu;
    atomic_bool aside;
};

enum { S2N_SLOT_GROUP = 64, S2N_SLOT_GROUPS = 16384 / S2N_SLOT_GROUP };

/* What a nexus has of a controller's buffers and queue entries: each has its own. */
struct s2n_holding {
    const s2n_controller *controller;
    struct s2n_share share; /* the session's reactor counts */
    struct s2n_holding *next;
};

struct s2n_nexus {
    uint64_t cookie;
    uint64_t heap_bytes;    /* that its tasks were charged with; its session's reactor counts */
    struct s2n_tally tally; /* that reactor's, too */
    struct s2n_failures failures;
    /* One for each controller that it has had units of, until the nexus goes. */
    _Atomic(struct s2n_holding *) holdings;
    /* LUNs in groups that are allocated once and stay until the nexus goes, so
     * that reactors may look while the control thread maps. */
    _Atomic(struct s2n_slot *) group[S2N_SLOT_GROUPS];
};

/* The queue that a task's commands go to; NULL without a logical unit. It is that of the controller
 * that its logical unit had when the task began, or began anew: its buffer is of that one's, too.
 */
static inline struct s2n_queue *s2n_queue_of(const s2n_task *task)
{
    return task->queue;
}

/* Whether that is still its logical unit's: else it is for the engine. */
static inline bool s2n_task_on_course(const s2n_task *task)
{
    return task->queue->controller ==
           atomic_load_explicit(&task->lu->controller, memory_order_acquire);
}

/* The LUN that a task came for; NULL if its nexus had none. */
static inline struct s2n_slot *s2n_slot_of(const s2n_task *task)
{
    return (struct s2n_slot *)task->set;
}

/* Find a nexus' LUN; NULL if it has none. */
struct s2n_slot *s2n_nexus_slot(s2n_nexus *nexus, const uint8_t *lun);
/* What it has of a controller's buffers and queue entries; NULL if it never had a unit of it. */
struct s2n_share *s2n_nexus_share(s2n_nexus *nexus, const s2n_controller *controller);
/* Whether the reactor has a queue pair on every controller that the nexus sees. Control thread. */
bool s2n_nexus_hot_on(s2n_nexus *nexus, uint32_t reactor);

#endif
