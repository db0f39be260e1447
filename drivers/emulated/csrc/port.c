/* The emulated controller's doorbells, as the host's queue pairs ring them. */
#include "emu.h"

#include <stdlib.h>
#include <sys/eventfd.h>

enum { NO_CID = 0xFFFF, DOORBELL_VALUE = 1 };

struct emu_port {
    s2n_port port;
    s2n_emu *emu;
};

static s2n_emu *emu_of(s2n_port *port)
{
    return ((struct emu_port *)port)->emu;
}

static void bad_doorbell(s2n_emu *emu, uint16_t qid)
{
    s2n_emu_error error = {.sqid = qid, .cid = NO_CID, .parameter = DOORBELL_VALUE};

    emu_log_error(emu, &error);
}

static void ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    s2n_emu *emu = emu_of(port);
    struct emu_cq *cq;

    if (qid == 0) {
        atomic_store(&emu->admin_tail, tail);
        eventfd_write(emu->admin_eventfd, 1);
        return;
    }
    if (qid >= EMU_QUEUES || !(cq = emu_lock_cq_of(emu, qid)))
        return;
    if (tail >= emu->sq[qid].depth) {
        bad_doorbell(emu, qid);
    } else {
        emu->sq[qid].tail = (uint16_t)tail;
        if (emu_process(emu, cq, qid) && !cq->polled)
            emu_interrupt(cq);
    }
    pthread_mutex_unlock(&cq->lock);
}

/* Entries were freed: go on where emu_process had to stop. */
static void resume(s2n_emu *emu, struct emu_cq *cq)
{
    uint16_t cqid = (uint16_t)(cq - emu->cq);
    uint32_t posted = 0;

    cq->stalled = false;
    for (uint16_t qid = 1; qid < EMU_QUEUES; qid++) {
        if (atomic_load(&emu->sq[qid].cqid) == cqid)
            posted += emu_process(emu, cq, qid);
    }
    if (posted)
        emu_interrupt(cq);
}

/* Under each queue's lock: whoever rings has either seen it, or is seen to have stalled. */
void s2n_emu_set_paused(s2n_emu *emu, bool paused)
{
    atomic_store(&emu->paused, paused);
    for (uint32_t qid = 1; qid < EMU_QUEUES && !paused; qid++) {
        struct emu_cq *cq = &emu->cq[qid];

        pthread_mutex_lock(&cq->lock);
        if (cq->depth && cq->stalled)
            resume(emu, cq);
        pthread_mutex_unlock(&cq->lock);
    }
}

static void ring_cq(s2n_port *port, uint16_t qid, uint32_t head)
{
    s2n_emu *emu = emu_of(port);
    struct emu_cq *cq = &emu->cq[qid % EMU_QUEUES];

    if (qid == 0) {
        atomic_store(&emu->admin_cq_head, head);
        eventfd_write(emu->admin_eventfd, 1);
        return;
    }
    if (qid >= EMU_QUEUES)
        return;
    pthread_mutex_lock(&cq->lock);
    if (cq->depth) {
        /* The head may only move over what was posted. */
        uint32_t posted = (cq->tail + cq->depth - cq->head) % cq->depth;

        if (head >= cq->depth || (head + cq->depth - cq->head) % cq->depth > posted)
            bad_doorbell(emu, qid);
        else
            cq->head = (uint16_t)head;
        if (cq->stalled)
            resume(emu, cq);
    }
    pthread_mutex_unlock(&cq->lock);
}

static void before_poll(s2n_port *port, uint16_t qid)
{
    struct emu_cq *cq = &emu_of(port)->cq[qid % EMU_QUEUES];
    struct emu_job *job, *next;

    if (!atomic_load_explicit(&cq->done_pending, memory_order_relaxed))
        return;
    pthread_mutex_lock(&cq->lock);
    for (job = cq->depth ? emu_take_done(cq) : NULL; job; job = next) {
        next = job->next;
        emu_job_post(job);
    }
    pthread_mutex_unlock(&cq->lock);
}

static void set_polled(s2n_port *port, uint16_t qid, bool polled)
{
    struct emu_cq *cq = &emu_of(port)->cq[qid % EMU_QUEUES];

    pthread_mutex_lock(&cq->lock);
    cq->polled = polled;
    pthread_mutex_unlock(&cq->lock);
}

static void free_port(s2n_port *port)
{
    free(port);
}

s2n_port *s2n_port_emulated(s2n_emu *emu)
{
    static const struct s2n_port_ops ops = {
        .ring_sq = ring_sq,
        .ring_cq = ring_cq,
        .before_poll = before_poll,
        .free = free_port,
        .set_polled = set_polled,
    };
    struct emu_port *port = calloc(1, sizeof *port);

    if (!port)
        return NULL;
    port->port.ops = &ops;
    port->emu = emu;
    return &port->port;
}

int s2n_emu_admin_eventfd(s2n_emu *emu)
{
    return emu->admin_eventfd;
}

uint32_t s2n_emu_admin_tail(s2n_emu *emu)
{
    return atomic_load(&emu->admin_tail);
}

uint32_t s2n_emu_admin_cq_head(s2n_emu *emu)
{
    return atomic_load(&emu->admin_cq_head);
}
