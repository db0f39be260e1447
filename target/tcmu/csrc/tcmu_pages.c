/* The data pages of a ring that its controller reaches: how data stay in place.
 *
 * The kernel allocates a page when a command first needs it, and keeps it for the commands
 * to come. But when the pages of all devices are more than its limit it frees those that
 * no command uses, and puts other pages in their place later. Transfers under way are safe
 * from that; what the controller knew of such a page is wrong from then on.
 *
 * Therefore the pages are pinned through a mapping that nothing else touches. A page gets
 * into it by being pinned, and leaves it when the kernel takes it away, which happens
 * before another page can hold a command's data. So, of a page that holds a command's data:
 * if it is there, it is the one that was pinned; if it is not, it is to be pinned again. */
#include "tcmu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static bool is_known(const struct s2n_pages *pages, uint64_t page)
{
    return pages->known[page / 64] >> page % 64 & 1;
}

static uint64_t count_of(uint64_t bytes)
{
    return (bytes + S2N_PAGE - 1) / S2N_PAGE;
}

/* Look which pages of a range are in the mapping. */
static int look(struct s2n_pages *pages, uint64_t first, uint64_t end)
{
    return mincore(pages->map + first * S2N_PAGE, (end - first) * S2N_PAGE, pages->present + first)
               ? -errno
               : 0;
}

/* Nothing is there yet. Whoever may not know would be told otherwise, see mincore(2). */
static bool can_look(struct s2n_pages *pages)
{
    uint64_t count = count_of(pages->bytes);

    if (look(pages, 0, count))
        return false;
    for (uint64_t page = 0; page < count; page++)
        if (pages->present[page] & 1)
            return false;
    return true;
}

int s2n_pages_open(struct s2n_pages *pages, s2n_window *window, int memory, uint64_t bytes)
{
    uint64_t count = count_of(bytes);
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);

    if (map == MAP_FAILED)
        return -errno;
    *pages = (struct s2n_pages){.map = map, .bytes = bytes, .window = window};
    pages->known = calloc(count / 64 + 1, sizeof *pages->known);
    pages->present = malloc(count);
    if (!pages->known || !pages->present || window->length < count * S2N_PAGE) {
        s2n_pages_close(pages);
        return -ENOMEM;
    }
    if (!can_look(pages))
        pages->error = pages->news = EPERM;
    return 0;
}

/* Have the controller forget every page. */
static void withdraw(struct s2n_pages *pages)
{
    pages->window->ops->unmap(pages->window);
    memset(pages->known, 0, (count_of(pages->bytes) / 64 + 1) * sizeof *pages->known);
    pages->withdrawals += pages->known_count != 0;
    pages->known_count = 0;
    pages->stale = false;
}

/* Not while transfers are under way. */
static void withdraw_if_due(struct s2n_pages *pages)
{
    if (pages->known_count && !pages->users && (pages->stale || !pages->allowed))
        withdraw(pages);
}

void s2n_pages_close(struct s2n_pages *pages)
{
    if (!pages->map)
        return;
    pages->window->ops->unmap(pages->window);
    munmap(pages->map, pages->bytes);
    free(pages->known);
    free(pages->present);
    *pages = (struct s2n_pages){.known = NULL};
}

void s2n_pages_allow(struct s2n_pages *pages, bool allowed)
{
    pages->allowed = allowed;
    if (pages->map)
        withdraw_if_due(pages);
}

bool s2n_pages_usable(const struct s2n_pages *pages)
{
    return pages->map && pages->allowed && !pages->stale;
}

bool s2n_pages_look(struct s2n_pages *pages, uint64_t first, uint64_t end)
{
    return !look(pages, first / S2N_PAGE, count_of(end));
}

/* Let the controller know pages that hold a command's data, and that it does not know. */
static bool give(struct s2n_pages *pages, uint64_t first, uint64_t end)
{
    struct s2n_window *window = pages->window;
    int error = pages->error;

    if (error)
        return false;
    error = -window->ops->map(window, first * S2N_PAGE, pages->map + first * S2N_PAGE,
                              (end - first) * S2N_PAGE);
    if (error) {
        pages->error = pages->news = error;
        return false;
    }
    for (; first < end; first++, pages->known_count++)
        pages->known[first / 64] |= UINT64_C(1) << first % 64;
    return true;
}

static bool reach(struct s2n_pages *pages, uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t run = first;
        while (run < end && !is_known(pages, run))
            run++;
        if (run > first && !give(pages, first, run))
            return false;
        for (first = run; first < end && is_known(pages, first); first++) {
            if (pages->present[first] & 1)
                continue;
            pages->stale = true;
            pages->news = ESTALE;
            return false;
        }
    }
    return true;
}

static bool reach_all(struct s2n_pages *pages, const struct s2n_extent *extent, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = extent[i].offset + extent[i].length;
        if (extent[i].offset % S2N_PAGE || (i + 1 < count && end % S2N_PAGE) ||
            !reach(pages, extent[i].offset / S2N_PAGE, count_of(end)))
            return false;
    }
    return true;
}

bool s2n_pages_use(struct s2n_pages *pages, const struct s2n_extent *extent, uint32_t count)
{
    bool reached = s2n_pages_usable(pages) && reach_all(pages, extent, count);

    pages->users += reached;
    withdraw_if_due(pages);
    return reached;
}

void s2n_pages_release(struct s2n_pages *pages, bool lost)
{
    pages->users--;
    if (lost) {
        pages->error = ENODEV; /* for good: it may yet carry out what it was told */
        withdraw(pages);
    }
    withdraw_if_due(pages);
}
