/* Peers that stall, and connections that wait for each other. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE };

static struct initiator i, j;

static uint32_t ask_for_data(void)
{
    login(&i, &usual);
    put_command(&i, F | W, AN_ITT, 8192, write10(0, 16), NULL, 0);
    return s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
}

/* Reads of more than the sockets hold, of which nothing is taken. */
static void take_no_data(void)
{
    int least = 1;

    login(&i, &usual);
    setsockopt(i.fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    for (uint32_t tag = 0; tag < 16; tag++)
        put_command(&i, F | R, tag, 65535 * FAKE_BLOCK, read10(0, 8192), NULL, 0);
    fake_run();
}

static void whoever_owes_data_is_dropped_in_the_end(void)
{
    ask_for_data();
    fake_advance(S2N_STALL_MS - 1);
    CHECK_EQUAL(fake.live_tasks, 1);
    fake_advance(1);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* Whatever else it sends meanwhile, and takes. */
static void whoever_owes_data_is_dropped_though_it_pings(void)
{
    uint8_t bhs[48];

    ask_for_data();
    for (uint32_t ms = 0; ms < S2N_STALL_MS; ms += S2N_STALL_MS / 10) {
        request(bhs, S2N_NOP_OUT | S2N_IMMEDIATE, 1, i.cmd_sn);
        s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
        put(&i, bhs, pattern(2048), 2048);
        CHECK_EQUAL(expect(&i, S2N_NOP_IN)->length, 2048);
        fake_advance(S2N_STALL_MS / 10);
    }
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

static void any_data_is_progress(void)
{
    uint32_t ttt = ask_for_data();

    fake_advance(S2N_STALL_MS - 1);
    put_data_out(&i, AN_ITT, ttt, 0, 0, false, pattern(512), 512);
    fake_run();
    fake_advance(S2N_STALL_MS - 1);
    put_data_out(&i, AN_ITT, ttt, 1, 512, true, pattern(7680), 7680);
    expect_status(&i, 0);
    fake_advance(2 * S2N_STALL_MS);
    expect_none(&i);
    logout(&i);
}

/* Also what goes straight to where it belongs. */
static void much_data_is_progress(void)
{
    enum { ALL_BLOCKS = 128, ALL = ALL_BLOCKS * FAKE_BLOCK, PART = 2 * S2N_RECEIVE_DIRECT };
    s2n_conn_params params = usual;

    params.first_burst = ALL;
    login(&i, &params);
    put_part_of_write(&i, AN_ITT, i.cmd_sn, write10(0, ALL_BLOCKS), ALL, ALL, PART);
    for (uint32_t sent = PART; sent < ALL; sent += PART) {
        fake_run();
        fake_advance(S2N_STALL_MS - 1);
        put_bytes(&i, pattern(ALL) + sent, PART);
    }
    expect_status(&i, 0);
    logout(&i);
}

static void whoever_takes_no_data_is_dropped_in_the_end(void)
{
    take_no_data();
    CHECK(fake.live_tasks);
    fake_advance(S2N_STALL_MS - 1);
    CHECK(fake.live_tasks);
    fake_advance(1);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* ---- while others wait ---- */

enum { BLOCKS = 128, BYTES = BLOCKS * FAKE_BLOCK, SECONDS = S2N_PRESSED_MS / 1000 };

static uint32_t ask_for_much(void)
{
    s2n_conn_params params = usual;

    params.maximum_burst = BYTES;
    login(&i, &params);
    put_command(&i, F | W, AN_ITT, BYTES, write10(0, BLOCKS), NULL, 0);
    return s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
}

/* Let `seconds` pass, one by one. */
static void pass(uint32_t seconds)
{
    while (seconds--)
        fake_advance(1000);
}

static void whoever_stands_in_the_way_is_dropped_soon(void)
{
    ask_for_much();
    pass(2 * SECONDS);
    fake.wanted = true;
    pass(SECONDS - 1);
    CHECK_EQUAL(fake.live_tasks, 1);
    pass(2);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* A byte now and then does not give back what others wait for. */
static void a_trickle_is_no_progress(void)
{
    uint32_t ttt = ask_for_much(), sent = 0;

    fake.wanted = true;
    for (; sent < 2 * SECONDS && fake.sources; sent++) {
        put_data_out(&i, AN_ITT, ttt, sent, sent, false, pattern(1), 1);
        pass(1);
    }
    CHECK(sent >= SECONDS && sent <= SECONDS + 1);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* Nor do other requests, or newer commands, with which all is well. */
static void what_is_not_of_it_is_no_progress(void)
{
    uint32_t seconds = 0;
    struct pdu pdu;
    uint8_t bhs[48];

    ask_for_much();
    fake.wanted = true;
    for (; seconds < 4 * SECONDS && fake.sources; seconds++) {
        request(bhs, S2N_NOP_OUT | S2N_IMMEDIATE, S2N_RESERVED_TAG, i.cmd_sn);
        put(&i, bhs, pattern(2048), 2048);
        put_command(&i, F | R, AN_ITT + 1 + seconds, 8192, read10(0, 16), NULL, 0);
        while (get(&i, &pdu))
            ;
        pass(1);
    }
    CHECK(seconds >= SECONDS && seconds <= SECONDS + 2);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* What waits for a command that does not come is kept from others as well. */
static void whoever_leaves_a_gap_is_dropped_soon(void)
{
    login(&i, &usual);
    i.cmd_sn++;
    for (uint32_t at = 0; at < 4; at++)
        put_command(&i, F | W, AN_ITT + at, 4096, write10(0, 8), pattern(4096), 4096);
    fake_run();
    fake.wanted = true;
    pass(2 * SECONDS + 1); /* in the first of which its data came */
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* A trickle for one command keeps what waits for that as well. */
static void whoever_keeps_its_own_waiting_is_dropped_soon(void)
{
    enum { PIECE = 512, SMALL = 4096, HELD = 8 };
    uint32_t sent = 0;

    login(&i, &usual);
    put_command(&i, F | W | S2N_ATTRIBUTE_ORDERED, AN_ITT, SMALL, write10(0, 8), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    for (uint32_t at = 1; at <= HELD; at++)
        put_command(&i, F | W, AN_ITT + at, SMALL, write10(8 * at, 8), pattern(SMALL), SMALL);
    fake_run();
    pass(1); /* in which its data came */
    fake.wanted = true;
    for (; sent <= SECONDS && fake.sources; sent++) {
        put_data_out(&i, AN_ITT, ttt, sent, sent * PIECE, false, pattern(PIECE), PIECE);
        pass(1);
    }
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* Slow, but what it holds turns over. */
static void whoever_goes_on_stays(void)
{
    enum { PIECE = BYTES / 32 };
    uint32_t ttt = ask_for_much(), sent = 0;
    const uint8_t *data = pattern(BYTES);

    fake.wanted = true;
    for (; sent < 32; sent++) {
        put_data_out(&i, AN_ITT, ttt, sent, sent * PIECE, sent == 31, data + sent * PIECE, PIECE);
        pass(1);
    }
    expect_status(&i, 0);
    CHECK(!memcmp(fake.disk, data, BYTES));
    logout(&i);
}

/* The same of what came unasked, and has no buffer yet. */
static void what_comes_unasked_goes_on_as_well(void)
{
    enum { PIECES = 16, PIECE = BYTES / PIECES };
    s2n_conn_params params = usual;
    const uint8_t *data = pattern(BYTES);

    params.first_burst = params.maximum_burst = BYTES;
    login(&i, &params);
    uint64_t pool = fake.pool_bytes;
    i.cmd_sn++;
    fake.pool_bytes -= pool;
    put_command(&i, W, AN_ITT, BYTES, write10(0, BLOCKS), NULL, 0);
    fake_run();
    CHECK_EQUAL(i.conn->commands->task->charged, BYTES);
    fake.wanted = true;
    for (uint32_t sent = 0; sent < PIECES; sent++) {
        put_data_out(&i, AN_ITT, S2N_RESERVED_TAG, sent, sent * PIECE, sent == PIECES - 1,
                     data + sent * PIECE, PIECE);
        pass(1);
    }
    fake_give(pool);
    i.cmd_sn -= 2;
    put_command(&i, F, AN_ITT + 1, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    expect_status(&i, 0);
    CHECK(!memcmp(fake.disk, data, BYTES));
    i.cmd_sn++;
    logout(&i);
}

static void whoever_takes_no_data_is_dropped_soon(void)
{
    take_no_data();
    fake.wanted = true;
    pass(SECONDS + 1);
    CHECK_EQUAL(expect_closed(&i), ETIMEDOUT);
    expect_nothing_left(&i);
}

/* What waits for the device, or for us, is not the peer's to move. */
static void who_owes_nothing_is_in_nobody_s_way(void)
{
    login(&i, &usual);
    fake.hold = fake.wanted = true;
    put_command(&i, F | W, AN_ITT, 4096, write10(0, 8), pattern(4096), 4096);
    put_command(&i, F | W | S2N_ATTRIBUTE_ORDERED, AN_ITT + 1, 4096, write10(0, 8), pattern(4096),
                4096);
    fake_run();
    pass(4 * SECONDS);
    for (int ends = 0; ends < 2; ends++) {
        CHECK_EQUAL(fake.executed_count, 1);
        fake_carry_out(fake.executed[0]);
        expect_status(&i, 0);
    }
    logout(&i);
}

/* Nor what waited for the peer once, and waits for the device now. */
static void what_was_owed_and_came_is_no_longer_kept(void)
{
    enum { SMALL = 4096, HELD = 24, PIECES = 32, PIECE = BYTES / PIECES };
    s2n_conn_params params = usual;
    const uint8_t *data = pattern(BYTES);

    params.first_burst = params.maximum_burst = BYTES;
    login(&i, &params);
    fake.hold = true;
    put_command(&i, F | W | S2N_ATTRIBUTE_ORDERED, AN_ITT, SMALL, write10(0, 8), NULL, 0);
    uint32_t ttt = s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
    for (uint32_t at = 1; at <= HELD; at++)
        put_command(&i, F | W, AN_ITT + at, SMALL, write10(8 * at, 8), data, SMALL);
    i.cmd_sn++;
    put_command(&i, W, AN_ITT + HELD + 1, BYTES, write10(1024, BLOCKS), NULL, 0);
    fake_run();
    fake.wanted = true;
    pass(1);
    put_data_out(&i, AN_ITT, ttt, 0, 0, true, data, SMALL);
    for (uint32_t sent = 0; sent < PIECES; sent++) {
        put_data_out(&i, AN_ITT + HELD + 1, S2N_RESERVED_TAG, sent, sent * PIECE,
                     sent == PIECES - 1, data + sent * PIECE, PIECE);
        pass(1);
    }
    fake.wanted = false;
    i.cmd_sn -= 2;
    put_command(&i, F, AN_ITT + HELD + 2, 0, test_unit_ready, NULL, 0);
    fake_run();
    for (fake.hold = false; fake.executed_count;)
        fake_carry_out(fake.executed[0]);
    for (int ends = 0; ends < HELD + 3; ends++)
        expect_status(&i, 0);
    i.cmd_sn++;
    logout(&i);
}

/* ---- connections of one session ---- */

/* Requests of one are handed over as the other fills their gap: no more may come then, and
 * the reactor comes to rest all the same. */
static void what_another_connection_blocks_is_not_watched(void)
{
    uint8_t bhs[48];

    login(&i, &usual);
    login_more(&j, &i);
    j.cmd_sn = i.cmd_sn + 1;
    for (uint32_t at = 0; at < S2N_PYTHON_REQUESTS; at++) {
        request(bhs, S2N_TEXT, at, j.cmd_sn++);
        put(&j, bhs, pattern(16), 16);
    }
    fake_run();
    put_command(&i, F, AN_ITT, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    CHECK_EQUAL(j.conn->with_python, S2N_PYTHON_REQUESTS);
    request(bhs, S2N_NOP_OUT | S2N_IMMEDIATE, 99, j.cmd_sn);
    put(&j, bhs, NULL, 0);
    expect_none(&j);
    /* It goes on when Python has answered. */
    request(bhs, S2N_TEXT_RESPONSE, 0, 0);
    s2n_conn_send(j.conn, bhs, NULL, 0, true);
    expect(&j, S2N_TEXT_RESPONSE);
    expect(&j, S2N_NOP_IN);
    for (uint32_t at = 0; at < S2N_PYTHON_REQUESTS; at++) {
        s2n_event event;
        CHECK(fake_next_event(&event) && event.type == S2N_EVENT_PDU);
        s2n_event_free(&event);
    }
    s2n_conn_close(j.conn, false);
    expect_closed(&j);
    logout(&i);
}

/* Of a text request no more is kept than what Python refuses. When it owes answers to many bytes
 * reading stops, until it owes none. */
static void what_waits_for_python_is_bounded(void)
{
    s2n_conn_params params = usual;
    uint32_t count = S2N_PYTHON_BYTES / S2N_TEXT_BYTES + 1;
    uint8_t bhs[48];
    s2n_event event;

    params.maximum_recv = 262144;
    login(&i, &params);
    for (uint32_t at = 0; at <= count; at++) {
        uint32_t length = at < count ? 262144 : 16;
        request(bhs, S2N_TEXT, at, i.cmd_sn++);
        put(&i, bhs, pattern(length), length);
        fake_run();
        CHECK_EQUAL(fake_next_event(&event), at < count);
        if (at == count)
            continue;
        CHECK_EQUAL(event.data_length, S2N_TEXT_BYTES);
        s2n_event_free(&event);
    }
    for (uint32_t at = 0; at < count; at++) {
        request(bhs, S2N_REJECT, 0, 0);
        s2n_conn_send(i.conn, bhs, NULL, 0, true);
        fake_run();
        CHECK_EQUAL(fake_next_event(&event), at == count - 1);
        expect(&i, S2N_REJECT);
    }
    CHECK_EQUAL(event.data_length, 16);
    s2n_event_free(&event);
    logout(&i);
}

int main(void)
{
    RUN(whoever_owes_data_is_dropped_in_the_end);
    RUN(whoever_owes_data_is_dropped_though_it_pings);
    RUN(any_data_is_progress);
    RUN(much_data_is_progress);
    RUN(whoever_takes_no_data_is_dropped_in_the_end);
    RUN(whoever_stands_in_the_way_is_dropped_soon);
    RUN(a_trickle_is_no_progress);
    RUN(what_is_not_of_it_is_no_progress);
    RUN(whoever_leaves_a_gap_is_dropped_soon);
    RUN(whoever_keeps_its_own_waiting_is_dropped_soon);
    RUN(whoever_goes_on_stays);
    RUN(what_comes_unasked_goes_on_as_well);
    RUN(whoever_takes_no_data_is_dropped_soon);
    RUN(who_owes_nothing_is_in_nobody_s_way);
    RUN(what_was_owed_and_came_is_no_longer_kept);
    RUN(what_another_connection_blocks_is_not_watched);
    RUN(what_waits_for_python_is_bounded);
    return 0;
}
