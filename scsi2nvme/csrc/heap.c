#include "heap.h"

#include <malloc.h>

#include "hot.h"
#include "unit.h"

enum {
    SHORT_MS = 1000,
    TASK_BYTES = 4096,    /* what a task takes in the engine's hands, data apart */
    ANSWER_BYTES = 65536, /* what an answer that is no blocks is, mostly at most */
    /* What the C library would come to by itself, once a block of the half of it was freed. */
    KEPT_BYTES = 32 << 20,
};

void s2n_heap_keep(void)
{
#ifdef M_TRIM_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES / 2);
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
#endif
}

static void add(s2n_task *task, uint64_t bytes)
{
    atomic_fetch_add(&task->reactor->plane->heap_bytes, bytes);
    task->nexus->heap_bytes += bytes;
    task->charged += bytes;
}

static void subtract(s2n_task *task, uint64_t bytes)
{
    atomic_fetch_sub(&task->reactor->plane->heap_bytes, bytes);
    task->nexus->heap_bytes -= bytes;
    task->charged -= bytes;
}

bool s2n_task_charge(s2n_task *task, uint64_t bytes)
{
    s2n_plane *plane = task->reactor->plane;
    uint64_t held = task->nexus->heap_bytes + bytes;

    if (held > S2N_NEXUS_HEAP)
        return false;
    add(task, bytes);
    /* Looked at afterwards: other reactors may count at the same time. */
    if (atomic_load(&plane->heap_bytes) + held <= S2N_PLANE_HEAP + bytes)
        return true;
    subtract(task, bytes);
    atomic_store(&plane->heap_short_ms, task->reactor->now_ms);
    return false;
}

void s2n_task_recharge(s2n_task *task, uint64_t bytes)
{
    if (bytes == task->charged)
        return;
    if (bytes > task->charged)
        add(task, bytes - task->charged);
    else
        subtract(task, task->charged - bytes);
}

bool s2n_task_has_company(const s2n_task *task)
{
    return task->nexus->heap_bytes != task->charged;
}

/* Blocks are as many as the portion has; what is no blocks is seldom as much as the CDB allows. */
uint64_t s2n_task_cold_bytes(const s2n_task *task)
{
    uint64_t answer = 0;

    if (task->direction == S2N_IN && task->row)
        answer = task->row->transfer == S2N_TRANSFER_BYTES ? ANSWER_BYTES : task->portion_bytes;
    if (answer > task->announced)
        answer = task->announced;
    return TASK_BYTES + task->data_out_length + answer;
}

bool s2n_heap_is_short(const struct s2n_reactor *reactor)
{
    uint64_t since = atomic_load_explicit(&reactor->plane->heap_short_ms, memory_order_relaxed);

    return since && reactor->now_ms < since + SHORT_MS;
}
