/* Arbitrary input to the full-feature phase: steps of initiators, of a network, of Python
 * and of a reactor. It is built with limits that short inputs reach (iscsi.h). */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_socket.h"
#include "fuzz.h"
#include "initiator.h"

/* What was negotiated is the head. */
enum { HEAD = 2, LINKS = 3, KINDS = 32 };

const uint32_t fuzz_head = HEAD, fuzz_kinds = KINDS, fuzz_planted = 6;

enum kind {
    SEND_PDU, /* header and data; length, padding, digests are put right; detail: connection */
    SEND,     /* bytes as they are */
    TAKE,     /* what was sent to this side */
    HANG_UP,  /* close a connection from this side, */
    CLOSE,    /* or from Python's */
    JOIN,     /* another connection */
    HOLD,     /* whether tasks end at once, from now on; and events, whether they are answered */
    END,      /* a task that was held, with a status and so much data */
    ABORT,    /* a task */
    WAIT,     /* so many milliseconds, times four */
    POOL,     /* little room in it, or a lot */
    LIMIT,    /* another MaxRecvDataSegmentLength */
    DENY,     /* memory, at that allocation */
};

static struct initiator at[LINKS], newest;
static bool late; /* events are left where they are */

/* ---- playing ---- */

static struct initiator *by_cookie(uint64_t cookie)
{
    for (int n = 0; n < LINKS; n++)
        if (at[n].conn && at[n].cookie == cookie)
            return &at[n];
    CHECK(!"an event of a connection that was told to be closed");
    return NULL;
}

/* Play Python: answer requests, and free what was closed. */
static void take_events(void)
{
    uint8_t bhs[48] = {S2N_TASK_MANAGEMENT_RESPONSE, S2N_FINAL};
    s2n_event event;

    while (fake_next_event(&event)) {
        struct initiator *on = by_cookie(event.cookie);
        s2n_event_free(&event);
        if (event.type == S2N_EVENT_PDU) {
            s2n_conn_send(on->conn, bhs, bhs, 20, true);
            continue;
        }
        CHECK_EQUAL(event.type, S2N_EVENT_CONN_CLOSED);
        release(on);
        on->conn = NULL;
    }
}

static void join(struct initiator *on)
{
    if (on->conn)
        return;
    fake.fail_in = 0;
    login_more(on, &newest);
    newest = *on;
}

static void send_bytes(struct initiator *on, const uint8_t *bytes, size_t length)
{
    while (length && on->conn && on->fd >= 0) {
        ssize_t n = send(on->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        length -= (size_t)n;
        if (length)
            fake_run();
    }
}

static void send_pdu(struct initiator *on, const uint8_t *bytes, size_t length)
{
    static uint8_t wire[48 + 65536 + 16];
    uint32_t header = s2n_least(length, 48), left = (uint32_t)length - header;
    uint8_t bhs[48] = {0};

    memcpy(bhs, bytes, header);
    send_bytes(on, wire, pdu_bytes(&on->params, bhs, bytes + header, left, wire));
}

static void take_output(struct initiator *on)
{
    static uint8_t bytes[1 << 16];

    while (on->conn && on->fd >= 0 && recv(on->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        fake_run();
}

static void hang_up(struct initiator *on)
{
    if (!on->conn || on->fd < 0)
        return;
    close(on->fd);
    on->fd = -1;
}

static void end_task(uint8_t detail, size_t length)
{
    if (fake.executed_count)
        fake_end(fake.executed[detail % fake.executed_count], detail & 0x80 ? 0 : 2, 18,
                 pattern(300), length % 300);
}

static void do_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length)
{
    struct initiator *on = &at[detail % LINKS];

    switch (kind) {
    case SEND:
        send_bytes(on, bytes, length);
        break;
    case TAKE:
        take_output(on);
        break;
    case HANG_UP:
        hang_up(on);
        break;
    case CLOSE:
        if (on->conn)
            s2n_conn_close(on->conn, detail & 0x80);
        break;
    case JOIN:
        join(on);
        break;
    case HOLD:
        fake.hold = detail & 1;
        late = detail & 2;
        break;
    case END:
        end_task(detail, length);
        break;
    case ABORT:
        fake_abort(detail & 0x7f, detail & 0x80);
        break;
    case WAIT:
        fake_advance((uint64_t)detail * 4);
        break;
    case POOL:
        fake_give(((int64_t)detail << 8) - fake.pool_bytes);
        break;
    case LIMIT:
        if (on->conn)
            s2n_conn_set_maximum_send(on->conn, (uint32_t)detail << 4);
        break;
    case DENY:
        fake.fail_in = detail & 0xf;
        break;
    default:
        send_pdu(on, bytes, length);
    }
}

void fuzz_begin(const uint8_t *head)
{
    s2n_conn_params params = {
        .header_digest = head[0] >> 6 == 3,
        .data_digest = head[0] >> 4 == 3,
        .initial_r2t = head[0] & 1,
        .immediate_data = head[0] >> 1 & 1,
        .maximum_r2t = 1 + (head[0] >> 2 & 3),
        .discovery = head[1] == 0xff,
        .maximum_recv = 2048,
        .maximum_send = 512,
        .maximum_burst = 1024,
        .first_burst = 768,
        .ping_ms = 1000,
        .ping_timeout_ms = head[1] & 1 ? 1000 : 0,
    };

    memset(at, 0, sizeof at);
    late = false;
    fake_sockets_hold(head[1] & 0x40 ? 512 : FAKE_SOCKET_BYTES);
    login(&at[0], &params);
    fake.portion_bytes = head[1] & 0x80 ? 1024 : 0;
    newest = at[0];
}

/* Whatever it was, an end comes to it, and nothing is left. */
void fuzz_finish(void)
{
    s2n_event event;

    fake.fail_in = 0;
    for (int n = 0; n < LINKS; n++)
        if (at[n].conn)
            s2n_conn_close(at[n].conn, false);
    fake_run();
    while (fake.executed_count)
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    take_events();
    for (int n = 0; n < LINKS; n++)
        CHECK(!at[n].conn);
    s2n_session_free(newest.session);
    fake_run();
    CHECK(!fake_next_event(&event));
    CHECK_EQUAL(fake.live_tasks + fake.armed_timers + fake.sources + fake_sockets_open(), 0);
}

void fuzz_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length)
{
    do_step(kind, detail, bytes, length);
    fake_run();
    if (!late)
        take_events();
}

uint32_t fuzz_reached(void)
{
    return fake.executions;
}

#ifndef S2N_LIBFUZZER

/* ---- a session of every kind of PDU ---- */

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, IMMEDIATE = S2N_IMMEDIATE };

static struct {
    int fd;
    struct initiator i;
} seed;

/* What was put goes out on a connection: a PDU, or several at once. */
static void add_put(uint8_t kind, uint8_t link)
{
    uint8_t bytes[8192];
    ssize_t n = recv(seed.fd, bytes, sizeof bytes, 0);

    CHECK(n > 0);
    fuzz_add(kind, link, bytes, (uint32_t)n);
}

static void put_bare_request(uint8_t opcode, uint32_t cmd_sn, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, 9, cmd_sn);
    s2n_put32(bhs + S2N_AT_TTT, 3);
    put(&seed.i, bhs, pattern(length), length);
}

static void put_request(uint8_t opcode, uint32_t cmd_sn, uint32_t length)
{
    put_bare_request(opcode, cmd_sn, length);
    add_put(SEND_PDU, 0);
}

static void put_scsi(uint8_t flags, uint32_t itt, uint32_t edtl, const uint8_t *cdb,
                     uint32_t length)
{
    put_command(&seed.i, flags, itt, edtl, cdb, pattern(length), length);
    add_put(SEND_PDU, itt == 7);
}

static void put_data(uint32_t itt, uint32_t ttt, uint32_t data_sn, uint32_t offset, uint32_t length,
                     bool final)
{
    put_data_out(&seed.i, itt, ttt, data_sn, offset, final, pattern(length), length);
    add_put(SEND_PDU, 0);
}

/* More than is received at once: a write, whose turn lets two requests go to Python, which are
 * as many as may be, and what has to wait then. When they are answered the connection has gone. */
static void put_several(void)
{
    fuzz_add(JOIN, 2, NULL, 0);
    put_bare_request(S2N_TEXT, seed.i.cmd_sn + 1, 40);
    put_bare_request(S2N_TEXT, seed.i.cmd_sn + 2, 40);
    put_command(&seed.i, F | W, 8, 512, write10(0, 1), pattern(512), 512);
    put_bare_request(S2N_NOP_OUT | IMMEDIATE, seed.i.cmd_sn, 2048);
    put_bare_request(S2N_NOP_OUT | IMMEDIATE, seed.i.cmd_sn, 2048);
    add_put(SEND, 2);
    fuzz_add(HANG_UP, 2, NULL, 0);
    seed.i.cmd_sn += 2;
}

void fuzz_plant(void)
{
    int pair[2];

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    seed.fd = pair[1];
    seed.i = (struct initiator){.fd = pair[0], .cmd_sn = FIRST_CMD_SN};
    fuzz_set_head(0, 2); /* immediate and unsolicited data */
    put_scsi(F | R, 1, 2048, read10(0, 4), 0);
    put_scsi(F | W, 2, 512, write10(0, 1), 512);
    put_scsi(W, 3, 2048, write10(0, 4), 256);
    put_data(3, S2N_RESERVED_TAG, 0, 256, 256, false);
    put_data(3, S2N_RESERVED_TAG, 1, 512, 256, true);
    put_request(S2N_NOP_OUT | IMMEDIATE, seed.i.cmd_sn, 32);
    put_data(3, 0, 0, 768, 1024, true);
    put_data(3, 1, 0, 1792, 256, true);
    put_request(S2N_TASK_MANAGEMENT | IMMEDIATE, seed.i.cmd_sn, 0);
    put_scsi(F | W, 4, 1024, write10(0, 2), 0);
    put_data(4, 2, 0, 0, 1024, true);
    put_request(S2N_TEXT, seed.i.cmd_sn++, 40);
    put_request(S2N_SNACK, seed.i.cmd_sn, 0);
    put_several();
    fuzz_add(JOIN, 1, NULL, 0);
    fuzz_add(HOLD, 1, NULL, 0);
    put_scsi(F, 5, 0, test_unit_ready, 0);
    seed.i.cmd_sn += 2;
    put_scsi(F | R, 7, 255, inquiry(96), 0);
    put_request(S2N_NOP_OUT, seed.i.cmd_sn - 2, 500);
    put_request(S2N_LOGOUT, seed.i.cmd_sn - 3, 0);
    fuzz_add(END, 0x80, NULL, 0);
    fuzz_add(CLOSE, 0x80, NULL, 0);
    fuzz_add(WAIT, 0xff, NULL, 0);
    close(pair[0]);
    close(pair[1]);
}

#endif
