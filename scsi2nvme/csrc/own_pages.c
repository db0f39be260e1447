#include "own_pages.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* AddressSanitizer knows where a piece of the heap ends, not where pages of our own do. */
#ifdef __SANITIZE_ADDRESS__
static const bool from_heap = true;
#elif defined(__has_feature)
static const bool from_heap = __has_feature(address_sanitizer);
#else
static const bool from_heap = false;
#endif

void *s2n_own_pages_new(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *at;

    if (from_heap)
        return calloc(1, bytes);
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    madvise(at, bytes, MADV_NOHUGEPAGE); /* neighbours would become one, resident as a whole */
    return at;
}

void s2n_own_pages_free(void *at, size_t bytes)
{
    if (from_heap)
        free(at);
    else if (at)
        munmap(at, bytes);
}

void s2n_own_pages_rest(void *at, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)at + page - 1) & ~(page - 1);
    uintptr_t end = from_heap ? ((uintptr_t)at + bytes) & ~(page - 1) : (uintptr_t)at + bytes;

    if (first < end)
        madvise((void *)first, end - first, MADV_DONTNEED);
}
