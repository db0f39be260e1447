/* The emulated controller's I/O side as a whole: its life, its memory, what it counts. */
#include "emu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What a worker does with a job. */
static void carry_out(struct emu_job *job)
{
    emu_job_run(job);
    emu_job_done(job);
}

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
    if (emu_pool_start(&emu->pool, carry_out) < 0 || emu->admin_eventfd < 0) {
        s2n_emu_free(emu);
        return NULL;
    }
    return emu;
}

void s2n_emu_free(s2n_emu *emu)
{
    if (!emu)
        return;
    s2n_emu_disable(emu);
    emu_pool_stop(&emu->pool);
    for (uint32_t nsid = 1; nsid <= EMU_NAMESPACES; nsid++)
        emu_namespace_free(emu->ns[nsid]);
    for (uint32_t qid = 0; qid < EMU_QUEUES; qid++) {
        pthread_mutex_destroy(&emu->cq[qid].lock);
        pthread_mutex_destroy(&emu->cq[qid].done_lock);
    }
    emu_gate_close(emu);
    emu_streams_free(emu->streams);
    pthread_mutex_destroy(&emu->misfortune_lock);
    if (emu->admin_eventfd >= 0)
        close(emu->admin_eventfd);
    free(emu->regions);
    free(emu);
}

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

void s2n_emu_refuse(s2n_emu *emu, uint8_t opcode)
{
    emu_lock_all(emu);
    emu->refused[opcode] = true;
    emu_unlock_all(emu);
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
