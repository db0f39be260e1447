/* Queue pairs: one submission queue, its completion queue, and the commands
 * under way, each in a slot whose index is its CID.
 *
 * At most depth - 1 commands are under way, so that neither ring can overflow
 * and SQHD need not be followed. Completion entries are the device's and hence
 * hostile: what names no command under way is counted and ignored.
 *
 * Spec: NVMe Base 2.0c 3.3 (queues), 4.1.1 (PRPs).
 */
#include "qpair.h"

#include "little_endian.h"
#include "probes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

enum {
    SQE_BYTES = 64,
    SQE_CID = 2,
    SQE_PRP1 = 24,
    SQE_PRP2 = 32,
    CQE_BYTES = 16,
    CQE_STATUS = 12, /* DW3: CID, P, SC, SCT, CRD, M, DNR */
    LIST_ENTRIES = S2N_PAGE / 8,
};

#define NEVER UINT64_MAX

struct slot {
    uint64_t cookie;
    uint64_t deadline_ms;
    uint32_t timeout_ms;
    uint32_t sequence; /* order of placement, for a replay */
    uint32_t pins;
    bool in_flight;
    bool extended;
};

struct s2n_qpair {
    s2n_port *port;
    uint8_t *sq;
    uint8_t *cq;
    uint8_t *lists;               /* one page per slot, of PRP list or data */
    uint8_t (*shadow)[SQE_BYTES]; /* what was placed, by CID */
    struct slot *slots;
    s2n_trace *trace;    /* NULL: nobody wants to know */
    uint16_t *free_cids; /* a stack: the slot used last is warm */
    uint64_t lists_iova;
    uint64_t now_ms;      /* valid while `now_known` */
    uint64_t earliest_ms; /* no deadline under way is earlier */
    uint32_t sequence;
    uint16_t qid, depth;
    uint16_t sq_tail, cq_head;
    uint16_t free_count;
    uint16_t unacknowledged; /* completion entries that the device does not know we took */
    bool phase;
    bool unrung;
    bool lazy; /* the owner acknowledges before it sleeps */
    bool now_known;
    bool abandoned;

    uint16_t abandon_status;
    uint64_t unexpected;
    uint64_t sq_iova, cq_iova;
};

/* Entries and PRP lists must be visible to the device before the doorbell. x86
 * keeps stores in order, also before one to uncached memory; elsewhere a
 * barrier over the outer (device) domain is needed. */
static inline void before_doorbell(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
    __asm__ volatile("dsb st" ::: "memory");
#else
    __sync_synchronize();
#endif
}

/* The rest of a completion entry, and the data, may be read only after its phase. */
static inline void after_phase(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
    __asm__ volatile("dmb oshld" ::: "memory");
#else
    __sync_synchronize();
#endif
}

static uint64_t coarse_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t pages_up(uint64_t bytes)
{
    return (bytes + S2N_PAGE - 1) & ~(uint64_t)(S2N_PAGE - 1);
}

static uint16_t slot_count(const s2n_qpair *qp)
{
    return (uint16_t)(qp->depth - 1);
}

/* ---- life ---- */

void s2n_port_free(s2n_port *port)
{
    if (port)
        port->ops->free(port);
}

uint64_t s2n_qpair_bytes(uint16_t depth)
{
    if (depth < 2)
        return 0;
    return pages_up((uint64_t)depth * SQE_BYTES) + pages_up((uint64_t)depth * CQE_BYTES) +
           (uint64_t)(depth - 1) * S2N_PAGE;
}

static void lay_out(s2n_qpair *qp, const s2n_region *memory)
{
    uint64_t cq_at = pages_up((uint64_t)qp->depth * SQE_BYTES);
    uint64_t lists_at = cq_at + pages_up((uint64_t)qp->depth * CQE_BYTES);

    qp->sq = memory->vaddr;
    qp->cq = memory->vaddr + cq_at;
    qp->lists = memory->vaddr + lists_at;
    qp->sq_iova = memory->iova;
    qp->cq_iova = memory->iova + cq_at;
    qp->lists_iova = memory->iova + lists_at;
}

s2n_qpair *s2n_qpair_new(s2n_port *port, uint16_t qid, uint16_t depth, const s2n_region *memory)
{
    s2n_qpair *qp;

    if (depth < 2 || memory->length < s2n_qpair_bytes(depth) || memory->iova % S2N_PAGE ||
        (uintptr_t)memory->vaddr % S2N_PAGE)
        return NULL;
    qp = calloc(1, sizeof *qp);
    if (!qp)
        return NULL;
    qp->port = port;
    qp->qid = qid;
    qp->depth = depth;
    lay_out(qp, memory);
    qp->shadow = aligned_alloc(SQE_BYTES, (size_t)slot_count(qp) * SQE_BYTES);
    qp->slots = calloc(slot_count(qp), sizeof *qp->slots);
    qp->free_cids = calloc(slot_count(qp), sizeof *qp->free_cids);
    if (!qp->shadow || !qp->slots || !qp->free_cids) {
        s2n_qpair_free(qp);
        return NULL;
    }
    s2n_qpair_reset(qp, false);
    return qp;
}

void s2n_qpair_free(s2n_qpair *qp)
{
    if (!qp)
        return;
    free(qp->free_cids);
    free(qp->slots);
    free(qp->shadow);
    free(qp);
}

uint64_t s2n_qpair_sq_iova(const s2n_qpair *qp)
{
    return qp->sq_iova;
}

uint64_t s2n_qpair_cq_iova(const s2n_qpair *qp)
{
    return qp->cq_iova;
}

int s2n_qpair_free_slots(const s2n_qpair *qp)
{
    return qp->free_count;
}

uint32_t s2n_qpair_in_flight(const s2n_qpair *qp)
{
    return (uint32_t)slot_count(qp) - qp->free_count;
}

uint16_t s2n_qpair_qid(const s2n_qpair *qp)
{
    return qp->qid;
}

uint64_t s2n_qpair_unexpected(const s2n_qpair *qp)
{
    return qp->unexpected;
}

void s2n_qpair_set_polled(s2n_qpair *qp, bool polled)
{
    qp->lazy = polled;
    if (qp->port->ops->set_polled)
        qp->port->ops->set_polled(qp->port, qp->qid, polled);
}

const uint8_t *s2n_qpair_sqe(const s2n_qpair *qp, uint16_t cid)
{
    return cid < slot_count(qp) ? qp->shadow[cid] : NULL;
}

/* ---- placing ---- */

/* Fill in PRP1 and PRP2 of `sqe`, and the slot's list when two do not suffice.
 * 1 + LIST_ENTRIES pages fit: a list that fills its page has no chain pointer. */
static __attribute__((noinline)) int build_list(s2n_qpair *qp, uint16_t cid, uint8_t *sqe,
                                                const struct s2n_span *spans, uint32_t count)
{
    uint8_t *list = qp->lists + (size_t)cid * S2N_PAGE;
    uint32_t entries = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = spans[i].iova, end = at + spans[i].length;

        if (spans[i].length == 0 || end < at || end > UINT64_MAX - S2N_PAGE ||
            at % (i ? S2N_PAGE : 4) || (i + 1 < count && end % S2N_PAGE))
            return -EINVAL;
        if (i == 0) {
            s2n_put_le64(sqe + SQE_PRP1, at);
            at = (at | (S2N_PAGE - 1)) + 1;
        }
        for (; at < end; at += S2N_PAGE) {
            if (entries == LIST_ENTRIES)
                return -EINVAL;
            s2n_put_le64(list + 8 * entries++, at);
        }
    }
    if (entries == 0)
        s2n_put_le64(sqe + SQE_PRP2, 0);
    else if (entries == 1)
        memcpy(sqe + SQE_PRP2, list, 8);
    else
        s2n_put_le64(sqe + SQE_PRP2, qp->lists_iova + (uint64_t)cid * S2N_PAGE);
    return 0;
}

/* Most data are of one span, and two pages at most. */
static inline int build_prps(s2n_qpair *qp, uint16_t cid, uint8_t *sqe,
                             const struct s2n_span *spans, uint32_t count)
{
    uint64_t at = spans->iova, next = (at | (S2N_PAGE - 1)) + 1, end = at + spans->length;

    if (count != 1 || end <= at || end > UINT64_MAX - S2N_PAGE || at % 4 || end > next + S2N_PAGE)
        return build_list(qp, cid, sqe, spans, count);
    s2n_put_le64(sqe + SQE_PRP1, at);
    s2n_put_le64(sqe + SQE_PRP2, end > next ? next : 0);
    return 0;
}

static inline void note_placed(const s2n_qpair *qp, const uint8_t *sqe)
{
    s2n_trace *trace = qp->trace;
    uint32_t at = trace->placed % S2N_TRACE_ENTRIES;

    memcpy(trace->sqe[at], sqe, SQE_BYTES);
    trace->placed_ms[at] = (uint32_t)qp->now_ms;
    trace->placed++;
}

static inline void note_completed(const s2n_qpair *qp, const uint8_t *cqe)
{
    s2n_trace *trace = qp->trace;

    memcpy(trace->cqe[trace->completed % S2N_TRACE_ENTRIES], cqe, CQE_BYTES);
    trace->completed++;
}

static void enqueue(s2n_qpair *qp, uint16_t cid)
{
    if (qp->trace)
        note_placed(qp, qp->shadow[cid]);
    memcpy(qp->sq + (size_t)qp->sq_tail * SQE_BYTES, qp->shadow[cid], SQE_BYTES);
    if (++qp->sq_tail == qp->depth)
        qp->sq_tail = 0;
    qp->unrung = true;
}

static void set_deadline(s2n_qpair *qp, struct slot *slot, uint32_t timeout_ms)
{
    /* One clock read per batch: a deadline may be early by what a batch takes. */
    if (!qp->now_known) {
        qp->now_ms = coarse_ms();
        qp->now_known = true;
    }
    slot->deadline_ms = timeout_ms ? qp->now_ms + timeout_ms : NEVER;
    if (slot->deadline_ms < qp->earliest_ms)
        qp->earliest_ms = slot->deadline_ms;
}

inline uint8_t *s2n_qpair_entry(s2n_qpair *qp)
{
    return qp->free_count ? qp->shadow[qp->free_cids[qp->free_count - 1]] : NULL;
}

/* Where one page suffices there is no list. */
uint8_t *s2n_qpair_room(s2n_qpair *qp, struct s2n_span *span)
{
    size_t at = (size_t)qp->free_cids[qp->free_count - 1] * S2N_PAGE;

    *span = (struct s2n_span){qp->lists_iova + at, S2N_PAGE};
    return qp->lists + at;
}

inline int s2n_qpair_place_spans(s2n_qpair *qp, const struct s2n_span *spans, uint32_t count,
                                 uint64_t cookie, uint32_t timeout_ms)
{
    struct slot *slot;
    uint16_t cid;

    if (qp->free_count == 0)
        return -EAGAIN;
    cid = qp->free_cids[qp->free_count - 1];
    s2n_put_le16(qp->shadow[cid] + SQE_CID, cid);
    if (count && build_prps(qp, cid, qp->shadow[cid], spans, count) < 0)
        return -EINVAL;

    qp->free_count--;
    slot = &qp->slots[cid];
    slot->cookie = cookie;
    slot->timeout_ms = timeout_ms;
    slot->sequence = qp->sequence++;
    slot->in_flight = true;
    slot->extended = false;
    set_deadline(qp, slot, timeout_ms);
    if (!qp->abandoned)
        enqueue(qp, cid);
    S2N_PROBE3(sqe_placed, qp->qid, cid, qp->shadow[cid]);
    return cid;
}

int s2n_qpair_place(s2n_qpair *qp, const uint8_t *sqe, const s2n_region *buffer, uint64_t cookie,
                    uint32_t timeout_ms)
{
    struct s2n_span span = {0};
    uint8_t *entry = s2n_qpair_entry(qp);

    if (!entry)
        return -EAGAIN;
    if (buffer && buffer->length > S2N_QPAIR_MAXIMUM_BYTES)
        return -EINVAL;
    memcpy(entry, sqe, SQE_BYTES);
    if (buffer) {
        span.iova = buffer->iova;
        span.length = (uint32_t)buffer->length;
    }
    return s2n_qpair_place_spans(qp, &span, span.length != 0, cookie, timeout_ms);
}

void s2n_qpair_ring(s2n_qpair *qp)
{
    qp->now_known = false;
    if (!qp->unrung || qp->abandoned)
        return;
    qp->unrung = false;
    before_doorbell();
    qp->port->ops->ring_sq(qp->port, qp->qid, qp->sq_tail);
}

/* ---- completing ---- */

static void release(s2n_qpair *qp, uint16_t cid)
{
    qp->slots[cid].in_flight = false;
    if (qp->slots[cid].pins)
        return;
    qp->free_cids[qp->free_count++] = cid;
    if (qp->free_count == slot_count(qp))
        qp->earliest_ms = NEVER;
}

void s2n_qpair_pin(s2n_qpair *qp, uint16_t cid)
{
    qp->slots[cid].pins++;
}

void s2n_qpair_unpin(s2n_qpair *qp, uint16_t cid)
{
    struct slot *slot = &qp->slots[cid];

    if (slot->pins && !--slot->pins && !slot->in_flight)
        release(qp, cid);
}

static int poll_abandoned(s2n_qpair *qp, s2n_completion *out, int maximum)
{
    int taken = 0;

    for (uint16_t cid = 0; cid < slot_count(qp) && taken < maximum; cid++) {
        if (!qp->slots[cid].in_flight)
            continue;
        out[taken++] = (s2n_completion){
            .cid = cid, .status = qp->abandon_status, .cookie = qp->slots[cid].cookie};
        release(qp, cid);
    }
    return taken;
}

/* Take one entry into `out`; false when it belongs to no command under way. */
static bool take(s2n_qpair *qp, const uint8_t *cqe, uint32_t dw3, s2n_completion *out)
{
    uint16_t cid = (uint16_t)dw3;

    if (cid >= slot_count(qp) || !qp->slots[cid].in_flight) {
        qp->unexpected++;
        return false;
    }
    *out = (s2n_completion){.cid = cid, .dw0 = s2n_get_le32(cqe), .cookie = qp->slots[cid].cookie};
    if (dw3 >> 17) {
        out->status = dw3 >> 17 & 0x7FF;
        out->crd = dw3 >> 28 & 3;
        out->more = dw3 >> 30 & 1;
        out->dnr = dw3 >> 31;
    }
    release(qp, cid);
    S2N_PROBE3(cqe_taken, qp->qid, dw3, out->cookie);
    return true;
}

int s2n_qpair_poll(s2n_qpair *qp, s2n_completion *out, int maximum)
{
    const struct s2n_port_ops *ops = qp->port->ops;
    int taken = 0;
    uint32_t seen;

    if (qp->abandoned)
        return poll_abandoned(qp, out, maximum);
    if (ops->before_poll)
        ops->before_poll(qp->port, qp->qid);
    /* No more than one turn of the ring: a device that floods it with nonsense
     * must not hold the thread. */
    for (seen = 0; taken < maximum && seen < qp->depth; seen++) {
        const uint8_t *cqe = qp->cq + (size_t)qp->cq_head * CQE_BYTES;
        uint32_t dw3 = le32toh(*(const volatile uint32_t *)(cqe + CQE_STATUS));

        if ((dw3 >> 16 & 1) != qp->phase)
            break;
        after_phase();
        if (qp->trace)
            note_completed(qp, cqe);
        taken += take(qp, cqe, dw3, &out[taken]);
        if (++qp->cq_head == qp->depth) {
            qp->cq_head = 0;
            qp->phase = !qp->phase;
        }
    }
    qp->unacknowledged += (uint16_t)seen;
    if (!qp->lazy || qp->unacknowledged >= qp->depth / 4)
        s2n_qpair_acknowledge(qp);
    if (seen)
        qp->now_known = false;
    return taken;
}

void s2n_qpair_acknowledge(s2n_qpair *qp)
{
    if (!qp->unacknowledged || qp->abandoned)
        return;
    qp->unacknowledged = 0;
    /* The device may overwrite the entries once it sees the new head. */
    before_doorbell();
    qp->port->ops->ring_cq(qp->port, qp->qid, qp->cq_head);
}

/* ---- deadlines ---- */

int s2n_qpair_next_deadline(s2n_qpair *qp, uint16_t *cid)
{
    uint64_t now;

    *cid = 0;
    if (qp->earliest_ms == NEVER)
        return -1;
    now = coarse_ms();
    if (now >= qp->earliest_ms) {
        /* The cached value may be that of a command long completed. */
        qp->earliest_ms = NEVER;
        for (uint16_t i = 0; i < slot_count(qp); i++) {
            if (qp->slots[i].in_flight && qp->slots[i].deadline_ms < qp->earliest_ms) {
                qp->earliest_ms = qp->slots[i].deadline_ms;
                *cid = i;
            }
        }
        if (qp->earliest_ms == NEVER)
            return -1;
        if (now >= qp->earliest_ms)
            return 0;
    }
    return qp->earliest_ms - now > INT_MAX ? INT_MAX : (int)(qp->earliest_ms - now);
}

bool s2n_qpair_extend(s2n_qpair *qp, uint16_t cid, uint32_t timeout_ms)
{
    bool again = s2n_qpair_extended(qp, cid);

    if (cid >= slot_count(qp) || !qp->slots[cid].in_flight)
        return false;
    qp->slots[cid].extended = true;
    qp->now_known = false;
    set_deadline(qp, &qp->slots[cid], timeout_ms);
    return again;
}

bool s2n_qpair_extended(const s2n_qpair *qp, uint16_t cid)
{
    return cid < slot_count(qp) && qp->slots[cid].in_flight && qp->slots[cid].extended;
}

/* ---- what was under way last ---- */

void s2n_qpair_set_trace(s2n_qpair *qp, s2n_trace *trace)
{
    qp->trace = trace;
    if (!trace)
        return;
    trace->qid = qp->qid;
    trace->depth = qp->depth;
}

void s2n_qpair_look(const s2n_qpair *qp, s2n_qpair_state *state)
{
    *state = (s2n_qpair_state){
        .qid = qp->qid,
        .depth = qp->depth,
        .sq_tail = qp->sq_tail,
        .cq_head = qp->cq_head,
        .in_flight = s2n_qpair_in_flight(qp),
        .unexpected = qp->unexpected,
        .phase = qp->phase,
    };
}

int64_t s2n_qpair_look_at(const s2n_qpair *qp, uint16_t cid, uint8_t *sqe)
{
    const struct slot *slot;

    if (cid >= slot_count(qp) || !qp->slots[cid].in_flight)
        return -1;
    slot = &qp->slots[cid];
    memcpy(sqe, qp->shadow[cid], SQE_BYTES);
    /* What was given more time has another deadline. */
    if (!slot->timeout_ms || slot->deadline_ms == NEVER || slot->extended)
        return INT64_MAX;
    return (int64_t)(coarse_ms() - (slot->deadline_ms - slot->timeout_ms));
}

/* ---- recovery ---- */

int s2n_qpair_find(const s2n_qpair *qp, uint64_t cookie, int cid)
{
    for (; cid < slot_count(qp); cid++)
        if (qp->slots[cid].in_flight && qp->slots[cid].cookie == cookie)
            return cid;
    return -1;
}

uint32_t s2n_qpair_drop(s2n_qpair *qp, uint64_t cookie)
{
    uint32_t count = 0;

    for (int cid = -1; (cid = s2n_qpair_find(qp, cookie, cid + 1)) >= 0; count++)
        release(qp, (uint16_t)cid);
    return count;
}

void s2n_qpair_hand_over(s2n_qpair *qp, uint64_t cookie, uint64_t to)
{
    for (int cid = -1; (cid = s2n_qpair_find(qp, cookie, cid + 1)) >= 0;)
        qp->slots[cid].cookie = to;
}

static int by_sequence(const void *a, const void *b, void *context)
{
    const struct slot *slots = context;

    return (int32_t)(slots[*(const uint16_t *)a].sequence - slots[*(const uint16_t *)b].sequence);
}

/* Place everything in flight again in its old order, which keeps fused pairs
 * together, with its whole time-out. */
static void replay_all(s2n_qpair *qp)
{
    /* The unused upper part of the stack has room for exactly these. */
    uint16_t *cids = qp->free_cids + qp->free_count;
    uint32_t count = 0;

    for (uint16_t cid = 0; cid < slot_count(qp); cid++) {
        if (qp->slots[cid].in_flight)
            cids[count++] = cid;
    }
    qsort_r(cids, count, sizeof *cids, by_sequence, qp->slots);
    qp->earliest_ms = NEVER;
    for (uint32_t i = 0; i < count; i++) {
        struct slot *slot = &qp->slots[cids[i]];

        slot->extended = false;
        set_deadline(qp, slot, slot->timeout_ms);
        if (!qp->abandoned)
            enqueue(qp, cids[i]);
    }
}

static void forget_all(s2n_qpair *qp)
{
    qp->free_count = 0;
    for (uint16_t cid = slot_count(qp); cid-- > 0;) {
        qp->slots[cid].in_flight = false;
        qp->slots[cid].pins = 0;
        qp->free_cids[qp->free_count++] = cid;
    }
    qp->earliest_ms = NEVER;
}

void s2n_qpair_reset(s2n_qpair *qp, bool replay)
{
    qp->sq_tail = 0;
    qp->cq_head = 0;
    qp->unacknowledged = 0;
    qp->phase = true;
    qp->unrung = false;
    qp->now_known = false;
    if (!qp->abandoned) {
        memset(qp->sq, 0, (size_t)qp->depth * SQE_BYTES);
        memset(qp->cq, 0, (size_t)qp->depth * CQE_BYTES);
    }
    if (replay)
        replay_all(qp);
    else
        forget_all(qp);
}

bool s2n_qpair_abandoned(const s2n_qpair *qp)
{
    return qp->abandoned;
}

void s2n_qpair_abandon(s2n_qpair *qp, uint16_t status)
{
    qp->abandoned = true;
    qp->abandon_status = status;
}

void s2n_qpair_revive(s2n_qpair *qp)
{
    qp->abandoned = false;
}
