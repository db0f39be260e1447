/* The plane as the control thread uses it: reactors, controllers, logical units, nexuses,
 * and tasks in Python's hands.
 *
 * Here as in every header with a part for cffi, handles are opaque, integers have fixed
 * widths, and errors are negative errno. The binding of a header is the module of
 * scsi2nvme/native/ that calls its functions.
 *
 * Threads. "Control" functions are called from the one thread that runs the
 * asyncio loop. Reactors are pinned threads of the plane; what they have to
 * tell is taken with s2n_plane_next_event once s2n_plane_event_fd is readable.
 */
#ifndef S2N_DATAPLANE_H
#define S2N_DATAPLANE_H

#include "nvme.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

typedef struct s2n_plane s2n_plane;
typedef struct s2n_controller s2n_controller;
typedef struct s2n_lu s2n_lu;
typedef struct s2n_nexus s2n_nexus;
typedef struct s2n_task s2n_task;

enum {
    S2N_SENSE_BYTES = 252,
    S2N_CDB_BYTES = 64, /* longer CDBs are cut: no row is longer */
    S2N_COUNTED_KINDS = 4,
    /* Of latencies: 0 to 3 us, then four for each power of two. The last has all that is beyond. */
    S2N_LATENCY_BUCKETS = 100,
    S2N_FAILURES = 24, /* kinds of answers that are failures and are told apart */
};

enum s2n_event_type {
    S2N_EVENT_TASK = 1,     /* `task` is for the engine; end it with s2n_task_end. `cookie` is
                               its number, which no other task gets */
    S2N_EVENT_TASK_FAILED,  /* NVMe commands of a hot task failed. Of that at the lowest LBA:
                               `nvme` to `lba`, and its blocks in `count` */
    S2N_EVENT_DRAINED,      /* `cookie` is the token of a drain, abort or pause; `count` */
    S2N_EVENT_OVERDUE,      /* controller `cookie`, queue pair `qid`, command `cid`; again
                               every 5 s while it is still under way, then with `count` 1 */
    S2N_EVENT_PDU,          /* conn `cookie`: a PDU for Python (login apart): text, logout, and
                               task management; `count` 1: that finds no task to end */
    S2N_EVENT_CONN_CLOSED,  /* conn or ring `cookie` is gone; `count`: errno or 0 */
    S2N_EVENT_TASK_REFUSED, /* the front end refused `task`: sense code in `count` */
    S2N_EVENT_ABORT,        /* nobody waits for command `cid` of queue pair `qid`, controller
                               `cookie`, any more, and it does not end by itself; `count` 1:
                               nor did it when this was told before */
    S2N_EVENT_PAGES,        /* ring `cookie`: ESTALE in `count` if the kernel has replaced data
                               pages that the controller knew, else why it learns of no more */
    S2N_EVENT_UNIT_RESET,   /* ring `cookie`: the kernel has reset its logical unit */
    S2N_EVENT_TASK_ABORTED, /* nobody waits any more for the task with number `cookie`, which
                               the engine has, or had; it is to be ended soon */
};

typedef struct {
    uint32_t type;
    uint32_t count;
    uint64_t cookie;
    s2n_task *task;
    uint8_t nvme; /* opcode of the failed NVMe command */
    uint8_t dnr, more;
    uint8_t phase;   /* the failed command's: those before it have ended well */
    uint16_t status; /* its status */
    uint16_t qid, cid;
    uint64_t lba;     /* its first block */
    uint8_t bhs[48];  /* S2N_EVENT_PDU */
    s2n_task *holder; /* S2N_EVENT_TASK_FAILED: what keeps the task's blocks for it, or NULL; end
                         that with s2n_holder_release */
    uint64_t arrived; /* S2N_EVENT_PDU: the last task that came before it, for s2n_plane_abort */
    uint32_t data_length;
    uint8_t *data; /* free with s2n_event_free */
} s2n_event;

/* A reactor is pinned to its CPU, unless that is negative. It looks for completions for up to
 * `poll_us` before it sleeps, while they usually take no longer; for requests twice as long, while
 * that makes them come sooner; 0: it sleeps at once. */
s2n_plane *s2n_plane_new(uint32_t reactors, const int32_t *cpus, uint32_t poll_us);
int s2n_plane_start(s2n_plane *plane);
/* Stop and join the reactors, whose connections have been closed and freed. */
void s2n_plane_stop(s2n_plane *plane);
void s2n_plane_free(s2n_plane *plane);
int s2n_plane_event_fd(s2n_plane *plane);
/* Take the next event: 1, or 0 when there is none. */
int s2n_plane_next_event(s2n_plane *plane, s2n_event *event);
void s2n_event_free(s2n_event *event);

/* A controller's I/O as reactors see it: a buffer pool each, and a queue pair as far as the
 * controller has them. */
s2n_controller *s2n_controller_new(s2n_plane *plane, uint64_t cookie);
/* Give reactor `index` its queue pair, the eventfd of its interrupt (or -1: poll
 * while commands are under way), and memory for its buffer pool. Without a queue pair (NULL)
 * all commands go to the engine. */
int s2n_controller_set_queue(s2n_controller *controller, uint32_t index, s2n_qpair *qp, int eventfd,
                             const s2n_region *pool);
/* How long an I/O command of the hot path may take until OVERDUE tells of it (30 s). */
void s2n_controller_set_timeout(s2n_controller *controller, uint32_t timeout_ms);
/* What an OVERDUE or ABORT told of was attended to: until then no other command gets its CID. */
void s2n_controller_attended(s2n_controller *controller, uint16_t qid, uint16_t cid);
/* Stop every reactor's use of the controller; DRAINED with `token` when all did.
 * Nothing is submitted or polled until resume. */
void s2n_controller_pause(s2n_controller *controller, uint64_t token);
/* Queues were created anew: place again what was in flight, but for what was aborted,
 * and go on, even after a failure. */
void s2n_controller_resume(s2n_controller *controller);
/* The controller is lost: end everything in flight and to come with `status`. */
void s2n_controller_fail(s2n_controller *controller, uint16_t status);
/* Forget it; no logical unit may refer to it any more. After a pause. */
void s2n_controller_free(s2n_controller *controller);

typedef struct {
    uint32_t nsid;
    uint32_t block_shift;
    uint64_t blocks;
    uint32_t maximum_blocks;  /* of one NVMe command */
    uint32_t boundary_blocks; /* NOIOB, 0: none */
    uint8_t volatile_cache;   /* SYNCHRONIZE CACHE sends Flush */
    uint8_t compares;         /* there is Compare */
    uint8_t write_zeroes_deallocates;
    uint32_t fused_blocks;        /* of a fused Compare and Write; 0: there is none */
    uint32_t verify_blocks;       /* of one Verify; 0: there is none */
    uint32_t write_zeroes_blocks; /* of one Write Zeroes; 0: there is none */
    uint32_t write_same_blocks;   /* of one WRITE SAME */
    uint32_t unmap_ranges;        /* of one Dataset Management; 0: blocks are not unmapped */
    uint32_t unmap_range_blocks;  /* of one range */
    uint64_t unmap_blocks;        /* of one Dataset Management */
    uint32_t hint_blocks;         /* of one hint of what will be read; 0: there are none */
    /* PRINFO of commands on blocks whose protection information the controller makes, checks and
     * removes; all zero where they have none. */
    uint32_t protection_read, protection_write, protection_verify;
    uint8_t protection_tagged; /* reference tags are of the LBA, else all ones */
    uint8_t tuple_bytes;       /* what can be moved behind each block, 0: nothing */
    uint32_t atomic_blocks;    /* of one WRITE ATOMIC, from a multiple of the alignment on; */
    uint32_t atomic_alignment; /* 0 blocks: there is none */
    uint8_t fenced_by_disk;    /* which alone knows what other hosts have reserved, when asked */
    uint64_t zone_blocks;      /* of one zone: the engine writes it, in order. 0: no zones */
    uint64_t zone_capacity;    /* of its blocks: those behind them are a gap */
    uint32_t grouped_streams;  /* a WRITE of a group up to it is of the stream of that number */
    uint8_t hinted;            /* something is said of how the blocks of some group are used: */
    uint8_t read_hints[64], write_hints[64]; /* DSM of Reads and Writes, by group */
} s2n_lu_params;

/* A logical unit begins with its step-aside flag set. */
s2n_lu *s2n_lu_new(s2n_controller *controller, const s2n_lu_params *params);
/* Change its parameters: only while drained. */
void s2n_lu_update(s2n_lu *lu, const s2n_lu_params *params);
/* Its commands go to another controller from now on, which leads to the same namespace: only while
 * drained. Who sees it has been prepared. What began before, and is not hot yet, is the engine's.
 */
void s2n_lu_move(s2n_lu *lu, s2n_controller *controller);
/* The engine's commands go by another controller already, or no longer: what they do does not wait
 * for a reset of the hot path's. */
void s2n_lu_set_left(s2n_lu *lu, bool left);
/* Its sense data are in descriptor format from now on (D_SENSE), or in fixed format again. */
void s2n_lu_set_descriptor_sense(s2n_lu *lu, bool descriptor);
/* Everything goes to the engine (true), or hot again (false). Either is the end of a drain. */
void s2n_lu_set_aside(s2n_lu *lu, bool aside);
/* Set the flag, and report DRAINED with `token` when no hot task is under way. What is cold until
 * the end for no other reason waits for that. */
void s2n_lu_drain(s2n_lu *lu, uint64_t token);
/* In a drain: what waits is the engine's where the flag of its nexus was set meanwhile. */
void s2n_lu_look_again(s2n_lu *lu);
/* Its blocks are not those any more that hot commands were meant for, by one of its controllers:
 * what has begun there, but is not the device's yet, is the engine's. With `forgotten`, as the
 * controller was reset and is not resumed yet, so is what was. What begins later is hot unless a
 * flag was set before. */
void s2n_lu_recall(s2n_lu *lu, s2n_controller *controller, bool forgotten);
/* Keep the hot path off the blocks from `first` to before `end`, and report DRAINED with `token`
 * when no hot task of them is under way. Commands of other blocks go on. */
void s2n_lu_drain_range(s2n_lu *lu, uint64_t first, uint64_t end, uint64_t token);
/* End that, or give it up: DRAINED comes in any case. */
void s2n_lu_release_range(s2n_lu *lu, uint64_t token);
/* What would change blocks of `count` ranges is the engine's from now on, and of no others; what is
 * under way goes on. `edges` has the first block of each, and the one behind its last, in ascending
 * order. */
void s2n_lu_watch(s2n_lu *lu, const uint64_t *edges, uint32_t count);
/* A command of the engine's works on the blocks from `first` to before `end`, beside others: no
 * hot task begins that must be alone on some of them. Whether one is; its end is for a drain of
 * the range to tell. */
bool s2n_lu_share(s2n_lu *lu, uint64_t first, uint64_t end, uint64_t token);
void s2n_lu_unshare(s2n_lu *lu, uint64_t token);
void s2n_lu_free(s2n_lu *lu);

s2n_nexus *s2n_nexus_new(uint64_t cookie);
/* LUN `lun` of this nexus is `lu` (NULL: no longer). Flag set. */
int s2n_nexus_map(s2n_nexus *nexus, uint16_t lun, s2n_lu *lu);
/* Logical units that it sees may move to this controller: before they do. */
int s2n_nexus_prepare(s2n_nexus *nexus, s2n_controller *controller);
void s2n_nexus_set_aside(s2n_nexus *nexus, uint16_t lun, bool aside);
void s2n_nexus_free(s2n_nexus *nexus); /* after its session ended */

/* ---- statistics ---- */

typedef struct {
    uint64_t bytes;      /* of data moved, of discards: unmapped; by commands that ended well */
    uint64_t failed;     /* answered with another status than GOOD or CONDITION MET */
    uint64_t latency_us; /* from arrival to answer, all together */
    uint64_t latency[S2N_LATENCY_BUCKETS]; /* how many took so long: all that were answered */
} s2n_kind_statistics;

typedef struct {
    uint32_t answer; /* status, sense key, ASC, ASCQ: a byte each; 0: others, or none */
    uint64_t count;
} s2n_failure;

/* Commands since the logical unit or nexus was made. What was neither answered nor aborted is
 * under way. */
typedef struct {
    uint64_t begun, aborted;
    s2n_failure failure[S2N_FAILURES];           /* the last has the others */
    s2n_kind_statistics kind[S2N_COUNTED_KINDS]; /* read, write, discard, other */
} s2n_statistics;

/* Control thread, while reactors count on: what is read together need not be of one moment. */
void s2n_lu_statistics(const s2n_lu *lu, s2n_statistics *out);
/* How many commands of each row the engine got, but not after the disk had failed them, by the
 * row's place in the table; the last: of none. Returns how many numbers there are. */
uint32_t s2n_lu_cold(const s2n_lu *lu, uint64_t *out, uint32_t maximum);
void s2n_nexus_statistics(const s2n_nexus *nexus, s2n_statistics *out);

/* ---- tasks in Python's hands ---- */

uint64_t s2n_task_nexus(const s2n_task *task);     /* the nexus' cookie */
const uint8_t *s2n_task_lun(const s2n_task *task); /* 8 bytes */
const uint8_t *s2n_task_cdb(const s2n_task *task, uint16_t *length);
uint8_t s2n_task_attribute(const s2n_task *task); /* RFC 7143 11.3.1.1 */
bool s2n_task_aborted(const s2n_task *task);
/* Whether its LUN leads to another logical unit now, or to none, than when it came. */
bool s2n_task_misrouted(const s2n_task *task);
/* Bytes that the initiator prepared to move (iSCSI's expected data transfer length). */
uint32_t s2n_task_expected(const s2n_task *task);
typedef struct {
    uint64_t announced;     /* bytes of data, by the CDB */
    uint32_t offset, bytes; /* of them: what is to be moved now */
} s2n_portion;

/* Whether the task moves its data in portions, and the present one. */
bool s2n_task_portion(const s2n_task *task, s2n_portion *out);
/* The data that the initiator sent (of the portion), and how much of it there is. */
uint32_t s2n_task_data_length(const s2n_task *task);
void s2n_task_copy_data(const s2n_task *task, uint8_t *out);
/* End a task: data and sense are copied. The handle is invalid afterwards. */
void s2n_task_end(s2n_task *task, uint8_t status, const uint8_t *sense, uint32_t sense_length,
                  const uint8_t *data, uint32_t data_length);

/* What `holder` keeps for a task that failed may be others' now. The handle is invalid
 * afterwards. */
void s2n_holder_release(s2n_task *holder);

/* From here on the answers of s2n_task_end wait … */
void s2n_plane_gather(s2n_plane *plane);
/* … until they are all given, each reactor's together. */
void s2n_plane_answer(s2n_plane *plane);

enum s2n_scope {
    S2N_SCOPE_TASK = 1, /* one initiator task tag of one session */
    S2N_SCOPE_NEXUS_LU, /* all tasks of a nexus on a LUN */
    S2N_SCOPE_LU,       /* all tasks on a logical unit */
    S2N_SCOPE_NEXUS,    /* all tasks of a nexus */
    S2N_SCOPE_HELD,     /* all that refer to a logical unit, ended or not: only to be counted */
};

/* Abort (or, with `query`, only count) tasks; DRAINED with `token` and how many
 * there were once none is left. With `tas` they end with TASK ABORTED, but for
 * those of `nexus` itself in S2N_SCOPE_LU; without, they end without a response. Tasks of
 * `nexus` that came after `up_to`, an event's `arrived`, are not meant; UINT64_MAX: all are. */
void s2n_plane_abort(s2n_plane *plane, uint32_t scope, s2n_nexus *nexus, s2n_lu *lu, uint32_t itt,
                     bool query, bool tas, uint64_t up_to, uint64_t token);

/* ---- hot translation, as a pure function (differential fuzzing) ---- */

typedef struct {
    uint8_t opcode;
    uint64_t slba;
    uint32_t blocks;
    uint32_t cdw12;
    uint32_t nsid;
    uint8_t phase;
    uint8_t sqe[64]; /* but for CID and DPTR */
    /* Its data-out in the buffer; the first `period` bytes again and again unless that is 0. */
    uint32_t data_at, data_bytes, period;
    bool tells; /* its data are not the initiator's, but these: */
    uint8_t told[16];
} s2n_nvme_op;

/* Translate: the number of NVMe commands written to `out`, or -EINVAL when the
 * hot path steps aside (it never answers with anything but GOOD itself). The data-out are in
 * `buffer`, which has `room` bytes; what the hot path makes of them it writes behind them. */
int s2n_hot_translate(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                      uint8_t *buffer, uint32_t room, s2n_nvme_op *out, int maximum);
/* How a hot command ends when blocks that it compares are those of `medium`, which are others than
 * it expects: the length of the sense data; 0: the engine tells; -EINVAL: it compares nothing, or
 * is not hot. `buffer` as above, `sense` has S2N_SENSE_BYTES. */
int s2n_hot_compare(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                    uint8_t *buffer, uint32_t room, const uint8_t *medium, bool descriptor,
                    uint8_t *sense);
/* Bytes of data that a CDB announces, and their direction (0 none, 1 in, 2 out). */
uint64_t s2n_hot_data_bytes(const uint8_t *cdb, uint16_t cdb_length, uint32_t block_bytes,
                            uint8_t *direction);

/* cdef end */

#endif
