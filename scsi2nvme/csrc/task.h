/* A SCSI task: what its front end knows of it, and what the reactor does. */
#ifndef S2N_TASK_H
#define S2N_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane.h"
#include "hot_kind.h"
#include "pool.h"

enum s2n_task_state {
    S2N_GATHERING, /* the front end collects data-out, or hands on a portion's data-in */
    S2N_DEVICE,    /* hot: NVMe commands under way or waiting for a slot */
    S2N_ENGINE,    /* in Python's hands */
    S2N_DONE,      /* the front end sends the response */
    S2N_REMAINS,   /* what the device has of a task that was answered: nobody's, until its end */
};

/* In its task set. */
enum s2n_standing {
    S2N_APART, /* not, or no longer */
    S2N_DORMANT,
    S2N_ENABLED,
};

struct s2n_front_end {
    /* The task ended: send status, sense, data-in; then s2n_task_free. When
     * task->aborted, send nothing unless task->task_aborted_status, and free. */
    void (*complete)(s2n_task *task);
    /* A task in S2N_GATHERING was aborted: forget and free it (after sending TASK
     * ABORTED if task->task_aborted_status). What of its data is on its way may leave before. */
    void (*discard)(s2n_task *task);
    /* The buffer that s2n_task_reserve promised for later is there. */
    void (*reserved)(s2n_task *task);
    /* A task that s2n_task_join found dormant may begin. NULL if that is never called. */
    void (*enabled)(s2n_task *task);
    /* Reservations are kept elsewhere as well, where only what sends data is held against them. */
    bool fenced_elsewhere;
    /* Protection information can be moved behind each block. */
    bool moves_protection;
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
    /* Set by the front end before s2n_task_begin, and `cdb`. */
    uint8_t lun[8];
    uint16_t cdb_length;
    uint8_t attribute; /* RFC 7143 11.3.1.1 */
    uint32_t tag;      /* initiator task tag, for s2n_plane_abort */
    uint32_t expected; /* bytes that the initiator prepared to move */
    void *context;     /* the front end's own: its connection */

    /* Set by s2n_task_begin. */
    enum s2n_direction direction;
    uint64_t announced; /* bytes that the CDB announces; for the residual */
    /* Which of these bytes are moved now. READ and WRITE move more than S2N_MAXIMUM_TRANSFER
     * in portions, one after the other, each with a buffer of its own. Other commands have
     * one portion; 0 bytes where that would be more: no data are collected. */
    uint32_t portion_at, portion_bytes;

    /* Data. `data_out_length` is set by the front end before s2n_task_execute: how many
     * bytes of the portion it put into `buffer`, or has in `place`, which holds all that is
     * announced. */
    const struct s2n_place *place; /* NULL: `buffer` */
    uint32_t data_out_length;

    /* Set at completion. The portion's data-in is in `heap` if that is set (cold path), else
     * in `place` or `buffer`; `data_in_length` bytes of it. */
    uint8_t status;
    uint16_t sense_length; /* of `sense` */
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
    struct s2n_lu_local *local; /* what the logical unit has on this reactor */
    struct s2n_queue *queue;    /* see s2n_queue_of */
    struct s2n_task_set *set;   /* of its LUN, if the nexus has such a one */
    struct s2n_share *share;    /* of the nexus, in what its logical unit's controller has */
    s2n_task *live_previous;
    const struct s2n_hot_row *row;
    uint32_t placed_bytes;
    uint32_t pending; /* NVMe commands under way */
    /* Of its failed NVMe commands, the one at the lowest LBA. */
    uint16_t nvme_status, nvme_cid;
    uint8_t nvme_opcode, nvme_fuse;
    uint8_t nvme_dnr, nvme_more;
    uint32_t nvme_blocks;
    uint64_t nvme_lba;
    uint64_t moved_bytes;  /* for statistics, … */
    bool tallied;          /* … in which it is under way */
    bool counted;          /* among the hot tasks of its LU */
    uint64_t charged;      /* bytes of the heap, for its nexus */
    s2n_task *holder;      /* what keeps its blocks, with the engine; the event tells of it */
    struct s2n_hold *hold; /* of its blocks, where it must be alone on them */
    bool waits_for_pool, waits_for_slot;
    bool put_off;     /* it is begun when its logical unit is not drained any more */
    bool executing;   /* s2n_task_execute was called */
    bool recalled;    /* nothing that follows what the device has of it is placed */
    uint8_t standing; /* enum s2n_standing */
    bool urged;       /* it was told that nobody waits for what is left on the device */
    bool awaited;     /* it is the first that some abort waits for */

    /* A new task is zero up to the pool of this buffer, and that. What lies from there on would
     * take long, and is written before it is read. */
    struct s2n_buffer buffer; /* its pool first */
    uint64_t serial;
    uint64_t arrived;           /* its place in the order in which the reactor's tasks came */
    s2n_task *next, *live_next; /* that which waits behind it, or is spare; in all */
    s2n_task *next_line, *last; /* of the first in a line: the next line, and its own last */
    s2n_task *hot_next, *hot_previous; /* of those that are counted, or put off */
    struct s2n_hot_plan plan;          /* of what the hot path has accepted, or refused */
    uint64_t begun_us;                 /* of what is tallied */
    uint32_t wanted_bytes;             /* of its buffer, or of that which it waits for */
    uint64_t abort_ms; /* since when nobody waits for what the device has of it, … */
    uint64_t urge_ms;  /* … and when it is told so again */
    uint8_t cdb[S2N_CDB_BYTES];
    uint8_t sense[S2N_SENSE_BYTES];
};

/* Bytes of data that are to be moved: of data-out no more than the initiator has. */
static inline uint64_t s2n_task_due(const s2n_task *task)
{
    return task->direction == S2N_OUT && task->expected < task->announced ? task->expected
                                                                          : task->announced;
}

/* Whether the present portion is not the last one. */
static inline bool s2n_task_portion_follows(const s2n_task *task)
{
    return task->portion_bytes &&
           (uint64_t)task->portion_at + task->portion_bytes < s2n_task_due(task);
}

/* The extent of `offset`, which becomes the offset in it; NULL if there is none. */
static inline const struct s2n_extent *s2n_place_extent(const struct s2n_place *place,
                                                        uint64_t *offset)
{
    for (uint32_t i = 0; i < place->count; *offset -= place->extent[i++].length)
        if (*offset < place->extent[i].length)
            return &place->extent[i];
    return NULL;
}

#endif
