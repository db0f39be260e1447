/* Blocks that Write Uncorrectable has made unreadable: a bit of each, and how many there are.
 *
 * While there is none, as nearly always, all that is looked at is their number. Those who read a
 * block while it is marked, or written, see it as before or after.
 */
#include "emu.h"

#include <stdlib.h>

enum { BITS = 64 };

struct emu_marks {
    _Atomic uint64_t marked;
    _Atomic uint64_t word[];
};

/* Pages that nobody has written to take no room. */
struct emu_marks *emu_marks_new(uint64_t blocks)
{
    struct emu_marks *marks;

    return calloc(1, sizeof *marks + (blocks / BITS + 1) * sizeof marks->word[0]);
}

void emu_marks_free(struct emu_marks *marks)
{
    free(marks);
}

/* The bits of the word that `at` is in, from there to before `end`. */
static uint64_t bits_of(uint64_t at, uint64_t end)
{
    uint64_t first = at % BITS, count = end - at;

    if (count >= BITS - first)
        return UINT64_MAX << first;
    return ((UINT64_C(1) << count) - 1) << first;
}

void emu_marks_set(struct emu_marks *marks, uint64_t first, uint64_t blocks, bool marked)
{
    if (!marks || (!marked && !atomic_load(&marks->marked)))
        return;
    for (uint64_t at = first, end = first + blocks; at < end; at += BITS - at % BITS) {
        uint64_t bits = bits_of(at, end);
        _Atomic uint64_t *word = &marks->word[at / BITS];
        if (marked)
            atomic_fetch_add(&marks->marked,
                             (uint64_t)__builtin_popcountll(bits & ~atomic_fetch_or(word, bits)));
        else if (atomic_load(word))
            atomic_fetch_sub(&marks->marked,
                             (uint64_t)__builtin_popcountll(bits & atomic_fetch_and(word, ~bits)));
    }
}

/* The first block that is marked, or is not (`flip` UINT64_MAX). */
static bool find(const struct emu_marks *marks, uint64_t first, uint64_t end, uint64_t flip,
                 uint64_t *at)
{
    for (uint64_t from = first; from < end; from += BITS - from % BITS) {
        uint64_t found = bits_of(from, end) & (atomic_load(&marks->word[from / BITS]) ^ flip);
        if (found) {
            *at = from / BITS * BITS + (uint64_t)__builtin_ctzll(found);
            return true;
        }
    }
    return false;
}

bool emu_marks_find(const struct emu_marks *marks, uint64_t first, uint64_t blocks, uint64_t *at)
{
    if (!marks || !atomic_load_explicit(&marks->marked, memory_order_relaxed))
        return false;
    return find(marks, first, first + blocks, 0, at);
}

uint64_t emu_marks_run(const struct emu_marks *marks, uint64_t first, uint64_t blocks, uint64_t *at)
{
    uint64_t end = first + blocks, behind = end;

    if (!emu_marks_find(marks, first, blocks, at))
        return 0;
    find(marks, *at, end, UINT64_MAX, &behind);
    return behind - *at;
}
