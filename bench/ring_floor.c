/* The least that a handler of the kernel's user backstore costs: it finds each command in the
 * ring and ends it at once, with GOOD if it is to move data. Nothing is behind it: what is read
 * is whatever the ring's pages hold, what is written is left there. For measurements alone.
 *
 *     ring-floor SIZE-BYTES MAP-BYTES [--copy] [--spin MICROSECONDS] <>/dev/uioN >&0
 *
 * With --copy, data are copied from and to a buffer, as where a disk does not reach the pages.
 * With --spin, it looks at the ring for so long before it sleeps. It ends with its input. */
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define __LINUX_UIO_H /* its iovec is that of <sys/uio.h> */
#include <linux/target_core_user.h>

enum { BLOCK_BYTES = 512, BUFFER_BYTES = 1 << 20 };
enum { GOOD = 0x00, CHECK_CONDITION = 0x02 };
enum { TEST_UNIT_READY = 0x00, INQUIRY = 0x12, READ_CAPACITY_10 = 0x25, READ_10 = 0x28 };
enum { WRITE_10 = 0x2a, SYNCHRONIZE_CACHE_10 = 0x35, READ_16 = 0x88, WRITE_16 = 0x8a };
enum { SYNCHRONIZE_CACHE_16 = 0x91 };

struct ring {
    uint8_t *map;
    uint64_t map_bytes;
    _Atomic uint32_t *head, *tail;
    uint32_t offset, bytes; /* of the entries, in the mapping */
    uint32_t next;
};

typedef struct tcmu_cmd_entry entry;

static uint64_t blocks;
static bool copies;
static uint8_t buffer[BUFFER_BYTES];

static void put(uint8_t *at, uint64_t value, int bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static struct ring ring_open(uint64_t map_bytes)
{
    struct tcmu_mailbox box;
    uint8_t *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, STDIN_FILENO, 0);

    if (map == MAP_FAILED || map_bytes < sizeof box)
        err(1, "mapping the ring");
    memcpy(&box, map, sizeof box);
    if (box.version != TCMU_MAILBOX_VERSION || !box.cmdr_size ||
        (uint64_t)box.cmdr_off + box.cmdr_size > map_bytes)
        errx(1, "version %u of the ring", box.version);
    return (struct ring){
        .map = map,
        .map_bytes = map_bytes,
        .head = (void *)(map + offsetof(struct tcmu_mailbox, cmd_head)),
        .tail = (void *)(map + offsetof(struct tcmu_mailbox, cmd_tail)),
        .offset = box.cmdr_off,
        .bytes = box.cmdr_size,
        .next = box.cmd_tail,
    };
}

/* ---- commands ---- */

/* Copy `bytes` between the buffer and a command's data; returns how many those are in all. */
static uint64_t copy(const struct ring *ring, const entry *command, uint64_t bytes, bool in)
{
    const uint8_t *iovecs = (const uint8_t *)command + offsetof(entry, req.iov);
    uint64_t at = 0;

    for (uint32_t i = 0; i < command->req.iov_cnt; i++) {
        struct iovec part;
        memcpy(&part, iovecs + i * sizeof part, sizeof part);
        uint64_t offset = (uintptr_t)part.iov_base;
        if (offset > ring->map_bytes || part.iov_len > ring->map_bytes - offset)
            errx(1, "data beyond the mapping");
        uint64_t left = bytes > at ? bytes - at : 0, room = BUFFER_BYTES - at % BUFFER_BYTES;
        uint64_t length = part.iov_len < left ? part.iov_len : left;
        uint8_t *ours = buffer + at % BUFFER_BYTES;
        length = length < room ? length : room;
        if (in)
            memcpy(ring->map + offset, ours, length);
        else
            memcpy(ours, ring->map + offset, length);
        at += part.iov_len;
    }
    return at;
}

/* Answer a command with data; the kernel is told how many if it expects more. */
static void give(const struct ring *ring, entry *command, const void *data, uint32_t bytes)
{
    memcpy(buffer, data, bytes);
    if (copy(ring, command, bytes, true) > bytes) {
        command->hdr.uflags = TCMU_UFLAG_READ_LEN;
        command->rsp.read_len = bytes;
    }
    command->rsp.scsi_status = GOOD;
}

static void refuse(entry *command)
{
    static const uint8_t sense[18] = {0x70, [2] = 0x05, [7] = 10, [12] = 0x20};

    memcpy(command->rsp.sense_buffer, sense, sizeof sense);
    command->rsp.scsi_status = CHECK_CONDITION;
}

static void inquire(const struct ring *ring, entry *command, const uint8_t *cdb)
{
    static const uint8_t data[36] = "\0\0\4\2\x1f\0\0\2FLOOR   Empty ring      0   ";

    if (cdb[1])
        refuse(command);
    else
        give(ring, command, data, sizeof data);
}

static void read_capacity(const struct ring *ring, entry *command)
{
    uint8_t data[8];

    put(data, blocks - 1, 4);
    put(data + 4, BLOCK_BYTES, 4);
    give(ring, command, data, sizeof data);
}

static void serve(const struct ring *ring, entry *command)
{
    if (command->req.cdb_off > ring->map_bytes - 16)
        errx(1, "a CDB beyond the mapping");
    const uint8_t *cdb = ring->map + command->req.cdb_off;

    switch (cdb[0]) {
    case READ_10:
    case READ_16:
    case WRITE_10:
    case WRITE_16:
        if (copies)
            copy(ring, command, UINT64_MAX, cdb[0] == READ_10 || cdb[0] == READ_16);
        /* fallthrough */
    case TEST_UNIT_READY:
    case SYNCHRONIZE_CACHE_10:
    case SYNCHRONIZE_CACHE_16:
        command->rsp.scsi_status = GOOD;
        break;
    case INQUIRY:
        inquire(ring, command, cdb);
        break;
    case READ_CAPACITY_10:
        read_capacity(ring, command);
        break;
    default:
        refuse(command);
    }
}

/* ---- the ring ---- */

static bool is_empty(const struct ring *ring)
{
    return ring->next == atomic_load_explicit(ring->head, memory_order_acquire);
}

/* Serve what there is, and ring the doorbell once for all of it. */
static void serve_all(struct ring *ring)
{
    uint32_t any = 0, before = ring->next;

    while (!is_empty(ring)) {
        entry *command = (void *)(ring->map + ring->offset + ring->next);
        uint32_t len_op = command->hdr.len_op, length = tcmu_hdr_get_len(len_op);
        uint32_t least =
            tcmu_hdr_get_op(len_op) == TCMU_OP_CMD ? sizeof *command : sizeof(uint64_t);
        if (length < least || length > ring->bytes - ring->next)
            errx(1, "an entry of %u bytes", length);
        if (tcmu_hdr_get_op(len_op) == TCMU_OP_CMD)
            serve(ring, command);
        ring->next = (ring->next + length) % ring->bytes;
    }
    if (ring->next == before)
        return;
    atomic_store_explicit(ring->tail, ring->next, memory_order_release);
    if (write(STDOUT_FILENO, &any, sizeof any) < 0)
        err(1, "the doorbell");
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* Wait for commands; false when the device is gone. */
static bool await(const struct ring *ring, int64_t spin_us)
{
    uint32_t count;

    if (spin_us) {
        for (int64_t until_us = now_us() + spin_us; now_us() < until_us; sched_yield())
            if (!is_empty(ring))
                return true;
    }
    return read(STDIN_FILENO, &count, sizeof count) > 0;
}

int main(int argc, char **argv)
{
    int64_t spin_us = 0;

    if (argc < 3)
        errx(2, "usage: ring-floor SIZE-BYTES MAP-BYTES [--copy] [--spin MICROSECONDS]");
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--copy"))
            copies = true;
        else if (!strcmp(argv[i], "--spin") && i + 1 < argc)
            spin_us = strtoll(argv[++i], NULL, 0);
        else
            errx(2, "%s: unknown", argv[i]);
    }
    blocks = strtoull(argv[1], NULL, 0) / BLOCK_BYTES;
    struct ring ring = ring_open(strtoull(argv[2], NULL, 0));
    do
        serve_all(&ring);
    while (await(&ring, spin_us));
    return 0;
}
