/* The native data plane's interface to Python: opaque handles, fixed-width
 * integers, negative errno. One Python module, scsi2nvme/dataplane.py, calls it.
 *
 * Threads. "Control" functions are called from the one thread that runs the
 * asyncio loop. Reactors are pinned threads of the plane; what they have to
 * tell is taken with s2n_plane_next_event once s2n_plane_event_fd is readable.
 */
#ifndef S2N_DATAPLANE_H
#define S2N_DATAPLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* ---- checksums ---- */

/* CRC32C (Castagnoli) of `length` bytes, continuing from `crc` (0 to begin). */
uint32_t s2n_crc32c(uint32_t crc, const void *data, size_t length);

/* ---- NVMe: ports and queue pairs (drivers/) ---- */

/* How doorbells of one controller are rung. */
typedef struct s2n_port s2n_port;
/* One submission queue with its completion queue, and the commands under way. */
typedef struct s2n_qpair s2n_qpair;
/* The I/O side of the emulated controller. */
typedef struct s2n_emu s2n_emu;

/* DMA memory as the owner of a queue pair gives it out: `vaddr` is ours, `iova`
 * the controller's address of the same byte. */
typedef struct {
    uint8_t *vaddr;
    uint64_t iova;
    uint64_t length;
} s2n_region;

typedef struct {
    uint16_t cid;
    uint16_t status; /* SCT << 8 | SC, 0 is success */
    uint8_t dnr;
    uint8_t more;
    uint8_t crd;
    uint32_t dw0;
    uint64_t cookie; /* what the submission carried */
} s2n_completion;

/* A port over mapped doorbell registers (VFIO); `stride` is 4 << CAP.DSTRD. */
s2n_port *s2n_port_mmio(void *doorbells, uint32_t stride);
/* A port over a QEMU qtest socket; also the register access of that transport.
 * `bar0` is the guest physical address of the registers. Takes over `fd`. */
s2n_port *s2n_port_qtest(int fd, uint64_t bar0, uint32_t stride);
/* Memory and I/O space access over qtest; negative errno if the socket died.
 * `command` is a whole qtest line without its newline; the value of a read
 * command goes to `value`. Callable from any thread. */
int s2n_qtest_command(s2n_port *port, const char *command, uint64_t *value);
s2n_port *s2n_port_emulated(s2n_emu *emu);
void s2n_port_free(s2n_port *port);

/* Bytes of DMA memory that a queue pair of `depth` entries needs. */
uint64_t s2n_qpair_bytes(uint16_t depth);
/* `memory` (page aligned, s2n_qpair_bytes long) stays the caller's and must
 * outlive the queue pair; layout: SQ, CQ, PRP lists, each page aligned. */
s2n_qpair *s2n_qpair_new(s2n_port *port, uint16_t qid, uint16_t depth, const s2n_region *memory);
void s2n_qpair_free(s2n_qpair *qp);
uint64_t s2n_qpair_sq_iova(const s2n_qpair *qp);
uint64_t s2n_qpair_cq_iova(const s2n_qpair *qp);
/* Empty both rings, phase one: after the controller forgot its queues. With
 * `replay` what was in flight is placed again (and waits for a ring), else it
 * is forgotten: no completion will come. */
void s2n_qpair_reset(s2n_qpair *qp, bool replay);
/* Touch neither rings nor doorbells again: polling yields `status` (DNR clear) for
 * everything in flight, and for everything placed from now on. */
void s2n_qpair_abandon(s2n_qpair *qp, uint16_t status);
/* The device is there again; a reset must follow before anything is placed. */
void s2n_qpair_revive(s2n_qpair *qp);
/* Place one entry from a 64-byte image (CID and DPTR are filled in here; PRPs
 * from `length` bytes at `buffer`, which lies in DMA memory; without a buffer the
 * image's DPTR stands). `timeout_ms` 0: no deadline. Returns the CID, -EAGAIN when
 * the queue is full, -EINVAL when no PRPs can describe the buffer. Rings nothing. */
int s2n_qpair_place(s2n_qpair *qp, const uint8_t *sqe, const s2n_region *buffer, uint64_t cookie,
                    uint32_t timeout_ms);
/* Ring the submission doorbell if anything was placed since the last ring. */
void s2n_qpair_ring(s2n_qpair *qp);
/* Take up to `maximum` completions and ring the completion doorbell (reactors: later). */
int s2n_qpair_poll(s2n_qpair *qp, s2n_completion *out, int maximum);
/* Free slots, i.e. how many entries s2n_qpair_place would take now. */
int s2n_qpair_free_slots(const s2n_qpair *qp);
/* Milliseconds until the earliest deadline: -1 none under way, 0 overdue;
 * when overdue `cid` is the command. */
int s2n_qpair_next_deadline(s2n_qpair *qp, uint16_t *cid);
/* A command overdue was aborted: give it `timeout_ms` more. */
void s2n_qpair_extend(s2n_qpair *qp, uint16_t cid, uint32_t timeout_ms);

/* ---- mapped registers of a device (drivers/) ---- */

/* Map `length` bytes (whole pages) of `fd` from `offset`. Accesses that the kernel
 * refuses (SIGBUS: no device decodes them any more) read all ones from then on. */
int s2n_mmio_map(int fd, uint64_t offset, uint64_t length, void **registers);
/* Put all ones in the device's place: no access reaches it any more. */
int s2n_mmio_detach(void *registers, uint64_t length);
/* …and a device again, as s2n_mmio_map does. */
int s2n_mmio_attach(void *registers, int fd, uint64_t offset, uint64_t length);
void s2n_mmio_unmap(void *registers, uint64_t length);
/* Single accesses, little endian; `offset` is a multiple of their width. */
uint32_t s2n_mmio_read32(void *registers, uint64_t offset);
uint64_t s2n_mmio_read64(void *registers, uint64_t offset);
void s2n_mmio_write32(void *registers, uint64_t offset, uint32_t value);
void s2n_mmio_write64(void *registers, uint64_t offset, uint64_t value);

/* ---- memory of others that a device reaches (drivers/) ---- */

/* A range of a controller's addresses in which such memory appears, page by page. */
typedef struct s2n_window s2n_window;

/* Of the IOMMU of a VFIO container, a descriptor that stays the caller's. NULL: errno tells. */
s2n_window *s2n_window_vfio(int container, uint64_t iova, uint64_t length);
void s2n_window_free(s2n_window *window);

/* ---- the emulated controller's I/O side (drivers/) ---- */

typedef struct {
    uint64_t host_reads, host_writes; /* commands */
    uint64_t bytes_read, bytes_written;
    uint64_t media_errors;
    uint64_t errors; /* completions with an error */
} s2n_emu_counters;

/* What the I/O side has to tell the admin side: an error log entry. With CID FFFFh
 * and status 0: an invalid value was written to the doorbell of queue `sqid`. */
typedef struct {
    uint16_t sqid, cid, status; /* status: SCT << 8 | SC */
    uint16_t parameter;         /* parameter error location */
    uint32_t nsid;
    uint64_t lba;
} s2n_emu_error;

/* How a namespace or the whole controller misbehaves, on request. */
typedef struct {
    uint64_t lba_first, lba_last; /* blocks that are hit (inclusive) */
    uint32_t nsid;                /* 0: every namespace */
    uint8_t opcode;               /* FFh: every opcode */
    uint8_t action;               /* 0 fail with `status`, late or not; 1 never complete; 2 delay */
    uint16_t status;              /* DNR << 14 | SCT << 8 | SC */
    uint32_t delay_ms;
    uint32_t count; /* how often, 0: always */
} s2n_emu_fault;

s2n_emu *s2n_emu_new(void);
void s2n_emu_free(s2n_emu *emu);
/* DMA memory that the controller may touch; everything else is a data transfer error. */
int s2n_emu_add_memory(s2n_emu *emu, const s2n_region *region);
/* Attach a namespace backed by `fd` from byte `offset`; `flags` bit 0: volatile
 * write cache on, bit 1: write protected, bit 2: direct I/O, bit 3: being formatted
 * (I/O fails with Format In Progress). Replaces nsid, after its commands ended. */
int s2n_emu_set_namespace(s2n_emu *emu, uint32_t nsid, int fd, uint64_t offset, uint64_t blocks,
                          uint32_t block_bytes, uint32_t flags);
int s2n_emu_remove_namespace(s2n_emu *emu, uint32_t nsid);
int s2n_emu_set_limits(s2n_emu *emu, uint32_t maximum_bytes, uint16_t atomic_blocks);
/* Queues, as Create and Delete I/O SQ/CQ say. `eventfd` is the CQ's interrupt or -1. */
int s2n_emu_create_cq(s2n_emu *emu, uint16_t qid, uint64_t iova, uint16_t depth, int eventfd);
int s2n_emu_create_sq(s2n_emu *emu, uint16_t qid, uint16_t cqid, uint64_t iova, uint16_t depth);
int s2n_emu_delete_sq(s2n_emu *emu, uint16_t qid);
int s2n_emu_delete_cq(s2n_emu *emu, uint16_t qid);
/* Abort a command if it can still be: 1 aborted, 0 not. */
int s2n_emu_abort(s2n_emu *emu, uint16_t sqid, uint16_t cid);
/* CC.EN 1 to 0: all I/O queues vanish; what is in flight ends without a trace.
 * Returns once nothing touches DMA memory any more. */
void s2n_emu_disable(s2n_emu *emu);
/* Write back every namespace: Flush, shutdown. */
int s2n_emu_flush(s2n_emu *emu, uint32_t nsid);
/* Deallocate all of a namespace, durably: Format NVM. May be called from another
 * thread while nothing replaces that namespace. */
int s2n_emu_erase(s2n_emu *emu, uint32_t nsid);
void s2n_emu_counters_get(s2n_emu *emu, s2n_emu_counters *out);
int s2n_emu_next_error(s2n_emu *emu, s2n_emu_error *out);
int s2n_emu_add_fault(s2n_emu *emu, const s2n_emu_fault *fault);
void s2n_emu_clear_faults(s2n_emu *emu);
/* The admin queue belongs to Python: its doorbell rings, and errors to be logged,
 * become readable here. */
int s2n_emu_admin_eventfd(s2n_emu *emu);
/* The admin queues' tail (submission) and head (completion) as last rung. */
uint32_t s2n_emu_admin_tail(s2n_emu *emu);
uint32_t s2n_emu_admin_cq_head(s2n_emu *emu);

/* ---- the plane ---- */

typedef struct s2n_plane s2n_plane;
typedef struct s2n_controller s2n_controller;
typedef struct s2n_lu s2n_lu;
typedef struct s2n_nexus s2n_nexus;
typedef struct s2n_task s2n_task;
typedef struct s2n_session s2n_session;
typedef struct s2n_conn s2n_conn;

enum {
    S2N_MAXIMUM_REACTORS = 64,
    S2N_SENSE_BYTES = 252,
    S2N_CDB_BYTES = 64, /* longer CDBs are cut: no row is longer */
};

enum s2n_event_type {
    S2N_EVENT_TASK = 1,     /* `task` is for the engine; end it with s2n_task_end */
    S2N_EVENT_TASK_FAILED,  /* NVMe commands of a hot task failed. Of that at the lowest LBA:
                               `nvme` to `lba`, and its blocks in `count` */
    S2N_EVENT_DRAINED,      /* `cookie` is the token of a drain, abort or pause; `count` */
    S2N_EVENT_OVERDUE,      /* controller `cookie`, queue pair `qid`, command `cid`; again
                               every 5 s while it is still under way */
    S2N_EVENT_PDU,          /* conn `cookie`: a PDU for Python (login apart): text, TMF, logout;
                               `count` 1: ABORT TASK of a command not received, nor to be */
    S2N_EVENT_CONN_CLOSED,  /* conn or ring `cookie` is gone; `count`: errno or 0 */
    S2N_EVENT_TASK_REFUSED, /* the front end refused `task`: sense code in `count` */
    S2N_EVENT_ABORT,        /* nobody waits for command `cid` of queue pair `qid`, controller
                               `cookie`, any more, and it does not end by itself */
    S2N_EVENT_PAGES,        /* ring `cookie`: ESTALE in `count` if the kernel has replaced data
                               pages that the controller knew, else why it learns of no more */
    S2N_EVENT_UNIT_RESET,   /* ring `cookie`: the kernel has reset its logical unit */
};

typedef struct {
    uint32_t type;
    uint32_t count;
    uint64_t cookie;
    s2n_task *task;
    uint8_t nvme; /* opcode of the failed NVMe command */
    uint8_t dnr, more;
    uint16_t status; /* its status */
    uint16_t qid, cid;
    uint64_t lba;    /* its first block */
    uint8_t bhs[48]; /* S2N_EVENT_PDU */
    uint32_t data_length;
    uint8_t *data; /* free with s2n_event_free */
} s2n_event;

/* A reactor is pinned to its CPU, unless that is negative. It looks for completions for up
 * to `poll_us` before it sleeps, while they usually take no longer; 0: it sleeps at once. */
s2n_plane *s2n_plane_new(uint32_t reactors, const int32_t *cpus, uint32_t poll_us);
int s2n_plane_start(s2n_plane *plane);
/* Stop and join the reactors, whose connections have been closed and freed. */
void s2n_plane_stop(s2n_plane *plane);
void s2n_plane_free(s2n_plane *plane);
int s2n_plane_event_fd(s2n_plane *plane);
/* Take the next event: 1, or 0 when there is none. */
int s2n_plane_next_event(s2n_plane *plane, s2n_event *event);
void s2n_event_free(s2n_event *event);

/* A controller's I/O as reactors see it: one queue pair and one buffer pool each. */
s2n_controller *s2n_controller_new(s2n_plane *plane, uint64_t cookie);
/* Give reactor `index` its queue pair, the eventfd of its interrupt (or -1: poll
 * while commands are under way), and memory for its buffer pool. */
int s2n_controller_set_queue(s2n_controller *controller, uint32_t index, s2n_qpair *qp, int eventfd,
                             const s2n_region *pool);
/* How long an I/O command of the hot path may take until OVERDUE tells of it (30 s). */
void s2n_controller_set_timeout(s2n_controller *controller, uint32_t timeout_ms);
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
} s2n_lu_params;

/* A logical unit begins with its step-aside flag set. */
s2n_lu *s2n_lu_new(s2n_controller *controller, const s2n_lu_params *params);
/* Change its parameters: only while drained. */
void s2n_lu_update(s2n_lu *lu, const s2n_lu_params *params);
/* Everything goes to the engine (true), or hot again (false). */
void s2n_lu_set_aside(s2n_lu *lu, bool aside);
/* Set the flag, and report DRAINED with `token` when no hot task is under way. */
void s2n_lu_drain(s2n_lu *lu, uint64_t token);
void s2n_lu_free(s2n_lu *lu);

s2n_nexus *s2n_nexus_new(s2n_plane *plane, uint64_t cookie);
/* LUN `lun` of this nexus is `lu` (NULL: no longer). Flag set. */
int s2n_nexus_map(s2n_nexus *nexus, uint16_t lun, s2n_lu *lu);
void s2n_nexus_set_aside(s2n_nexus *nexus, uint16_t lun, bool aside);
void s2n_nexus_free(s2n_nexus *nexus); /* after its session ended */

/* ---- tasks in Python's hands ---- */

uint64_t s2n_task_nexus(const s2n_task *task);     /* the nexus' cookie */
const uint8_t *s2n_task_lun(const s2n_task *task); /* 8 bytes */
const uint8_t *s2n_task_cdb(const s2n_task *task, uint16_t *length);
uint8_t s2n_task_attribute(const s2n_task *task); /* RFC 7143 11.3.1.1 */
bool s2n_task_aborted(const s2n_task *task);
/* Bytes that the initiator prepared to move (iSCSI's expected data transfer length). */
uint32_t s2n_task_expected(const s2n_task *task);
/* The data that the initiator sent, and how much of it there is. */
uint32_t s2n_task_data_length(const s2n_task *task);
void s2n_task_copy_data(const s2n_task *task, uint8_t *out);
/* End a task: data and sense are copied. The handle is invalid afterwards. */
void s2n_task_end(s2n_task *task, uint8_t status, const uint8_t *sense, uint32_t sense_length,
                  const uint8_t *data, uint32_t data_length);

enum s2n_scope {
    S2N_SCOPE_TASK = 1, /* one initiator task tag of one session */
    S2N_SCOPE_NEXUS_LU, /* all tasks of a nexus on a LUN */
    S2N_SCOPE_LU,       /* all tasks on a logical unit */
    S2N_SCOPE_NEXUS,    /* all tasks of a nexus */
};

/* Abort (or, with `query`, only count) tasks; DRAINED with `token` and how many
 * there were once none is left. With `tas` they end with TASK ABORTED, but for
 * those of `nexus` itself in S2N_SCOPE_LU; without, they end without a response. */
void s2n_plane_abort(s2n_plane *plane, uint32_t scope, s2n_nexus *nexus, s2n_lu *lu, uint32_t itt,
                     bool query, bool tas, uint64_t token);

/* ---- hot translation, as a pure function (differential fuzzing) ---- */

typedef struct {
    uint8_t opcode;
    uint64_t slba;
    uint32_t blocks;
    uint32_t cdw12;
    uint32_t nsid;
    uint8_t sqe[64]; /* but for CID and DPTR */
} s2n_nvme_op;

/* Translate: the number of NVMe commands written to `out`, or -EINVAL when the
 * hot path steps aside (it never answers with anything but GOOD itself). */
int s2n_hot_translate(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                      s2n_nvme_op *out, int maximum);
/* Bytes of data that a CDB announces, and their direction (0 none, 1 in, 2 out). */
uint64_t s2n_hot_data_bytes(const uint8_t *cdb, uint16_t cdb_length, uint32_t block_bytes,
                            uint8_t *direction);

/* ---- iSCSI full-feature phase (target/) ---- */

typedef struct {
    uint32_t header_digest, data_digest; /* bool */
    uint32_t maximum_recv, maximum_send; /* MaxRecvDataSegmentLength: ours, theirs */
    uint32_t maximum_burst, first_burst;
    uint32_t initial_r2t, immediate_data; /* bool */
    uint32_t maximum_r2t;
    uint32_t discovery;                /* bool: no SCSI commands */
    uint32_t ping_ms, ping_timeout_ms; /* NOP-In, 0: never */
} s2n_conn_params;

/* A session lives on one reactor with all its connections. `window` is how many
 * commands may be outstanding. */
s2n_session *s2n_session_new(s2n_plane *plane, s2n_nexus *nexus, uint32_t cmd_sn, uint32_t window);
/* Hand a logged-in socket over (non-blocking; taken over). `received` are bytes
 * that were read beyond the last login request. `stat_sn`: of the next response. */
s2n_conn *s2n_conn_new(s2n_session *session, int fd, const s2n_conn_params *params,
                       uint32_t stat_sn, const uint8_t *received, uint32_t received_length,
                       uint64_t cookie);
/* Send a PDU from Python: StatSN, ExpCmdSN, MaxCmdSN, DataSegmentLength and
 * digests are filled in; StatSN is consumed if `consumes`. */
void s2n_conn_send(s2n_conn *conn, const uint8_t *bhs, const uint8_t *data, uint32_t data_length,
                   bool consumes);
/* New MaxRecvDataSegmentLength of the initiator, from a text negotiation. */
void s2n_conn_set_maximum_send(s2n_conn *conn, uint32_t bytes);
/* Close after what is queued has been sent (`graceful`), or at once.
 * CONN_CLOSED follows; then call s2n_conn_free. */
void s2n_conn_close(s2n_conn *conn, bool graceful);
void s2n_conn_free(s2n_conn *conn);
/* After its last connection was freed. */
void s2n_session_free(s2n_session *session);
uint32_t s2n_session_expected_cmd_sn(s2n_session *session);

/* ---- TCMU devices (target/) ---- */

/* A device of the kernel's user backstore: its ring, on one reactor at a time, whichever its
 * commands come to soonest. */
typedef struct s2n_tcmu s2n_tcmu;

/* Serve the ring in the first `bytes` of `memory`, as LUN 0 of `nexus`; `fd` tells of new
 * entries and takes the doorbell. Both are the same UIO device. Takes over `fd`, and on
 * success only. Negative errno: EPROTO and EPROTONOSUPPORT if the mailbox is malformed or
 * of another version. CONN_CLOSED with `cookie` tells of its end: `count` is 0 after a
 * close, ESTALE if the ring was reset, ENODEV if the device went, EPROTO if the ring made
 * no sense. Mapping and descriptor are gone by then, and `window`, which stays the
 * caller's, is empty; call s2n_tcmu_free. Without a window (NULL) all data are copied. */
int s2n_tcmu_new(s2n_plane *plane, s2n_nexus *nexus, int fd, int memory, uint64_t bytes,
                 s2n_window *window, uint64_t cookie, s2n_tcmu **out);
/* Whether the controller may move data straight from and to the ring's pages, which begins
 * as false: the kernel must not be about to replace them. */
void s2n_tcmu_set_in_place(s2n_tcmu *tcmu, bool allowed);

typedef struct {
    uint64_t in_place, copied; /* commands with data, by the way that these took */
    uint64_t pages;            /* that the controller knows */
    uint64_t withdrawals;      /* how often it had to forget all of them */
    uint64_t moves;            /* from one reactor to another */
    uint32_t reactor;          /* that serves it, from 0 */
} s2n_tcmu_counters;

void s2n_tcmu_counters_get(s2n_tcmu *tcmu, s2n_tcmu_counters *out);
/* DRAINED with `token` once every entry was answered. The kernel must have been told to
 * add no more. */
void s2n_tcmu_drain(s2n_tcmu *tcmu, uint64_t token);
/* Leave the ring as it is, and forget what is under way. */
void s2n_tcmu_close(s2n_tcmu *tcmu);
void s2n_tcmu_free(s2n_tcmu *tcmu);

/* cdef end */

#endif
