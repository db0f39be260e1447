/* What a nexus' LUN leads to: a logical unit, its controller, and that one's queue on each
 * reactor. */
#ifndef S2N_UNIT_H
#define S2N_UNIT_H

#include <stdatomic.h>

#include "loop.h"
#include "pool.h"
#include "qpair.h"
#include "state.h"
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
    bool attached; /* the control thread's note, and whether there is a queue pair: */
    bool hot;
    bool paused;
    bool dirty;                       /* something was placed since the last ring */
    bool resumable;                   /* tasks that wait may find a slot or a buffer now */
    s2n_task *slot_head, **slot_tail; /* tasks that wait for a submission slot */
    s2n_task *lines;                  /* the first tasks of those that wait for a buffer */
    bool claimed;                     /* for one of them: what is common of the pool */
    struct s2n_timer urge;            /* aborted tasks are still on the device */
    struct s2n_share remains;         /* buffers of those that were answered nevertheless */
};

struct s2n_controller {
    s2n_plane *plane;
    uint64_t cookie;
    _Atomic uint32_t timeout_ms;
    atomic_uint users;        /* its owner, and each reactor with a queue of it */
    struct s2n_queue queue[]; /* one for each reactor */
};

struct s2n_drain_wait;
struct s2n_range;

/* Hot tasks of a logical unit on one reactor; each on its own cache line. */
struct s2n_lu_local {
    uint64_t under_way;
    struct s2n_drain_wait *drains;
    struct s2n_range *ranges; /* that it keeps off */
    char pad[64 - sizeof(uint64_t) - 2 * sizeof(void *)];
};

struct s2n_lu {
    s2n_controller *controller;
    s2n_lu_params params;         /* changes only while drained */
    _Atomic uint32_t block_shift; /* the same, for those who do not wait for that */
    atomic_bool aside;
    uint32_t reactors;
    struct s2n_lu_local local[];
};

struct s2n_slot {
    struct s2n_task_set set; /* first: the slot is found from it. The reactor's own */
    _Atomic(s2n_lu *) lu;
    atomic_bool aside;
};

enum { S2N_SLOT_GROUP = 64, S2N_SLOT_GROUPS = 16384 / S2N_SLOT_GROUP };

/* What a nexus has of a controller's buffers: each has a pool of its own. */
struct s2n_holding {
    const s2n_controller *controller;
    struct s2n_share share; /* the session's reactor counts */
    struct s2n_holding *next;
};

struct s2n_nexus {
    s2n_plane *plane;
    uint64_t cookie;
    uint64_t heap_bytes; /* that its tasks were charged with; its session's reactor counts */
    /* One for each controller that it has had units of, until the nexus goes. */
    _Atomic(struct s2n_holding *) holdings;
    /* LUNs in groups that are allocated once and stay until the nexus goes, so
     * that reactors may look while the control thread maps. */
    _Atomic(struct s2n_slot *) group[S2N_SLOT_GROUPS];
};

/* The queue that a task's commands go to; NULL without a logical unit. */
static inline struct s2n_queue *s2n_queue_of(const s2n_task *task)
{
    return task->lu ? &task->lu->controller->queue[task->reactor->index] : NULL;
}

/* The LUN that a task came for; NULL if its nexus had none. */
static inline struct s2n_slot *s2n_slot_of(const s2n_task *task)
{
    return (struct s2n_slot *)task->set;
}

/* Find a nexus' LUN; NULL if it has none. */
struct s2n_slot *s2n_nexus_slot(s2n_nexus *nexus, const uint8_t *lun);
/* What it has of a controller's buffers; NULL if it never had a unit of it. */
struct s2n_share *s2n_nexus_share(s2n_nexus *nexus, const s2n_controller *controller);
/* Whether the reactor has a queue pair on every controller that the nexus sees. Control thread. */
bool s2n_nexus_hot_on(s2n_nexus *nexus, uint32_t reactor);

#endif
