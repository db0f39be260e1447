/* A task's data: in place, or in a buffer that it may have to wait for. */
#include "task_data.h"

#include <string.h>

#include "heap.h"
#include "unit.h"

/* ---- who waits ----
 *
 * Tasks of one nexus that want chunks of one size wait in a line, in their order, and so do those
 * that want entries of the queue pair. The lines wait side by side: no nexus is behind another's
 * tasks, nor are small ones behind large. */

static bool in_line_of(const s2n_task *first, const s2n_task *task)
{
    return first->nexus == task->nexus &&
           (first->waits_for_slot ||
            (first->wanted_bytes <= S2N_SMALL) == (task->wanted_bytes <= S2N_SMALL));
}

/* Its line among `lines`, or where that would begin. */
static s2n_task **line_of(s2n_task **lines, const s2n_task *task)
{
    s2n_task **at = lines;

    while (*at && !in_line_of(*at, task))
        at = &(*at)->next_line;
    return at;
}

static void join_line(s2n_task **lines, s2n_task *task)
{
    s2n_task **line = line_of(lines, task);

    task->next = task->next_line = NULL;
    if (!*line) {
        task->last = task;
        *line = task;
        return;
    }
    (*line)->last->next = task;
    (*line)->last = task;
}

/* Whoever was first takes its line along to the end of all lines: these have their turns. */
static void leave_in_front(s2n_task **lines, s2n_task **line)
{
    s2n_task *task = *line, *next = task->next;

    *line = task->next_line;
    if (!next)
        return;
    next->last = task->last;
    next->next_line = NULL;
    *line_of(lines, next) = next;
}

static void leave_line(s2n_task **lines, s2n_task *task)
{
    s2n_task **line = line_of(lines, task), *before = *line;

    task->waits_for_pool = task->waits_for_slot = false;
    if (before == task) {
        leave_in_front(lines, line);
        return;
    }
    while (before->next != task)
        before = before->next;
    before->next = task->next;
    if ((*line)->last == task)
        (*line)->last = before;
}

void s2n_task_stop_waiting(s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (task->waits_for_pool) {
        leave_line(&queue->lines, task);
        queue->claimed &= queue->lines != NULL;
        queue->resumable |= queue->lines != NULL; /* it may have been in the way of others */
    }
    if (task->waits_for_slot) {
        leave_line(&queue->slot_lines, task);
        queue->resumable |= queue->pair == task;
        queue->pair = queue->pair == task ? NULL : queue->pair;
    }
}

inline bool s2n_task_is_behind(const s2n_task *task)
{
    return *line_of(&s2n_queue_of(task)->slot_lines, task);
}

void s2n_task_wait_for_slot(s2n_task *task)
{
    task->waits_for_slot = true;
    join_line(&s2n_queue_of(task)->slot_lines, task);
}

/* ---- buffers ---- */

/* A nexus that has nothing of what is common claims it when there is too little: until it is
 * served, others get theirs from the reserve alone. */
static bool claims(const s2n_task *task)
{
    enum s2n_size size = task->wanted_bytes <= S2N_SMALL ? S2N_SMALLS : S2N_LARGES;

    return !task->share->common[size];
}

static bool take_buffer(s2n_task *task, struct s2n_queue *queue, uint32_t bytes, bool common)
{
    return s2n_pool_take(queue->pool, task->share, &task->buffer, bytes, common);
}

inline void s2n_task_give_buffer(s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (!task->buffer.pool)
        return;
    s2n_pool_give(&task->buffer);
    queue->resumable |= queue->lines != NULL;
}

inline bool s2n_task_try_reserve(s2n_task *task, uint32_t bytes)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (!bytes)
        return true;
    /* Without a logical unit no data is wanted; see S2N_MAXIMUM_TRANSFER for the rest. */
    if (!queue || !queue->pool)
        return false;
    task->wanted_bytes = bytes;
    return take_buffer(task, queue, bytes, !queue->claimed && !*line_of(&queue->lines, task));
}

inline bool s2n_task_reserve(s2n_task *task, uint32_t bytes)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    /* Where there is no pool there is nothing to gather for: the engine answers. */
    if (!queue || !queue->pool || s2n_task_try_reserve(task, bytes))
        return true;
    bool fits = s2n_pool_fits(queue->pool, bytes);
    queue->claimed |= fits && claims(task);
    queue->resumable |= !fits;
    task->waits_for_pool = true;
    join_line(&queue->lines, task);
    return false;
}

s2n_task *s2n_queue_grant(struct s2n_queue *queue)
{
    queue->claimed = false;
    for (s2n_task *task = queue->lines; task; task = task->next_line) {
        bool fits = s2n_pool_fits(queue->pool, task->wanted_bytes);
        if (!fits || take_buffer(task, queue, task->wanted_bytes, !queue->claimed)) {
            leave_line(&queue->lines, task);
            return task;
        }
        queue->claimed |= claims(task);
    }
    return NULL;
}

bool s2n_task_holds_up(const s2n_task *task)
{
    const struct s2n_queue *queue = s2n_queue_of(task);

    if (task->charged && s2n_heap_is_short(task->reactor))
        return true;
    if (!task->buffer.pool || !s2n_pool_misses(task->buffer.pool, task->share))
        return false;
    for (const s2n_task *line = queue->lines; line; line = line->next_line)
        if (line->nexus != task->nexus)
            return true;
    return false;
}

/* ---- the bytes ---- */

inline uint8_t *s2n_task_span_at(s2n_task *task, uint32_t offset, uint32_t *length)
{
    struct s2n_buffer *buffer = &task->buffer;

    offset -= task->portion_at;
    if (task->heap) {
        *length = task->data_in_length - offset;
        return task->heap + offset;
    }
    if (task->place) {
        uint64_t at = offset;
        const struct s2n_extent *extent = s2n_place_extent(task->place, &at);
        *length = (uint32_t)(extent->length - at);
        return task->place->base + extent->offset + at;
    }
    uint32_t within = offset & (buffer->chunk_bytes - 1);
    uint32_t left = buffer->length - offset;
    *length = buffer->chunk_bytes - within < left ? buffer->chunk_bytes - within : left;
    return s2n_pool_address(buffer->pool, buffer->chunk[offset >> buffer->chunk_shift]) + within;
}

uint32_t s2n_task_data_length(const s2n_task *task)
{
    return task->data_out_length;
}

void s2n_task_copy_data(const s2n_task *task, uint8_t *out)
{
    uint32_t offset = 0, length;

    while (offset < task->data_out_length) {
        const uint8_t *from =
            s2n_task_span_at((s2n_task *)task, task->portion_at + offset, &length);
        if (length > task->data_out_length - offset)
            length = task->data_out_length - offset;
        memcpy(out + offset, from, length);
        offset += length;
    }
}
