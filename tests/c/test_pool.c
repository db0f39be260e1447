/* Buffer pools: two sizes of chunks, all or nothing. */
#include <string.h>

#include "check.h"
#include "pool.h"

enum { LARGES = 12, PAGES = 16 * 16, SMALLS = PAGES - LARGES * 16, ALL = PAGES * S2N_PAGE };

static struct s2n_pool *pool_of(uint64_t bytes)
{
    s2n_region region = {.iova = 0x40000000, .length = bytes};

    region.vaddr = (uint8_t *)(uintptr_t)0x10000; /* never touched by the pool */
    return s2n_pool_new(&region);
}

static void too_little_memory_is_refused(void)
{
    s2n_region odd = {.iova = 0x40000200, .length = ALL};

    CHECK(!pool_of(0));
    CHECK(!pool_of(S2N_LARGE));
    CHECK(!s2n_pool_new(&odd));
    struct s2n_pool *pool = pool_of(2 * S2N_LARGE);
    CHECK(s2n_pool_fits(pool, S2N_LARGE) && !s2n_pool_fits(pool, S2N_LARGE + 1));
    s2n_pool_free(pool);
}

static void every_chunk_is_given_once(void)
{
    struct s2n_pool *pool = pool_of(ALL);
    static struct s2n_buffer buffer[LARGES + SMALLS + 1];
    uint8_t taken[PAGES] = {0};
    uint32_t used = 0;

    while (s2n_pool_take(pool, &buffer[used], used < LARGES ? S2N_LARGE : S2N_SMALL)) {
        uint32_t chunk = buffer[used].chunk[0], pages = buffer[used].chunk_bytes / S2N_PAGE;
        CHECK(buffer[used].count == 1 && chunk + pages <= PAGES);
        CHECK_EQUAL(s2n_pool_iova(pool, chunk), 0x40000000 + (uint64_t)chunk * S2N_PAGE);
        CHECK_EQUAL((uintptr_t)s2n_pool_address(pool, chunk), 0x10000 + (uint64_t)chunk * S2N_PAGE);
        for (uint32_t i = chunk; i < chunk + pages; i++)
            CHECK(!taken[i]++);
        used++;
    }
    CHECK_EQUAL(used, LARGES + SMALLS);
    CHECK_EQUAL(s2n_pool_unused(pool), 0);
    CHECK(!buffer[used].pool);
    while (used--)
        s2n_pool_give(&buffer[used]);
    CHECK_EQUAL(s2n_pool_unused(pool), ALL);
    s2n_pool_free(pool);
}

static void many_chunks_or_none(void)
{
    struct s2n_pool *pool = pool_of(ALL);
    struct s2n_buffer a = {0}, b = {0};

    CHECK(s2n_pool_take(pool, &a, 11 * S2N_LARGE - 100));
    CHECK_EQUAL(a.count, 11);
    CHECK_EQUAL(a.length, 11 * S2N_LARGE - 100);
    CHECK(!s2n_pool_take(pool, &b, S2N_LARGE + 1));
    CHECK(!b.pool && !b.count);
    CHECK(s2n_pool_take(pool, &b, S2N_LARGE));
    s2n_pool_give(&a);
    CHECK(!a.pool && !a.count);
    s2n_pool_give(&a); /* does nothing */
    CHECK_EQUAL(s2n_pool_unused(pool), ALL - S2N_LARGE);
    s2n_pool_give(&b);
    s2n_pool_free(pool);
}

static void small_ones_may_have_large_chunks(void)
{
    struct s2n_pool *pool = pool_of(ALL);
    struct s2n_buffer buffer[SMALLS + 1] = {0};

    for (uint32_t i = 0; i <= SMALLS; i++)
        CHECK(s2n_pool_take(pool, &buffer[i], 512));
    CHECK_EQUAL(buffer[SMALLS - 1].chunk_bytes, S2N_SMALL);
    CHECK_EQUAL(buffer[SMALLS].chunk_bytes, S2N_LARGE);
    CHECK_EQUAL(buffer[SMALLS].length, 512);
    for (uint32_t i = 0; i <= SMALLS; i++)
        s2n_pool_give(&buffer[i]);
    CHECK_EQUAL(s2n_pool_unused(pool), ALL);
    s2n_pool_free(pool);
}

static void the_largest_transfer_is_the_limit(void)
{
    struct s2n_pool *pool = pool_of(64 << 20);
    struct s2n_buffer buffer = {0};

    CHECK(s2n_pool_fits(pool, S2N_MAXIMUM_TRANSFER));
    CHECK(!s2n_pool_fits(pool, S2N_MAXIMUM_TRANSFER + UINT64_C(1)));
    CHECK(!s2n_pool_fits(pool, UINT64_MAX));
    CHECK(!s2n_pool_take(pool, &buffer, S2N_MAXIMUM_TRANSFER + 1));
    CHECK(s2n_pool_take(pool, &buffer, S2N_MAXIMUM_TRANSFER));
    s2n_pool_give(&buffer);
    s2n_pool_free(pool);
}

int main(void)
{
    RUN(too_little_memory_is_refused);
    RUN(every_chunk_is_given_once);
    RUN(many_chunks_or_none);
    RUN(small_ones_may_have_large_chunks);
    RUN(the_largest_transfer_is_the_limit);
    return 0;
}
