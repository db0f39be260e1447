#include "pool.h"

#include <stdlib.h>

/* Chunks of one size. What is free is either in reserve or common. */
struct s2n_chunks {
    uint32_t *free; /* a stack of page offsets */
    uint32_t bytes;
    uint32_t reserve, common;
    uint32_t quota;      /* that a share gets from the reserve */
    uint32_t all_common; /* when nothing is given out */
};

struct s2n_pool {
    s2n_region memory;
    struct s2n_chunks chunks[S2N_SIZES];
};

enum { LARGE_PAGES = S2N_LARGE / S2N_PAGE };
enum { SMALL_QUOTA = 16, LARGE_QUOTA = 2 };

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Chunks from page `first` on, stacked so that the first comes out first. */
static bool stack_chunks(struct s2n_chunks *chunks, uint32_t bytes, uint64_t first, uint64_t count)
{
    chunks->free = calloc(count ? count : 1, sizeof *chunks->free);
    if (!chunks->free)
        return false;
    chunks->bytes = bytes;
    for (uint64_t i = 0; i < count; i++)
        chunks->free[i] = (uint32_t)(first + (count - 1 - i) * (bytes / S2N_PAGE));
    return true;
}

static void divide(struct s2n_chunks *chunks, uint64_t count, uint64_t reserve, uint32_t quota)
{
    chunks->reserve = (uint32_t)reserve;
    chunks->all_common = chunks->common = (uint32_t)(count - reserve);
    chunks->quota = least(quota, chunks->reserve);
}

struct s2n_pool *s2n_pool_new(const s2n_region *memory)
{
    uint64_t pages = memory->length / S2N_PAGE;
    uint64_t larges = pages / LARGE_PAGES * 3 / 4, smalls = pages - larges * LARGE_PAGES;
    struct s2n_pool *pool = calloc(1, sizeof *pool);

    if (!pool || !larges || pages > UINT32_MAX || memory->iova % S2N_PAGE)
        goto fail;
    pool->memory = *memory;
    if (!stack_chunks(&pool->chunks[S2N_LARGES], S2N_LARGE, 0, larges) ||
        !stack_chunks(&pool->chunks[S2N_SMALLS], S2N_SMALL, larges * LARGE_PAGES, smalls))
        goto fail;
    divide(&pool->chunks[S2N_LARGES], larges, larges / 3, LARGE_QUOTA);
    divide(&pool->chunks[S2N_SMALLS], smalls, smalls / 2, SMALL_QUOTA);
    return pool;
fail:
    s2n_pool_free(pool);
    return NULL;
}

void s2n_pool_free(struct s2n_pool *pool)
{
    if (!pool)
        return;
    for (int size = 0; size < S2N_SIZES; size++)
        free(pool->chunks[size].free);
    free(pool);
}

/* How many of `count` chunks come from the reserve. */
static uint32_t from_reserve(const struct s2n_chunks *chunks, uint32_t held, uint32_t count)
{
    uint32_t limit = least(chunks->quota, chunks->reserve);

    return limit > held ? least(count, limit - held) : 0;
}

static inline bool take(struct s2n_pool *pool, enum s2n_size size, struct s2n_buffer *buffer,
                        uint32_t bytes, uint32_t count, bool common)
{
    struct s2n_chunks *chunks = &pool->chunks[size];
    struct s2n_share *share = buffer->share;
    uint32_t reserved = from_reserve(chunks, share->reserved[size], count);
    uint32_t rest = count - reserved, held = share->common[size];

    if (count > sizeof buffer->chunk / sizeof *buffer->chunk)
        return false;
    if (rest && (!common || rest > chunks->common || (held && held + rest > 2 * chunks->common)))
        return false;
    for (uint32_t i = 0, free = chunks->reserve + chunks->common; i < count; i++)
        buffer->chunk[i] = chunks->free[--free];
    chunks->reserve -= reserved;
    chunks->common -= rest;
    share->reserved[size] += reserved;
    share->common[size] += rest;
    buffer->pool = pool;
    buffer->length = bytes;
    buffer->chunk_shift = size == S2N_SMALLS ? S2N_SMALL_SHIFT : S2N_LARGE_SHIFT;
    buffer->chunk_bytes = UINT32_C(1) << buffer->chunk_shift;
    buffer->count = count;
    buffer->reserved = reserved;
    return true;
}

inline bool s2n_pool_take(struct s2n_pool *pool, struct s2n_share *share, struct s2n_buffer *buffer,
                          uint32_t bytes, bool common)
{
    uint32_t larges = (uint32_t)(((uint64_t)bytes + S2N_LARGE - 1) >> S2N_LARGE_SHIFT);

    buffer->share = share;
    return (bytes <= S2N_SMALL && take(pool, S2N_SMALLS, buffer, bytes, 1, common)) ||
           take(pool, S2N_LARGES, buffer, bytes, larges, common);
}

static enum s2n_size size_of(const struct s2n_buffer *buffer)
{
    return buffer->chunk_bytes == S2N_SMALL ? S2N_SMALLS : S2N_LARGES;
}

void s2n_pool_hand_over(struct s2n_buffer *buffer, struct s2n_share *to)
{
    if (!buffer->pool)
        return;
    enum s2n_size size = size_of(buffer);
    uint32_t rest = buffer->count - buffer->reserved;
    buffer->share->reserved[size] -= buffer->reserved;
    buffer->share->common[size] -= rest;
    to->reserved[size] += buffer->reserved;
    to->common[size] += rest;
    buffer->share = to;
}

/* Most buffers are of one chunk. */
static inline void stack_again(uint32_t *free, const struct s2n_buffer *buffer)
{
    *free = buffer->chunk[buffer->count - 1];
    if (buffer->count == 1)
        return;
    for (uint32_t left = buffer->count - 1; left;)
        *++free = buffer->chunk[--left];
}

inline void s2n_pool_give(struct s2n_buffer *buffer)
{
    if (!buffer->pool)
        return;
    enum s2n_size size = size_of(buffer);
    uint32_t rest = buffer->count - buffer->reserved;
    struct s2n_chunks *chunks = &buffer->pool->chunks[size];
    stack_again(&chunks->free[chunks->reserve + chunks->common], buffer);
    chunks->reserve += buffer->reserved;
    chunks->common += rest;
    buffer->share->reserved[size] -= buffer->reserved;
    buffer->share->common[size] -= rest;
    buffer->count = 0;
    buffer->pool = NULL;
}

bool s2n_pool_fits(const struct s2n_pool *pool, uint64_t bytes)
{
    const struct s2n_chunks *larges = &pool->chunks[S2N_LARGES];

    return bytes <= S2N_MAXIMUM_TRANSFER &&
           bytes <= (uint64_t)(larges->quota + larges->all_common) * S2N_LARGE;
}

uint64_t s2n_pool_unused(const struct s2n_pool *pool)
{
    uint64_t bytes = 0;

    for (int size = 0; size < S2N_SIZES; size++) {
        const struct s2n_chunks *chunks = &pool->chunks[size];
        bytes += (uint64_t)(chunks->reserve + chunks->common) * chunks->bytes;
    }
    return bytes;
}

bool s2n_pool_misses(const struct s2n_pool *pool, const struct s2n_share *share)
{
    for (int size = 0; size < S2N_SIZES; size++)
        if (share->common[size] || (share->reserved[size] && !pool->chunks[size].reserve))
            return true;
    return false;
}

uint8_t *s2n_pool_address(const struct s2n_pool *pool, uint32_t chunk)
{
    return pool->memory.vaddr + (uint64_t)chunk * S2N_PAGE;
}

uint64_t s2n_pool_iova(const struct s2n_pool *pool, uint32_t chunk)
{
    return pool->memory.iova + (uint64_t)chunk * S2N_PAGE;
}
