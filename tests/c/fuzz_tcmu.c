/* An arbitrary kernel, and initiators beyond it: what stands in a TCMU device's ring, when, and
 * how the commands of it end meanwhile. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fuzz.h"
#include "little_endian.h"
#include "played_ring.h"

enum { HEAD = 2, KINDS = 16, EXTENTS = 12, EXTENT = 8, CDB = 64 };

enum kind {
    COMMAND_READ, /* of blocks and at an address from the detail; extents follow */
    COMMAND_WRITE,
    COMMAND_ANY, /* detail bytes of CDB at most, then extents */
    MANAGEMENT,  /* of a type; what follows are identifiers */
    TELL,        /* that there are entries */
    WRITE,       /* bytes anywhere in the mailbox and the ring: two of offset first */
    CLEAN,       /* what was answered */
    HOLD,        /* whether tasks end at once, from now on */
    END,         /* a task that was held, with a status and so much data */
    CARRY_OUT,
    POOL, /* little room in it, or a lot */
    WAIT,
    DRAIN,
    CLOSE,
    HANG_UP,
    COPY, /* whether data may stay in place, from now on */
};

const uint32_t fuzz_head = HEAD, fuzz_kinds = KINDS, fuzz_planted = 7;

static bool open_still, drained;
static uint32_t taken; /* entries before are the kernel's own again */

/* Play Python. */
static void take_events(void)
{
    s2n_event event;

    while (fake_next_event(&event)) {
        s2n_event_free(&event);
        if (event.type != S2N_EVENT_CONN_CLOSED)
            continue;
        CHECK(open_still && event.cookie == COOKIE);
        s2n_tcmu_free(tcmu);
        open_still = false;
    }
}

/* Whether the kernel, which never fills it up, could add an entry. */
static bool has_room(uint32_t length)
{
    uint32_t used = (head + RING_BYTES - taken) % RING_BYTES;

    return used + 2 * length + 512 < RING_BYTES;
}

static uint32_t read_extents(struct extent *extent, const uint8_t *bytes, size_t length)
{
    uint32_t count = 0;

    for (; length >= EXTENT && count < EXTENTS; length -= EXTENT, bytes += EXTENT)
        extent[count++] = (struct extent){s2n_get_le32(bytes), s2n_get_le32(bytes + 4)};
    return count;
}

static void add_transfer(uint8_t opcode, uint8_t detail, const uint8_t *bytes, size_t length)
{
    struct extent extent[EXTENTS];
    uint32_t count = read_extents(extent, bytes, length);

    if (has_room(512))
        add(detail, rw10(opcode, detail & 0xf, detail >> 4), 10, extent, count);
}

static void add_any(uint8_t detail, const uint8_t *bytes, size_t length)
{
    struct extent extent[EXTENTS];
    uint32_t cdb_length = detail % CDB < length ? detail % CDB : (uint32_t)length;
    uint32_t count = read_extents(extent, bytes + cdb_length, length - cdb_length);

    if (has_room(512))
        add(detail, bytes, cdb_length, extent, count);
}

static void add_management(uint8_t detail, const uint8_t *bytes, size_t length)
{
    uint16_t ids[16];
    uint32_t count = 0;

    for (; length >= 2 && count < 16; length -= 2, bytes += 2)
        ids[count++] = s2n_get_le16(bytes);
    if (has_room(128))
        add_tmr_of(detail, ids, count);
}

static void tell(void)
{
    if (!open_still)
        return;
    put32(AT_HEAD, head);
    (void)!send(doorbell, "\1\0\0", 4, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void overwrite(const uint8_t *bytes, size_t length)
{
    uint32_t from;

    if (length < 2)
        return;
    from = s2n_get_le16(bytes) % (RING + RING_BYTES);
    length -= 2;
    memcpy(map + from, bytes + 2, length < 4096 - from ? length : 4096 - from);
}

static void clean(void)
{
    uint8_t bytes[256];

    (void)!recv(doorbell, bytes, sizeof bytes, MSG_DONTWAIT);
    if (get32(AT_TAIL) < RING_BYTES)
        taken = get32(AT_TAIL);
}

static s2n_task *one_held(uint8_t detail)
{
    return fake.executed_count ? fake.executed[detail % fake.executed_count] : NULL;
}

static void end_one(uint8_t detail, size_t length)
{
    static const uint8_t data[1024];
    s2n_task *task = one_held(detail);

    if (task)
        fake_end(task, detail & 0x80 ? 0 : 2, 18, data, length % sizeof data);
}

/* Whether the disk has the blocks, and the task or the pool room for them. */
static bool can_carry_out(const s2n_task *task)
{
    static const uint8_t beginning[3];

    return s2n_task_moves_blocks(task) && !task->aborted && task->portion_bytes &&
           task->portion_at + task->portion_bytes <= FAKE_BLOCK &&
           !memcmp(task->cdb + 2, beginning, 3) && task->cdb[5] < FAKE_BLOCKS &&
           (task->direction == S2N_OUT ? task->data_out_length >= task->portion_bytes
                                       : fake.pool_bytes >= task->portion_bytes);
}

static void do_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length)
{
    switch (kind) {
    case COMMAND_READ:
        add_transfer(0x28, detail, bytes, length);
        break;
    case COMMAND_WRITE:
        add_transfer(0x2a, detail, bytes, length);
        break;
    case COMMAND_ANY:
        add_any(detail, bytes, length);
        break;
    case MANAGEMENT:
        add_management(detail, bytes, length);
        break;
    case WRITE:
        overwrite(bytes, length);
        break;
    case CLEAN:
        clean();
        break;
    case HOLD:
        fake.hold = detail & 1;
        break;
    case END:
        end_one(detail, length);
        break;
    case CARRY_OUT:
        if (one_held(detail) && can_carry_out(one_held(detail)))
            fake_carry_out(one_held(detail));
        break;
    case POOL:
        fake_give(((int64_t)detail << 8) - fake.pool_bytes);
        break;
    case WAIT:
        fake_advance((uint64_t)detail * 4);
        break;
    case DRAIN:
        if (open_still && !drained)
            s2n_tcmu_drain(tcmu, detail);
        drained = true;
        break;
    case CLOSE:
        if (open_still)
            s2n_tcmu_close(tcmu);
        break;
    case HANG_UP:
        shutdown(doorbell, SHUT_RDWR);
        break;
    case COPY:
        if (open_still)
            s2n_tcmu_set_in_place(tcmu, detail & 1);
        break;
    default:
        tell();
    }
}

void fuzz_begin(const uint8_t *head_bytes)
{
    if (!map)
        make_memory();
    begin_at((head_bytes[0] | (uint32_t)head_bytes[1] << 8) % RING_BYTES & ~7u);
    taken = head;
    open_still = true;
    drained = false;
}

void fuzz_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length)
{
    do_step(kind, detail, bytes, length);
    fake_run();
    take_events();
}

void fuzz_finish(void)
{
    if (open_still)
        s2n_tcmu_close(tcmu);
    fake_run();
    while (fake.executed_count)
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    fake_run();
    take_events();
    CHECK(!open_still);
    fake_run();
    CHECK_EQUAL(fake.live_tasks + fake.armed_timers + fake.sources, 0);
    close(doorbell);
}

uint32_t fuzz_reached(void)
{
    return fake.executions;
}

#ifndef S2N_LIBFUZZER

static void put_extents(uint8_t *to, uint32_t count, uint32_t length)
{
    for (uint32_t i = 0; i < count; i++) {
        s2n_put_le32(to + (size_t)EXTENT * i, DATA + 8192 * i);
        s2n_put_le32(to + (size_t)EXTENT * i + 4, length);
    }
}

void fuzz_plant(void)
{
    uint8_t bytes[64] = {0x12, 0, 0, 0, 96};
    static const uint8_t ids[4] = {0x14, 0, 0x99, 0};

    put_extents(bytes + 8, 4, 512);
    fuzz_add(COMMAND_READ, 0x14, bytes + 8, 8);
    fuzz_add(COMMAND_WRITE, 0x22, bytes + 8, 16);
    fuzz_add(TELL, 0, NULL, 0);
    fuzz_add(CLEAN, 0, NULL, 0);
    fuzz_add(COMMAND_ANY, 8, bytes, 16); /* INQUIRY */
    fuzz_add(TELL, 0, NULL, 0);
    fuzz_add(HOLD, 1, NULL, 0);
    fuzz_add(COMMAND_READ, 0x14, bytes + 8, 8);
    fuzz_add(COMMAND_WRITE, 0x15, bytes + 8, 8);
    fuzz_add(TELL, 0, NULL, 0);
    fuzz_add(MANAGEMENT, 1, ids, sizeof ids);
    fuzz_add(TELL, 0, NULL, 0);
    fuzz_add(CARRY_OUT, 1, NULL, 0);
    fuzz_add(END, 0, NULL, 0);
    fuzz_add(POOL, 2, NULL, 0);
    fuzz_add(COMMAND_WRITE, 0x42, bytes + 8, 32);
    fuzz_add(COMMAND_READ, 0x43, bytes + 8, 32);
    fuzz_add(TELL, 0, NULL, 0);
    fuzz_add(POOL, 0xff, NULL, 0);
    fuzz_add(WAIT, 0xff, NULL, 0);
    fuzz_add(DRAIN, 7, NULL, 0);
    fuzz_add(COPY, 1, NULL, 0);
    fuzz_add(END, 0x80, bytes, 0);
    fuzz_add(CLEAN, 0, NULL, 0);
    fuzz_add(WRITE, 0, (const uint8_t[]){0x80, 0, 0xff, 0xff}, 4);
    fuzz_add(TELL, 0, NULL, 0);
    fuzz_add(CLOSE, 0, NULL, 0);
}

#endif
