/* A TCMU device on a reactor that plays by hand. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "check.h"
#include "played_ring.h"

/* ---- the plain way ---- */

static void one_command_after_the_other(void)
{
    begin();
    for (uint16_t id = 1; id < 200; id++) { /* several times around the ring */
        add_bare(id);
        ring();
        expect(id, 0);
        CHECK_EQUAL(doorbells(), 1);
    }
    finish();
}

static void a_round_rings_once(void)
{
    begin();
    for (uint16_t id = 1; id <= 20; id++)
        add_bare(id);
    ring();
    for (uint16_t id = 1; id <= 20; id++)
        expect(id, 0);
    expect_none();
    CHECK_EQUAL(doorbells(), 1);
    finish();
}

static void what_waits_at_the_beginning_is_taken(void)
{
    make_mailbox(RING_BYTES - 120);
    add_bare(9);
    put32(AT_HEAD, head);
    CHECK_EQUAL(open_device(), 0);
    fake_run();
    expect(9, 0);
    finish();
}

static void answers_come_in_any_order(void)
{
    begin_at(RING_BYTES - 240); /* with a pad in between */
    fake.hold = true;
    for (uint16_t id = 1; id <= 4; id++)
        add_bare(id);
    ring();
    expect_none();
    fake_end(held(2), 0, 0, NULL, 0);
    fake_run();
    expect(3, 0);
    expect_none();
    for (int left = 3; left; left--)
        fake_end(held(0), 8, 0, NULL, 0);
    fake_run();
    uint32_t seen = 0;
    struct answer answer;
    while (next_answer(&answer))
        seen |= 1u << answer.id;
    CHECK_EQUAL(seen, 1 << 1 | 1 << 2 | 1 << 4);
    CHECK_EQUAL(get32(AT_TAIL), head);
    finish();
}

static void the_request_is_read_before_an_answer_covers_it(void)
{
    const struct extent extent = {DATA, 512};

    begin();
    fake.hold = true;
    add_bare(1);
    add_rw(2, 0x28, 1, &extent, 1);
    ring();
    memset(fake.disk, 0x11, sizeof fake.disk);
    fake_end(held(1), 0, 0, (const uint8_t[512]){0x42}, 512); /* into the entry of 1 */
    fake_end(held(0), 0, 0, NULL, 0);                         /* into the entry of 2 */
    fake_run();
    expect(2, 0);
    expect(1, 0);
    CHECK_EQUAL(map[DATA], 0x42);
    finish();
}

/* ---- data ---- */

static void data_go_both_ways_over_many_extents(void)
{
    enum { BLOCKS = 300, COUNT = 20 };
    struct extent extent[COUNT];
    uint32_t bytes = BLOCKS * 512, left = bytes, at = DATA;

    begin();
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t length = i + 1 < COUNT ? 4096 + 512 * (i % 3) : left;
        extent[i] = (struct extent){at, length};
        at += length + 4096;
        left -= length;
    }
    uint32_t done = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        for (uint64_t k = 0; k < extent[i].length; k++)
            map[extent[i].base + k] = pattern(done++);
    add_rw(1, 0x2a, BLOCKS, extent, COUNT);
    ring();
    expect(1, 0);
    for (uint32_t i = 0; i < bytes; i++)
        CHECK_EQUAL(fake.disk[4 * 512 + i], pattern(i));
    memset(map + DATA, 0xee, MAP_BYTES - DATA);
    add_rw(2, 0x28, BLOCKS, extent, COUNT);
    ring();
    CHECK_EQUAL(expect(2, 0).uflags, 0);
    done = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        for (uint64_t k = 0; k < extent[i].length; k++)
            CHECK_EQUAL(map[extent[i].base + k], pattern(done++));
        CHECK_EQUAL(map[extent[i].base + extent[i].length], 0xee);
    }
    finish();
}

static void a_short_read_leaks_nothing(void)
{
    const struct extent extents[] = {{DATA, 4096}, {DATA + 8192, 1000}};

    begin();
    add_rw(1, 0x28, 2, extents, 2);
    ring();
    struct answer answer = expect(1, 0);
    CHECK_EQUAL(answer.uflags, READ_LEN);
    CHECK_EQUAL(answer.read_length, 1024);
    for (uint32_t i = 1024; i < 4096; i++)
        CHECK_EQUAL(map[DATA + i], 0);
    for (uint32_t i = 0; i < 1000; i++)
        CHECK_EQUAL(map[DATA + 8192 + i], 0);
    CHECK_EQUAL(map[DATA + 4096], 0xee);
    finish();
}

/* That nothing moved cannot be told: one byte did, which is ours. */
static void nothing_moved_is_a_zero(void)
{
    const struct extent extent = {DATA, 512};

    begin();
    for (uint16_t id = 1; id <= 3; id++) {
        memset(map + DATA, 0xee, 512);
        if (id == 1)
            add_rw(id, 0x2a, 1, &extent, 1); /* the fabric may have taken it for a read */
        else if (id == 2)
            add_rw(id, 0x28, 0, &extent, 1);
        else
            add(id, test_unit_ready, 6, &extent, 1);
        ring();
        struct answer answer = expect(id, 0);
        CHECK_EQUAL(answer.uflags, READ_LEN);
        CHECK_EQUAL(answer.read_length, 1);
        CHECK_EQUAL(map[DATA], 0);
    }
    CHECK_EQUAL(map[DATA + 1], 0);
    finish();
}

static void more_announced_than_there_is(void)
{
    const struct extent extent = {DATA, 512};

    begin();
    add_rw(1, 0x28, 8, &extent, 1);
    ring();
    CHECK_EQUAL(expect(1, 0).uflags, 0);
    CHECK_EQUAL(map[DATA + 512], 0xee);
    fake.hold = true;
    add_rw(2, 0x2a, 8, &extent, 1);
    ring();
    CHECK_EQUAL(held(0)->data_out_length, 512);
    CHECK_EQUAL(held(0)->expected, 512);
    fake_end(held(0), 0, 0, NULL, 0);
    fake_run();
    expect(2, 0);
    finish();
}

static void sense_is_handed_on(void)
{
    const struct extent extent = {DATA, 512};

    begin();
    fake.hold = true;
    add_rw(1, 0x28, 1, &extent, 1);
    add_bare(2);
    ring();
    fake_end(held(0), 2, 18, NULL, 0);
    fake_end(held(0), 2, S2N_SENSE_BYTES, NULL, 0);
    fake_run();
    struct answer answer = expect(1, 2);
    CHECK_EQUAL(answer.uflags, 0);
    CHECK_EQUAL(answer.sense[17], 0x5e);
    CHECK_EQUAL(answer.sense[18], 0);
    answer = expect(2, 2);
    CHECK_EQUAL(answer.sense[95], 0x5e);
    finish();
}

static void a_write_waits_for_a_buffer(void)
{
    const struct extent extent = {DATA, 1024};

    begin();
    fake.pool_bytes = 0;
    memset(map + DATA, 0x77, 1024);
    add_rw(1, 0x2a, 2, &extent, 1);
    add_bare(2);
    ring();
    expect(2, 0);
    expect_none();
    fake_give(4096);
    fake_run();
    expect(1, 0);
    CHECK_EQUAL(fake.disk[5 * 512 + 511], 0x77);
    finish();
}

/* With memory for one portion only, and extents that do not end with portions. */
static void much_data_go_in_portions(void)
{
    enum { BLOCKS = 300, BYTES = BLOCKS * 512, FIRST = 50000 };
    const struct extent extents[] = {{DATA, FIRST}, {DATA + 65536, BYTES - FIRST}};

    begin();
    fake.portion_bytes = 40 * 512;
    fake.pool_bytes = 40 * 512;
    for (uint32_t i = 0; i < BYTES; i++)
        map[i < FIRST ? DATA + i : DATA + 65536 + i - FIRST] = pattern(i);
    add_rw(1, 0x2a, BLOCKS, extents, 2);
    ring();
    expect(1, 0);
    CHECK_EQUAL(fake.executions, 8);
    for (uint32_t i = 0; i < BYTES; i++)
        CHECK_EQUAL(fake.disk[4 * 512 + i], pattern(i));
    memset(map + DATA, 0xee, MAP_BYTES - DATA);
    add_rw(2, 0x28, BLOCKS, extents, 2);
    ring();
    CHECK_EQUAL(expect(2, 0).uflags, 0);
    for (uint32_t i = 0; i < BYTES; i++)
        CHECK_EQUAL(map[i < FIRST ? DATA + i : DATA + 65536 + i - FIRST], pattern(i));
    CHECK_EQUAL(map[DATA + FIRST], 0xee);
    add_rw(3, 0x28, 150, extents, 2);
    ring();
    CHECK_EQUAL(expect(3, 0).read_length, 150 * 512);
    add_rw(4, 0x28, BLOCKS, extents, 1); /* less than is announced */
    ring();
    expect(4, 0);
    fake.pool_bytes += (1 << 26) - 40 * 512;
    finish();
}

static void a_portion_that_fails_or_is_aborted_is_the_last(void)
{
    const struct extent extent = {DATA, 100 * 512};

    begin();
    fake.portion_bytes = 40 * 512;
    fake.hold = true;
    add_rw(1, 0x2a, 100, &extent, 1);
    ring();
    fake_carry_out(held(0));
    CHECK_EQUAL(held(0)->portion_at, 40 * 512);
    fake_end(held(0), 2, 18, NULL, 0);
    fake_run();
    expect(1, 2);
    add_rw(2, 0x28, 100, &extent, 1);
    ring();
    fake_carry_out(held(0));
    CHECK(fake_abort(held(0)->tag, false));
    fake_end(held(0), 0, 0, NULL, 0);
    fake_run();
    expect(2, 0x40);
    CHECK_EQUAL(fake.executed_count, 0);
    finish();
}

/* ---- CDBs ---- */

static void cdbs_have_their_length(void)
{
    static const struct {
        uint8_t opcode, length;
    } rows[] = {{0x00, 6}, {0x28, 10}, {0x5a, 10}, {0x88, 16}, {0xa8, 12}, {0xc0, 16}, {0x7f, 32}};
    uint8_t cdb[64] = {0};

    begin();
    fake.hold = true;
    for (uint16_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cdb[0] = rows[i].opcode;
        cdb[7] = 24;
        add(i, cdb, 64, NULL, 0);
        ring();
        CHECK_EQUAL(held(0)->cdb_length, rows[i].length);
        CHECK(!memcmp(held(0)->cdb, cdb, rows[i].length));
        fake_end(held(0), 0, 0, NULL, 0);
        fake_run();
        expect(i, 0);
    }
    cdb[0] = 0x7f;
    cdb[7] = 252; /* longer than any row */
    add(9, cdb, 64, NULL, 0);
    ring();
    CHECK_EQUAL(held(0)->cdb_length, S2N_CDB_BYTES);
    fake_end(held(0), 0, 0, NULL, 0);
    finish();
}

/* ---- task management ---- */

static void an_aborted_command_is_answered(void)
{
    const struct extent extent = {DATA, 512};

    begin();
    fake.hold = true;
    fake.pool_bytes = 0;
    add_rw(5, 0x28, 1, &extent, 1);
    add_rw(6, 0x2a, 1, &extent, 1); /* waits for a buffer */
    add_bare(7);
    ring();
    expect_none();
    add_tmr((const uint16_t[]){5, 6, 99}, 3);
    ring();
    expect(6, 0x40);
    s2n_task *task = held(0);
    CHECK(task->aborted);
    CHECK(!held(1)->aborted);
    fake_end(task, 0, 0, (const uint8_t[512]){1}, 512);
    fake_run();
    expect(5, 0x40);
    CHECK_EQUAL(map[DATA], 0);
    fake_end(held(0), 0, 0, NULL, 0);
    fake_run();
    expect(7, 0);
    CHECK_EQUAL(get32(AT_TAIL), head); /* beyond the entry of the task management */
    finish();
}

static void task_management_alone_is_passed(void)
{
    begin();
    add_tmr((const uint16_t[]){1}, 1);
    ring();
    CHECK_EQUAL(get32(AT_TAIL), head);
    CHECK_EQUAL(doorbells(), 1);
    /* More identifiers than there is room for. */
    uint32_t at = RING + head;
    add_tmr((const uint16_t[]){1}, 1);
    put32(at + 12, UINT32_MAX);
    ring();
    CHECK_EQUAL(get32(AT_TAIL), head);
    finish();
}

/* PREEMPT AND ABORT aborts what a reset does, but is none. */
static void a_reset_of_the_unit_is_told(void)
{
    const uint8_t resets[] = {5, 6, 7}, others[] = {0, 1, 2, 4, 128, 255};
    s2n_event event;

    begin();
    for (size_t i = 0; i < sizeof resets; i++) {
        add_tmr_of(resets[i], (const uint16_t[]){0}, 0);
        ring();
        CHECK(fake_next_event(&event));
        CHECK_EQUAL(event.type, S2N_EVENT_UNIT_RESET);
        CHECK_EQUAL(event.cookie, COOKIE);
    }
    for (size_t i = 0; i < sizeof others; i++) {
        add_tmr_of(others[i], (const uint16_t[]){0}, 0);
        ring();
        CHECK(!fake_next_event(&event));
    }
    finish();
}

int main(void)
{
    make_memory();
    RUN(one_command_after_the_other);
    RUN(a_round_rings_once);
    RUN(what_waits_at_the_beginning_is_taken);
    RUN(answers_come_in_any_order);
    RUN(the_request_is_read_before_an_answer_covers_it);
    RUN(data_go_both_ways_over_many_extents);
    RUN(a_short_read_leaks_nothing);
    RUN(nothing_moved_is_a_zero);
    RUN(more_announced_than_there_is);
    RUN(sense_is_handed_on);
    RUN(a_write_waits_for_a_buffer);
    RUN(much_data_go_in_portions);
    RUN(a_portion_that_fails_or_is_aborted_is_the_last);
    RUN(cdbs_have_their_length);
    RUN(an_aborted_command_is_answered);
    RUN(task_management_alone_is_passed);
    RUN(a_reset_of_the_unit_is_told);
    return 0;
}
