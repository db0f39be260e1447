/* Data that stay in the ring's pages. The kernel's page tables are played too: a page is in
 * the IOMMU's mapping once it was pinned, until `replace` puts another in its place. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "played_ring.h"
#include "tcmu.h"

enum { PAGES = MAP_BYTES / S2N_PAGE, IOVA = 1 << 30, FIRST = DATA / S2N_PAGE };

static uint8_t old_page[S2N_PAGE]; /* what a replaced page was: nobody's */
static bool present[PAGES], lies;
static uint8_t *reached[PAGES]; /* what the device finds */
static uint32_t maps, unmaps, looks;
static int map_error;
static uint8_t *pinned; /* the IOMMU's mapping */

int mincore(void *start, size_t length, unsigned char *vector)
{
    static uint8_t *base;

    if (length == MAP_BYTES) /* at the beginning, nothing was pinned */
        base = start;
    pinned = base;
    looks++;
    for (size_t i = 0; i < length / S2N_PAGE; i++)
        vector[i] = lies || present[((uint8_t *)start - base) / S2N_PAGE + i];
    return 0;
}

static int window_map(s2n_window *of, uint64_t offset, void *start, uint64_t length)
{
    CHECK(of == window && offset % S2N_PAGE == 0 && length && length % S2N_PAGE == 0);
    CHECK((uint8_t *)start == pinned + offset && offset >= DATA && pinned != map);
    if (map_error)
        return map_error;
    maps++;
    for (uint64_t page = offset / S2N_PAGE; page < (offset + length) / S2N_PAGE; page++) {
        CHECK(!reached[page]); /* VFIO refuses what is mapped already */
        reached[page] = map + page * S2N_PAGE;
        present[page] = true;
    }
    return 0;
}

static void window_unmap(s2n_window *of)
{
    CHECK(of == window);
    unmaps++;
    memset(reached, 0, sizeof reached);
}

static uint8_t *reach(uint64_t iova)
{
    uint8_t *page = reached[(iova - IOVA) / S2N_PAGE];

    CHECK(page);
    return page + iova % S2N_PAGE;
}

/* The kernel takes a page away, and puts another in its place. */
static void replace(uint32_t page)
{
    present[page] = false;
    if (reached[page])
        reached[page] = old_page;
}

static const struct s2n_window_ops ops = {window_map, window_unmap, NULL};
static struct s2n_window the_window = {&ops, IOVA, MAP_BYTES};

static void begin_in_place(void)
{
    window = &the_window;
    memset(present, 0, sizeof present);
    memset(old_page, 0xdd, sizeof old_page);
    maps = unmaps = looks = 0;
    map_error = 0;
    begin();
    tcmu->least_bytes = 0;
    fake.reach = reach;
    s2n_tcmu_set_in_place(tcmu, true);
    fake_run();
}

static s2n_tcmu_counters counters(void)
{
    s2n_tcmu_counters now;

    s2n_tcmu_counters_get(tcmu, &now);
    return now;
}

static void finish_in_place(void)
{
    finish();
    for (uint32_t page = 0; page < PAGES; page++)
        CHECK(!reached[page]);
}

static void expect_news(uint32_t error)
{
    s2n_event event;

    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_PAGES);
    CHECK_EQUAL(event.cookie, COOKIE);
    CHECK_EQUAL(event.count, error);
}

static void expect_no_news(void)
{
    s2n_event event;

    CHECK(!fake_next_event(&event));
}

/* Write blocks and read them again, through the same pages. */
static void write_and_read(const struct extent *extent, uint32_t count, uint32_t blocks)
{
    static uint8_t seed;
    uint32_t done = 0;

    seed++;
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t k = 0; k < extent[i].length; k++)
            map[extent[i].base + k] = pattern(done++) ^ seed;
    add_rw(1, 0x2a, blocks, extent, count);
    ring();
    expect(1, 0);
    for (uint32_t i = 0; i < blocks * 512; i++)
        CHECK_EQUAL(fake.disk[4 * 512 + i], pattern(i) ^ seed);
    memset(map + DATA, 0xee, MAP_BYTES - DATA);
    add_rw(2, 0x28, blocks, extent, count);
    ring();
    CHECK_EQUAL(expect(2, 0).uflags, 0);
    done = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t k = 0; k < extent[i].length; k++)
            CHECK_EQUAL(map[extent[i].base + k], pattern(done++) ^ seed);
}

static const struct extent three[] = {{DATA, 8192}, {DATA + 5 * 4096, 4096}, {DATA + 65536, 2048}};

static void data_stay_in_place(void)
{
    begin_in_place();
    for (int i = 0; i < 5; i++)
        write_and_read(three, 3, 28);
    CHECK_EQUAL(fake.pool_bytes, 1 << 26);
    CHECK_EQUAL(maps, 3); /* once for each run of pages, however often they are used */
    s2n_tcmu_counters now = counters();
    CHECK_EQUAL(now.in_place, 10);
    CHECK_EQUAL(now.copied, 0);
    CHECK_EQUAL(now.pages, 4);
    CHECK_EQUAL(now.withdrawals, 0);
    expect_no_news();
    finish_in_place();
}

static void only_what_is_new_is_mapped(void)
{
    const struct extent middle = {DATA + 8 * 4096, 4096}, all = {DATA, 16 * 4096};

    begin_in_place();
    write_and_read(&middle, 1, 8);
    CHECK_EQUAL(maps, 1);
    write_and_read(&all, 1, 128);
    CHECK_EQUAL(maps, 3);
    CHECK_EQUAL(counters().pages, 16);
    finish_in_place();
}

static void one_look_serves_a_batch(void)
{
    begin_in_place();
    uint32_t before = looks;
    for (uint16_t id = 1; id <= 20; id++)
        add_rw(id, 0x28, 8, &(struct extent){DATA + id * 4096, 4096}, 1);
    ring();
    for (uint16_t id = 1; id <= 20; id++)
        expect(id, 0);
    CHECK_EQUAL(looks - before, 1);
    CHECK_EQUAL(counters().in_place, 20);
    finish_in_place();
}

/* A look costs more than to copy seven pages, but less than to copy eight. */
static void a_few_pages_are_copied(void)
{
    enum { FEW = 7 };

    begin_in_place();
    tcmu->least_bytes = S2N_TCMU_LEAST_BYTES;
    looks = 0;
    for (uint16_t count = FEW; count <= FEW + 1; count++) {
        for (uint16_t id = 0; id < count; id++)
            add_rw(id, 0x28, 8, &(struct extent){DATA + id * 4096, 4096}, 1);
        ring();
        for (uint16_t id = 0; id < count; id++)
            expect(id, 0);
    }
    CHECK_EQUAL(counters().copied, FEW);
    CHECK_EQUAL(counters().in_place, FEW + 1);
    CHECK_EQUAL(looks, 1);
    finish_in_place();
}

static void nothing_stays_until_it_may(void)
{
    begin_in_place();
    s2n_tcmu_set_in_place(tcmu, false);
    write_and_read(three, 3, 28);
    CHECK_EQUAL(maps, 0);
    CHECK_EQUAL(counters().copied, 2);
    s2n_tcmu_set_in_place(tcmu, true);
    write_and_read(three, 3, 28);
    CHECK_EQUAL(counters().in_place, 2);
    s2n_tcmu_set_in_place(tcmu, false);
    fake_run();
    CHECK_EQUAL(unmaps, 1);
    CHECK_EQUAL(counters().pages, 0);
    write_and_read(three, 3, 28);
    CHECK_EQUAL(counters().copied, 4);
    finish_in_place();
}

static void a_page_that_was_replaced_is_not_used(void)
{
    begin_in_place();
    write_and_read(three, 3, 28);
    replace(FIRST + 5);
    write_and_read(three, 3, 28); /* the write is copied; then the pages are new */
    expect_news(ESTALE);
    s2n_tcmu_counters now = counters();
    CHECK_EQUAL(now.in_place, 3);
    CHECK_EQUAL(now.copied, 1);
    CHECK_EQUAL(now.withdrawals, 1);
    CHECK_EQUAL(now.pages, 4);
    for (uint32_t i = 0; i < S2N_PAGE; i++)
        CHECK_EQUAL(old_page[i], 0xdd);
    expect_no_news();
    finish_in_place();
}

static void no_page_is_known_after_a_withdrawal(void)
{
    const struct extent all = {DATA, 72 * 4096}; /* more than a word tells of */
    const uint32_t bytes = 72 * 4096;

    begin_in_place();
    write_and_read(&all, 1, bytes / FAKE_BLOCK);
    replace(FIRST + 5);
    write_and_read(&all, 1, bytes / FAKE_BLOCK);
    expect_news(ESTALE);
    CHECK_EQUAL(counters().pages, 72); /* those of before are not counted on */
    CHECK_EQUAL(counters().withdrawals, 1);
    finish_in_place();
}

static void pages_in_use_stay_known(void)
{
    const struct extent other = {DATA + 20 * 4096, 4096};

    begin_in_place();
    fake.hold = true;
    add_rw(1, 0x28, 28, three, 3);
    ring();
    replace(FIRST + 20); /* not known: nothing happens */
    add_rw(2, 0x28, 8, &other, 1);
    ring();
    fake_carry_out(held(1));
    fake_run();
    expect(2, 0);
    replace(FIRST + 20);
    add_rw(3, 0x28, 8, &other, 1);
    ring(); /* copied: another command uses pages of the same window */
    expect_news(ESTALE);
    CHECK_EQUAL(unmaps, 0);
    CHECK_EQUAL(counters().copied, 1);
    fake_carry_out(held(1));
    CHECK_EQUAL(unmaps, 0);
    fake_carry_out(held(0)); /* reaches its pages */
    CHECK_EQUAL(unmaps, 1);
    fake_run();
    expect(3, 0);
    expect(1, 0);
    finish_in_place();
}

static void a_lost_controller_reaches_nothing(void)
{
    begin_in_place();
    fake.hold = true;
    add_rw(1, 0x28, 28, three, 3);
    add_rw(2, 0x28, 8, &(struct extent){DATA + 20 * 4096, 4096}, 1);
    ring();
    fake.lost = true; /* and may be writing all the same */
    fake_end(held(0), 2, 18, NULL, 0);
    CHECK_EQUAL(unmaps, 1); /* before the kernel can hand the pages to another command */
    expect_none();
    fake_end(held(0), 2, 18, NULL, 0);
    fake_run();
    expect(1, 2);
    expect(2, 2);
    fake.hold = fake.lost = false;
    maps = 0;
    write_and_read(three, 3, 28);
    CHECK_EQUAL(maps, 0);
    CHECK_EQUAL(counters().copied, 2);
    finish_in_place();
}

static void the_engines_data_win(void)
{
    static uint8_t data[28 * 512];

    memset(data, 0x42, sizeof data);
    begin_in_place();
    fake.hold = true;
    add_rw(1, 0x28, 28, three, 3);
    ring();
    memset(map + DATA, 0xee, 8192); /* a first try of the device */
    fake_end(held(0), 0, 0, data, sizeof data);
    fake_run();
    expect(1, 0);
    CHECK_EQUAL(map[DATA], 0x42);
    CHECK_EQUAL(map[DATA + 65536 + 2047], 0x42);
    finish_in_place();
}

static void what_is_aborted_at_once_was_begun(void)
{
    const uint16_t ids[] = {1};

    begin_in_place();
    fake.hold = true;
    add_rw(1, 0x28, 28, three, 3);
    add_tmr(ids, 1);
    add_rw(2, 0x28, 8, &(struct extent){DATA + 20 * 4096, 4096}, 1);
    ring();
    CHECK(held(0)->aborted && !held(1)->aborted);
    fake_carry_out(held(0));
    fake_carry_out(held(0));
    fake_run();
    expect(1, 0x40);
    for (uint32_t i = 0; i < 8192; i++)
        CHECK_EQUAL(map[DATA + i], 0); /* of no use to anybody */
    expect(2, 0);
    CHECK_EQUAL(counters().in_place, 2);
    finish_in_place();
}

static void a_short_read_in_place_leaks_nothing(void)
{
    const struct extent extent = {DATA, 4096};

    begin_in_place();
    add_rw(1, 0x28, 2, &extent, 1);
    ring();
    struct answer answer = expect(1, 0);
    CHECK_EQUAL(answer.uflags, READ_LEN);
    CHECK_EQUAL(answer.read_length, 1024);
    CHECK_EQUAL(map[DATA + 1023], fake.disk[4 * 512 + 1023]);
    for (uint32_t i = 1024; i < 4096; i++)
        CHECK_EQUAL(map[DATA + i], 0);
    CHECK_EQUAL(counters().in_place, 1);
    finish_in_place();
}

static void what_prps_cannot_say_is_copied(void)
{
    const struct extent odd[] = {{DATA + 512, 4096}}, gap[] = {{DATA, 2048}, {DATA + 8192, 2048}};

    begin_in_place();
    write_and_read(odd, 1, 8);
    write_and_read(gap, 2, 8);
    /* More announced than there is: not all of it has a place. */
    add_rw(3, 0x28, 9, &(struct extent){DATA, 4096}, 1);
    ring();
    expect(3, 0);
    CHECK_EQUAL(counters().in_place, 0);
    CHECK_EQUAL(counters().copied, 5);
    CHECK_EQUAL(maps, 0);
    finish_in_place();
}

static void no_more_pages_means_copies(void)
{
    const struct extent other = {DATA + 20 * 4096, 4096};

    begin_in_place();
    write_and_read(three, 3, 28);
    map_error = -ENOSPC;
    write_and_read(&other, 1, 8);
    expect_news(ENOSPC);
    expect_no_news(); /* told once */
    write_and_read(three, 3, 28);
    CHECK_EQUAL(counters().in_place, 4);
    CHECK_EQUAL(counters().copied, 2);
    finish_in_place();
}

static void who_may_not_look_copies(void)
{
    lies = true;
    begin_in_place();
    expect_news(EPERM);
    write_and_read(three, 3, 28);
    CHECK_EQUAL(maps, 0);
    CHECK_EQUAL(counters().copied, 2);
    finish_in_place();
    lies = false;
}

static void a_reset_leaves_no_page_known(void)
{
    begin_in_place();
    fake.hold = true;
    add_rw(1, 0x28, 28, three, 3);
    ring();
    put32(AT_HEAD, 0);
    put32(AT_TAIL, 8);
    fake_carry_out(held(0));
    CHECK(unmaps > 0);
    expect_end(ESTALE);
}

int main(void)
{
    make_memory();
    RUN(data_stay_in_place);
    RUN(only_what_is_new_is_mapped);
    RUN(one_look_serves_a_batch);
    RUN(a_few_pages_are_copied);
    RUN(nothing_stays_until_it_may);
    RUN(a_page_that_was_replaced_is_not_used);
    RUN(no_page_is_known_after_a_withdrawal);
    RUN(pages_in_use_stay_known);
    RUN(a_lost_controller_reaches_nothing);
    RUN(the_engines_data_win);
    RUN(what_is_aborted_at_once_was_begun);
    RUN(a_short_read_in_place_leaks_nothing);
    RUN(what_prps_cannot_say_is_copied);
    RUN(no_more_pages_means_copies);
    RUN(who_may_not_look_copies);
    RUN(a_reset_leaves_no_page_known);
    return 0;
}
