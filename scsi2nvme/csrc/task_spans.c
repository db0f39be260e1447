/* A task's data as NVMe commands describe them. */
#include "task_spans.h"

/* Describe `bytes` of what lies in place from `offset` on as spans; 0: as too many. */
static uint32_t spans_in_place(const struct s2n_place *place, uint64_t offset, uint32_t bytes,
                               struct s2n_span *spans)
{
    const struct s2n_extent *extent = s2n_place_extent(place, &offset);
    uint32_t used = 0;

    for (; extent && bytes && used < S2N_MAXIMUM_SPANS; offset = 0) {
        uint64_t length = extent->length - offset < bytes ? extent->length - offset : bytes;
        spans[used].iova = place->iova + extent->offset + offset;
        spans[used++].length = (uint32_t)length;
        bytes -= (uint32_t)length;
        extent = ++extent < place->extent + place->count ? extent : NULL;
    }
    return bytes ? 0 : used;
}

/* Describe `bytes` of the task's data from `offset` on as spans. */
static uint32_t spans_of(s2n_task *task, uint32_t offset, uint32_t bytes, struct s2n_span *spans)
{
    const struct s2n_buffer *buffer = &task->buffer;
    uint32_t used = 0;

    if (task->place)
        return spans_in_place(task->place, offset, bytes, spans);
    while (bytes) {
        uint32_t within = offset & (buffer->chunk_bytes - 1);
        uint32_t length = buffer->chunk_bytes - within;
        if (length > bytes)
            length = bytes;
        uint32_t chunk = buffer->chunk[offset >> buffer->chunk_shift];
        spans[used].iova = s2n_pool_iova(buffer->pool, chunk) + within;
        spans[used++].length = length;
        offset += length;
        bytes -= length;
    }
    return used;
}

/* Describe `bytes` that are the first ones of the task's buffer again and again. */
static uint32_t spans_repeated(const s2n_task *task, uint32_t bytes, struct s2n_span *spans)
{
    uint64_t iova = s2n_pool_iova(task->buffer.pool, task->buffer.chunk[0]);
    uint32_t used = 0;

    while (bytes && used < S2N_MAXIMUM_SPANS) {
        uint32_t length = task->plan.period < bytes ? task->plan.period : bytes;
        spans[used++] = (struct s2n_span){iova, length};
        bytes -= length;
    }
    return bytes ? 0 : used;
}

inline uint32_t s2n_task_spans(s2n_task *task, uint32_t bytes, struct s2n_span *spans)
{
    return task->plan.period ? spans_repeated(task, bytes, spans)
                             : spans_of(task, task->placed_bytes, bytes, spans);
}
