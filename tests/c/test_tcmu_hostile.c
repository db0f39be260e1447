/* What a TCMU ring may hold that no kernel writes: nothing is trusted. */
#include <errno.h>

#include "check.h"
#include "played_ring.h"

static void unknown_operations_are_named(void)
{
    begin();
    uint32_t at = add_bare(3);
    put32(at, get32(at) | 7);
    ring();
    CHECK_EQUAL(expect(3, 0).uflags, 1);
    finish();
}

static void data_elsewhere_are_refused(void)
{
    static const struct extent wrong[] = {
        {0, 512},
        {RING, 512},
        {DATA - 1, 512},
        {MAP_BYTES, 1},
        {MAP_BYTES - 511, 512},
        {UINT64_MAX, 512},
        {UINT64_MAX - 511, 512},
        {DATA, UINT64_MAX},
        {DATA, (uint64_t)MAP_BYTES - DATA + 1},
    };

    begin();
    for (uint16_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct extent extents[] = {{DATA, 512}, wrong[i]};
        fake.refusal = 0;
        add_rw(i, 0x28, 1, extents, 2);
        ring();
        CHECK_EQUAL(expect(i, 2).uflags, 0);
        CHECK_EQUAL(fake.refusal, 0x044400);
        CHECK_EQUAL(map[DATA], 0xee);
    }
    CHECK_EQUAL(fake.executions, 0);
    finish();
}

/* The first and the last bytes that are data, and nothing behind them. */
static void data_may_lie_at_either_end(void)
{
    static const struct extent extents[] = {{MAP_BYTES - 512, 512}, {MAP_BYTES, 0}, {DATA, 512}};

    begin();
    add_rw(1, 0x28, 2, extents, 3);
    ring();
    expect(1, 0);
    CHECK_EQUAL(map[MAP_BYTES - 1], fake.disk[4 * 512 + 511]);
    CHECK_EQUAL(map[DATA], fake.disk[5 * 512]);
    finish();
}

static void entries_that_lie_are_refused(void)
{
    begin();
    uint32_t at = add_bare(1);
    put32(at + 8, 6); /* more extents than the entry holds */
    ring();
    expect(1, 2);
    at = add_bare(2);
    put32(at + 8, UINT32_MAX);
    put32(at + 12, UINT32_MAX);
    ring();
    expect(2, 2);
    at = add_bare(3);
    put64(at + 24, MAP_BYTES - 5); /* a CDB over the end */
    map[MAP_BYTES - 5] = 0;
    ring();
    expect(3, 2);
    at = add_bare(4);
    put64(at + 24, UINT64_MAX);
    ring();
    expect(4, 2);
    at = add_bare(5);
    put64(at + 24, MAP_BYTES - 3);
    map[MAP_BYTES - 3] = 0x7f; /* its length is beyond */
    ring();
    expect(5, 2);
    CHECK_EQUAL(fake.executions, 0);
    finish();
}

static void data_in_both_directions_are_refused(void)
{
    const struct extent extents[] = {{DATA, 512}, {DATA + 4096, 512}};

    begin();
    uint32_t at = add(1, rw10(0x53, 0, 1), 10, extents, 2);
    put32(at + 8, 1);
    put32(at + 12, 1);
    ring();
    expect(1, 2);
    CHECK_EQUAL(fake.refusal, 0x052000);
    finish();
}

static void a_broken_ring_is_left_alone(void)
{
    static const struct {
        uint32_t head, len_op;
    } rows[] = {
        {RING_BYTES, 128 | COMMAND},              /* a head beyond the ring */
        {4, 128 | COMMAND},                       /* between entries */
        {128, 0 | PAD},                           /* no progress */
        {128, 0 | COMMAND},                       /* */
        {128, 136 | COMMAND},                     /* beyond the head */
        {128, 104 | COMMAND},                     /* too short for an answer */
        {128, 24 | TMR},                          /* too short for itself */
        {128, 0xfffffff8 | COMMAND},              /* */
        {RING_BYTES - 8, 0xfffffff8 | PAD},       /* */
        {RING_BYTES - 8, (RING_BYTES + 8) | PAD}, /* over the ring's end */
    };

    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin();
        put32(RING, rows[i].len_op);
        head = rows[i].head;
        ring();
        expect_end(EPROTO);
    }
}

static void a_ring_that_breaks_under_way_ends(void)
{
    begin();
    fake.hold = true;
    uint32_t at = add_bare(1);
    add_bare(2);
    ring();
    put32(at, 8 | COMMAND); /* no longer room for an answer */
    fake_end(held(0), 0, 0, NULL, 0);
    CHECK_EQUAL(fake.live_tasks, 1);
    fake_end(held(0), 0, 0, NULL, 0);
    expect_end(EPROTO);
}

static void a_reset_ring_ends(void)
{
    const struct extent extent = {DATA, 512};

    begin();
    add_bare(1);
    ring();
    fake.hold = true;
    add_rw(2, 0x28, 1, &extent, 1);
    ring();
    put32(AT_TAIL, 0);
    put32(AT_HEAD, 0);
    fake_end(held(0), 0, 0, (const uint8_t[512]){1}, 512);
    CHECK_EQUAL(get32(AT_TAIL), 0);
    CHECK_EQUAL(map[DATA], 0xee); /* a page that may be someone else's by now */
    expect_end(ESTALE);
}

static void mailboxes_are_looked_at(void)
{
    static const struct {
        uint32_t at, bytes, value;
        int error;
    } rows[] = {
        {AT_VERSION, 2, 1, -EPROTONOSUPPORT},
        {AT_FLAGS, 2, READ_LEN, -EPROTONOSUPPORT},
        {AT_OFFSET, 4, 64, -EPROTO},
        {AT_OFFSET, 4, 132, -EPROTO},
        {AT_OFFSET, 4, UINT32_MAX - 7, -EPROTO},
        {AT_SIZE, 4, 0, -EPROTO},
        {AT_SIZE, 4, 1004, -EPROTO},
        {AT_SIZE, 4, MAP_BYTES, -EPROTO},
        {AT_SIZE, 4, UINT32_MAX - 7, -EPROTO},
        {AT_TAIL, 4, RING_BYTES, -EPROTO},
        {AT_TAIL, 4, 4, -EPROTO},
    };

    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make_mailbox(0);
        if (rows[i].bytes == 2)
            put16(rows[i].at, rows[i].value);
        else
            put32(rows[i].at, rows[i].value);
        CHECK_EQUAL(-open_device(), -rows[i].error);
    }
}

int main(void)
{
    make_memory();
    RUN(unknown_operations_are_named);
    RUN(data_elsewhere_are_refused);
    RUN(data_may_lie_at_either_end);
    RUN(entries_that_lie_are_refused);
    RUN(data_in_both_directions_are_refused);
    RUN(a_broken_ring_is_left_alone);
    RUN(a_ring_that_breaks_under_way_ends);
    RUN(a_reset_ring_ends);
    RUN(mailboxes_are_looked_at);
    return 0;
}
