/* What the data plane's own files share: reactors, controllers, logical units,
 * nexuses. Front ends see reactor.h only. */
#ifndef S2N_PLANE_H
#define S2N_PLANE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "hot.h"
#include "pool.h"

/* A controller's queue pair on one reactor. */
struct s2n_queue {
    struct s2n_source interrupt; /* first: found from the source */
    struct s2n_queue *next;
    s2n_controller *controller;
    struct s2n_reactor *reactor;
    s2n_qpair *qp;
    struct s2n_pool *pool;
    bool attached; /* the control thread's note */
    bool paused;
    bool dirty;                       /* something was placed since the last ring */
    bool resumable;                   /* tasks that wait may find a slot or a buffer now */
    s2n_task *slot_head, **slot_tail; /* tasks that wait for a submission slot */
    s2n_task *pool_head, **pool_tail; /* tasks that wait for a buffer */
    bool exhausted;                   /* one of them could have it, were there enough */
    struct s2n_timer urge;            /* aborted tasks are still on the device */
};

struct s2n_controller {
    s2n_plane *plane;
    uint64_t cookie;
    _Atomic uint32_t timeout_ms;
    atomic_uint users;        /* its owner, and each reactor with a queue of it */
    struct s2n_queue queue[]; /* one for each reactor */
};

/* Hot tasks of a logical unit on one reactor; each on its own cache line. */
struct s2n_lu_local {
    uint64_t under_way;
    struct s2n_drain_wait *drains;
    char pad[64 - sizeof(uint64_t) - sizeof(void *)];
};

/* A drain of a logical unit, or a pause of a controller, over all reactors. */
struct s2n_drain {
    s2n_plane *plane;
    s2n_lu *lu;
    s2n_controller *controller;
    uint64_t token;
    atomic_uint reactors_left;
};
struct s2n_drain_wait {
    struct s2n_drain_wait *next;
    struct s2n_drain *drain;
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
    _Atomic(s2n_lu *) lu;
    atomic_bool aside;
};

enum { S2N_SLOT_GROUP = 64, S2N_SLOT_GROUPS = 16384 / S2N_SLOT_GROUP };

struct s2n_nexus {
    s2n_plane *plane;
    uint64_t cookie;
    uint64_t held_bytes; /* of buffers; its session's reactor counts */
    /* LUNs in groups that are allocated once and stay until the nexus goes, so
     * that reactors may look while the control thread maps. */
    _Atomic(struct s2n_slot *) group[S2N_SLOT_GROUPS];
};

/* An abort or a query that waits for tasks of one reactor to end. */
struct s2n_abort {
    uint32_t scope, itt;
    s2n_nexus *nexus;
    s2n_lu *lu;
    bool query, tas;
    uint64_t token;
    atomic_uint reactors_left, found;
    s2n_plane *plane;
};
struct s2n_abort_wait {
    struct s2n_abort_wait *next;
    struct s2n_abort *abort;
    uint64_t up_to; /* tasks with a later serial came after it */
};

struct s2n_message {
    struct s2n_message *next;
    void (*call)(void *argument);
    void *argument;
};

struct s2n_reactor {
    s2n_plane *plane;
    uint32_t index;
    int cpu, epoll_fd;
    struct s2n_source wake; /* eventfd */
    pthread_t thread;
    bool stopping;
    pthread_mutex_t lock; /* messages, and whether the thread runs */
    bool running;
    struct s2n_message *messages, **messages_tail;

    struct epoll_event events[64];
    int event_next, event_count; /* of this round: not yet looked at */
    uint64_t now_us, now_ms, next_check_ms;
    struct s2n_queue *queues;
    struct s2n_deferred *deferred;
    struct s2n_timer *timers; /* earliest first */
    s2n_task *live, *spare;
    struct s2n_abort_wait *aborts;
    uint64_t serial;
    uint32_t in_flight;        /* NVMe commands of all its queue pairs */
    uint64_t waiting_since_us; /* for a completion; 0: not */
    uint64_t usual_wait_us;    /* a moving average, for spinning */
    uint64_t usual_pause_us;   /* the same, for gathering */
    bool gathered;             /* since the last completion */
    atomic_uint sessions;      /* for s2n_plane_pick */
};

struct s2n_plane {
    uint32_t reactor_count, poll_us;
    int event_fd;
    pthread_mutex_t lock; /* events */
    struct s2n_event_node *events, **events_tail;
    struct s2n_reactor reactor[];
};

int s2n_reactor_open(struct s2n_reactor *reactor);
int s2n_reactor_start(struct s2n_reactor *reactor);
void s2n_reactor_stop(struct s2n_reactor *reactor);
/* Wait for something, and do what there is to do: the thread does nothing else. */
void s2n_reactor_round(struct s2n_reactor *reactor);
void s2n_reactor_close(struct s2n_reactor *reactor);
/* Let tasks that wait for this queue's slots or buffers go on. Between rounds only:
 * it places commands, whose entries may be those of completions not yet looked at. */
void s2n_queue_resume(struct s2n_queue *queue);
/* Hand the logical unit's hot tasks that wait for a buffer to the engine: nothing of
 * them has begun, and what holds the buffers may wait for the same drain. */
void s2n_queue_yield(struct s2n_queue *queue, const s2n_lu *lu);
/* Have the controller abort what aborted tasks left on it. A queue's timer. */
void s2n_queue_urge(struct s2n_timer *timer);
/* The controller was reset: what aborted tasks left on it is not done again. */
void s2n_queue_drop_aborted(struct s2n_queue *queue);
/* Forget what will never end any more: the reactor is stopped. */
void s2n_reactor_drop_tasks(struct s2n_reactor *reactor);
void s2n_abort_done(struct s2n_abort *abort);
/* No hot task of the logical unit is left on this reactor. */
void s2n_drains_done(struct s2n_lu_local *local);
/* Look again whether what aborts wait for has ended. */
void s2n_reactor_check_aborts(struct s2n_reactor *reactor);
/* Whether a task is under way and in the scope of `abort`. */
bool s2n_task_matches(const s2n_task *task, const struct s2n_abort *abort);
/* Abort what matches; returns how many tasks did. */
uint32_t s2n_reactor_abort(struct s2n_reactor *reactor, const struct s2n_abort *abort);
/* An NVMe command of a hot task completed. */
void s2n_task_completed(s2n_task *task, const s2n_completion *completion, const uint8_t *sqe);
/* The engine's answer arrived on the reactor. */
void s2n_task_finish(s2n_task *task);
/* Find a nexus' LUN; NULL if it has none. */
struct s2n_slot *s2n_nexus_slot(s2n_nexus *nexus, const uint8_t *lun);

#endif
