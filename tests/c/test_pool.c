/* Buffer pools: two sizes of chunks, all or nothing. */
#include <string.h>

#include "check.h"
#include "pool.h"

enum { LARGES = 12, PAGES = 16 * 16, SMALLS = PAGES - LARGES * 16, ALL = PAGES * S2N_PAGE };
/* What a lone nexus may have. */
enum { MOST = 10 * S2N_LARGE };

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

static bool is_unused(const struct s2n_share *share)
{
    static const struct s2n_share unused;

    return !memcmp(share, &unused, sizeof unused);
}

/* Whoever has nothing yet gets all that is there, reserved and common. */
static void every_chunk_is_given_once(void)
{
    struct s2n_pool *pool = pool_of(ALL);
    static struct s2n_buffer buffer[LARGES + SMALLS + 1];
    static struct s2n_share share[LARGES + SMALLS + 1];
    uint8_t taken[PAGES] = {0};
    uint32_t used = 0;

    while (s2n_pool_take(pool, &share[used], &buffer[used], used < LARGES ? S2N_LARGE : S2N_SMALL,
                         true)) {
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
    while (used--) {
        s2n_pool_give(&buffer[used]);
        CHECK(is_unused(&share[used]));
    }
    CHECK_EQUAL(s2n_pool_unused(pool), ALL);
    s2n_pool_free(pool);
}

static void many_chunks_or_none(void)
{
    struct s2n_pool *pool = pool_of(ALL);
    struct s2n_buffer a = {0}, b = {0};
    struct s2n_share first = {0}, second = {0};

    CHECK(s2n_pool_fits(pool, MOST) && !s2n_pool_fits(pool, MOST + 1));
    CHECK(!s2n_pool_take(pool, &first, &a, MOST + 1, true) && is_unused(&first));
    CHECK(s2n_pool_take(pool, &first, &a, MOST - 100, true));
    CHECK_EQUAL(a.count, 10);
    CHECK_EQUAL(a.length, MOST - 100);
    CHECK(!s2n_pool_take(pool, &second, &b, 2 * S2N_LARGE + 1, true));
    CHECK(!b.pool && !b.count && is_unused(&second));
    CHECK(s2n_pool_take(pool, &second, &b, S2N_LARGE, true));
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
    struct s2n_share share[SMALLS + 1] = {0};

    for (uint32_t i = 0; i <= SMALLS; i++)
        CHECK(s2n_pool_take(pool, &share[i], &buffer[i], 512, true));
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
    struct s2n_share share = {0};

    CHECK(s2n_pool_fits(pool, S2N_MAXIMUM_TRANSFER));
    CHECK(!s2n_pool_fits(pool, S2N_MAXIMUM_TRANSFER + UINT64_C(1)));
    CHECK(!s2n_pool_fits(pool, UINT64_MAX));
    CHECK(!s2n_pool_take(pool, &share, &buffer, S2N_MAXIMUM_TRANSFER + 1, true));
    CHECK(s2n_pool_take(pool, &share, &buffer, S2N_MAXIMUM_TRANSFER, true));
    s2n_pool_give(&buffer);
    s2n_pool_free(pool);
}

/* The pool of a served controller holds the largest transfer of one nexus, and serves others. */
static void a_served_pool_has_room_beside_the_largest_transfer(void)
{
    struct s2n_pool *pool = pool_of(16 << 20);
    static struct s2n_buffer buffer[3];
    struct s2n_share hog = {0}, other = {0};

    CHECK(s2n_pool_take(pool, &hog, &buffer[0], S2N_MAXIMUM_TRANSFER, true));
    CHECK(s2n_pool_misses(pool, &hog));
    CHECK(s2n_pool_take(pool, &other, &buffer[1], 2 * S2N_LARGE, false));
    CHECK(s2n_pool_take(pool, &other, &buffer[2], S2N_SMALL, false));
    CHECK(!s2n_pool_misses(pool, &other));
    for (int i = 0; i < 3; i++)
        s2n_pool_give(&buffer[i]);
    CHECK(is_unused(&hog) && is_unused(&other));
    s2n_pool_free(pool);
}

enum { HOGS = 30, EACH = 130 };

/* However many take what they can get and give nothing back, one that comes after them finds
 * some of either size. */
static void who_takes_all_that_there_is_leaves_some(void)
{
    static struct s2n_buffer buffer[HOGS * EACH * 2], own[16], large;
    static struct s2n_share share[HOGS];
    struct s2n_pool *pool = pool_of(16 << 20);
    struct s2n_share other = {0};
    uint32_t used = 0;

    for (int hog = 0; hog < HOGS; hog++) {
        for (int i = 0; i < EACH; i++)
            used += s2n_pool_take(pool, &share[hog], &buffer[used], S2N_LARGE, true);
        for (int i = 0; i < EACH; i++)
            used += s2n_pool_take(pool, &share[hog], &buffer[used], S2N_SMALL, true);
    }
    CHECK(s2n_pool_take(pool, &other, &large, 2 * S2N_LARGE, false));
    for (int i = 0; i < 16; i++)
        CHECK(s2n_pool_take(pool, &other, &own[i], S2N_SMALL, false));
    for (int i = 0; i < 16; i++)
        s2n_pool_give(&own[i]);
    s2n_pool_give(&large);
    while (used--)
        s2n_pool_give(&buffer[used]);
    CHECK_EQUAL(s2n_pool_unused(pool), 16 << 20);
    s2n_pool_free(pool);
}

int main(void)
{
    RUN(too_little_memory_is_refused);
    RUN(every_chunk_is_given_once);
    RUN(many_chunks_or_none);
    RUN(small_ones_may_have_large_chunks);
    RUN(the_largest_transfer_is_the_limit);
    RUN(a_served_pool_has_room_beside_the_largest_transfer);
    RUN(who_takes_all_that_there_is_leaves_some);
    return 0;
}
