/* A reactor's and the plane's state, of which each floor uses its part. */
#ifndef S2N_STATE_H
#define S2N_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "flow.h"
#include "loop.h"
#include "spin.h"
#include "task_set.h"

enum { S2N_EVENTS = 64 }; /* taken from epoll at once */

struct s2n_message {
    struct s2n_message *next;
    void (*call)(void *argument);
    void *argument;
};

struct s2n_reactor {
    s2n_plane *plane;
    uint32_t index;

    /* The loop. */
    int epoll_fd;
    struct s2n_source wake; /* eventfd */
    pthread_mutex_t lock;   /* messages, and whether the thread runs */
    bool running;
    bool woken;         /* and has not yet taken what there is */
    bool awake;         /* it looks at `called`, and does not sleep before it has said so */
    atomic_bool called; /* woken so */
    struct s2n_message *messages, **messages_tail;
    struct epoll_event events[S2N_EVENTS];
    int event_next, event_count; /* of this round: not yet looked at */
    uint64_t now_us, now_ms;
    struct s2n_deferred *deferred;
    struct s2n_timer *timers; /* earliest first */

    /* Tasks. */
    s2n_task *live, *spare;
    struct s2n_abort_wait *aborts;
    struct s2n_walk *walks; /* over the live ones, the innermost first */
    struct s2n_ready_sets ready_sets;
    uint64_t serial;

    /* Queues. */
    struct s2n_queue *queues;
    uint32_t in_flight; /* NVMe commands of all of them */

    /* The rounds. */
    struct s2n_flows flows;
    uint64_t next_check_ms;
    uint64_t waiting_since_us; /* for a completion; 0: not */
    uint64_t usual_wait_us;    /* a moving average, for spinning */
    uint64_t usual_pause_us;   /* the same, for gathering */
    bool gathered;             /* since the last completion */
    struct s2n_spin spin;      /* while nothing is under way */

    /* The thread. */
    int cpu;
    pthread_t thread;
    bool stopping;
    atomic_uint sessions; /* for s2n_plane_pick */
};

struct s2n_plane {
    uint32_t reactor_count, poll_us;
    int event_fd;
    bool gathers;         /* answers; by the control thread */
    pthread_mutex_t lock; /* events */
    struct s2n_event_node *events, **events_tail;
    _Atomic uint64_t heap_bytes;    /* that tasks were charged with; see heap.h */
    _Atomic uint64_t heap_short_ms; /* when some were refused for the sum, 0: never */
    struct s2n_reactor reactor[];
};

#endif
