/* The emulated controller's queues, namespaces and doorbells. */
#include "emu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SQE_BYTES = 64, CQE_BYTES = 16, NO_CID = 0xFFFF, DOORBELL_VALUE = 1 };

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

/* The completion queue of a submission queue, locked; NULL if there is none.
 * The queue may be deleted, and created anew, while the lock is awaited. */
static struct emu_cq *lock_cq_of(s2n_emu *emu, uint16_t sqid)
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

static void interrupt(const struct emu_cq *cq)
{
    if (cq->eventfd >= 0)
        eventfd_write(cq->eventfd, 1);
}

/* ---- doorbells ---- */

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
    if (qid >= EMU_QUEUES || !(cq = lock_cq_of(emu, qid)))
        return;
    if (tail >= emu->sq[qid].depth) {
        bad_doorbell(emu, qid);
    } else {
        emu->sq[qid].tail = (uint16_t)tail;
        if (emu_process(emu, cq, qid) && !cq->polled)
            interrupt(cq);
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
        interrupt(cq);
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

/* Take what the workers finished since the last time. */
static struct emu_job *take_done(struct emu_cq *cq)
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

static void before_poll(s2n_port *port, uint16_t qid)
{
    struct emu_cq *cq = &emu_of(port)->cq[qid % EMU_QUEUES];
    struct emu_job *job, *next;

    if (!atomic_load_explicit(&cq->done_pending, memory_order_relaxed))
        return;
    pthread_mutex_lock(&cq->lock);
    for (job = cq->depth ? take_done(cq) : NULL; job; job = next) {
        next = job->next;
        emu_job_post(job);
    }
    pthread_mutex_unlock(&cq->lock);
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
        interrupt(cq);
    pthread_mutex_unlock(&cq->done_lock);
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

/* ---- life ---- */

s2n_emu *s2n_emu_new(void)
{
    s2n_emu *emu = aligned_alloc(64, sizeof *emu);

    if (!emu)
        return NULL;
    memset(emu, 0, sizeof *emu);
    emu->maximum_bytes = 1 << 20;
    emu->atomic_blocks = 1;
    pthread_mutex_init(&emu->misfortune_lock, NULL);
    for (uint32_t qid = 0; qid < EMU_QUEUES; qid++) {
        pthread_mutex_init(&emu->cq[qid].lock, NULL);
        pthread_mutex_init(&emu->cq[qid].done_lock, NULL);
        emu->cq[qid].done_end = &emu->cq[qid].done;
        emu->cq[qid].eventfd = -1;
    }
    emu->admin_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (emu_pool_start(&emu->pool) < 0 || emu->admin_eventfd < 0) {
        s2n_emu_free(emu);
        return NULL;
    }
    return emu;
}

static void free_namespace(struct emu_namespace *ns)
{
    if (!ns)
        return;
    for (uint32_t i = 0; i < EMU_STRIPES; i++)
        pthread_rwlock_destroy(&ns->stripes[i].lock);
    if (ns->fd >= 0)
        close(ns->fd);
    free(ns);
}

void s2n_emu_free(s2n_emu *emu)
{
    if (!emu)
        return;
    s2n_emu_disable(emu);
    emu_pool_stop(&emu->pool);
    for (uint32_t nsid = 1; nsid <= EMU_NAMESPACES; nsid++)
        free_namespace(emu->ns[nsid]);
    for (uint32_t qid = 0; qid < EMU_QUEUES; qid++) {
        pthread_mutex_destroy(&emu->cq[qid].lock);
        pthread_mutex_destroy(&emu->cq[qid].done_lock);
    }
    pthread_mutex_destroy(&emu->misfortune_lock);
    if (emu->admin_eventfd >= 0)
        close(emu->admin_eventfd);
    free(emu->regions);
    free(emu);
}

/* ---- memory, limits, namespaces ---- */

int s2n_emu_add_memory(s2n_emu *emu, const s2n_region *region)
{
    s2n_region *regions;
    uint32_t at = 0;

    if (!region->length || region->iova > UINT64_MAX - region->length)
        return -EINVAL;
    while (at < emu->region_count && emu->regions[at].iova < region->iova)
        at++;
    if ((at && emu->regions[at - 1].iova + emu->regions[at - 1].length > region->iova) ||
        (at < emu->region_count && region->iova + region->length > emu->regions[at].iova))
        return -EEXIST;
    emu_lock_all(emu);
    regions = realloc(emu->regions, (emu->region_count + 1) * sizeof *regions);
    if (regions) {
        memmove(&regions[at + 1], &regions[at], (emu->region_count - at) * sizeof *regions);
        regions[at] = *region;
        emu->regions = regions;
        emu->region_count++;
    }
    emu_unlock_all(emu);
    return regions ? 0 : -ENOMEM;
}

int s2n_emu_set_limits(s2n_emu *emu, uint32_t maximum_bytes, uint16_t atomic_blocks)
{
    if (maximum_bytes < S2N_PAGE || maximum_bytes > EMU_MAXIMUM_BYTES || !atomic_blocks)
        return -EINVAL;
    emu_lock_all(emu);
    emu->maximum_bytes = maximum_bytes;
    emu->atomic_blocks = atomic_blocks;
    emu_unlock_all(emu);
    return 0;
}

static struct emu_namespace *new_namespace(int fd)
{
    struct emu_namespace *ns = aligned_alloc(64, sizeof *ns);
    struct stat file;

    if (!ns)
        return NULL;
    memset(ns, 0, sizeof *ns);
    for (uint32_t i = 0; i < EMU_STRIPES; i++)
        pthread_rwlock_init(&ns->stripes[i].lock, NULL);
    atomic_store(&ns->nowait, true);
    ns->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (ns->fd < 0 || fstat(ns->fd, &file) < 0) {
        free_namespace(ns);
        return NULL;
    }
    ns->device = file.st_dev;
    ns->inode = file.st_ino;
    return ns;
}

/* Put `ns` (or nothing) in place of a namespace that no command refers to. */
static void replace_namespace(s2n_emu *emu, uint32_t nsid, struct emu_namespace *ns)
{
    struct emu_namespace *old;

    /* With every queue locked nothing new begins; workers need no queue's lock. */
    emu_lock_all(emu);
    old = emu->ns[nsid];
    if (old)
        emu_pool_wait_namespace(emu, old);
    emu->ns[nsid] = ns;
    emu_unlock_all(emu);
    free_namespace(old);
}

int s2n_emu_set_namespace(s2n_emu *emu, uint32_t nsid, int fd, uint64_t offset, uint64_t blocks,
                          uint32_t block_bytes, uint32_t flags)
{
    struct emu_namespace *ns;
    uint32_t shift = block_bytes ? (uint32_t)__builtin_ctz(block_bytes) : 0;

    if (nsid == 0 || nsid > EMU_NAMESPACES || shift < 9 || shift > 16 ||
        block_bytes != UINT32_C(1) << shift || blocks == 0)
        return -EINVAL;
    if (flags & EMU_DIRECT)
        return -EOPNOTSUPP;
    if (offset > INT64_MAX || blocks > (INT64_MAX - offset) >> shift)
        return -EFBIG;
    ns = new_namespace(fd);
    if (!ns)
        return errno ? -errno : -ENOMEM;
    ns->offset = offset;
    ns->blocks = blocks;
    ns->shift = shift;
    ns->flags = flags;
    replace_namespace(emu, nsid, ns);
    return 0;
}

int s2n_emu_remove_namespace(s2n_emu *emu, uint32_t nsid)
{
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    replace_namespace(emu, nsid, NULL);
    return 0;
}

int s2n_emu_flush(s2n_emu *emu, uint32_t nsid)
{
    if (nsid == UINT32_MAX)
        return emu_flush_all(emu) ? -EIO : 0;
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    return emu_flush(emu->ns[nsid], NULL, NULL, 0, true) ? -EIO : 0;
}

int s2n_emu_erase(s2n_emu *emu, uint32_t nsid)
{
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    return emu_erase(emu->ns[nsid]) ? -EIO : 0;
}

void s2n_emu_counters_get(s2n_emu *emu, s2n_emu_counters *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t qid = 1; qid < EMU_QUEUES; qid++) {
        const struct emu_tally *tally = &emu->cq[qid].tally;

        out->host_reads += atomic_load_explicit(&tally->host_reads, memory_order_relaxed);
        out->host_writes += atomic_load_explicit(&tally->host_writes, memory_order_relaxed);
        out->bytes_read += atomic_load_explicit(&tally->bytes_read, memory_order_relaxed);
        out->bytes_written += atomic_load_explicit(&tally->bytes_written, memory_order_relaxed);
        out->media_errors += atomic_load_explicit(&tally->media_errors, memory_order_relaxed);
        out->errors += atomic_load_explicit(&tally->errors, memory_order_relaxed);
    }
}

/* ---- queues ---- */

int s2n_emu_create_cq(s2n_emu *emu, uint16_t qid, uint64_t iova, uint16_t depth, int eventfd)
{
    uint8_t *entries = emu_translate(emu, iova, (uint64_t)depth * CQE_BYTES);
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
    const uint8_t *entries = emu_translate(emu, iova, (uint64_t)depth * SQE_BYTES);
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

    if (qid == 0 || qid >= EMU_QUEUES || !(cq = lock_cq_of(emu, qid)))
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
    for (job = take_done(cq); job; job = next) {
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

    if (sqid == 0 || sqid >= EMU_QUEUES || !(cq = lock_cq_of(emu, sqid)))
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
