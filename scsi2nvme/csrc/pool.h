/* A reactor's DMA buffers for one controller: two sizes of chunks, last freed
 * first given out, so that a quiet daemon touches little memory.
 *
 * Many nexuses share it, and any of them may never give back what it has. So a part of each
 * size is kept in reserve, of which a nexus gets a few chunks: whoever holds little finds
 * some, whatever others hold. The rest is common. Nobody gets more of the reserve than it
 * leaves there, nor, but for its first buffer, more than twice that of what is common. */
#ifndef S2N_POOL_H
#define S2N_POOL_H

#include "constants_gen.h"
#include "qpair.h"

enum { S2N_SMALL_SHIFT = 12, S2N_LARGE_SHIFT = 16 };
enum { S2N_SMALL = 1 << S2N_SMALL_SHIFT, S2N_LARGE = 1 << S2N_LARGE_SHIFT };
enum s2n_size { S2N_SMALLS, S2N_LARGES, S2N_SIZES };

/* How many chunks of each size a nexus holds, and entries of the queue pair beside the pool. */
struct s2n_share {
    uint32_t reserved[S2N_SIZES], common[S2N_SIZES];
    uint32_t entries;
};

/* A task's data: chunks of its reactor's pool, each contiguous. All but the last
 * have the same length. */
struct s2n_buffer {
    struct s2n_pool *pool; /* NULL: no chunks held */
    struct s2n_share *share;
    uint32_t length; /* usable bytes */
    uint32_t chunk_bytes, chunk_shift;
    uint32_t count, reserved;                     /* chunks; of them, from the reserve */
    uint32_t chunk[S2N_MAXIMUM_TRANSFER / 65536]; /* pool offsets in pages */
};

struct s2n_pool *s2n_pool_new(const s2n_region *memory);
void s2n_pool_free(struct s2n_pool *pool);
/* Fill `buffer` with chunks for `bytes`: all of them or none (false); from the reserve alone
 * unless `common`. `share` stays where it is until the buffer is given back. */
bool s2n_pool_take(struct s2n_pool *pool, struct s2n_share *share, struct s2n_buffer *buffer,
                   uint32_t bytes, bool common);
/* Whether the pool, were it unused, could do that. */
bool s2n_pool_fits(const struct s2n_pool *pool, uint64_t bytes);
/* Bytes that are in no buffer. */
uint64_t s2n_pool_unused(const struct s2n_pool *pool);
/* Whether what the share holds may be what others lack. */
bool s2n_pool_misses(const struct s2n_pool *pool, const struct s2n_share *share);
/* Have another share hold what a buffer has. */
void s2n_pool_hand_over(struct s2n_buffer *buffer, struct s2n_share *to);
/* Give a buffer's chunks back. */
void s2n_pool_give(struct s2n_buffer *buffer);
uint8_t *s2n_pool_address(const struct s2n_pool *pool, uint32_t chunk);
uint64_t s2n_pool_iova(const struct s2n_pool *pool, uint32_t chunk);

#endif
