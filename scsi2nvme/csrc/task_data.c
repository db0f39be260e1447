/* A task's data: in place, or in a buffer that it may have to wait for. */
#include "task_data.h"

#include <string.h>

#include "unit.h"

/* ---- who waits ---- */

static void unlink_waiting(s2n_task **head, s2n_task ***tail, s2n_task *task)
{
    for (s2n_task **at = head; *at; at = &(*at)->next) {
        if (*at != task)
            continue;
        *at = task->next;
        if (*tail == &task->next)
            *tail = at;
        return;
    }
}

void s2n_task_stop_waiting(s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (task->waits_for_pool) {
        unlink_waiting(&queue->pool_head, &queue->pool_tail, task);
        queue->exhausted &= queue->pool_head != NULL;
        queue->resumable |= queue->exhausted; /* it may have been in the way of others */
    }
    if (task->waits_for_slot)
        unlink_waiting(&queue->slot_head, &queue->slot_tail, task);
    task->waits_for_pool = task->waits_for_slot = false;
}

/* ---- buffers ---- */

/* A nexus with buffers gets no more than it leaves unused: whoever stops sending
 * data, or taking it, leaves room for others. */
bool s2n_task_within_share(const s2n_task *task, const struct s2n_pool *pool, uint32_t bytes)
{
    uint64_t held = task->nexus->held_bytes;

    return !held || held + bytes <= s2n_pool_unused(pool);
}

bool s2n_task_take_buffer(s2n_task *task, struct s2n_pool *pool, uint32_t bytes)
{
    if (!s2n_pool_take(pool, &task->buffer, bytes))
        return false;
    task->nexus->held_bytes += (uint64_t)task->buffer.count * task->buffer.chunk_bytes;
    return true;
}

void s2n_task_give_buffer(s2n_task *task)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (!task->buffer.pool)
        return;
    task->nexus->held_bytes -= (uint64_t)task->buffer.count * task->buffer.chunk_bytes;
    s2n_pool_give(&task->buffer);
    queue->resumable |= queue->pool_head != NULL;
}

bool s2n_task_try_reserve(s2n_task *task, uint32_t bytes)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    if (!bytes)
        return true;
    /* Without a logical unit no data is wanted; see S2N_MAXIMUM_TRANSFER for the rest. */
    return queue && queue->pool && !queue->exhausted &&
           s2n_task_within_share(task, queue->pool, bytes) &&
           s2n_task_take_buffer(task, queue->pool, bytes);
}

bool s2n_task_reserve(s2n_task *task, uint32_t bytes)
{
    struct s2n_queue *queue = s2n_queue_of(task);

    /* Where there is no pool there is nothing to gather for: the engine answers. */
    if (!queue || !queue->pool || s2n_task_try_reserve(task, bytes))
        return true;
    queue->exhausted |=
        s2n_pool_fits(queue->pool, bytes) && s2n_task_within_share(task, queue->pool, bytes);
    task->wanted_bytes = bytes;
    task->waits_for_pool = true;
    task->next = NULL;
    *queue->pool_tail = task;
    queue->pool_tail = &task->next;
    queue->resumable |= !s2n_pool_fits(queue->pool, bytes);
    return false;
}

/* ---- the bytes ---- */

uint8_t *s2n_task_span_at(s2n_task *task, uint32_t offset, uint32_t *length)
{
    struct s2n_buffer *buffer = &task->buffer;

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
    uint32_t within = offset % buffer->chunk_bytes;
    uint32_t left = buffer->length - offset;
    *length = buffer->chunk_bytes - within < left ? buffer->chunk_bytes - within : left;
    return s2n_pool_address(buffer->pool, buffer->chunk[offset / buffer->chunk_bytes]) + within;
}

uint32_t s2n_task_data_length(const s2n_task *task)
{
    return task->data_out_length;
}

void s2n_task_copy_data(const s2n_task *task, uint8_t *out)
{
    uint32_t offset = 0, length;

    while (offset < task->data_out_length) {
        const uint8_t *from = s2n_task_span_at((s2n_task *)task, offset, &length);
        if (length > task->data_out_length - offset)
            length = task->data_out_length - offset;
        memcpy(out + offset, from, length);
        offset += length;
    }
}
