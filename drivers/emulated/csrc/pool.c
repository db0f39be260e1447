/* The emulated controller's workers: what may block is done here. */
#include "emu.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

uint64_t emu_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Unlink the first job that is due; else tell in `next_ms` when one will be. */
static struct emu_job *take_due(struct emu_pool *pool, uint64_t *next_ms)
{
    uint64_t now = emu_now_ms();

    *next_ms = UINT64_MAX;
    for (struct emu_job **at = &pool->queue; *at; at = &(*at)->next) {
        struct emu_job *job = *at;

        if (job->due_ms <= now) {
            *at = job->next;
            if (!*at)
                pool->queue_end = at;
            return job;
        }
        if (job->due_ms < *next_ms)
            *next_ms = job->due_ms;
    }
    return NULL;
}

static void wait_for_work(struct emu_pool *pool, uint64_t until_ms)
{
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                             .tv_nsec = (long)(until_ms % 1000) * 1000000};

    if (until_ms == UINT64_MAX)
        pthread_cond_wait(&pool->work, &pool->lock);
    else
        pthread_cond_timedwait(&pool->work, &pool->lock, &until);
}

static void forget_job(struct emu_pool *pool, struct emu_namespace *ns)
{
    if (ns)
        ns->jobs--;
    else
        pool->broadcasts--;
}

/* The pool's lock is held, but for while the job runs. */
static void run(struct emu_pool *pool, struct emu_job *job)
{
    struct emu_sq *sq = &job->emu->sq[job->sqid];
    struct emu_namespace *ns = job->ns;

    sq->running++;
    pool->running++;
    pthread_mutex_unlock(&pool->lock);
    pool->carry_out(job);
    pthread_mutex_lock(&pool->lock);
    sq->running--;
    pool->running--;
    forget_job(pool, ns);
    pthread_cond_broadcast(&pool->idle);
}

static void *worker(void *argument)
{
    struct emu_pool *pool = argument;
    uint64_t next_ms;

    pthread_mutex_lock(&pool->lock);
    while (!pool->stop) {
        struct emu_job *job = take_due(pool, &next_ms);

        if (job)
            run(pool, job);
        else
            wait_for_work(pool, next_ms);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int emu_pool_start(struct emu_pool *pool, void (*carry_out)(struct emu_job *job))
{
    pthread_condattr_t attributes;
    sigset_t all, before;
    int error = 0;

    pool->carry_out = carry_out;
    pool->queue_end = &pool->queue;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attributes);
    pthread_condattr_destroy(&attributes);
    /* Signals are for the interpreter's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->threads < EMU_WORKERS && !error) {
        error = pthread_create(&pool->thread[pool->threads], NULL, worker, pool);
        pool->threads += !error;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

void emu_pool_stop(struct emu_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->lock);
}

void emu_pool_submit(struct emu_job *job)
{
    struct emu_pool *pool = &job->emu->pool;

    pthread_mutex_lock(&pool->lock);
    job->next = NULL;
    *pool->queue_end = job;
    pool->queue_end = &job->next;
    if (job->ns)
        job->ns->jobs++;
    else
        pool->broadcasts++;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

struct emu_job *emu_pool_cancel(s2n_emu *emu, uint16_t sqid, int32_t cid)
{
    struct emu_pool *pool = &emu->pool;
    struct emu_job *cancelled = NULL;
    struct emu_job **at;

    pthread_mutex_lock(&pool->lock);
    for (at = &pool->queue; *at;) {
        struct emu_job *job = *at;
        bool matches = cid < 0 || job->part[0].command.cid == cid ||
                       (job->parts == 2 && job->part[1].command.cid == cid);

        if ((sqid && job->sqid != sqid) || !matches) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        forget_job(pool, job->ns);
        job->next = cancelled;
        cancelled = job;
    }
    pool->queue_end = at;
    pthread_mutex_unlock(&pool->lock);
    return cancelled;
}

void emu_pool_wait_queue(s2n_emu *emu, uint16_t sqid)
{
    struct emu_pool *pool = &emu->pool;
    const uint32_t *running = sqid ? &emu->sq[sqid].running : &pool->running;

    pthread_mutex_lock(&pool->lock);
    while (*running)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void emu_pool_wait_namespace(s2n_emu *emu, const struct emu_namespace *ns)
{
    struct emu_pool *pool = &emu->pool;

    pthread_mutex_lock(&pool->lock);
    while (ns->jobs || pool->broadcasts)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
