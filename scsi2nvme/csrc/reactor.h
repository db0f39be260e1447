/* Reactors as front ends (target/csrc) use them.
 *
 * A front end turns what arrives on its file descriptors into tasks:
 *
 *   task = s2n_task_new(reactor, front_end, nexus)     fill lun, cdb, tag, attribute
 *   s2n_task_begin(task)                               learn direction and announced bytes
 *   s2n_task_reserve(task, bytes)                      for data-out: a buffer, or wait for one
 *   …fill the buffer through s2n_task_span…            immediate data, R2Ts
 *   s2n_task_execute(task)                             hot path or engine
 *   front_end->complete(task)                          called on the same reactor, perhaps at once
 *   s2n_task_free(task)                                when its data-in has been sent
 *
 * All of it happens on the reactor's own thread; nothing takes a lock.
 */
#ifndef S2N_REACTOR_H
#define S2N_REACTOR_H

#include <stdatomic.h>

#include "dataplane.h"
#include "qpair.h"

struct s2n_reactor;

/* ---- event sources, deferred work, timers, messages ---- */

/* A file descriptor in the reactor's epoll set. */
struct s2n_source {
    int fd;
    void (*ready)(struct s2n_source *source, uint32_t events);
};
int s2n_source_add(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events);
int s2n_source_modify(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events);
void s2n_source_remove(struct s2n_reactor *reactor, struct s2n_source *source);

/* Work for the end of the current round, after completions were collected:
 * where a connection sends what the whole round produced, in one call. */
struct s2n_deferred {
    struct s2n_deferred *next;
    void (*run)(struct s2n_deferred *deferred);
    bool queued;
};
void s2n_defer(struct s2n_reactor *reactor, struct s2n_deferred *deferred);
void s2n_defer_cancel(struct s2n_reactor *reactor, struct s2n_deferred *deferred);

struct s2n_timer {
    struct s2n_timer *next;
    void (*expire)(struct s2n_timer *timer);
    uint64_t at_ms;
    bool armed;
};
/* (Re)arm: `expire` is called once, `after_ms` from now. */
void s2n_timer_arm(struct s2n_reactor *reactor, struct s2n_timer *timer, uint64_t after_ms);
void s2n_timer_cancel(struct s2n_reactor *reactor, struct s2n_timer *timer);
/* Monotonic time, read once a round. */
uint64_t s2n_reactor_now_ms(const struct s2n_reactor *reactor);
uint64_t s2n_reactor_now_us(const struct s2n_reactor *reactor);

/* Run `call(argument)` on the reactor's thread; from any thread. In order. */
void s2n_reactor_call(struct s2n_reactor *reactor, void (*call)(void *argument), void *argument);
/* Which reactor new work of a nexus goes to (least busy). Control thread. */
struct s2n_reactor *s2n_plane_pick(s2n_plane *plane);
/* …and that it has gone. */
void s2n_plane_unpick(struct s2n_reactor *reactor);
s2n_plane *s2n_reactor_plane(struct s2n_reactor *reactor);
/* The reactors by number, from 0. */
uint32_t s2n_plane_reactors(const s2n_plane *plane);
struct s2n_reactor *s2n_plane_reactor(s2n_plane *plane, uint32_t index);
uint32_t s2n_reactor_index(const struct s2n_reactor *reactor);
/* Tell Python. From any thread; the event is copied, `data` is taken over. */
void s2n_plane_emit(s2n_plane *plane, const s2n_event *event);

/* ---- tasks ---- */

enum s2n_direction { S2N_NONE = 0, S2N_IN = 1, S2N_OUT = 2 };

enum s2n_task_state {
    S2N_GATHERING, /* the front end collects data-out */
    S2N_DEVICE,    /* hot: NVMe commands under way or waiting for a slot */
    S2N_ENGINE,    /* in Python's hands */
    S2N_DONE,      /* the front end sends the response */
};

struct s2n_front_end {
    /* The task ended: send status, sense, data-in; then s2n_task_free. When
     * task->aborted, send nothing unless task->task_aborted_status, and free. */
    void (*complete)(s2n_task *task);
    /* A task in S2N_GATHERING was aborted: forget and free it (after sending TASK
     * ABORTED if task->task_aborted_status). */
    void (*discard)(s2n_task *task);
    /* The buffer that s2n_task_reserve promised for later is there. */
    void (*reserved)(s2n_task *task);
};

/* A task's data: chunks of its reactor's pool, each contiguous. All but the last
 * have the same length. */
struct s2n_buffer {
    struct s2n_pool *pool; /* NULL: no chunks held */
    uint32_t length;       /* usable bytes */
    uint32_t chunk_bytes;
    uint32_t count;
    uint32_t chunk[S2N_MAXIMUM_TRANSFER / 65536]; /* pool offsets in pages */
};

/* A part of memory. */
struct s2n_extent {
    uint64_t offset, length;
};

/* Where a task's data lie if not in a buffer: in memory that the controller reaches. Every
 * extent begins at a page boundary, and all but the last end at one. */
struct s2n_place {
    uint8_t *base; /* where we see offset 0 */
    uint64_t iova; /* where the controller sees it */
    const struct s2n_extent *extent;
    uint32_t count;
};

struct s2n_task {
    /* Set by the front end before s2n_task_begin. */
    uint8_t lun[8];
    uint8_t cdb[S2N_CDB_BYTES];
    uint16_t cdb_length;
    uint8_t attribute;               /* RFC 7143 11.3.1.1 */
    uint32_t tag;                    /* initiator task tag, for s2n_plane_abort */
    uint32_t expected;               /* bytes that the initiator prepared to move */
    void *context;                   /* the front end's own: its connection */
    s2n_task *fe_next, *fe_previous; /* free for the front end's lists */
    uint32_t fe[12];                 /* free for the front end's counters */

    /* Set by s2n_task_begin. */
    enum s2n_direction direction;
    uint64_t announced; /* bytes that the CDB announces; for the residual */
    bool known;         /* the opcode has a row (else: collect no data) */

    /* Data. `data_out_length` is set by the front end before s2n_task_execute: how many
     * bytes it put into `buffer`, or has in `place`, which holds all that is announced. */
    const struct s2n_place *place; /* NULL: `buffer` */
    struct s2n_buffer buffer;
    uint32_t data_out_length;

    /* Set at completion. Data-in is in `heap` if that is set (cold path), else
     * in `place` or `buffer`; `data_in_length` bytes of it. */
    uint8_t status;
    uint16_t sense_length;
    uint8_t sense[S2N_SENSE_BYTES];
    uint8_t *heap;
    uint32_t data_in_length;
    atomic_bool aborted; /* the engine looks at it meanwhile */
    bool task_aborted_status;

    /* The reactor's own. */
    enum s2n_task_state state;
    struct s2n_reactor *reactor;
    const struct s2n_front_end *front_end;
    s2n_nexus *nexus;
    s2n_lu *lu;
    s2n_task *next, *live_next, *live_previous;
    const struct s2n_hot_row *row;
    uint64_t lba;         /* next block to place */
    uint32_t blocks_left; /* blocks not yet placed */
    uint32_t placed_bytes;
    uint32_t pending; /* NVMe commands under way */
    uint32_t cdw12;
    uint16_t nvme_status; /* first failure */
    uint8_t nvme_dnr, nvme_opcode;
    uint64_t nvme_lba;
    uint64_t serial;
    uint32_t wanted_bytes; /* of a buffer that it waits for */
    bool counted;          /* in its LU's count of hot tasks */
    bool waits_for_pool, waits_for_slot;
    bool executing; /* s2n_task_execute was called */
    bool urged;     /* the controller is to abort what is left of it there */
};

s2n_task *s2n_task_new(struct s2n_reactor *reactor, const struct s2n_front_end *front_end,
                       s2n_nexus *nexus);
void s2n_task_begin(s2n_task *task);
/* Give the task a buffer of `bytes` (at most S2N_MAXIMUM_TRANSFER): true at once,
 * or false and `reserved` is called later; or `complete` with BUSY, where the pool
 * could never hold so much. 0 bytes: true. */
bool s2n_task_reserve(s2n_task *task, uint32_t bytes);
/* As above but never waits: false leaves the task without a buffer. */
bool s2n_task_try_reserve(s2n_task *task, uint32_t bytes);
/* The contiguous memory at `offset` of the task's data-in or data-out (heap, extent or
 * chunk): returns its address, and its length in `length`. */
uint8_t *s2n_task_span_at(s2n_task *task, uint32_t offset, uint32_t *length);
/* Whether the hot path moves the data of such a task, so that `place` may be set. After
 * s2n_task_begin. */
bool s2n_task_moves_blocks(const s2n_task *task);
/* Whether its controller was given up: a transfer may go on although all commands ended. */
bool s2n_task_lost(const s2n_task *task);
void s2n_task_execute(s2n_task *task);
void s2n_task_free(s2n_task *task);
/* End a task from the front end with a sense (protocol errors of its own): the
 * engine builds it. `code` is key << 16 | ASC << 8 | ASCQ. */
void s2n_task_refuse(s2n_task *task, uint32_t code);
/* Abort a task that has not ended: `discard` is called if it is being gathered; else
 * `complete`, at once if nothing of it is under way. */
void s2n_task_abort(s2n_task *task, bool task_aborted_status);
/* Abort every task of a nexus on this reactor, without responses. */
void s2n_nexus_abort_all(struct s2n_reactor *reactor, s2n_nexus *nexus);
/* The reactor that a nexus' tasks run on is the session's affair; the cookie is
 * Python's name for it. */
uint64_t s2n_nexus_cookie(const s2n_nexus *nexus);

#endif
