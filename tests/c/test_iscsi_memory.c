/* Peers that rest keep little memory. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "initiator.h"
#include "iscsi.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE };

static struct initiator i;

/* How many of the whole pages in it take memory. */
static size_t resident_pages(const void *at, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)at + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)at + bytes) & ~(page - 1);
    static unsigned char resident[1 << 10];
    size_t count = 0;

    CHECK(first < end && (end - first) / page <= sizeof resident);
    CHECK(!mincore((void *)first, end - first, resident));
    for (size_t at_page = 0; at_page < (end - first) / page; at_page++)
        count += resident[at_page] & 1;
    return count;
}

/* Whatever is in what is not used: it has not been cleared. */
static void scribble(void)
{
    s2n_session *session = i.session;

    memset(i.conn->rx.buffer, 0xA5, S2N_RECEIVE_BYTES);
    memset(i.conn->wire, 0xA5, S2N_WIRES * sizeof *i.conn->wire);
    memset(session->command, 0xA5, session->command_count * sizeof *session->command);
    memset(session->held, 0xA5, (session->held_mask + 1) * sizeof *session->held);
}

/* As many reads as the window has, the first of which comes last. */
static void read_out_of_order(void)
{
    uint32_t cmd_sn = i.cmd_sn;

    for (uint32_t at = 1; at <= WINDOW; at++) {
        i.cmd_sn = cmd_sn + at % WINDOW;
        put_command(&i, F | R, at, FAKE_BLOCK, read10(at, 1), NULL, 0);
        fake_run();
    }
    i.cmd_sn = cmd_sn + WINDOW;
    for (uint32_t at = 0; at < WINDOW; at++) {
        const struct pdu *pdu = expect_status(&i, 0);
        uint32_t tag = s2n_get32(pdu->bhs + S2N_AT_ITT);
        CHECK(!memcmp(pdu->data, fake.disk + tag * FAKE_BLOCK, FAKE_BLOCK));
    }
}

static void a_silent_peer_keeps_no_memory(void)
{
    s2n_conn_params params = usual;
    const s2n_session *session;

    params.ping_ms = 1000;
    login(&i, &params);
    session = i.session;
    scribble();
    read_out_of_order();
    fake_advance(1000); /* it was not silent */
    expect_none(&i);
    for (int round = 0; round < 2; round++) {
        CHECK(resident_pages(i.conn->rx.buffer, S2N_RECEIVE_BYTES));
        fake_advance(1000);
        expect(&i, S2N_NOP_IN);
        CHECK_EQUAL(resident_pages(i.conn->rx.buffer, S2N_RECEIVE_BYTES), 0);
        CHECK_EQUAL(
            resident_pages(session->command, session->command_count * sizeof *session->command), 0);
        CHECK(resident_pages(i.conn->wire, S2N_WIRES * sizeof *i.conn->wire) <= 1);
        read_out_of_order();
        fake_advance(1000);
        memset(i.conn->rx.buffer, 0xA5, S2N_RECEIVE_BYTES);
    }
    logout(&i);
}

static uint32_t ask_a_silent_peer(void)
{
    s2n_conn_params params = usual;

    params.ping_ms = 1000;
    login(&i, &params);
    put_command(&i, F | W, AN_ITT, 8192, write10(0, 16), NULL, 0);
    return s2n_get32(expect(&i, S2N_R2T)->bhs + S2N_AT_TTT);
}

/* What is under way is not given back. */
static void a_silent_peer_s_command_stays(void)
{
    uint32_t ttt = ask_a_silent_peer();

    fake_advance(1000);
    fake_advance(1000);
    expect(&i, S2N_NOP_IN);
    put_data_out(&i, AN_ITT, ttt, 0, 0, true, pattern(8192), 8192);
    expect_status(&i, 0);
    CHECK(!memcmp(fake.disk, pattern(8192), 8192));
    logout(&i);
}

/* Nor what is half received, or waits for its number. */
static void a_silent_peer_s_commands_stay(void)
{
    uint32_t ttt = ask_a_silent_peer();

    put_part_of_write(&i, AN_ITT + 1, i.cmd_sn + 1, write10(16, 1), FAKE_BLOCK, FAKE_BLOCK, 100);
    fake_run();
    fake_advance(1000);
    fake_advance(1000);
    expect(&i, S2N_NOP_IN);
    put_bytes(&i, pattern(FAKE_BLOCK) + 100, FAKE_BLOCK - 100);
    put_data_out(&i, AN_ITT, ttt, 0, 0, true, pattern(8192), 8192);
    expect_status(&i, 0);
    put_command(&i, F, AN_ITT + 2, 0, test_unit_ready, NULL, 0);
    expect_status(&i, 0);
    expect_status(&i, 0);
    CHECK(!memcmp(fake.disk, pattern(8192), 8192));
    CHECK(!memcmp(fake.disk + 16 * FAKE_BLOCK, pattern(FAKE_BLOCK), FAKE_BLOCK));
    logout(&i);
}

int main(void)
{
    RUN(a_silent_peer_keeps_no_memory);
    RUN(a_silent_peer_s_command_stays);
    RUN(a_silent_peer_s_commands_stay);
    return 0;
}
