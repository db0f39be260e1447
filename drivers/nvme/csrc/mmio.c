/* Registers of a device, mapped: single accesses of their width, and solid ground
 * under the accesses that come after the device went away.
 *
 * The kernel answers an access to a device that decodes no memory with SIGBUS.
 * The handler puts memory of all ones in the place of the page, so that the access
 * is repeated there and reads what a missing device reads; writes go nowhere. */
#include "nvme.h"
#include "qpair.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    RANGES = 256,
};

struct range {
    _Atomic uintptr_t start; /* 0: free */
    _Atomic uintptr_t end;
};

static struct range ranges[RANGES];
static struct sigaction previous;
static int ones_fd = -1;                                 /* pages of all ones, one at least */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of set-up; the handler takes none */

/* Replace pages by all ones, in one step as other threads see it. */
static int cover(uintptr_t start, uint64_t length)
{
    void *at =
        mmap((void *)start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, ones_fd, 0);

    return at == MAP_FAILED ? -errno : 0;
}

static bool is_registers(uintptr_t address)
{
    for (int i = 0; i < RANGES; i++)
        if (address >= atomic_load(&ranges[i].start) && address < atomic_load(&ranges[i].end))
            return true;
    return false;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    int saved = errno;

    (void)number;
    (void)context;
    /* What is not ours is repeated, and meets whoever was there before us. */
    if (!is_registers(address) || cover(address & ~(uintptr_t)(PAGE - 1), PAGE) < 0)
        sigaction(SIGBUS, &previous, NULL);
    errno = saved;
}

/* Have as many bytes of all ones. Lock held. */
static int fill(int fd, uint64_t length)
{
    uint8_t ones[PAGE];

    memset(ones, 0xFF, sizeof(ones));
    for (uint64_t at = 0; at < length; at += PAGE)
        if (pwrite(fd, ones, sizeof(ones), (off_t)at) != (ssize_t)sizeof(ones))
            return -EIO;
    return 0;
}

/* Once per process: the pages of all ones and the handler. Lock held. */
static int prepare(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int fd;

    if (ones_fd >= 0)
        return 0;
    fd = memfd_create("scsi2nvme-ones", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fill(fd, PAGE) < 0) {
        close(fd);
        return -EIO;
    }
    ones_fd = fd;
    if (sigaction(SIGBUS, &action, &previous) < 0) {
        ones_fd = -1;
        close(fd);
        return -errno;
    }
    return 0;
}

static int guard(uintptr_t start, uint64_t length)
{
    for (int i = 0; i < RANGES; i++) {
        if (atomic_load(&ranges[i].start))
            continue;
        atomic_store(&ranges[i].end, start + length);
        atomic_store(&ranges[i].start, start);
        return 0;
    }
    return -ENOSPC;
}

int s2n_mmio_map(int fd, uint64_t offset, uint64_t length, void **registers)
{
    int result;
    void *at;

    if (length == 0 || length % PAGE)
        return -EINVAL;
    pthread_mutex_lock(&lock);
    result = prepare();
    if (result == 0) {
        at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
        result = at == MAP_FAILED ? -errno : guard((uintptr_t)at, length);
        if (at != MAP_FAILED && result == 0) {
            madvise(at, length, MADV_DONTFORK);
            *registers = at;
        } else if (at != MAP_FAILED) {
            munmap(at, length);
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int s2n_mmio_detach(void *registers, uint64_t length)
{
    int result;

    pthread_mutex_lock(&lock);
    /* In one piece: the kernel keeps a note of the caching of each mapping of a device. */
    result = fill(ones_fd, length);
    if (result == 0)
        result = cover((uintptr_t)registers, length);
    pthread_mutex_unlock(&lock);
    return result;
}

int s2n_mmio_attach(void *registers, int fd, uint64_t offset, uint64_t length)
{
    if (mmap(registers, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
             (off_t)offset) == MAP_FAILED)
        return -errno;
    madvise(registers, length, MADV_DONTFORK);
    return 0;
}

void s2n_mmio_unmap(void *registers, uint64_t length)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RANGES; i++) {
        if (atomic_load(&ranges[i].start) == (uintptr_t)registers) {
            atomic_store(&ranges[i].end, 0);
            atomic_store(&ranges[i].start, 0);
        }
    }
    munmap(registers, length);
    pthread_mutex_unlock(&lock);
}

static volatile void *at(void *registers, uint64_t offset)
{
    return (volatile uint8_t *)registers + offset;
}

uint32_t s2n_mmio_read32(void *registers, uint64_t offset)
{
    return le32toh(*(volatile uint32_t *)at(registers, offset));
}

uint64_t s2n_mmio_read64(void *registers, uint64_t offset)
{
    return le64toh(*(volatile uint64_t *)at(registers, offset));
}

/* What was written to memory before must be there when the device acts on it. */

void s2n_mmio_write32(void *registers, uint64_t offset, uint32_t value)
{
    atomic_thread_fence(memory_order_seq_cst);
    *(volatile uint32_t *)at(registers, offset) = htole32(value);
}

void s2n_mmio_write64(void *registers, uint64_t offset, uint64_t value)
{
    atomic_thread_fence(memory_order_seq_cst);
    *(volatile uint64_t *)at(registers, offset) = htole64(value);
}

/* ---- doorbells, as the port of queue pairs: those order their own stores ---- */

struct mmio_port {
    s2n_port port;
    volatile uint8_t *doorbells;
    uint32_t stride;
};

static void mmio_write(s2n_port *port, uint32_t index, uint32_t value)
{
    struct mmio_port *mmio = (struct mmio_port *)port;

    *(volatile uint32_t *)(mmio->doorbells + (size_t)index * mmio->stride) = htole32(value);
}

static void mmio_ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    mmio_write(port, 2u * qid, tail);
}

static void mmio_ring_cq(s2n_port *port, uint16_t qid, uint32_t head)
{
    mmio_write(port, 2u * qid + 1, head);
}

static void mmio_free(s2n_port *port)
{
    free(port);
}

s2n_port *s2n_port_mmio(void *doorbells, uint32_t stride)
{
    static const struct s2n_port_ops ops = {
        .ring_sq = mmio_ring_sq,
        .ring_cq = mmio_ring_cq,
        .free = mmio_free,
    };
    struct mmio_port *mmio = calloc(1, sizeof *mmio);

    if (!mmio)
        return NULL;
    mmio->port.ops = &ops;
    mmio->doorbells = doorbells;
    mmio->stride = stride;
    return &mmio->port;
}
