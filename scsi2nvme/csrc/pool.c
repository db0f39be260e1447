#include "pool.h"

#include <stdlib.h>

struct s2n_pool {
    s2n_region memory;
    uint32_t *small, *large; /* stacks of page offsets */
    uint32_t smalls, larges; /* how many are free */
    uint32_t all_larges;
};

enum { LARGE_PAGES = S2N_LARGE / S2N_PAGE };

struct s2n_pool *s2n_pool_new(const s2n_region *memory)
{
    uint64_t pages = memory->length / S2N_PAGE;
    uint64_t larges = pages / LARGE_PAGES * 3 / 4;
    struct s2n_pool *pool = calloc(1, sizeof *pool);

    if (!pool || !larges || pages > UINT32_MAX || memory->iova % S2N_PAGE)
        goto fail;
    pool->memory = *memory;
    pool->large = calloc(larges, sizeof *pool->large);
    pool->small = calloc(pages, sizeof *pool->small);
    if (!pool->large || !pool->small)
        goto fail;
    /* Stacked so that the first chunk comes out first. */
    for (uint64_t i = larges; i-- > 0;)
        pool->large[pool->larges++] = (uint32_t)(i * LARGE_PAGES);
    for (uint64_t page = pages; page-- > larges * LARGE_PAGES;)
        pool->small[pool->smalls++] = (uint32_t)page;
    pool->all_larges = pool->larges;
    return pool;
fail:
    s2n_pool_free(pool);
    return NULL;
}

void s2n_pool_free(struct s2n_pool *pool)
{
    if (!pool)
        return;
    free(pool->small);
    free(pool->large);
    free(pool);
}

bool s2n_pool_take(struct s2n_pool *pool, struct s2n_buffer *buffer, uint32_t bytes)
{
    bool small = bytes <= S2N_SMALL && pool->smalls;
    uint32_t chunk_bytes = small ? S2N_SMALL : S2N_LARGE;
    uint32_t count = (bytes + chunk_bytes - 1) / chunk_bytes;

    if (count > sizeof buffer->chunk / sizeof *buffer->chunk)
        return false;
    if (!small && count > pool->larges)
        return false;
    for (uint32_t i = 0; i < count; i++)
        buffer->chunk[i] = small ? pool->small[--pool->smalls] : pool->large[--pool->larges];
    buffer->pool = pool;
    buffer->length = bytes;
    buffer->chunk_bytes = chunk_bytes;
    buffer->count = count;
    return true;
}

void s2n_pool_give(struct s2n_buffer *buffer)
{
    struct s2n_pool *pool = buffer->pool;

    if (!pool)
        return;
    while (buffer->count) {
        uint32_t chunk = buffer->chunk[--buffer->count];
        if (buffer->chunk_bytes == S2N_SMALL)
            pool->small[pool->smalls++] = chunk;
        else
            pool->large[pool->larges++] = chunk;
    }
    buffer->pool = NULL;
}

bool s2n_pool_fits(const struct s2n_pool *pool, uint64_t bytes)
{
    return bytes <= S2N_MAXIMUM_TRANSFER && bytes <= (uint64_t)pool->all_larges * S2N_LARGE;
}

uint64_t s2n_pool_unused(const struct s2n_pool *pool)
{
    return (uint64_t)pool->larges * S2N_LARGE + (uint64_t)pool->smalls * S2N_SMALL;
}

uint8_t *s2n_pool_address(const struct s2n_pool *pool, uint32_t chunk)
{
    return pool->memory.vaddr + (uint64_t)chunk * S2N_PAGE;
}

uint64_t s2n_pool_iova(const struct s2n_pool *pool, uint32_t chunk)
{
    return pool->memory.iova + (uint64_t)chunk * S2N_PAGE;
}
