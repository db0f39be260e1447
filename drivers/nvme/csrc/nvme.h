/* Queue pairs, doorbells over mapped registers, and these registers themselves. What
 * reactors ask of a queue pair besides is in qpair.h. */
#ifndef S2N_NVME_H
#define S2N_NVME_H

#include "transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* One submission queue with its completion queue, and the commands under way. */
typedef struct s2n_qpair s2n_qpair;

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
/* A command is overdue: give it `timeout_ms` more. Whether it was given more before, in vain. */
bool s2n_qpair_extend(s2n_qpair *qp, uint16_t cid, uint32_t timeout_ms);
/* Whether this is under way and was given more time. */
bool s2n_qpair_extended(const s2n_qpair *qp, uint16_t cid);
/* No other command gets the CID of this one, which is under way, before it is unpinned as often as
 * it was pinned, or the queue pair is reset without replay: an Abort names its command by it. */
void s2n_qpair_pin(s2n_qpair *qp, uint16_t cid);
void s2n_qpair_unpin(s2n_qpair *qp, uint16_t cid);

/* ---- what was under way last ---- */

/* A queue pair's last commands and completions, as they stood in its rings: the entry of
 * number n is at n modulo S2N_TRACE_ENTRIES. It is read by whoever finds it after a crash. */
enum { S2N_TRACE_ENTRIES = 128 };
typedef struct {
    uint32_t placed, completed; /* how many there were, modulo 2^32 */
    uint16_t qid, depth;
    uint8_t reserved[52];
    uint8_t sqe[S2N_TRACE_ENTRIES][64];
    uint8_t cqe[S2N_TRACE_ENTRIES][16];
    uint32_t placed_ms[S2N_TRACE_ENTRIES]; /* of CLOCK_MONOTONIC, to some ms, modulo 2^32 */
} s2n_trace;

/* Note in `trace`, zeroed and aligned to 64 bytes, what is placed and completed from now on; NULL:
 * nowhere. It stays the caller's, and must outlive the queue pair. */
void s2n_qpair_set_trace(s2n_qpair *qp, s2n_trace *trace);

typedef struct {
    uint16_t qid, depth;
    uint16_t sq_tail, cq_head;
    uint32_t in_flight;
    uint64_t unexpected; /* completions that named no command under way */
    bool phase;
} s2n_qpair_state;

/* Where a queue pair is; its owner does nothing with it meanwhile. */
void s2n_qpair_look(const s2n_qpair *qp, s2n_qpair_state *state);
/* Copy the 64-byte entry of a command under way: for how many ms it is, -1 if there is no such
 * command, INT64_MAX if nobody knows. */
int64_t s2n_qpair_look_at(const s2n_qpair *qp, uint16_t cid, uint8_t *sqe);

/* ---- mapped registers of a device ---- */

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

/* cdef end */

#endif
