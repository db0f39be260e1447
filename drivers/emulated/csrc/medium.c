/* What a namespace's blocks are on: a range of a file, or of a disk in memory.
 *
 * Whoever calls holds the locks of the blocks, so that a copy in memory is as whole to others as a
 * system call is.
 */
#include "emu.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { CHUNK_BYTES = 65536, LINE_BYTES = 64, STREAMED_BYTES = 16384 };

_Static_assert(EMU_IOVECS <= IOV_MAX, "one system call takes a whole command");

/* ---- vectors ---- */

static size_t total(const struct iovec *iov, uint32_t count)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

void emu_advance(struct iovec **iov, uint32_t *count, size_t bytes)
{
    while (*count && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (bytes) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}

static bool equals(const uint8_t *data, size_t bytes, struct iovec **iov, uint32_t *count)
{
    while (bytes) {
        size_t part = bytes < (*iov)->iov_len ? bytes : (*iov)->iov_len;

        if (memcmp(data, (*iov)->iov_base, part) != 0)
            return false;
        emu_advance(iov, count, part);
        data += part;
        bytes -= part;
    }
    return true;
}

/* ---- a file ---- */

static uint16_t status_of(int error, bool writing)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return EMU_CAPACITY_EXCEEDED;
    case EIO:
        return writing ? EMU_WRITE_FAULT : EMU_UNRECOVERED_READ;
    case EFAULT:
        return EMU_DATA_TRANSFER_ERROR;
    default:
        return EMU_INTERNAL_ERROR;
    }
}

static off_t position(const struct emu_namespace *ns, uint64_t slba)
{
    return (off_t)(ns->offset + (slba << ns->shift));
}

static uint16_t read_all(const struct emu_namespace *ns, struct iovec *iov, uint32_t count,
                         off_t at)
{
    while (count) {
        ssize_t bytes = preadv(ns->fd, iov, (int)count, at);

        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes <= 0) /* the file ends within the namespace: somebody cut it */
            return bytes ? status_of(errno, false) : EMU_UNRECOVERED_READ;
        at += bytes;
        emu_advance(&iov, &count, (size_t)bytes);
    }
    return EMU_SUCCESS;
}

static uint16_t write_all(const struct emu_namespace *ns, struct iovec *iov, uint32_t count,
                          off_t at, bool durable)
{
    while (count) {
        ssize_t bytes = pwritev2(ns->fd, iov, (int)count, at, durable ? RWF_DSYNC : 0);

        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes <= 0)
            return bytes ? status_of(errno, true) : EMU_WRITE_FAULT;
        at += bytes;
        emu_advance(&iov, &count, (size_t)bytes);
    }
    return EMU_SUCCESS;
}

/* preadv2(2) without what the C library does around it for threads that can be cancelled, of which
 * there is none: 70 instructions. The kernel puts the offset together of what are halves where it
 * has no longer registers. */
static ssize_t read_at_once(int fd, const struct iovec *iov, uint32_t count, off_t at)
{
    long high = (long)((uint64_t)at >> 32);

    return syscall(SYS_preadv2, (long)fd, iov, (long)count, (long)at, high, (long)RWF_NOWAIT);
}

/* Read without waiting for the medium; EMU_WOULD_BLOCK if something is not cached. */
static uint16_t read_cached(struct emu_namespace *ns, struct iovec *iov, uint32_t count, off_t at)
{
    ssize_t bytes;

    if (!atomic_load_explicit(&ns->nowait, memory_order_relaxed))
        return read_all(ns, iov, count, at);
    bytes = read_at_once(ns->fd, iov, count, at);
    if (bytes >= 0 && (size_t)bytes == total(iov, count))
        return EMU_SUCCESS;
    if (bytes < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        /* A file system in memory, where there is nothing to wait for, or no such call. */
        atomic_store_explicit(&ns->nowait, false, memory_order_relaxed);
        return read_all(ns, iov, count, at);
    }
    return EMU_WOULD_BLOCK;
}

/* More than a chunk may block: vectors that were compared in part are not those of another
 * attempt. */
static uint16_t scan_file(struct emu_namespace *ns, uint64_t slba, uint64_t left, struct iovec *iov,
                          uint32_t count, bool may_block)
{
    off_t at = position(ns, slba);

    if (!may_block && left > CHUNK_BYTES)
        return EMU_WOULD_BLOCK;
    uint8_t *buffer = malloc(left < CHUNK_BYTES ? left : CHUNK_BYTES);
    uint16_t status = buffer ? EMU_SUCCESS : EMU_INTERNAL_ERROR;
    while (left && status == EMU_SUCCESS) {
        struct iovec chunk = {buffer, left < CHUNK_BYTES ? left : CHUNK_BYTES};
        size_t bytes = chunk.iov_len;

        status = may_block ? read_all(ns, &chunk, 1, at) : read_cached(ns, &chunk, 1, at);
        if (status == EMU_SUCCESS && count && !equals(buffer, bytes, &iov, &count))
            status = EMU_COMPARE_FAILURE;
        left -= bytes;
        at += (off_t)bytes;
    }
    free(buffer);
    return status;
}

/* Where the file system can neither punch nor zero a range. */
static uint16_t write_zeros(const struct emu_namespace *ns, off_t at, uint64_t bytes)
{
    uint8_t *zeros = calloc(1, CHUNK_BYTES);
    uint16_t status = zeros ? EMU_SUCCESS : EMU_INTERNAL_ERROR;

    while (bytes && status == EMU_SUCCESS) {
        struct iovec chunk = {zeros, bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES};
        size_t step = chunk.iov_len;

        status = write_all(ns, &chunk, 1, at, false);
        at += (off_t)step;
        bytes -= step;
    }
    free(zeros);
    return status;
}

static uint16_t fill_file(const struct emu_namespace *ns, const uint8_t *chunk, uint64_t bytes)
{
    off_t at = (off_t)ns->offset;
    uint16_t status = EMU_SUCCESS;

    while (bytes && status == EMU_SUCCESS) {
        size_t step = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
        struct iovec part = {(void *)(uintptr_t)chunk, step};

        status = write_all(ns, &part, 1, at, false);
        at += (off_t)step;
        bytes -= step;
    }
    return status;
}

static uint16_t zero_file(const struct emu_namespace *ns, off_t at, uint64_t bytes, bool deallocate)
{
    int mode = FALLOC_FL_KEEP_SIZE | (deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    int result;

    do
        result = fallocate(ns->fd, mode, at, (off_t)bytes);
    while (result < 0 && errno == EINTR);
    if (result == 0)
        return EMU_SUCCESS;
    return errno == EOPNOTSUPP ? write_zeros(ns, at, bytes) : status_of(errno, true);
}

/* ---- memory ---- */

/* Private memory: nobody cuts it, and where there is none left the kernel ends a process and fails
 * no access. What was never written to, or given back, takes no room and reads as zeros.
 * Huge pages make copying cheaper by a quarter. */
s2n_emu_disk *s2n_emu_disk_new(uint64_t bytes)
{
    s2n_emu_disk *disk = malloc(sizeof *disk);
    void *at = MAP_FAILED;

    if (!disk)
        return NULL;
    if (bytes <= PTRDIFF_MAX)
        at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    if (at == MAP_FAILED) {
        free(disk);
        return NULL;
    }
    madvise(at, bytes, MADV_HUGEPAGE);
    madvise(at, bytes, MADV_DONTFORK); /* no child makes pages its own */
    madvise(at, bytes, MADV_DONTDUMP);
    *disk = (s2n_emu_disk){at, bytes};
    return disk;
}

void s2n_emu_disk_free(s2n_emu_disk *disk)
{
    if (!disk)
        return;
    munmap(disk->at, disk->bytes);
    free(disk);
}

static uint8_t *address(const struct emu_namespace *ns, uint64_t slba)
{
    return ns->memory + (slba << ns->shift);
}

static void copy_out(const uint8_t *from, const struct iovec *iov, uint32_t count)
{
    for (uint32_t i = 0; i < count; from += iov[i++].iov_len)
        memcpy(iov[i].iov_base, from, iov[i].iov_len);
}

/* As memcpy, but past the caches, which a large write would fill with what it replaces first: a
 * third cheaper. All of it can be seen before anything that is stored later. */
static void stream(uint8_t *to, const uint8_t *from, size_t bytes)
{
#ifdef __SSE2__
    size_t head = -(uintptr_t)to % LINE_BYTES;

    memcpy(to, from, head);
    for (to += head, from += head, bytes -= head; bytes >= LINE_BYTES; bytes -= LINE_BYTES) {
        for (int i = 0; i < LINE_BYTES; i += (int)sizeof(__m128i), from += sizeof(__m128i))
            _mm_stream_si128((__m128i *)(to + i), _mm_loadu_si128((const __m128i *)from));
        to += LINE_BYTES;
    }
    _mm_sfence();
#endif
    memcpy(to, from, bytes);
}

static void copy_in(uint8_t *to, const struct iovec *iov, uint32_t count)
{
    for (uint32_t i = 0; i < count; to += iov[i++].iov_len) {
        if (iov[i].iov_len < STREAMED_BYTES)
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
        else
            stream(to, iov[i].iov_base, iov[i].iov_len);
    }
}

void emu_zero_memory(uint8_t *at, uint64_t bytes, bool deallocate)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint64_t head = -(uintptr_t)at & (page - 1);
    uint64_t whole = head < bytes ? (bytes - head) & ~(uint64_t)(page - 1) : 0;

    if (!deallocate || !whole || madvise(at + head, whole, MADV_DONTNEED) < 0) {
        memset(at, 0, bytes);
        return;
    }
    memset(at, 0, head);
    memset(at + head + whole, 0, bytes - head - whole);
}

/* ---- either ---- */

bool emu_medium_has_cache(const struct emu_namespace *ns)
{
    return !ns->memory;
}

uint16_t emu_medium_read(struct emu_namespace *ns, uint64_t slba, struct iovec *iov, uint32_t count,
                         bool may_block)
{
    if (ns->memory) {
        copy_out(address(ns, slba), iov, count);
        return EMU_SUCCESS;
    }
    if (may_block)
        return read_all(ns, iov, count, position(ns, slba));
    return read_cached(ns, iov, count, position(ns, slba));
}

uint16_t emu_medium_write(struct emu_namespace *ns, uint64_t slba, struct iovec *iov,
                          uint32_t count, bool durable)
{
    if (ns->memory) {
        copy_in(address(ns, slba), iov, count);
        return EMU_SUCCESS;
    }
    return write_all(ns, iov, count, position(ns, slba), durable);
}

uint16_t emu_medium_scan(struct emu_namespace *ns, uint64_t slba, uint64_t blocks,
                         struct iovec *iov, uint32_t count, bool may_block)
{
    uint64_t bytes = blocks << ns->shift;

    if (!ns->memory)
        return scan_file(ns, slba, bytes, iov, count, may_block);
    return !count || equals(address(ns, slba), bytes, &iov, &count) ? EMU_SUCCESS
                                                                    : EMU_COMPARE_FAILURE;
}

void emu_medium_expect(const struct emu_namespace *ns, uint64_t slba, uint64_t blocks)
{
    if (!ns->memory && blocks)
        posix_fadvise(ns->fd, position(ns, slba), (off_t)(blocks << ns->shift),
                      POSIX_FADV_WILLNEED);
}

uint16_t emu_medium_zero(struct emu_namespace *ns, uint64_t slba, uint64_t blocks, bool deallocate)
{
    uint64_t bytes = blocks << ns->shift;

    if (!ns->memory)
        return zero_file(ns, position(ns, slba), bytes, deallocate);
    emu_zero_memory(address(ns, slba), bytes, deallocate);
    return EMU_SUCCESS;
}

uint16_t emu_medium_fill(struct emu_namespace *ns, uint32_t pattern)
{
    uint64_t bytes = ns->blocks << ns->shift;
    uint8_t *chunk = malloc(CHUNK_BYTES);
    uint16_t status = EMU_SUCCESS;

    if (!chunk)
        return EMU_INTERNAL_ERROR;
    for (uint32_t i = 0; i < CHUNK_BYTES; i++)
        chunk[i] = (uint8_t)(pattern >> 8 * (i % 4));
    if (!ns->memory)
        status = fill_file(ns, chunk, bytes);
    for (uint64_t at = 0; ns->memory && at < bytes; at += CHUNK_BYTES)
        memcpy(ns->memory + at, chunk, bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES);
    free(chunk);
    return status;
}

uint16_t emu_medium_sync(struct emu_namespace *ns)
{
    return ns->memory || fdatasync(ns->fd) == 0 ? EMU_SUCCESS : status_of(errno, true);
}
