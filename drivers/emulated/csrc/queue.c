/* The emulated controller's I/O queues: creation, locks, and the jobs that end on them. */
#include "emu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* ---- locks ---- */

/* Only queues that exist matter: control functions alone create and delete them. */
void emu_lock_all(s2n_emu *emu)
{
    for (uint32_t qid = 1; qid < EMU_QUEUES; qid++) {
        if (emu->cq[qid].depth)
            pthread_mutex_lock(&emu->cq[qid].lock);
    }
}

void emu_unlock_all(s2n_emu *emu)
{
    for (uint32_t qid = 1; qid < EMU_QUEUES; qid++) {
        if (emu->cq[qid].depth)
            pthread_mutex_unlock(&emu->cq[qid].lock);
    }
}

/* The queue may be deleted, and created anew, while the lock is awaited. */
struct emu_cq *emu_lock_cq_of(s2n_emu *emu, uint16_t sqid)
{
    for (;;) {
        uint16_t cqid = atomic_load(&emu->sq[sqid].cqid);
        struct emu_cq *cq = &emu->cq[cqid];

        if (!cqid)
            return NULL;
        pthread_mutex_lock(&cq->lock);
        if (atomic_load(&emu->sq[sqid].cqid) == cqid)
            return cq;
        pthread_mutex_unlock(&cq->lock);
    }
}

/* ---- what workers finished ---- */

void emu_interrupt(const struct emu_cq *cq)
{
    if (cq->eventfd >= 0)
        eventfd_write(cq->eventfd, 1);
}

void emu_job_done(struct emu_job *job)
{
    struct emu_cq *cq = &job->emu->cq[job->cqid];
    bool first;

    pthread_mutex_lock(&cq->done_lock);
    first = cq->done == NULL;
    job->next = NULL;
    *cq->done_end = job;
    cq->done_end = &job->next;
    atomic_store_explicit(&cq->done_pending, true, memory_order_relaxed);
    /* Under the lock: the queue cannot vanish, nor its eventfd be closed. */
    if (first)
        emu_interrupt(cq);
    pthread_mutex_unlock(&cq->done_lock);
}

struct emu_job *emu_take_done(struct emu_cq *cq)
{
    struct emu_job *jobs;

    pthread_mutex_lock(&cq->done_lock);
    jobs = cq->done;
    cq->done = NULL;
    cq->done_end = &cq->done;
    atomic_store_explicit(&cq->done_pending, false, memory_order_relaxed);
    pthread_mutex_unlock(&cq->done_lock);
    return jobs;
}

/* ---- creation ---- */

int s2n_emu_create_cq(s2n_emu *emu, uint16_t qid, uint64_t iova, uint16_t depth, int eventfd)
{
    uint8_t *entries = emu_translate(emu, iova, (uint64_t)depth * EMU_CQE_BYTES);
    struct emu_cq *cq = &emu->cq[qid % EMU_QUEUES];
    struct iovec *scratch;

    if (qid == 0 || qid >= EMU_QUEUES || depth < 2 || iova % S2N_PAGE)
        return -EINVAL;
    if (!entries)
        return -EFAULT;
    if (cq->depth)
        return -EEXIST;
    scratch = calloc(2 * EMU_IOVECS, sizeof *scratch);
    if (!scratch)
        return -ENOMEM;
    pthread_mutex_lock(&cq->lock);
    cq->scratch = scratch;
    cq->depth = depth;
    cq->head = cq->tail = cq->reserved = 0;
    cq->phase = true;
    cq->stalled = false;
    cq->queues = 0;
    cq->entries = entries;
    pthread_mutex_lock(&cq->done_lock);
    cq->eventfd = eventfd;
    pthread_mutex_unlock(&cq->done_lock);
    pthread_mutex_unlock(&cq->lock);
    return 0;
}

int s2n_emu_create_sq(s2n_emu *emu, uint16_t qid, uint16_t cqid, uint64_t iova, uint16_t depth)
{
    const uint8_t *entries = emu_translate(emu, iova, (uint64_t)depth * EMU_SQE_BYTES);
    struct emu_sq *sq = &emu->sq[qid % EMU_QUEUES];
    struct emu_cq *cq = &emu->cq[cqid % EMU_QUEUES];

    if (qid == 0 || qid >= EMU_QUEUES || depth < 2 || iova % S2N_PAGE)
        return -EINVAL;
    if (cqid == 0 || cqid >= EMU_QUEUES || !cq->depth)
        return -ENOENT;
    if (!entries)
        return -EFAULT;
    if (atomic_load(&sq->cqid))
        return -EEXIST;
    pthread_mutex_lock(&cq->lock);
    sq->depth = depth;
    sq->head = sq->tail = 0;
    sq->entries = entries;
    cq->queues++;
    atomic_store(&sq->cqid, cqid);
    pthread_mutex_unlock(&cq->lock);
    return 0;
}

/* ---- the end of jobs and queues ---- */

/* End a list of jobs that no worker has. */
static void end_jobs(struct emu_job *jobs, uint16_t status)
{
    for (struct emu_job *next; jobs; jobs = next) {
        next = jobs->next;
        for (uint32_t i = 0; i < jobs->parts; i++) {
            jobs->part[i].status = status;
            jobs->part[i].parameter = UINT16_MAX;
        }
        emu_job_done(jobs);
    }
}

/* Take from the lost commands those of `sqid`, with this `cid` or any (-1). */
static struct emu_job *take_lost(struct emu_cq *cq, uint16_t sqid, int32_t cid)
{
    struct emu_job *taken = NULL;

    for (struct emu_job **at = &cq->lost; *at;) {
        struct emu_job *job = *at;

        if (job->sqid != sqid || (cid >= 0 && job->part[0].command.cid != cid &&
                                  (job->parts == 1 || job->part[1].command.cid != cid))) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        job->next = taken;
        taken = job;
    }
    return taken;
}

int s2n_emu_delete_sq(s2n_emu *emu, uint16_t qid)
{
    struct emu_sq *sq = &emu->sq[qid % EMU_QUEUES];
    struct emu_cq *cq;

    if (qid == 0 || qid >= EMU_QUEUES || !(cq = emu_lock_cq_of(emu, qid)))
        return -ENOENT;
    end_jobs(emu_pool_cancel(emu, qid, -1), EMU_ABORTED_SQ_DELETION);
    end_jobs(take_lost(cq, qid, -1), EMU_ABORTED_SQ_DELETION);
    emu_pool_wait_queue(emu, qid);
    atomic_store(&sq->cqid, 0);
    cq->queues--;
    pthread_mutex_unlock(&cq->lock);
    return 0;
}

/* The queue's lock is held, and no job is under way. */
static void clear_cq(struct emu_cq *cq)
{
    struct emu_job *job, *next;

    for (job = cq->lost; job; job = next) {
        next = job->next;
        free(job);
    }
    cq->lost = NULL;
    for (job = emu_take_done(cq); job; job = next) {
        next = job->next;
        free(job);
    }
    free(cq->scratch);
    cq->scratch = NULL;
    cq->depth = 0;
    cq->queues = 0;
    cq->eventfd = -1;
}

int s2n_emu_delete_cq(s2n_emu *emu, uint16_t qid)
{
    struct emu_cq *cq = &emu->cq[qid % EMU_QUEUES];
    int result = 0;

    if (qid == 0 || qid >= EMU_QUEUES)
        return -ENOENT;
    pthread_mutex_lock(&cq->lock);
    if (!cq->depth)
        result = -ENOENT;
    else if (cq->queues)
        result = -EBUSY;
    else
        clear_cq(cq);
    pthread_mutex_unlock(&cq->lock);
    return result;
}

int s2n_emu_abort(s2n_emu *emu, uint16_t sqid, uint16_t cid)
{
    struct emu_cq *cq;
    struct emu_job *lost, *queued;

    if (sqid == 0 || sqid >= EMU_QUEUES || !(cq = emu_lock_cq_of(emu, sqid)))
        return 0;
    lost = take_lost(cq, sqid, cid);
    queued = emu_pool_cancel(emu, sqid, cid);
    end_jobs(lost, EMU_ABORTED);
    end_jobs(queued, EMU_ABORTED);
    pthread_mutex_unlock(&cq->lock);
    return lost || queued;
}

void s2n_emu_disable(s2n_emu *emu)
{
    struct emu_job *job, *next;

    emu_lock_all(emu);
    for (uint32_t qid = 1; qid < EMU_QUEUES; qid++)
        atomic_store(&emu->sq[qid].cqid, 0);
    for (job = emu_pool_cancel(emu, 0, -1); job; job = next) {
        next = job->next;
        free(job);
    }
    emu_pool_wait_queue(emu, 0);
    for (uint32_t qid = 1; qid < EMU_QUEUES; qid++) {
        if (!emu->cq[qid].depth)
            continue;
        clear_cq(&emu->cq[qid]);
        pthread_mutex_unlock(&emu->cq[qid].lock);
    }
    atomic_store(&emu->admin_tail, 0);
    atomic_store(&emu->admin_cq_head, 0);
}
