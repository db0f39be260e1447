/* The emulated controller's I/O side, inside. Each file below calls those above it
 * in this header: misfortune, prp, marks, streams, guard, medium and pool; metadata; io; zones;
 * queue and namespace; gate; request; command; port; emulator.
 *
 * Threads. A completion queue's lock covers it and the submission queues that
 * point to it; their owner holds it while it rings or polls, uncontended.
 * Control functions that change queues, namespaces or memory hold all of these
 * locks, in ascending order. Workers hold none of them: they own the jobs that
 * they run, and hand them back through the completion queue's `done` list.
 */
#ifndef S2N_EMU_H
#define S2N_EMU_H

#include "emulator.h"
#include "qpair.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

enum {
    EMU_SQE_BYTES = 64,
    EMU_CQE_BYTES = 16,
    EMU_QUEUES = 256, /* with the admin queue, which is Python's */
    EMU_NAMESPACES = 256,
    EMU_WORKERS = 8,
    EMU_MAXIMUM_BYTES = 2 << 20,
    EMU_IOVECS = EMU_MAXIMUM_BYTES / S2N_PAGE + 1,
    EMU_ERRORS = 64,
    EMU_FAULTS = 64,
    EMU_STRIPES = 64,
    EMU_STRIPE_SHIFT = 20,
};

/* Status field of a completion: SC 7:0, SCT 10:8, CRD 12:11, M 13, DNR 14. */
enum {
    EMU_MORE = 0x2000,
    EMU_DNR = 0x4000,
    EMU_SUCCESS = 0,
    EMU_INVALID_OPCODE = EMU_DNR | 0x001,
    EMU_INVALID_FIELD = EMU_DNR | 0x002,
    EMU_DATA_TRANSFER_ERROR = 0x004,
    EMU_INTERNAL_ERROR = 0x006,
    EMU_ABORTED = 0x007,
    EMU_ABORTED_SQ_DELETION = 0x008,
    EMU_FAILED_FUSED = 0x009,
    EMU_MISSING_FUSED = 0x00A,
    EMU_INVALID_NAMESPACE = EMU_DNR | 0x00B,
    EMU_PRP_OFFSET_INVALID = EMU_DNR | 0x013,
    EMU_ATOMIC_UNIT_EXCEEDED = EMU_DNR | 0x014,
    EMU_SANITIZE_FAILED = EMU_DNR | 0x01C,
    EMU_SANITIZE_IN_PROGRESS = 0x01D,
    EMU_WRITE_PROTECTED = EMU_DNR | 0x020,
    EMU_LBA_OUT_OF_RANGE = EMU_DNR | 0x080,
    EMU_CAPACITY_EXCEEDED = EMU_DNR | 0x081,
    EMU_RESERVATION_CONFLICT = EMU_DNR | 0x083,
    EMU_FORMAT_IN_PROGRESS = 0x084,
    EMU_ZONE_BOUNDARY = EMU_DNR | 0x1B8,
    EMU_ZONE_IS_FULL = EMU_DNR | 0x1B9,
    EMU_ZONE_INVALID_WRITE = EMU_DNR | 0x1BC,
    EMU_TOO_MANY_ACTIVE_ZONES = EMU_DNR | 0x1BD,
    EMU_TOO_MANY_OPEN_ZONES = EMU_DNR | 0x1BE,
    EMU_INVALID_PROTECTION = EMU_DNR | 0x181,
    EMU_INVALID_ZONE_TRANSITION = EMU_DNR | 0x1BF,
    EMU_WRITE_FAULT = 0x280,
    EMU_UNRECOVERED_READ = 0x281,
    EMU_GUARD_CHECK = EMU_DNR | 0x282,
    EMU_APPLICATION_TAG_CHECK = EMU_DNR | 0x283,
    EMU_REFERENCE_TAG_CHECK = EMU_DNR | 0x284,
    EMU_COMPARE_FAILURE = EMU_DNR | 0x285,
    EMU_ACCESS_LOST = EMU_DNR | 0x301,
    EMU_ACCESS_INACCESSIBLE = 0x302,
    EMU_ACCESS_TRANSITION = 0x303,
    EMU_WOULD_BLOCK = 0x8000, /* no status: a worker has to do it */
};

enum { /* NVM Command Set 1.0c figure 10 */
       EMU_FLUSH = 0x00,
       EMU_WRITE = 0x01,
       EMU_READ = 0x02,
       EMU_WRITE_UNCORRECTABLE = 0x04,
       EMU_COMPARE = 0x05,
       EMU_WRITE_ZEROES = 0x08,
       EMU_DATASET_MANAGEMENT = 0x09,
       EMU_VERIFY = 0x0C,
       /* NVMe Base 2.0c figure 390 */
       EMU_RESERVATION_REGISTER = 0x0D,
       EMU_RESERVATION_REPORT = 0x0E,
       EMU_RESERVATION_ACQUIRE = 0x11,
       EMU_RESERVATION_RELEASE = 0x15,
       /* ZNS Command Set 1.1b figure 23 */
       EMU_ZONE_SEND = 0x79,
       EMU_ZONE_RECEIVE = 0x7A,
       EMU_ZONE_APPEND = 0x7D,
};

enum { EMU_DEAC = 1 << 25 };    /* CDW12 of Write Zeroes, */
enum { EMU_DTYPE = 0xF << 20 }; /* of Write */

enum { EMU_FUSE_NONE, EMU_FUSE_FIRST, EMU_FUSE_SECOND };

/* Bits of s2n_emu_set_namespace's flags. */
enum {
    EMU_WRITE_CACHE = 1,
    EMU_PROTECTED = 2,
    EMU_DIRECT = 4,
    EMU_FORMATTING = 8,
    EMU_NULL = 16,
    EMU_SANITIZING = 32,
    EMU_UNSANITIZED = 64,
    EMU_INACTIVE = 128, /* allocated, but not attached to this controller */
    EMU_ANA_INACCESSIBLE = 256,
    EMU_ANA_LOST = 512,
    EMU_ANA_CHANGE = 1024,
    EMU_MARKING = 1 << 16, /* there is Write Uncorrectable */
    EMU_TYPE_SHIFT = 17,
    EMU_TUPLE_FIRST = 1 << 20,
    EMU_EXTENDED = 1 << 21,
    EMU_METADATA_SHIFT = 24,
    EMU_TUPLE_BYTES = 8, /* of protection information */
    EMU_UNUSABLE = EMU_FORMATTING | EMU_SANITIZING | EMU_UNSANITIZED | EMU_INACTIVE |
                   EMU_ANA_INACCESSIBLE | EMU_ANA_LOST | EMU_ANA_CHANGE,
};

struct emu_command {
    uint8_t opcode, fuse, psdt;
    bool fua;
    uint16_t cid;
    uint32_t nsid;
    uint32_t blocks; /* a true count */
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
    uint64_t slba;
    uint64_t mptr, prp1, prp2;
    uint8_t *metadata; /* ours for MPTR, if metadata are moved by that */
};

struct s2n_emu_disk {
    uint8_t *at;
    uint64_t bytes;
};

struct emu_stripe {
    _Alignas(64) pthread_rwlock_t lock;
};

/* `stripes` make every command atomic against all others: reads share, writes
 * exclude. One stripe is a residue class of 1 MiB extents. */
struct emu_namespace {
    struct emu_stripe stripes[EMU_STRIPES];
    int fd;          /* -1 in memory, */
    uint8_t *memory; /* where it begins there; NULL on a file */
    uint64_t offset, blocks;
    uint32_t shift, flags;
    uint64_t device, inode;        /* of the file: several namespaces may share it */
    atomic_bool nowait;            /* the file system answers RWF_NOWAIT */
    uint32_t jobs;                 /* pool lock */
    struct emu_zones *zones;       /* NULL: it has none */
    struct emu_marks *marks;       /* NULL: it has no Write Uncorrectable */
    struct emu_metadata *metadata; /* NULL: its blocks have none */
};

/* One command with its data pointer resolved, and its result. */
struct emu_part {
    struct emu_command command;
    struct iovec *iov;
    uint32_t iov_count;
    uint16_t status;
    uint16_t parameter; /* parameter error location, FFFFh: none */
    uint64_t lba;       /* first block that fails, if it does */
    uint64_t result;    /* of its completion: DW1, DW0 */
    uint64_t bytes;     /* that the command's blocks have */
};

/* What a worker does: one command, or a fused pair. */
struct emu_job {
    struct emu_job *next;
    s2n_emu *emu;
    struct emu_namespace *ns; /* NULL: Flush of all */
    uint64_t due_ms;          /* not before, CLOCK_MONOTONIC */
    bool fails;               /* with the status that it has already, */
    bool done;                /* and is carried out all the same */
    bool asks;                /* the admin side, which executes it */
    uint16_t sqid, cqid;
    uint32_t parts;
    struct emu_part part[2];
    struct iovec iov[];
};

struct emu_sq {
    _Atomic uint16_t cqid; /* 0: the queue does not exist */
    uint16_t depth, head, tail;
    const uint8_t *entries;
    uint32_t running; /* jobs that workers run now; pool lock */
};

struct emu_tally {
    _Atomic uint64_t host_reads, host_writes, bytes_read, bytes_written, media_errors, errors;
};

struct emu_cq {
    _Alignas(64) pthread_mutex_t lock;
    uint16_t depth; /* 0: the queue does not exist */
    uint16_t head, tail;
    uint16_t reserved; /* commands fetched whose entry is not posted yet */
    bool phase, stalled;
    bool polled; /* its owner's promise, which outlives the queue */
    int eventfd;
    uint32_t queues; /* submission queues that point here */
    uint8_t *entries;
    struct emu_job *lost; /* a fault wants them never to complete */
    struct emu_tally tally;
    struct iovec *scratch; /* 2 * EMU_IOVECS: what is executed at once */

    pthread_mutex_t done_lock;
    struct emu_job *done, **done_end;
    atomic_bool done_pending;
};

struct emu_pool {
    void (*carry_out)(struct emu_job *job); /* may block; the job may be gone after it */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct emu_job *queue, **queue_end;
    uint32_t broadcasts; /* jobs without a namespace */
    uint32_t running;
    bool stop;
    uint32_t threads;
    pthread_t thread[EMU_WORKERS];
};

struct s2n_emu {
    struct emu_sq sq[EMU_QUEUES];
    struct emu_cq cq[EMU_QUEUES];
    struct emu_namespace *ns[EMU_NAMESPACES + 1]; /* by NSID */
    s2n_region *regions;                          /* ascending IOVA */
    uint32_t region_count;
    uint32_t maximum_bytes, atomic_blocks;
    struct emu_pool pool;

    bool refused[256];           /* opcodes of what it lacks */
    struct emu_gate *gate;       /* NULL: it knows no reservations */
    struct emu_streams *streams; /* NULL: it knows none */
    uint32_t slot;               /* whose is which part of it */
    atomic_uint asking;          /* jobs that wait for the admin side */
    struct emu_job *asked;       /* which it has taken */

    atomic_bool paused; /* what is in the submission queues stays there */
    int admin_eventfd;
    _Atomic uint32_t admin_tail, admin_cq_head;

    pthread_mutex_t misfortune_lock; /* faults and errors */
    atomic_uint fault_count;
    s2n_emu_fault faults[EMU_FAULTS];
    uint32_t error_first, error_count;
    s2n_emu_error errors[EMU_ERRORS];
};

/* ---- misfortune.c ---- */

/* Whether a fault is to hit this command; it is counted and copied to `out`. */
bool emu_fault_match(s2n_emu *emu, const struct emu_command *command, s2n_emu_fault *out);
/* Put a failure into the error log queue and tell the admin side. */
void emu_log_error(s2n_emu *emu, const s2n_emu_error *error);

/* ---- prp.c ---- */

/* Our address of `length` bytes at `iova`, NULL unless all of it is registered. */
uint8_t *emu_translate(const s2n_emu *emu, uint64_t iova, uint64_t length);
/* Turn `bytes` behind a command's PRPs into at most EMU_IOVECS vectors. */
uint16_t emu_map_prps(const s2n_emu *emu, const struct emu_command *command, uint32_t bytes,
                      struct iovec *iov, uint32_t *count);

/* ---- marks.c: blocks that cannot be read until they are written ---- */

/* NULL when memory is short. */
struct emu_marks *emu_marks_new(uint64_t blocks);
void emu_marks_free(struct emu_marks *marks);
/* Mark blocks, or take their marks away; of no `marks` nothing is marked. */
void emu_marks_set(struct emu_marks *marks, uint64_t first, uint64_t blocks, bool marked);
/* Whether one of the blocks is marked, and the first of those. */
bool emu_marks_find(const struct emu_marks *marks, uint64_t first, uint64_t blocks, uint64_t *at);
/* The same, and how many follow that one which are marked, it included; 0 if none is. */
uint64_t emu_marks_run(const struct emu_marks *marks, uint64_t first, uint64_t blocks,
                       uint64_t *at);

/* ---- guard.c ---- */

/* The guard of `bytes` more, which follow those that `crc` is of. */
uint16_t emu_guard(uint16_t crc, const uint8_t *data, size_t bytes);

/* ---- medium.c ---- */

/* Skip the first bytes of `count` vectors, in place. */
void emu_advance(struct iovec **iov, uint32_t *count, size_t bytes);
/* Whether what was written is in a cache until it is synced. */
bool emu_medium_has_cache(const struct emu_namespace *ns);
/* Whole pages are given back if they are to be deallocated, others are written. */
void emu_zero_memory(uint8_t *at, uint64_t bytes, bool deallocate);
/* What follows needs the locks of the blocks, and uses the vectors up. With `may_block` false
 * EMU_WOULD_BLOCK is an answer, too. */
uint16_t emu_medium_read(struct emu_namespace *ns, uint64_t slba, struct iovec *iov, uint32_t count,
                         bool may_block);
uint16_t emu_medium_write(struct emu_namespace *ns, uint64_t slba, struct iovec *iov,
                          uint32_t count, bool durable);
/* Read blocks, and compare them with `count` vectors if there are any. */
uint16_t emu_medium_scan(struct emu_namespace *ns, uint64_t slba, uint64_t blocks,
                         struct iovec *iov, uint32_t count, bool may_block);
/* Blocks will be read: have the kernel read them ahead, where they are in a file. */
void emu_medium_expect(const struct emu_namespace *ns, uint64_t slba, uint64_t blocks);
uint16_t emu_medium_zero(struct emu_namespace *ns, uint64_t slba, uint64_t blocks, bool deallocate);
/* Write a pattern, its lowest byte first, to every block. */
uint16_t emu_medium_fill(struct emu_namespace *ns, uint32_t pattern);
uint16_t emu_medium_sync(struct emu_namespace *ns);

/* ---- metadata.c: what follows is of namespaces in memory whose blocks have metadata ---- */

/* NULL when memory is short. */
struct emu_metadata *emu_metadata_new(uint64_t blocks, uint32_t flags);
void emu_metadata_free(struct emu_metadata *metadata);
/* Have what `old` has, as far as there are as many blocks; it is only to be freed then. */
void emu_metadata_inherit(struct emu_metadata *metadata, struct emu_metadata *old);
/* Blocks were deallocated, of any namespace. */
void emu_metadata_forget(struct emu_namespace *ns, uint64_t first, uint64_t blocks);
/* Write Zeroes was carried out, on any namespace. */
void emu_metadata_zeroed(struct emu_namespace *ns, const struct emu_command *command);
/* How many bytes of metadata a command moves, by MPTR or among its data. */
uint32_t emu_metadata_beside(const struct emu_namespace *ns, const struct emu_command *command);
uint64_t emu_metadata_interleaved(const struct emu_namespace *ns,
                                  const struct emu_command *command);
/* Whether what a command says of protection information may be said. */
uint16_t emu_metadata_check(const struct emu_namespace *ns, const struct emu_command *command);
/* Execute Read or Verify, Write, Compare. The locks of the blocks are held. */
uint16_t emu_metadata_read(struct emu_namespace *ns, struct emu_part *part);
uint16_t emu_metadata_write(struct emu_namespace *ns, struct emu_part *part);
uint16_t emu_metadata_compare(struct emu_namespace *ns, struct emu_part *part);

/* ---- io.c ---- */

/* Execute a command on its namespace. Unless `may_block`, answers
 * EMU_WOULD_BLOCK and does nothing if it cannot be done at once. */
typedef uint16_t emu_run(struct emu_namespace *ns, const struct emu_command *command,
                         struct iovec *iov, uint32_t count, bool may_block);
emu_run emu_flush, emu_write, emu_read, emu_compare, emu_write_zeroes, emu_deallocate, emu_verify,
    emu_write_uncorrectable;
/* The same where blocks have metadata. */
uint16_t emu_run_with_metadata(struct emu_namespace *ns, struct emu_part *part, emu_run *run,
                               bool may_block);
/* Compare, then write if equal, as one: sets the status of both. Unless `may_block`, false, and
 * nothing is done, if it cannot be done at once. */
bool emu_compare_and_write(struct emu_namespace *ns, struct emu_part *first,
                           struct emu_part *second, bool may_block);
/* Flush every namespace's file. */
uint16_t emu_flush_all(s2n_emu *emu);
/* Deallocate all of a namespace, durably. */
uint16_t emu_erase(struct emu_namespace *ns);
uint16_t emu_overwrite(struct emu_namespace *ns, uint32_t pattern);

/* ---- zones.c: what follows is of namespaces that have zones ---- */

/* Execute a command that reads blocks, or writes some, as zones want it; `run` is what it does
 * otherwise. Zone Append sets the result. */
typedef uint16_t emu_zone_run(struct emu_namespace *ns, struct emu_part *part, emu_run *run,
                              bool may_block);
emu_zone_run emu_zone_read, emu_zone_write, emu_zone_append;
emu_run emu_zone_send, emu_zone_receive;
/* NULL when memory is short. */
struct emu_zones *emu_zones_new(const s2n_emu_zoning *as, uint64_t blocks);
void emu_zones_free(struct emu_zones *zones);
/* Whether zones, if there are any, divide so many blocks as these do. */
bool emu_zones_are(const struct emu_zones *zones, const s2n_emu_zoning *as, uint64_t blocks);
/* All blocks were deallocated. */
void emu_zones_erased(struct emu_zones *zones);
/* Finish an active zone, as a controller may by itself; false if it is none. */
bool emu_zones_finish(struct emu_zones *zones, uint64_t lba);

/* ---- pool.c ---- */

/* Start workers that give each job to `carry_out`; 0 or -errno. */
int emu_pool_start(struct emu_pool *pool, void (*carry_out)(struct emu_job *job));
void emu_pool_stop(struct emu_pool *pool);
void emu_pool_submit(struct emu_job *job);
/* Take back what has not started and matches: of `sqid`, or of every queue (0);
 * with this `cid`, or any (-1). */
struct emu_job *emu_pool_cancel(s2n_emu *emu, uint16_t sqid, int32_t cid);
/* Wait until no worker runs a job of `sqid`, or of any queue (0). */
void emu_pool_wait_queue(s2n_emu *emu, uint16_t sqid);
/* Wait until no job refers to the namespace. */
void emu_pool_wait_namespace(s2n_emu *emu, const struct emu_namespace *ns);
uint64_t emu_now_ms(void);

/* ---- queue.c ---- */

void emu_lock_all(s2n_emu *emu);
void emu_unlock_all(s2n_emu *emu);
/* The completion queue of a submission queue, locked; NULL if there is none. */
struct emu_cq *emu_lock_cq_of(s2n_emu *emu, uint16_t sqid);
void emu_interrupt(const struct emu_cq *cq);
/* Hand a finished job to its completion queue's owner; from any thread. */
void emu_job_done(struct emu_job *job);
/* Take what the workers finished since the last time. */
struct emu_job *emu_take_done(struct emu_cq *cq);

/* ---- namespace.c ---- */

/* Free a namespace that no command refers to, or nothing (NULL). */
void emu_namespace_free(struct emu_namespace *ns);

/* ---- gate.c ---- */

/* Whether what a command does to a namespace is not denied now; then it leaves when it has ended.
 */
bool emu_gate_enter(s2n_emu *emu, uint32_t nsid, uint8_t access, uint32_t *turn);
void emu_gate_leave(s2n_emu *emu, uint32_t turn);
void emu_gate_close(s2n_emu *emu);

/* ---- streams.c ---- */

/* Why a write that says of which kind it is (DTYPE) cannot be: 0 if it can. */
uint16_t emu_streams_meet(const s2n_emu *emu, const struct emu_command *command);
/* Close those of a namespace, which is formatted, or another. */
void emu_streams_release(s2n_emu *emu, uint32_t nsid);
void emu_streams_free(struct emu_streams *streams);

/* ---- command.c ---- */

/* Fetch and execute what is between head and tail; the CQ's lock is held.
 * Returns how many completions were posted. */
uint32_t emu_process(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid);
/* Post the results of a job, and free it. */
void emu_job_post(struct emu_job *job);
/* Run a job to its end; may block. */
void emu_job_run(struct emu_job *job);

#endif
